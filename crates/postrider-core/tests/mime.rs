//! Messages that are put together from what breaks parsers, and arbitrary bytes, through the fuzz target for messages.

use proptest::prelude::*;

#[path = "../../../fuzz/targets/mime.rs"]
mod target;

/// What headers and multiparts are made of, whole and broken.
const PIECES: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    " ",
    "\0",
    "--x\r\n",
    "--x\n",
    "--x--\r\n",
    "--xy\r\n",
    "--xy--",
    "text",
    "=C3=BC=\r\n",
    "w7w=",
    "\u{fc}",
    "Content-Type: multipart/mixed; boundary=x\r\n",
    "Content-Type: multipart/digest; boundary=\"xy\"\n",
    "Content-Type: multipart/alternative\r\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Type: message/global; a*0*=\"\\\"\r\n b\"\r\n",
    "Content-Type: text/html; charset=iso-2022-jp\r\n",
    "Content-Type: image/png; name=\u{fc}\r\n",
    "Content-Type: /;=;\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "Content-Transfer-Encoding: x-own\r\n",
    "Content-Disposition: attachment; filename=\"a",
    "Content-Language: de, en\r\n",
    "Content-ID: <a>\r\n",
    "Subject: Re: [a] [fwd: =?utf-8?q?=C3=BC?= =?x?b?!?=]\r\n",
    "From: \"A\" <@r:a@x.org>, G: b@x.org;, (c (d) e@x.org\r\n",
    "To: <<>>,;:\"\\\r\n",
    "Date: Thu, 26 Nov 2026 99:99 +9999\r\n",
    "References: <a> <a> <\"b\" @x> <\r\n",
    "<style>&#x41;&bogus;<!--",
];

fn message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        9 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_message_is_read(message in message()) {
        target::run(&message);
    }

    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        target::run(&bytes);
    }
}
