//! Feeds message data to an SMTP session and checks where it ends.
#![no_main]

#[path = "../targets/smtp_data.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
