//! What is read of JSON no further than its limit: a body of a few megabytes can hold millions of entries, each of which takes
//! more memory than its text.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A list of up to `MAX` entries.
#[derive(Debug)]
pub(super) struct AtMost<T, const MAX: usize>(pub(super) Vec<T>);

/// An object of up to `MAX` members, in their order.
#[derive(Debug)]
pub(super) struct PairsAtMost<V, const MAX: usize>(pub(super) Vec<(String, V)>);

impl<T, const MAX: usize> Default for AtMost<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V, const MAX: usize> Default for PairsAtMost<V, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for AtMost<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(List(PhantomData))
    }
}

impl<'de, V: Deserialize<'de>, const MAX: usize> Deserialize<'de> for PairsAtMost<V, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

struct List<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
    type Value = AtMost<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of up to {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while entries.len() < MAX {
            let Some(entry) = list.next_element()? else { return Ok(AtMost(entries)) };
            entries.push(entry);
        }
        match list.next_element::<IgnoredAny>()? {
            None => Ok(AtMost(entries)),
            Some(_) => Err(de::Error::custom(format!("a list has more than {MAX} entries"))),
        }
    }
}

struct Pairs<V, const MAX: usize>(PhantomData<V>);

impl<'de, V: Deserialize<'de>, const MAX: usize> Visitor<'de> for Pairs<V, MAX> {
    type Value = PairsAtMost<V, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of up to {MAX} members")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs: Vec<(String, V)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if pairs.len() == MAX {
                return Err(de::Error::custom(format!("an object has more than {MAX} members")));
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(de::Error::custom(format!("the member {name:?} is given twice")));
            }
            pairs.push((name, map.next_value()?));
        }
        Ok(PairsAtMost(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_objects_end_at_their_limit() {
        let list = |json: &str| serde_json::from_str::<AtMost<u8, 2>>(json).map(|list| list.0);
        assert!(list("[]").unwrap().is_empty());
        assert_eq!(list("[1,2]").unwrap(), [1, 2]);
        assert!(list("[1,2,3]").unwrap_err().to_string().contains("more than 2"));
        let pairs = |json: &str| serde_json::from_str::<PairsAtMost<u8, 2>>(json).map(|pairs| pairs.0);
        assert_eq!(pairs(r#"{"b":1,"a":2}"#).unwrap(), [("b".to_owned(), 1), ("a".to_owned(), 2)]);
        assert!(pairs(r#"{"b":1,"a":2,"c":3}"#).unwrap_err().to_string().contains("more than 2"));
        assert!(pairs(r#"{"b":1,"b":2}"#).unwrap_err().to_string().contains("twice"));
    }
}
