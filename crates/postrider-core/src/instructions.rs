//! What a sender asks of us beyond the envelope: how urgent a message is, until when it is worth sending, and what it is called.
//!
//! None of this reaches the recipient. A program that hands its mail in by SMTP says it in fields of the message whose names
//! begin with `X-Postrider-`; they are taken out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::mime::{Fields, decode_words};
use crate::source::is_of_one_host;
use crate::time::Timestamp;

/// What the names of fields begin with that are for this server.
pub const FIELD_PREFIX: &str = "X-Postrider-";

/// How urgent a message is, from -9 to 9, the higher the sooner (RFC 6710 section 4.1); 0 where nothing is said.
///
/// It decides among deliveries to one destination. Destinations take turns as ever.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(try_from = "i8", into = "i8")]
#[schema(value_type = i8, minimum = -9, maximum = 9)]
pub struct Priority(i8);

impl Priority {
    pub const NORMAL: Self = Self(0);
    pub const MIN: Self = Self(-9);
    pub const MAX: Self = Self(9);

    pub fn new(value: i8) -> Result<Self, InstructionError> {
        if (Self::MIN.0..=Self::MAX.0).contains(&value) { Ok(Self(value)) } else { Err(InstructionError::Priority) }
    }

    pub const fn get(self) -> i8 {
        self.0
    }

    /// Its place in line: the lower, the sooner.
    pub const fn rank(self) -> i8 {
        -self.0
    }

    fn is_normal(&self) -> bool {
        *self == Self::NORMAL
    }
}

impl TryFrom<i8> for Priority {
    type Error = InstructionError;

    fn try_from(value: i8) -> Result<Self, InstructionError> {
        Self::new(value)
    }
}

impl From<Priority> for i8 {
    fn from(priority: Priority) -> i8 {
        priority.0
    }
}

impl std::str::FromStr for Priority {
    type Err = InstructionError;

    /// A number from -9 to 9, or one of the words that mail programs use: `high`, `normal`, `low`.
    fn from_str(text: &str) -> Result<Self, InstructionError> {
        match text.to_ascii_lowercase().as_str() {
            "high" => Ok(Self(4)),
            "normal" => Ok(Self::NORMAL),
            "low" => Ok(Self(-4)),
            number => number.parse().ok().and_then(|value| Self::new(value).ok()).ok_or(InstructionError::Priority),
        }
    }
}

/// Why an instruction is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InstructionError {
    #[error("a priority is a number from -9 to 9, or high, normal, low")]
    Priority,
    #[error("a tag has 1 to {TAG_BYTES_MAX} bytes, and no control character, comma or line end")]
    Tag,
    #[error("a message has {TAGS_MAX} tags at most")]
    TooManyTags,
    #[error("a time is RFC 3339, as 2026-11-22T13:39:40Z")]
    Time,
    #[error(
        "it expires before it may be sent: the time after Not-Before, {not_before}, is none for Expires-At, {expires_at}"
    )]
    NeverSent { not_before: Timestamp, expires_at: Timestamp },
    #[error("it has expired: {expires_at} is past; a time to come, or none, is needed")]
    Expired { expires_at: Timestamp },
    #[error("there is no such field: there are Tags, Metadata (name=value), Priority, Not-Before and Expires-At")]
    NoSuchField,
    #[error(
        "metadata has {METADATA_MAX} entries at most, names up to {METADATA_NAME_BYTES_MAX} bytes, values up to {METADATA_VALUE_BYTES_MAX}"
    )]
    Metadata,
    #[error(
        "a webhook's URL is http:// or https:// and has up to {WEBHOOK_URL_BYTES_MAX} bytes, without spaces or a user name"
    )]
    WebhookUrl,
    #[error("a source address is one of this host's own, IPv4 or IPv6")]
    SourceIp,
}

/// Tags of one message.
pub const TAGS_MAX: usize = 20;
/// Of one tag.
pub const TAG_BYTES_MAX: usize = 100;
/// Entries of one message.
pub const METADATA_MAX: usize = 50;
pub const METADATA_NAME_BYTES_MAX: usize = 100;
pub const METADATA_VALUE_BYTES_MAX: usize = 1_000;
pub const WEBHOOK_URL_BYTES_MAX: usize = 2_000;

/// What a sender asks of us beyond the envelope.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instructions {
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// By which messages are found, and orders given to them; in the sender's order, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The sender's own words, which stand in what it is told of the message.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// After this it is not sent any more: a delivery that is still waiting fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// `TLS-Required: No` (RFC 8689 section 3): that it arrives matters more than that nobody reads it, whatever the recipients'
    /// domains ask for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waives_tls: bool,
    /// The address of this host that it leaves from, whatever else chooses.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "ip_text")]
    pub source_ip: Option<IpAddr>,
    /// Told of what becomes of it, besides the endpoints that hear of all mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
}

/// An address as text, whatever the format: those that are not for people have a form of their own for addresses, and databases
/// write for people and read as if not.
mod ip_text {
    use std::net::IpAddr;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(ip: &Option<IpAddr>, serializer: S) -> Result<S::Ok, S::Error> {
        ip.map(|ip| ip.to_string()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
    }
}

impl Instructions {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what could never be sent: it has expired already, or expires when it may be sent, or before.
    pub fn check_times(&self, not_before: Option<Timestamp>, now: Timestamp) -> Result<(), InstructionError> {
        match (not_before, self.expires_at) {
            (_, Some(expires_at)) if expires_at <= now => Err(InstructionError::Expired { expires_at }),
            (Some(not_before), Some(expires_at)) if expires_at <= not_before => {
                Err(InstructionError::NeverSent { not_before, expires_at })
            }
            _ => Ok(()),
        }
    }

    /// Adds a tag, unless it is there.
    pub fn add_tag(&mut self, tag: &str) -> Result<(), InstructionError> {
        let tag = tag.trim();
        if tag.is_empty() || tag.len() > TAG_BYTES_MAX || tag.contains(|c: char| c.is_control() || c == ',') {
            return Err(InstructionError::Tag);
        }
        if self.tags.iter().any(|known| known == tag) {
            return Ok(());
        }
        if self.tags.len() == TAGS_MAX {
            return Err(InstructionError::TooManyTags);
        }
        self.tags.push(tag.to_owned());
        Ok(())
    }

    /// Notes a word of the sender; one that is there already is replaced.
    pub fn add_metadata(&mut self, name: &str, value: &str) -> Result<(), InstructionError> {
        let name_holds = (1..=METADATA_NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control);
        let has_room = self.metadata.len() < METADATA_MAX || self.metadata.contains_key(name);
        if !name_holds || value.len() > METADATA_VALUE_BYTES_MAX || !has_room {
            return Err(InstructionError::Metadata);
        }
        self.metadata.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Has it leave from an address. Whether that is one of this host's, the host must say.
    pub fn set_source_ip(&mut self, ip: IpAddr) -> Result<(), InstructionError> {
        if !is_of_one_host(ip) {
            return Err(InstructionError::SourceIp);
        }
        self.source_ip = Some(ip);
        Ok(())
    }

    /// Has a URL be told of what becomes of it.
    pub fn set_webhook_url(&mut self, url: &str) -> Result<(), InstructionError> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
        let is_clean = url.bytes().all(|byte| byte.is_ascii_graphic());
        if url.len() > WEBHOOK_URL_BYTES_MAX || !is_clean || authority.is_empty() || authority.contains('@') {
            return Err(InstructionError::WebhookUrl);
        }
        self.webhook_url = Some(url.to_owned());
        Ok(())
    }

    /// Adds what was said in another place, which counts where both say something that can be said once.
    pub fn join(&mut self, said: Self) -> Result<(), InstructionError> {
        let Self { priority, tags, metadata, expires_at, waives_tls, source_ip, webhook_url } = said;
        if !priority.is_normal() {
            self.priority = priority;
        }
        tags.iter().try_for_each(|tag| self.add_tag(tag))?;
        metadata.iter().try_for_each(|(name, value)| self.add_metadata(name, value))?;
        self.expires_at = expires_at.or(self.expires_at);
        self.waives_tls |= waives_tls;
        self.source_ip = source_ip.or(self.source_ip);
        self.webhook_url = webhook_url.or_else(|| self.webhook_url.take());
        Ok(())
    }
}

/// What a message's fields ask, and where they stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    pub instructions: Instructions,
    /// It is not to be sent before then.
    pub not_before: Option<Timestamp>,
    /// In the header section, in order: to be taken out.
    pub fields: Vec<Range<usize>>,
}

impl Asked {
    /// Reads the fields of a header section that are for this server: `X-Postrider-Tags` (names with commas between them),
    /// `-Metadata` (one `name=value`), `-Priority`, `-Not-Before` and `-Expires-At` (RFC 3339). The first two may come more
    /// than once; of the others the last counts. With the error, the name of the field.
    pub fn of(header: &[u8]) -> Result<Self, (String, InstructionError)> {
        let mut asked = Self::default();
        for field in Fields::new(header) {
            let name = String::from_utf8_lossy(field.name);
            let Some(what) = name.get(..FIELD_PREFIX.len()).filter(|start| start.eq_ignore_ascii_case(FIELD_PREFIX))
            else {
                continue;
            };
            let value = decode_words(field.value);
            asked
                .read(&name[what.len()..].to_ascii_lowercase(), value.trim())
                .map_err(|error| (name.into_owned(), error))?;
            asked.fields.push(field.start..field.start + field.line.len());
        }
        Ok(asked)
    }

    fn read(&mut self, what: &str, value: &str) -> Result<(), InstructionError> {
        let time = || Timestamp::parse_rfc3339(value).ok_or(InstructionError::Time);
        match what {
            "tags" => value
                .split(',')
                .filter(|tag| !tag.trim().is_empty())
                .try_for_each(|tag| self.instructions.add_tag(tag))?,
            "metadata" => {
                let (name, value) = value.split_once('=').ok_or(InstructionError::Metadata)?;
                self.instructions.add_metadata(name.trim(), value.trim())?;
            }
            "priority" => self.instructions.priority = value.parse()?,
            "not-before" => self.not_before = Some(time()?),
            "expires-at" => self.instructions.expires_at = Some(time()?),
            _ => return Err(InstructionError::NoSuchField),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities() {
        assert_eq!("high".parse(), Ok(Priority(4)));
        assert_eq!("-9".parse(), Ok(Priority::MIN));
        for text in ["10", "-10", "", "urgent", "1.5"] {
            assert_eq!(text.parse::<Priority>(), Err(InstructionError::Priority), "{text}");
        }
        assert!(serde_json::from_str::<Priority>("-10").is_err());
        assert!(Priority::MAX.rank() < Priority::NORMAL.rank() && Priority::NORMAL.rank() < Priority::MIN.rank());
    }

    #[test]
    fn tags_stand_once_and_have_limits() {
        let mut instructions = Instructions::default();
        assert_eq!(instructions.add_tag(" invoice "), Ok(()));
        assert_eq!(instructions.add_tag("invoice"), Ok(()));
        assert_eq!(instructions.tags, ["invoice"]);
        for tag in ["", " ", "a,b", "a\nb", &"x".repeat(TAG_BYTES_MAX + 1)] {
            assert_eq!(instructions.add_tag(tag), Err(InstructionError::Tag), "{tag:?}");
        }
        (1..TAGS_MAX).for_each(|n| instructions.add_tag(&n.to_string()).unwrap());
        assert_eq!(instructions.add_tag("one more"), Err(InstructionError::TooManyTags));
    }

    #[test]
    fn metadata_has_limits() {
        let mut instructions = Instructions::default();
        assert_eq!(instructions.add_metadata("", "x"), Err(InstructionError::Metadata));
        assert_eq!(
            instructions.add_metadata("a", &"x".repeat(METADATA_VALUE_BYTES_MAX + 1)),
            Err(InstructionError::Metadata)
        );
        (0..METADATA_MAX).for_each(|n| instructions.add_metadata(&n.to_string(), "x").unwrap());
        assert_eq!(instructions.add_metadata("one more", "x"), Err(InstructionError::Metadata));
        assert_eq!(instructions.add_metadata("7", "y"), Ok(()), "in place of another");
    }

    #[test]
    fn urls_and_addresses_are_looked_at() {
        let mut instructions = Instructions::default();
        for url in ["https://app.example/hook?x=1", "http://127.0.0.1:8080", "http://[::1]/"] {
            assert_eq!(instructions.set_webhook_url(url), Ok(()), "{url}");
        }
        let long = format!("https://app.example/{}", "x".repeat(WEBHOOK_URL_BYTES_MAX));
        for url in
            ["", "app.example", "ftp://app.example/", "https://", "https:///x", "http://a b/", "http://u:p@a/", &long]
        {
            assert_eq!(instructions.set_webhook_url(url), Err(InstructionError::WebhookUrl), "{url}");
        }
        assert_eq!(instructions.set_source_ip("192.0.2.1".parse().unwrap()), Ok(()));
        for ip in ["0.0.0.0", "::", "224.0.0.1"] {
            assert_eq!(instructions.set_source_ip(ip.parse().unwrap()), Err(InstructionError::SourceIp), "{ip}");
        }
    }

    #[test]
    fn what_is_said_in_two_places_is_joined() {
        let mut instructions = Instructions { priority: Priority(3), ..Instructions::default() };
        instructions.add_tag("a").unwrap();
        instructions.add_metadata("order", "17").unwrap();
        let mut more = Instructions { expires_at: Timestamp::parse_rfc3339("2026-12-26"), ..Instructions::default() };
        more.add_tag("b").unwrap();
        more.add_metadata("order", "18").unwrap();
        instructions.join(more.clone()).unwrap();
        assert_eq!(
            (instructions.priority, &instructions.tags[..]),
            (Priority(3), &["a".to_owned(), "b".to_owned()][..])
        );
        assert_eq!((&instructions.metadata["order"][..], instructions.expires_at), ("18", more.expires_at));
        (2..TAGS_MAX).for_each(|n| instructions.add_tag(&n.to_string()).unwrap());
        let one_more = Instructions { tags: vec!["z".to_owned()], ..Instructions::default() };
        assert_eq!(instructions.join(one_more), Err(InstructionError::TooManyTags));
    }

    #[test]
    fn fields_are_read_and_found() {
        let header = b"From: a\r\nx-postrider-tags: invoice, =?utf-8?q?M=C3=A4rz?=,\r\n\tinvoice\r\nX-Postrider-Metadata: order = 17=b\r\n\
            X-Postrider-Priority: high\r\nTo: b\r\nX-Postrider-Not-Before: 2026-12-24T18:00:00+01:00\r\n\
            X-Postrider-Expires-At: 2026-12-26\r\n\r\nX-Postrider-Tags: body\r\n";
        let asked = Asked::of(header).unwrap();
        assert_eq!(asked.instructions.tags, ["invoice", "M\u{e4}rz"]);
        assert_eq!(asked.instructions.metadata, [("order".to_owned(), "17=b".to_owned())].into());
        assert_eq!(asked.instructions.priority, Priority(4));
        assert_eq!(asked.not_before, Timestamp::parse_rfc3339("2026-12-24T17:00:00Z"));
        assert_eq!(asked.instructions.expires_at, Timestamp::parse_rfc3339("2026-12-26"));
        let mut left = header.to_vec();
        asked.fields.iter().rev().for_each(|field| drop(left.drain(field.clone())));
        assert_eq!(left, b"From: a\r\nTo: b\r\n\r\nX-Postrider-Tags: body\r\n");
    }

    #[test]
    fn fields_that_say_nothing_right_are_named() {
        for (field, error) in [
            ("X-Postrider-Priority: 10", InstructionError::Priority),
            ("X-Postrider-Not-Before: tomorrow", InstructionError::Time),
            ("X-Postrider-Metadata: order", InstructionError::Metadata),
            ("X-Postrider-Tag: a", InstructionError::NoSuchField),
            ("X-POSTRIDER-: a", InstructionError::NoSuchField),
        ] {
            let name = field.split(':').next().unwrap().to_owned();
            assert_eq!(Asked::of(format!("{field}\r\n\r\n").as_bytes()), Err((name, error)), "{field}");
        }
        assert_eq!(Asked::of(b"X-Postrid\xc3\xa9r: a\r\nX-Other: b\r\n\r\n"), Ok(Asked::default()));
    }

    #[test]
    fn what_expires_before_its_time_is_none() {
        let at = |day: u32| Timestamp::parse_rfc3339(&format!("2026-12-{day:02}")).unwrap();
        let expiring = Instructions { expires_at: Some(at(24)), ..Instructions::default() };
        for (not_before, is_sent) in [(None, true), (Some(at(23)), true), (Some(at(24)), false), (Some(at(25)), false)]
        {
            assert_eq!(expiring.check_times(not_before, at(1)).is_ok(), is_sent, "{not_before:?}");
        }
        assert_eq!(Instructions::default().check_times(Some(at(24)), at(1)), Ok(()));
        for (now, is_sent) in [(at(23), true), (at(24), false), (at(25), false)] {
            assert_eq!(expiring.check_times(None, now).is_ok(), is_sent, "{now}");
        }
    }

    #[test]
    fn what_is_not_said_is_not_written() {
        assert_eq!(serde_json::to_string(&Instructions::default()).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<Instructions>("{}").unwrap(), Instructions::default());
    }
}
