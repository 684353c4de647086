//! Other programs read `emails`: Python's MongoDB client, which knows nothing of us, finds the promised shape.

use std::collections::BTreeMap;
use std::path::Path;

use postrider_testkit::{MongoServer, Site, mail};

/// Debian's own, which finds the packages that `cargo xtask test` installs.
const PYTHON: &str = "/usr/bin/python3";

/// Compares every e-mail with the file of the same subject, as Python's own parser of mail reads it.
const READER: &str = r#"
import datetime, email, email.policy, sys
import bson, gridfs, pymongo

database = pymongo.MongoClient(sys.argv[1]).get_default_database()
files = gridfs.GridFS(database)

def content(value, allowed):
    kind = "file" if isinstance(value, bson.ObjectId) else "text" if isinstance(value, str) else "binary"
    assert kind in allowed, f"{kind}, not {allowed}"
    return files.get(value).read() if kind == "file" else value.encode() if kind == "text" else bytes(value)

for argument in sys.argv[2:]:
    subject, raw_kind, content_kind, path = argument.split("=", 3)
    sent = open(path, "rb").read()
    found = list(database.emails.find({"subject": subject}))
    assert len(found) == 1, f"{subject}: {len(found)}"
    document = found[0]
    assert document["sender"] == "a@client.test", document["sender"]
    assert document["recipients"] == ["b@local.test", "c@local.test"], document["recipients"]
    assert type(document["createdAt"]) is datetime.datetime
    assert abs((datetime.datetime.utcnow() - document["createdAt"]).total_seconds()) < 300
    raw = content(document["raw"], [raw_kind])
    assert raw.endswith(sent), subject
    parsed = email.message_from_bytes(sent, policy=email.policy.default)
    for name, subtype in [("text", "plain"), ("html", "html")]:
        part = parsed.get_body(preferencelist=(subtype,))
        expected = None if part is None else part.get_content().replace("\r\n", "\n").strip()
        value = document[name]
        assert (value is None) == (expected is None), f"{subject}: {name} is {value!r}"
        assert value is None or type(value) is str and value.replace("\r\n", "\n").strip() == expected, value
    expected = list(parsed.iter_attachments())
    attachments = document["attachments"]
    assert len(attachments) == len(expected), f"{subject}: {len(attachments)}"
    for stored, part in zip(attachments, expected):
        assert stored["filename"] == part.get_filename(), stored["filename"]
        assert stored["contentType"] == part.get_content_type(), stored["contentType"]
        assert content(stored["content"], [content_kind]) == part.get_payload(decode=True)
    print(subject, len(attachments))
"#;

/// An attachment that takes an e-mail past what a MongoDB document may hold.
const LARGE_BYTES: usize = 13 << 20;

fn with_subject(subject: &str, rest: &[u8]) -> Vec<u8> {
    let head = format!("From: <a@client.test>\r\nTo: <b@local.test>\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n");
    [head.as_bytes(), rest].concat()
}

/// Text in two forms, and two attachments.
fn with_attachments(content: &[u8]) -> Vec<u8> {
    let mut message = b"Content-Type: multipart/mixed; boundary=outer\r\n\r\n--outer\r\n\
        Content-Type: multipart/alternative; boundary=inner\r\n\r\n--inner\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe.\r\n--inner\r\n\
        Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>Gr=C3=BC=C3=9Fe.</p>\r\n--inner--\r\n\
        --outer\r\nContent-Type: text/csv; charset=utf-8; name=\"table.csv\"\r\n\
        Content-Disposition: attachment; filename=\"table.csv\"\r\n\r\na,b\r\n1,2\r\n\r\n--outer\r\n".to_vec();
    message.extend_from_slice(content);
    message.extend_from_slice(b"\r\n--outer--\r\n");
    message
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_reader_finds_the_promised_shape() {
    let database = MongoServer::shared().await.database();
    let site = Site::new()
        .await
        .set("MONGODB_URL", database.url())
        .set("ALLOWED_DOMAINS", "local.test")
        .set("MAX_EMAIL_SIZE", "41943040");
    let large = attachment(LARGE_BYTES);
    let messages = [
        ("attachments", "text", "binary", with_attachments(&attachment(3000))),
        (
            "latin-1",
            "binary",
            "binary",
            b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe\r\n".to_vec(),
        ),
        ("plain", "text", "binary", b"\r\nOnly text.\r\n".to_vec()),
        ("large", "file", "file", with_attachments(&large)),
    ];
    let postrider = site.start_in_real_time().await;
    let mut arguments = vec!["-c".to_owned(), READER.to_owned(), database.url().to_owned()];
    for (subject, raw, content, rest) in messages {
        let message = with_subject(subject, &rest);
        postrider.send("a@client.test", &["b@local.test", "c@local.test"], &message).await;
        let path = postrider.folder().join(format!("{subject}.eml"));
        std::fs::write(&path, &message).unwrap();
        arguments.push(format!("{subject}={raw}={content}={}", path.display()));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output =
        postrider_testkit::run_command(Path::new(PYTHON), &arguments, &BTreeMap::new(), postrider.folder(), "").await;
    assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
    assert_eq!(output.stdout, "attachments 2\nlatin-1 0\nplain 0\nlarge 2\n");
}

/// A part of a message: so many bytes in base64.
fn attachment(bytes: usize) -> Vec<u8> {
    let message = mail::big_attachment(bytes);
    let at = message.windows(13).position(|window| window == b"Content-Type:").unwrap();
    message[at..].to_vec()
}
