//! Replies and capabilities as servers write them.

use super::*;

#[test]
fn capabilities_in_any_case() {
    let reply = Reply::plain(
        250,
        "mx greets you\npipelining\nSize 52428800\n8bitMIME\nSMTPUTF8\nstarttls\ndsn\nchunking\nmt-priority STANAG4406\nXYZ\n\
         EnhancedStatusCodes\nRequireTLS\nauth=plain\nAUTH login scram-sha-256",
    );
    assert_eq!(
        Capabilities::parse(&reply),
        Capabilities {
            pipelining: true,
            size: true,
            size_bytes_max: Some(52_428_800),
            eight_bit_mime: true,
            smtputf8: true,
            starttls: true,
            dsn: true,
            chunking: true,
            mt_priority: true,
            require_tls: true,
            enhanced_status_codes: true,
            auth: AuthMechanisms { scram_sha_256: true, plain: true, login: true },
        }
    );
    let none = Capabilities::parse(&Reply::plain(250, "PIPELINING"));
    assert_eq!(none, Capabilities::default(), "the first line is a name");
    let unlimited = Capabilities::parse(&Reply::plain(250, "mx\nSIZE 0"));
    assert_eq!((unlimited.size, unlimited.size_bytes_max), (true, None));
}

fn read(text: &[u8]) -> Result<Option<Reply>, ReplyError> {
    ReplyParser::new(ClientLimits::default()).next_reply(&mut BytesMut::from(text))
}

#[test]
fn replies_as_servers_write_them() {
    let reply = |text: &[u8]| read(text).unwrap().unwrap();
    assert_eq!(reply(b"250 OK\n"), Reply::plain(250, "OK"));
    assert_eq!(reply(b"250\r\n"), Reply::plain(250, ""));
    assert_eq!(reply(b"550-5.1.1 a\r\n550-5.1.1\r\n550 b\r\n"), Reply::new(550, (5, 1, 1), "a\n\nb"));
    assert_eq!(reply(b"554-go away\r\n554 5.7.1 really\r\n"), Reply::new(554, (5, 7, 1), "go away\nreally"));
    assert_eq!(reply(b"550 4.1.1 of another class\r\n"), Reply::plain(550, "4.1.1 of another class"));
    assert_eq!(reply(b"250 2.0.0.1 x\r\n"), Reply::plain(250, "2.0.0.1 x"));
    assert_eq!(reply(b"250 2.1234.0 x\r\n"), Reply::plain(250, "2.1234.0 x"));
    assert_eq!(reply(b"550 caf\xe9\x1b[2J\r\n"), Reply::plain(550, "caf\u{fffd} [2J"));
    assert_eq!(read(b"250-OK\r\n250 OK"), Ok(None));
}

#[test]
fn replies_that_are_none() {
    for text in [&b"\r\n"[..], b"25\r\n", b"2500\r\n", b"250_OK\r\n", b"150 x\r\n", b"600 x\r\n", b"OK 250\r\n"] {
        assert!(matches!(read(text), Err(ReplyError::NotAReply(_))), "{text:?}");
    }
    assert_eq!(read(b"250-a\r\n251 b\r\n"), Err(ReplyError::CodeChanged { first: 250, then: 251 }));
    assert_eq!(read(&[b'2'; 2048]), Err(ReplyError::LineTooLong));
    assert_eq!(read(&[b'2'; 2047]), Ok(None));
    assert_eq!(read(&b"250-x\r\n".repeat(129)), Err(ReplyError::TooManyLines));
    let longest = [b"250-x\r\n".repeat(127), b"250 x\r\n".to_vec()].concat();
    assert_eq!(read(&longest).unwrap().unwrap().text.lines().count(), 128);
    let long = [format!("250-{}\r\n", "ä".repeat(900)).repeat(5).as_bytes(), b"250 x\r\n"].concat();
    assert!(read(&long).unwrap().unwrap().text.len() <= ClientLimits::default().reply_text_bytes_max);
}
