//! Reports that come back, however broken: they are read without panic, and say no more than the limits allow.

use postrider_core::bounce::report::{CANDIDATES_MAX, IncomingReport, RECIPIENTS_MAX};

pub(crate) fn run(data: &[u8]) {
    let other = IncomingReport::parse(data, false);
    let at_return_path = IncomingReport::parse(data, true);
    // What is a report anywhere is the same at a return path.
    assert!(other.is_none() || other == at_return_path);
    for report in [other, at_return_path].into_iter().flatten() {
        assert!(report.recipients.len() <= RECIPIENTS_MAX);
        assert!(report.original.candidates.len() <= CANDIDATES_MAX);
        for recipient in &report.recipients {
            assert!(recipient.text.chars().count() <= 500);
        }
    }
}
