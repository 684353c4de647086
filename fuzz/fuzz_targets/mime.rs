//! Feeds whole messages to the parsers of summaries, contents, parts and digests, and to the search.
#![no_main]

#[path = "../targets/mime.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
