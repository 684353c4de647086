//! The index of words: that it follows what is accepted, whoever writes it and whatever dies meanwhile.

use mongodb::bson::doc;
use postrider_core::query::Query;
use postrider_testkit::eventually;

use super::*;

fn with_text(text: &str) -> NewEmail {
    email(format!("Subject: hello\r\n\r\n{text}\r\n"), &["bob@one.example"])
}

async fn find(store: &MongoStore, query: &str) -> EmailPage {
    let filter = EmailFilter { terms: Query::parse(query).unwrap().at(NOW), ..EmailFilter::default() };
    store.find(ListRequest::newest(filter, 1_000)).await.unwrap()
}

async fn found(store: &MongoStore, query: &str) -> Vec<ObjectId> {
    find(store, query).await.emails.iter().map(|email| email.id).collect()
}

async fn accept(store: &MongoStore, new: NewEmail) -> ObjectId {
    let id = new.id;
    store.accept(new).await.unwrap();
    id
}

/// How many e-mails are noted, and how many have their words in the index.
async fn counts(mongo: &Mongo) -> (u64, u64) {
    let count = async |name: &str| mongo.collection(name).await.count_documents(doc! {}).await.unwrap();
    (count("unindexed").await, count("words").await)
}

#[tokio::test]
async fn the_index_follows_what_is_accepted_and_deleted() {
    let mongo = Mongo::default();
    let store = mongo.store().await;
    let first = accept(&store, with_text("an invoice")).await;
    let second = accept(&store, with_text("another")).await;
    assert_eq!(counts(&mongo).await, (2, 0), "noted in the transaction that accepts, and nothing more");
    assert!(store.delete(second).await.unwrap());
    assert_eq!(counts(&mongo).await, (1, 0));
    assert_eq!(found(&store, "invoice").await, [first]);
    assert_eq!(counts(&mongo).await, (0, 1), "who searches indexes first");
    let words = mongo.collection("words").await.find_one(doc! {}).await.unwrap().unwrap();
    let expected = ["hello", "ann", "example", "org", "bob", "one", "an", "invoice"].map(mongodb::bson::Bson::from);
    assert_eq!(words.get_array("words").unwrap(), &expected);
    assert_eq!(words.get("email"), words.get("_id"));
    assert!(store.delete(first).await.unwrap());
    assert_eq!((counts(&mongo).await, found(&store, "invoice").await), ((0, 0), vec![]));
}

#[tokio::test]
async fn a_rare_word_is_found_without_reading_messages() {
    let mongo = Mongo::default();
    let (store, seen) = mongo.observed().await;
    let old = accept(&store, with_text("common needle")).await;
    for _ in 0..300 {
        accept(&store, with_text("common")).await;
    }
    assert_eq!(find(&store, "common").await.total, 301);
    seen.lock().unwrap().clear();
    for query in ["needle", "common needle", "needle -missing", "hello needle common"] {
        let page = find(&store, query).await;
        assert_eq!((page.emails.len(), page.emails[0].id, page.is_incomplete), (1, old, false), "{query}");
    }
    let commands = std::mem::take(&mut *seen.lock().unwrap());
    let of_emails =
        commands.iter().filter(|command| command.values().next().is_some_and(|name| name.as_str() == Some("emails")));
    for command in of_emails {
        let text = command.to_string();
        assert!(!text.contains("$regex"), "{text}");
        assert!(text.len() < 1_000, "only what is on the page: {text}");
    }
}

#[tokio::test]
async fn what_is_noted_outlives_a_crash() {
    let mongo = Mongo::default();
    let id = {
        let store = mongo.store().await;
        accept(&store, with_text("an invoice")).await
    };
    assert_eq!(counts(&mongo).await, (1, 0));
    let store = mongo.store().await;
    register(&store).await;
    eventually("the node to index it", async || (counts(&mongo).await == (0, 1)).then_some(())).await;
    assert_eq!(found(&store, "invoice").await, [id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_index_the_same_once() {
    let mongo = Mongo::default();
    let (one, two) = (mongo.store().await, mongo.store().await);
    register(&one).await;
    register(&two).await;
    let mut accepted = Vec::new();
    for n in 0..4 {
        let all = (0..40).map(|m| {
            let store = if m % 2 == 0 { &one } else { &two };
            accept(store, with_text(&format!("invoice {n}")))
        });
        accepted.extend(futures_util::future::join_all(all).await);
        accepted.sort_unstable();
        accepted.reverse();
        let (by_one, by_two) = tokio::join!(found(&one, "invoice"), found(&two, "invoice hello"));
        assert_eq!(by_one, accepted, "what was accepted before is found, on whatever node");
        assert_eq!(by_two, accepted);
    }
    eventually("all to be indexed", async || (counts(&mongo).await == (0, 160)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_while_it_is_indexed_leaves_no_words() {
    let mongo = Mongo::default();
    let store = mongo.store().await;
    for _ in 0..5 {
        let all = (0..30).map(|_| accept(&store, with_text("an invoice")));
        let accepted = futures_util::future::join_all(all).await;
        let delete = async {
            for id in accepted {
                assert!(store.delete(id).await.unwrap());
            }
        };
        let search = async {
            for _ in 0..5 {
                found(&store, "invoice").await;
            }
        };
        tokio::join!(delete, search);
        assert_eq!(found(&store, "invoice").await, []);
    }
    assert_eq!(counts(&mongo).await, (0, 0));
}

#[tokio::test]
async fn an_email_of_too_many_words_is_found_by_all_of_them() {
    let mongo = Mongo::default();
    let store = mongo.store().await;
    let many: Vec<String> = (0..5_000).map(|n| format!("w{n}")).collect();
    let large = accept(&store, with_text(&many.join(" "))).await;
    let small = accept(&store, with_text("w1 w4998")).await;
    let cases: [(&str, &[ObjectId]); 10] = [
        ("w1", &[small, large]),
        ("w4998", &[small, large]),
        ("w4999", &[large]),
        ("w1 w4999", &[large]),
        ("w1 -w4999", &[small]),
        ("hello -w4998", &[]),
        ("\"w4998 w4999\"", &[large]),
        ("w5000", &[]),
        ("status:queued w4999", &[large]),
        ("status:queued w1 -w4999", &[small]),
    ];
    for (query, expected) in cases {
        assert_eq!(found(&store, query).await, expected, "{query}");
    }
    assert_eq!(counts(&mongo).await, (0, 2));
}

#[tokio::test]
async fn an_older_database_is_indexed_by_and_by() {
    let mongo = Mongo::default();
    let mut ids = Vec::new();
    {
        let store = mongo.store().await;
        for n in 0..5 {
            ids.insert(0, accept(&store, with_text(&format!("invoice {n}"))).await);
        }
        store.close().await.unwrap();
    }
    for name in ["unindexed", "words"] {
        mongo.collection(name).await.drop().await.unwrap();
    }
    let meta = mongo.collection("meta").await;
    meta.update_one(doc! { "_id": "schema" }, doc! { "$set": { "version": 9_i64 } }).await.unwrap();

    let store = mongo.store().await;
    ids.insert(0, accept(&store, with_text("a later invoice")).await);
    assert_eq!(found(&store, "invoice").await, ids, "by the texts, as long as the index is not whole");
    assert!(store.delete(ids.remove(3)).await.unwrap());
    let state = doc! { "_id": "words" };
    assert!(meta.find_one(state.clone()).await.unwrap().is_some());
    register(&store).await;
    eventually("the index to be whole", async || (counts(&mongo).await == (0, 5)).then_some(())).await;
    eventually("that to be noted", async || meta.find_one(state.clone()).await.unwrap().is_none().then_some(())).await;
    assert_eq!(found(&store, "invoice").await, ids);
    assert_eq!(found(&store, "later").await, ids[..1]);
}
