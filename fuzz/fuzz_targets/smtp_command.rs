//! Feeds command lines to an SMTP session.
#![no_main]

#[path = "../targets/smtp_command.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
