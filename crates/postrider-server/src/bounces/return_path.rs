//! Return paths that say which e-mail comes back (VERP): `bounce+ID-MAC@BOUNCE_DOMAIN`. The MAC keeps others from making them up: what
//! comes to such an address has been shown the return path of that e-mail.

use postrider_core::{Address, Domain, ObjectId};
use postrider_store::{Store, StoreError};
use ring::hmac;

/// Before the id in the local part.
const PREFIX: &str = "bounce+";

/// Bytes of the MAC in an address.
const MAC_BYTES: usize = 8;

/// The note that holds the key, in hex: all nodes know each other's addresses.
const KEY_NOTE: &str = "bounce/key";

const KEY_BYTES: usize = 32;

/// Makes return paths, and knows its own.
#[derive(Debug)]
pub(crate) struct ReturnPaths {
    domain: Domain,
    key: hmac::Key,
}

/// What an address of the bounce domain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReturnPath {
    /// That of this e-mail.
    Of(ObjectId),
    /// It looks like one, and is none.
    Forged,
}

impl ReturnPaths {
    /// With the key that the store keeps; made where there is none yet.
    pub(crate) async fn open(domain: Domain, store: &dyn Store) -> Result<Self, StoreError> {
        loop {
            if let Some(note) = store.note(KEY_NOTE).await? {
                let key =
                    decode(&note.value).ok_or_else(|| StoreError::Corrupt(format!("the note {KEY_NOTE} is no key")))?;
                return Ok(Self::with_key(domain, &key));
            }
            let mut key = [0; KEY_BYTES];
            getrandom::fill(&mut key).map_err(|error| StoreError::Unavailable(format!("no random bytes: {error}")))?;
            // Where another node is faster, its key holds.
            store.put_note(KEY_NOTE, encode(&key), 0).await?;
        }
    }

    fn with_key(domain: Domain, key: &[u8]) -> Self {
        Self { domain, key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// The return path of an e-mail.
    pub(crate) fn of(&self, email: ObjectId) -> String {
        let mac = hmac::sign(&self.key, email.as_bytes());
        format!("{PREFIX}{email}-{}@{}", encode(&mac.as_ref()[..MAC_BYTES]), self.domain)
    }

    /// What an address is; `None` for one that is no return path.
    pub(crate) fn read(&self, address: &Address) -> Option<ReturnPath> {
        if address.domain() != self.domain {
            return None;
        }
        let local = address.local_part().to_ascii_lowercase();
        let rest = local.strip_prefix(PREFIX)?;
        let read = || {
            let (id, mac) = rest.split_once('-')?;
            let id: ObjectId = id.parse().ok()?;
            let expected = hmac::sign(&self.key, id.as_bytes());
            let mac = decode(mac).filter(|mac| mac.len() == MAC_BYTES)?;
            // Without regard to how much of it is right, in time too.
            let difference = mac.iter().zip(expected.as_ref()).fold(0, |all, (a, b)| all | (a ^ b));
            (difference == 0).then_some(id)
        };
        Some(read().map_or(ReturnPath::Forged, ReturnPath::Of))
    }
}

fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_email_and_no_other() {
        let paths = ReturnPaths::with_key("bounces.example".parse().unwrap(), &[1; KEY_BYTES]);
        let id = ObjectId::from_bytes([7; 12]);
        let text = paths.of(id);
        let read = |text: &str| paths.read(&Address::parse(text).unwrap());
        assert_eq!(read(&text), Some(ReturnPath::Of(id)));
        assert_eq!(read(&text.to_ascii_uppercase()), Some(ReturnPath::Of(id)), "some write addresses in capitals");
        assert_eq!(read(&text.replace("bounces.", "other.")), None);
        assert_eq!(read("ann@bounces.example"), None);
        let other = text.replacen('7', "8", 1);
        for forged in [other.as_str(), "bounce+x@bounces.example", "bounce+070707070707070707070707-@bounces.example"] {
            assert_eq!(read(forged), Some(ReturnPath::Forged), "{forged}");
        }
        let others = ReturnPaths::with_key("bounces.example".parse().unwrap(), &[2; KEY_BYTES]);
        assert_eq!(read(&others.of(id)), Some(ReturnPath::Forged));
        assert!(Address::parse(&text).unwrap().local_part().len() <= Address::LOCAL_PART_BYTES_MAX);
    }
}
