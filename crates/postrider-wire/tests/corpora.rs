//! Replays the fuzz targets' corpora: what a fuzzer once found, or somebody thought of, stays found.

use std::path::Path;

#[path = "../../../fuzz/targets/imap_command.rs"]
mod imap_command;
#[path = "../../../fuzz/targets/smtp_command.rs"]
mod smtp_command;
#[path = "../../../fuzz/targets/smtp_data.rs"]
mod smtp_data;
#[path = "../../../fuzz/targets/smtp_reply.rs"]
mod smtp_reply;

#[test]
fn imap_command() {
    replay("imap_command", imap_command::run);
}

#[test]
fn smtp_command() {
    replay("smtp_command", smtp_command::run);
}

#[test]
fn smtp_data() {
    replay("smtp_data", smtp_data::run);
}

#[test]
fn smtp_reply() {
    replay("smtp_reply", smtp_reply::run);
}

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in folder.read_dir().expect("every target has a corpus") {
        let path = entry.expect("the corpus can be listed").path();
        let input = std::fs::read(&path).expect("the corpus can be read");
        assert!(std::panic::catch_unwind(|| run(&input)).is_ok(), "{} breaks the target", path.display());
        count += 1;
    }
    assert!(count > 0, "the corpus of {target} is empty");
}
