//! Feeds commands to an IMAP session.
#![no_main]

#[path = "../targets/imap_command.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
