//! Notes.

use std::sync::Arc;

use super::Harness;
use crate::error::StoreError;
use crate::records::Note;
use crate::traits::{NOTE_BYTES_MAX, Store};

fn note(key: &str, value: &str, version: u64) -> Note {
    Note { key: key.to_owned(), value: value.to_owned(), version }
}

pub(super) async fn notes_are_kept_by_key(harness: &dyn Harness) {
    let store = harness.open().await;
    let put = async |key: &str, value: &str, version| store.put_note(key, value.to_owned(), version).await.unwrap();
    assert_eq!(store.note("quota/a").await.unwrap(), None);
    assert!(!put("quota/a", "1", 1).await, "it is not there");
    for key in ["quota/b", "quota/a", "quotable", "policy/\u{10ffff}", "quot%_"] {
        assert!(put(key, "1", 0).await);
    }
    assert!(!put("quota/a", "2", 0).await, "it is there");
    assert!(put("quota/a", "2", 1).await);
    assert!(!put("quota/a", "3", 1).await, "it is another");
    assert!(put("quota/a", "", 2).await);
    let kept = [note("quota/a", "", 3), note("quota/b", "1", 1)];
    assert_eq!(store.notes("quota/").await.unwrap(), kept);
    assert_eq!(store.notes("quot%_").await.unwrap(), [note("quot%_", "1", 1)]);
    assert_eq!(store.notes("").await.unwrap().len(), 5);
    assert!(store.remove_note("quota/b").await.unwrap());
    assert!(!store.remove_note("quota/b").await.unwrap());
    assert!(put("quota/b", "again", 0).await);
    let long = "x".repeat(NOTE_BYTES_MAX);
    assert!(put("long", &long, 0).await);
    assert!(matches!(store.put_note("long", format!("{long}x"), 1).await, Err(StoreError::Limit(_))));
    store.close().await.unwrap();
    let store = harness.open().await;
    assert_eq!(store.notes("quota/").await.unwrap(), [note("quota/a", "", 3), note("quota/b", "again", 1)]);
    assert_eq!(store.note("long").await.unwrap().unwrap().value, long);
}

/// Who counts in a note loses nothing, however many count at once.
pub(super) async fn changes_of_a_note_are_never_lost(harness: &dyn Harness) {
    const EACH: u64 = 10;
    let stores = [harness.open().await, harness.open_beside().await];
    let count = async |store: Arc<dyn Store>| {
        for _ in 0..EACH {
            loop {
                let known = store.note("count").await.unwrap();
                let (value, version) = known.map_or((0, 0), |note| (note.value.parse::<u64>().unwrap(), note.version));
                if store.put_note("count", (value + 1).to_string(), version).await.unwrap() {
                    break;
                }
            }
        }
    };
    let counting: Vec<_> = (0..4).map(|n| count(stores[n % 2].clone())).collect();
    let mut counting = counting.into_iter();
    let (a, b, c, d) =
        (counting.next().unwrap(), counting.next().unwrap(), counting.next().unwrap(), counting.next().unwrap());
    tokio::join!(a, b, c, d);
    assert_eq!(stores[0].note("count").await.unwrap().unwrap().value, (4 * EACH).to_string());
}
