//! Feeds replies to the SMTP client.
#![no_main]

#[path = "../targets/smtp_reply.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
