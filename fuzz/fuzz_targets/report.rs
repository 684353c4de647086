//! Feeds whole messages to the reader of reports that come back.
#![no_main]

#[path = "../targets/report.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
