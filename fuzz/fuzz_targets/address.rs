//! Feeds addresses, domains and reverse-paths to libFuzzer's coverage search.
#![no_main]

#[path = "../targets/address.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
