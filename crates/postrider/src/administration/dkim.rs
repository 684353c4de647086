//! Keys that sign a domain's mail: making them, letting them sign once they are published, showing them.

use postrider_core::{Domain, Resolver, Timestamp};
use postrider_server::dkim::{KeyPairs, Publication, published};
use postrider_store::Store;
use postrider_store::dkim::{self, DkimError, DkimKeys, DkimPair, DkimState};
use postrider_web::AdministrationError;
use postrider_web::view::{DkimKeyView, TxtRecordView};

/// New keys that have no selectors yet. A second or so of processor time.
pub fn generate() -> Result<KeyPairs, AdministrationError> {
    KeyPairs::generate().map_err(|error| AdministrationError::Failed(error.to_string()))
}

/// Lets keys sign that were waiting for their records to be in DNS, where these are: whoever looks after them needs not wait
/// until the server looks.
pub async fn activate_published(
    store: &dyn Store,
    resolver: &dyn Resolver,
    keys: &mut DkimKeys,
    now: Timestamp,
) -> Result<(), DkimError> {
    let Some(waiting) = keys.waiting(now).cloned() else { return Ok(()) };
    let publications = published(resolver, &keys.domain, &waiting).await;
    if publications.iter().all(|record| *record == Publication::Published) {
        dkim::activate(store, keys, now).await?;
    }
    Ok(())
}

/// Both keys of a pair, with what DNS says of their records.
pub fn views(domain: &Domain, state: DkimState, pair: &DkimPair, publications: &[Publication; 2]) -> [DkimKeyView; 2] {
    let [ed25519, rsa] = pair.records(domain);
    let [of_ed25519, of_rsa] = publications;
    let view =
        |key: &dkim::DkimKey, algorithm, (name, value): (String, String), publication: &Publication| DkimKeyView {
            selector: key.selector.clone(),
            algorithm,
            state,
            created_at: pair.created_at,
            signs_from: pair.signs_from,
            record: TxtRecordView::new(name, value),
            published: match publication {
                Publication::Published => Some(true),
                Publication::Wrong(_) | Publication::Missing => Some(false),
                Publication::Unknown(_) => None,
            },
            found: match publication {
                Publication::Wrong(found) => Some(found.clone()),
                Publication::Published | Publication::Missing | Publication::Unknown(_) => None,
            },
        };
    [view(&pair.ed25519, "ed25519", ed25519, of_ed25519), view(&pair.rsa, "rsa", rsa, of_rsa)]
}
