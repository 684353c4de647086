//! Messages, however broken: they are read without panic, and each listed attachment can be fetched.

use postrider_core::{Content, Summary};

pub(crate) fn run(data: &[u8]) {
    let summary = Summary::parse(data);
    let content = Content::parse(data);
    assert_eq!(summary.attachments, content.attachments);
    assert_eq!(summary.is_8bit, !data.is_ascii());
    for (n, attachment) in content.attachments.iter().enumerate() {
        let (described, bytes) = Content::attachment(data, n).expect("what is listed is there");
        assert_eq!((&described, bytes.len() as u64), (attachment, attachment.size));
    }
    assert_eq!(Content::attachment(data, content.attachments.len()), None);
}
