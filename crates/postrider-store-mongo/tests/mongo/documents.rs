//! What other programs read, and contents that do not fit into a document.

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Bson, DateTime, Document, doc, oid};
use postrider_store::*;
use postrider_testkit::mail;

use super::*;

async fn document(mongo: &Mongo, id: ObjectId) -> Document {
    let filter = doc! { "_id": oid::ObjectId::from_bytes(*id.as_bytes()) };
    mongo.collection("emails").await.find_one(filter).await.unwrap().unwrap()
}

const WITH_PARTS: &str = "Message-ID: <a.b@example.org>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/alternative; boundary=y\r\n\r\n--y\r\n\
    Content-Type: text/plain\r\n\r\nHello\r\n--y\r\nContent-Type: text/html\r\n\r\n<p>Hello</p>\r\n--y--\r\n--x\r\n\
    Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"a.pdf\"\r\n\
    Content-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n--x--\r\n";

#[tokio::test]
async fn an_email_has_the_promised_shape() {
    let mongo = Mongo::default();
    let store = mongo.store().await;
    let new = email(WITH_PARTS, &["bob@one.example", "Carl@two.example"]);
    let id = new.id;
    store.accept(new).await.unwrap();
    let email = document(&mongo, id).await;
    assert_eq!(email.get_str("sender").unwrap(), "Ann@example.org");
    let recipients = [Bson::from("bob@one.example"), Bson::from("Carl@two.example")];
    assert_eq!(email.get_array("recipients").unwrap(), &recipients);
    assert_eq!(email.get_str("subject").unwrap(), "Grüße");
    assert_eq!(email.get_str("text").unwrap().trim(), "Hello");
    assert_eq!(email.get_str("html").unwrap().trim(), "<p>Hello</p>");
    assert_eq!(email.get_str("raw").unwrap(), WITH_PARTS);
    assert_eq!(email.get_datetime("createdAt").unwrap(), &DateTime::from_millis(NOW.as_millis()));
    let [Bson::Document(attachment)] = email.get_array("attachments").unwrap().as_slice() else { panic!("{email}") };
    assert_eq!(attachment.get_str("filename").unwrap(), "a.pdf");
    assert_eq!(attachment.get_str("contentType").unwrap(), "application/pdf");
    assert_eq!(attachment.get_binary_generic("content").unwrap(), b"%PDF");
}

#[tokio::test]
async fn what_is_not_there_is_null_and_what_is_no_text_is_binary() {
    let mongo = Mongo::default();
    let store = mongo.store().await;
    let raw = b"From: a@example.org\r\n\r\nGr\xfc\xdfe\r\n";
    let mut new = email(&raw[..], &[]);
    new.envelope = Envelope::default();
    let id = new.id;
    store.accept(new).await.unwrap();
    let email = document(&mongo, id).await;
    assert_eq!(email.get_str("sender").unwrap(), "");
    for absent in ["subject", "html"] {
        assert_eq!(email.get(absent), Some(&Bson::Null), "{absent}");
    }
    for empty in ["recipients", "attachments"] {
        assert!(email.get_array(empty).unwrap().is_empty());
    }
    let Some(Bson::Binary(binary)) = email.get("raw") else { panic!("{email}") };
    assert_eq!((binary.subtype, binary.bytes.as_slice()), (BinarySubtype::Generic, &raw[..]));
    assert_eq!(store.raw(id).await.unwrap().unwrap().raw, &raw[..]);
}

#[tokio::test]
async fn what_is_too_large_for_a_document_is_in_files() {
    let mongo = Mongo::default();
    let store = mongo.store().await;
    let raw = mail::big_attachment(17 << 20);
    let new = email(raw.clone(), &["bob@one.example"]);
    let id = new.id;
    store.accept(new).await.unwrap();
    let email = document(&mongo, id).await;
    let raw_file = email.get_object_id("raw").unwrap();
    let Bson::Document(attachment) = &email.get_array("attachments").unwrap()[0] else { panic!("{email}") };
    let content_file = attachment.get_object_id("content").unwrap();
    let files = mongo.collection("fs.files").await;
    let lengths =
        async |id: oid::ObjectId| match files.find_one(doc! { "_id": id }).await.unwrap().unwrap().get("length") {
            Some(Bson::Int64(length)) => *length,
            Some(Bson::Int32(length)) => i64::from(*length),
            other => panic!("{other:?}"),
        };
    assert_eq!(lengths(raw_file).await, raw.len() as i64);
    assert_eq!(lengths(content_file).await, attachment.get_i64("size").unwrap());
    assert_eq!(store.raw(id).await.unwrap().unwrap().raw, raw);
    let [exported] = store.export(None, 10).await.unwrap().try_into().unwrap();
    assert_eq!(exported.message.raw, raw);

    assert!(store.delete(id).await.unwrap());
    assert_eq!(files.count_documents(doc! {}).await.unwrap(), 0, "deleting an e-mail deletes its files");
    assert_eq!(mongo.collection("fs.chunks").await.count_documents(doc! {}).await.unwrap(), 0);
}

#[tokio::test]
async fn a_sweep_removes_what_no_email_names() {
    let mongo = Mongo::default();
    let store = mongo.store().await;
    let new = email(mail::big_attachment(15 << 20), &[]);
    let id = new.id;
    store.accept(new).await.unwrap();
    let (files, chunks) = (mongo.collection("fs.files").await, mongo.collection("fs.chunks").await);
    let of_email = files.count_documents(doc! {}).await.unwrap();
    let old = |n: u8| {
        let mut bytes = [n; 12];
        bytes[..4].copy_from_slice(&1_600_000_000_u32.to_be_bytes());
        oid::ObjectId::from_bytes(bytes)
    };
    let gone = oid::ObjectId::from_bytes([9; 12]);
    let metadata = doc! { "email": gone };
    let chunk = |file: oid::ObjectId, n: i32| doc! { "files_id": file, "n": n };
    // A file whose e-mail is gone, chunks of one that was never finished, another program's file, and a young one.
    files.insert_one(doc! { "_id": old(1), "length": 2_i64, "metadata": &metadata }).await.unwrap();
    chunks.insert_many([chunk(old(1), 0), chunk(old(1), 1), chunk(old(2), 0)]).await.unwrap();
    files.insert_one(doc! { "_id": old(3), "length": 1_i64 }).await.unwrap();
    chunks.insert_one(chunk(old(3), 0)).await.unwrap();
    let young = oid::ObjectId::new();
    files.insert_one(doc! { "_id": young, "length": 1_i64, "metadata": metadata }).await.unwrap();

    assert_eq!(store.sweep().await.unwrap(), 2);
    assert_eq!(store.sweep().await.unwrap(), 0);
    let left = |id| files.count_documents(doc! { "_id": id });
    assert_eq!((left(old(1)).await.unwrap(), left(old(3)).await.unwrap(), left(young).await.unwrap()), (0, 1, 1));
    assert_eq!(chunks.count_documents(doc! { "files_id": { "$in": [old(1), old(2)] } }).await.unwrap(), 0);
    assert_eq!(chunks.count_documents(doc! { "files_id": old(3) }).await.unwrap(), 1);
    assert_eq!(files.count_documents(doc! {}).await.unwrap(), of_email + 2);
    assert!(store.raw(id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let mongo = Mongo::default();
    mongo.store().await.close().await.unwrap();
    let meta = mongo.collection("meta").await;
    meta.update_one(doc! { "_id": "schema" }, doc! { "$set": { "version": 99 } }).await.unwrap();
    let error = MongoStore::open(options(mongo.url().await)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt(text) if text.contains("version 99")), "{error}");
}

#[tokio::test]
async fn counters_of_many_processes_become_one() {
    let mongo = Mongo::default();
    for _ in 0..36 {
        let store = mongo.store().await;
        store.accept(small(&[])).await.unwrap();
        store.close().await.unwrap();
    }
    let counters = mongo.collection("counters").await;
    let stripes = doc! { "_id": { "$regex": "^emails:" } };
    // All but these were left long ago.
    let fresh = counters.find(stripes.clone()).limit(3);
    let fresh: Vec<Document> = futures_util::TryStreamExt::try_collect(fresh.await.unwrap()).await.unwrap();
    let fresh: Vec<_> = fresh.iter().map(|stripe| stripe.get_str("_id").unwrap()).collect();
    let old = doc! { "_id": { "$regex": "^emails:", "$nin": fresh } };
    let long_ago = mongodb::bson::DateTime::from_millis(0);
    counters.update_many(old, doc! { "$set": { "at": long_ago } }).await.unwrap();
    let store = mongo.store().await;
    assert_eq!(store.queue_stats(NOW).await.unwrap().received, 36);
    assert_eq!(counters.count_documents(stripes).await.unwrap(), 4);
}
