//! The JSON of an e-mail that is to be sent, as it comes: what is required, what its members may be, and their limits.
//!
//! How a message is made of it, [`super::compose`] says.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use postrider_core::instructions::{METADATA_MAX, TAGS_MAX};
use postrider_core::{Address, Instructions, Priority, Timestamp};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::bounded::{AtMost, PairsAtMost};
use crate::problem::Problem;

/// Of a name beside an address, in bytes.
const NAME_BYTES_MAX: usize = 500;

/// Addresses in one member, whatever more the server takes for one message.
const PARTIES_MAX: usize = 10_000;

/// Names in `headers`, and values of one of them.
pub(super) const FIELDS_MAX: usize = 100;

pub(super) const ATTACHMENTS_MAX: usize = 500;

/// An e-mail to be composed and sent.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewEmail)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct EmailBody<'a> {
    /// Whom it is from, and to whom what cannot be delivered is returned.
    pub(super) from: PartyBody,
    #[serde(default)]
    #[schema(value_type = Option<Parties>)]
    pub(super) to: Parties,
    #[serde(default)]
    #[schema(value_type = Option<Parties>)]
    pub(super) cc: Parties,
    /// They get it too; the message does not name them.
    #[serde(default)]
    #[schema(value_type = Option<Parties>)]
    pub(super) bcc: Parties,
    #[serde(default)]
    #[schema(value_type = Option<Parties>)]
    pub(super) reply_to: Parties,
    pub(super) subject: Option<String>,
    /// One of `text`, `html` and `attachments` must be there.
    pub(super) text: Option<String>,
    /// With `text`, the message has both as alternatives.
    pub(super) html: Option<String>,
    /// Further fields of the header section: a text for each name, or a list of them.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, Values>>)]
    pub(super) headers: Headers,
    #[serde(default, borrow)]
    #[schema(value_type = Option<Vec<AttachmentBody>>, max_items = 500)]
    pub(super) attachments: AtMost<AttachmentBody<'a>, ATTACHMENTS_MAX>,
    /// To find it by.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>, max_items = 20)]
    tags: AtMost<String, TAGS_MAX>,
    /// Kept with it, and told of it.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    metadata: PairsAtMost<String, METADATA_MAX>,
    /// It is not sent before then.
    pub(super) not_before: Option<Timestamp>,
    /// It is not tried any more from then on.
    expires_at: Option<Timestamp>,
    priority: Option<PriorityBody>,
    /// Told of what becomes of it, besides the endpoints that hear of all mail. Calls are signed by the secret of its scheme, host and
    /// port (`POST /api/webhooks/url-secret`).
    webhook_url: Option<String>,
    /// The address of the server's host that it leaves from.
    #[schema(value_type = Option<String>)]
    source_ip: Option<IpAddr>,
}

/// A file that goes with the message.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewAttachment)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct AttachmentBody<'a> {
    pub(super) filename: Option<String>,
    /// `application/octet-stream` unless it says another.
    pub(super) content_type: Option<String>,
    /// The bytes, in base64.
    #[serde(borrow)]
    #[schema(value_type = String, content_encoding = "base64")]
    pub(super) content: Cow<'a, str>,
    /// It is shown where the HTML refers to `cid:` and this.
    pub(super) content_id: Option<String>,
}

/// Somebody, as text or in parts.
#[derive(Debug)]
pub(in crate::api) enum PartyBody {
    Text(String),
    Parts(PartyParts),
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct PartyParts {
    name: Option<String>,
    address: String,
}

/// One or more of them.
#[derive(Debug)]
pub(in crate::api) enum Parties {
    One(PartyBody),
    Many(Vec<PartyBody>),
}

const PARTY: &str =
    r#"an address: "a@example.org", "Ann <a@example.org>" or {"name": "Ann", "address": "a@example.org"}"#;

/// From -9 to 9, the most urgent first, or a word for it: `high`, `normal`, `low`.
#[derive(Debug, ToSchema)]
#[schema(as = PriorityOrWord)]
#[serde(untagged)]
pub(in crate::api) enum PriorityBody {
    Number(i8),
    Word(String),
}

/// The fields in the order of the JSON, which is that of the message.
#[derive(Debug, Default)]
pub(in crate::api) struct Headers(pub(super) Vec<(String, String)>);

/// Somebody who is named in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) name: Option<String>,
    pub(super) address: Address,
}

impl Default for Parties {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl EmailBody<'_> {
    /// What is asked beyond the message.
    pub(super) fn instructions(&self) -> Result<Instructions, Problem> {
        let mut instructions = Instructions { expires_at: self.expires_at, ..Instructions::default() };
        for tag in &self.tags.0 {
            instructions.add_tag(tag).map_err(|error| wrong("tags", &error))?;
        }
        for (name, value) in &self.metadata.0 {
            instructions.add_metadata(name, value).map_err(|error| wrong("metadata", &error))?;
        }
        if let Some(priority) = &self.priority {
            let priority = match priority {
                PriorityBody::Number(number) => Priority::new(*number),
                PriorityBody::Word(word) => word.parse(),
            };
            instructions.priority = priority.map_err(|error| wrong("priority", &error))?;
        }
        if let Some(url) = &self.webhook_url {
            instructions.set_webhook_url(url).map_err(|error| wrong("webhookUrl", &error))?;
        }
        if let Some(ip) = self.source_ip {
            instructions.set_source_ip(ip).map_err(|error| wrong("sourceIp", &error))?;
        }
        Ok(instructions)
    }
}

impl Parties {
    /// Reads them; `member` is their place in the JSON.
    pub(super) fn read(&self, member: &str) -> Result<Vec<Party>, Problem> {
        match self {
            Self::One(party) => Ok(vec![party.read(member)?]),
            Self::Many(parties) => {
                parties.iter().enumerate().map(|(n, party)| party.read(&format!("{member}[{n}]"))).collect()
            }
        }
    }
}

impl PartyBody {
    pub(super) fn read(&self, member: &str) -> Result<Party, Problem> {
        let (name, address) = match self {
            Self::Text(text) => split(text),
            Self::Parts(PartyParts { name, address }) => (name.clone(), address.as_str()),
        };
        let has_control = |text: &str| text.contains(char::is_control);
        if name.as_ref().is_some_and(|name| name.len() > NAME_BYTES_MAX || has_control(name)) || has_control(address) {
            let why =
                format!("a name has up to {NAME_BYTES_MAX} bytes, and nothing has a line end or control character");
            return Err(wrong(member, &why));
        }
        let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let address = Address::parse(address.trim()).map_err(|error| wrong(member, &error))?;
        Ok(Party { name, address })
    }
}

/// `Name <address>`, or an address alone.
fn split(text: &str) -> (Option<String>, &str) {
    let text = text.trim_matches(' ');
    let Some((name, address)) = text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) else {
        return (None, text);
    };
    let name = name.trim_matches(' ');
    let quoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    let name = match quoted {
        Some(quoted) => quoted.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => name.to_owned(),
    };
    (Some(name), address)
}

impl<'de> Deserialize<'de> for PartyBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartyVisitor)
    }
}

impl<'de> Deserialize<'de> for Parties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartiesVisitor)
    }
}

struct PartyVisitor;

impl<'de> Visitor<'de> for PartyVisitor {
    type Value = PartyBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PARTY)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PartyBody, E> {
        Ok(PartyBody::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PartyBody, A::Error> {
        PartyParts::deserialize(MapAccessDeserializer::new(map)).map(PartyBody::Parts)
    }
}

struct PartiesVisitor;

impl<'de> Visitor<'de> for PartiesVisitor {
    type Value = Parties;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PARTY}; or a list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Parties, E> {
        PartyVisitor.visit_str(text).map(Parties::One)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Parties, A::Error> {
        PartyVisitor.visit_map(map).map(Parties::One)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Parties, A::Error> {
        let list = AtMost::<PartyBody, PARTIES_MAX>::deserialize(SeqAccessDeserializer::new(list))?;
        Ok(Parties::Many(list.0))
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let PairsAtMost::<Values, FIELDS_MAX>(pairs) = Deserialize::deserialize(deserializer)?;
        let mut fields: Vec<(String, String)> = Vec::with_capacity(pairs.len());
        for (name, values) in pairs {
            if fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                return Err(de::Error::custom(format!("the field {name} is given twice; give a list of its values")));
            }
            match values {
                Values::One(value) => fields.push((name, value)),
                Values::Many(values) => fields.extend(values.into_iter().map(|value| (name.clone(), value))),
            }
        }
        Ok(Self(fields))
    }
}

/// The value of a field, or of several of one name.
#[derive(Debug, ToSchema)]
#[schema(as = FieldValues)]
#[serde(untagged)]
pub(in crate::api) enum Values {
    One(String),
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValuesVisitor)
    }
}

struct ValuesVisitor;

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = Values;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text of a field, or a list of texts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Values, E> {
        Ok(Values::One(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Values, A::Error> {
        let list = AtMost::<String, FIELDS_MAX>::deserialize(SeqAccessDeserializer::new(list))?;
        Ok(Values::Many(list.0))
    }
}

impl<'de> Deserialize<'de> for PriorityBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PriorityVisitor)
    }
}

struct PriorityVisitor;

impl<'de> Visitor<'de> for PriorityVisitor {
    type Value = PriorityBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a priority: a number from -9 to 9, or high, normal, low")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PriorityBody, E> {
        Ok(PriorityBody::Word(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<PriorityBody, E> {
        let number = i8::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))?;
        Ok(PriorityBody::Number(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<PriorityBody, E> {
        let number = i8::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))?;
        Ok(PriorityBody::Number(number))
    }
}

impl PartialSchema for PartyBody {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).examples(["Ann <a@example.org>"]);
        OneOfBuilder::new()
            .item(text)
            .item(PartyParts::schema())
            .description(Some("Somebody's address, with a name or without."))
            .into()
    }
}

impl PartialSchema for Parties {
    fn schema() -> RefOr<Schema> {
        let list = ArrayBuilder::new().items(PartyBody::schema()).max_items(Some(PARTIES_MAX));
        OneOfBuilder::new()
            .item(PartyBody::schema())
            .item(list)
            .description(Some("One address, or a list of them."))
            .into()
    }
}

impl ToSchema for PartyBody {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Party")
    }
}

impl ToSchema for Parties {}

/// A member of the JSON that cannot be meant so.
pub(super) fn wrong(member: &str, why: &dyn fmt::Display) -> Problem {
    Problem::bad_parameter(member, format!("{member} is wrong: {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(json: &str) -> Result<Party, Problem> {
        serde_json::from_str::<PartyBody>(json).unwrap().read("to[3]")
    }

    #[test]
    fn addresses_come_in_three_forms() {
        let ann = Party { name: Some("Ann \"A\" Ü".into()), address: Address::parse("a@example.org").unwrap() };
        assert_eq!(party(r#""Ann \"A\" Ü <a@example.org>""#), Ok(ann.clone()));
        assert_eq!(party(r#""\"Ann \\\"A\\\" Ü\" <a@example.org>""#), Ok(ann.clone()));
        assert_eq!(party(r#"{"name": "Ann \"A\" Ü", "address": "a@example.org"}"#), Ok(ann));
        for json in [r#""a@example.org""#, r#""<a@example.org>""#, r#"{"address": "a@example.org"}"#] {
            assert_eq!(party(json).unwrap().name, None, "{json}");
        }
        for json in [r#""a""#, r#""""#, r#""A <b> <a@example.org""#, r#""A\r\nBcc: x <a@b>""#, r#""a@b, c@d""#] {
            let problem = party(json).unwrap_err();
            assert!(format!("{problem:?}").contains("to[3]"), "{json}");
        }
        let list =
            serde_json::from_str::<Parties>(r#"["a@example.org", "b@example.org"]"#).unwrap().read("to").unwrap();
        assert_eq!(
            list.iter().map(|party| party.address.as_str()).collect::<Vec<_>>(),
            ["a@example.org", "b@example.org"]
        );
        assert!(serde_json::from_str::<Parties>(r#"[["Ann", "a@example.org"]]"#).is_err());
        assert!(serde_json::from_str::<PartyBody>("7").unwrap_err().to_string().contains("Ann <a@example.org>"));
    }

    #[test]
    fn fields_keep_their_order_and_repeat_in_lists() {
        let headers: Headers = serde_json::from_str(r#"{"X-B": "1", "X-A": ["2", "3"]}"#).unwrap();
        let expected = [("X-B", "1"), ("X-A", "2"), ("X-A", "3")];
        assert_eq!(headers.0, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(serde_json::from_str::<Headers>(r#"{"X-B": "1", "x-b": "2"}"#).is_err());
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        let error = serde_json::from_str::<EmailBody<'_>>(r#"{"from": "a@b", "reply_to": "x"}"#).unwrap_err();
        assert!(error.to_string().contains("replyTo"), "{error}");
    }
}
