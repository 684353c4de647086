//! Reading the digests of messages.

use postrider_core::ObjectId;
use postrider_core::mailbox::Digest;
use postrider_store::{Store, StoreError};

/// Digests read together.
pub(super) const DIGESTS_TOGETHER: usize = 1_000;

/// The digest of each message, made anew from the message where the one that is kept cannot be read; none of what is gone.
pub(super) async fn digests(store: &dyn Store, emails: &[ObjectId]) -> Result<Vec<Option<Digest>>, StoreError> {
    let kept = store.digests(emails).await?;
    let mut digests = Vec::with_capacity(kept.len());
    for (kept, email) in kept.into_iter().zip(emails) {
        digests.push(match kept.map(Digest::decode) {
            Some(Ok(digest)) => Some(digest),
            Some(Err(_)) => {
                let raw = store.messages(std::slice::from_ref(email)).await?.pop().flatten();
                raw.map(|raw| Digest::of(&raw))
            }
            None => None,
        });
    }
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use postrider_core::Timestamp;
    use postrider_store::{Append, AppendMessage, Mailboxes};

    use super::super::selected_tests::World;
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_read_is_made_anew() {
        let world = World::new().await;
        let whole = world.message(0);
        let damaged = AppendMessage { digest: Bytes::from_static(b"\xffof another version"), ..world.message(0) };
        let now = Timestamp::system();
        let (emails, digest) = ([whole.id, ObjectId::new(now), damaged.id], whole.digest.clone());
        let mailbox = world.mailbox().await;
        world.store.append(Append { mailbox, messages: vec![whole, damaged], replaces: None, now }).await.unwrap();
        let digests = digests(world.store.as_ref(), &emails).await.unwrap();
        let read: Vec<_> = digests.iter().map(|digest| digest.as_ref().map(Digest::as_bytes)).collect();
        assert_eq!(read, [Some(&digest), None, Some(&digest)]);
    }
}
