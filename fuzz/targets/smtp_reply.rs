//! Replies of another server: reading them never fails badly, and what was read can be written and read again.

use bytes::BytesMut;
use postrider_wire::smtp::client::{ClientLimits, ReplyParser};

const REPLIES_MAX: usize = 100;

pub(crate) fn run(data: &[u8]) {
    let mut parser = ReplyParser::new(ClientLimits::default());
    let mut input = BytesMut::from(data);
    for _ in 0..REPLIES_MAX {
        let Ok(Some(reply)) = parser.next_reply(&mut input) else { return };
        assert!(!reply.text.chars().any(|c| c.is_control() && c != '\n'), "a text is fit to show");
        let mut written = BytesMut::new();
        reply.write(&mut written);
        let again = ReplyParser::new(ClientLimits::default()).next_reply(&mut written);
        let again = again.expect("what we write is a reply").expect("what we write is whole");
        assert_eq!((again.code, again.enhanced), (reply.code, reply.enhanced));
    }
}
