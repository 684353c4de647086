//! Replays the fuzz targets' corpora: what a fuzzer once found, or somebody thought of, stays found.

use std::path::Path;

#[path = "../../../fuzz/targets/address.rs"]
mod address;
#[path = "../../../fuzz/targets/mime.rs"]
mod mime;
#[path = "../../../fuzz/targets/report.rs"]
mod report;

#[test]
fn address() {
    replay("address", address::run);
}

#[test]
fn mime() {
    replay("mime", mime::run);
}

#[test]
fn report() {
    replay("report", report::run);
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
