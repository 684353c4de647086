//! The keys of the language, in one table: how each is read, and what people are told of it.

use std::time::Duration;

use crate::{Direction, EmailStatus, Timestamp};

use super::{AddressPattern, Condition, Criterion, Words};

/// A key: what stands before the colon.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    /// Other names of the same.
    pub aliases: &'static [&'static str],
    /// What a value looks like.
    pub value: &'static str,
    /// What it finds, as a sentence.
    pub finds: &'static str,
    /// What may stand there, where that can be listed.
    pub values: fn() -> Vec<&'static str>,
    pub(super) read: fn(&str) -> Result<Criterion, String>,
}

/// All keys, in the order of the documentation.
pub const KEYS: &[Key] = &[
    Key {
        name: "status",
        aliases: &[],
        value: "`deferred`, or several: `queued,deferred`",
        finds: "E-mails that have one of these statuses.",
        values: statuses,
        read: |text| {
            let statuses = text.split(',').map(|status| status.parse::<EmailStatus>().map_err(|_| status));
            let statuses: Result<Vec<_>, _> = statuses.collect();
            let statuses =
                statuses.map_err(|status| format!("{status:?} is none of {}", self::statuses().join(", ")))?;
            Ok(Criterion::Is(Condition::Status(statuses)))
        },
    },
    Key {
        name: "direction",
        aliases: &[],
        value: "`inbound` or `outbound`",
        finds: "E-mails that came to be kept here, or that were to be sent on.",
        values: || vec!["inbound", "outbound"],
        read: |text| match text {
            "inbound" => Ok(Criterion::Is(Condition::Direction(Direction::Inbound))),
            "outbound" => Ok(Criterion::Is(Condition::Direction(Direction::Outbound))),
            _ => Err(format!("{text:?} is none of inbound, outbound")),
        },
    },
    Key {
        name: "sender",
        aliases: &["from"],
        value: "`ann@example.org`, a part of it as `ann@`, or `<>` for no sender",
        finds: "E-mails whose envelope has that sender. A whole address finds just that one, a part all that have it in them.",
        values: Vec::new,
        read: |text| Ok(Criterion::Is(Condition::Sender(AddressPattern::of(text)))),
    },
    Key {
        name: "recipient",
        aliases: &["to"],
        value: "as with `sender`",
        finds: "E-mails one of whose recipients is so.",
        values: Vec::new,
        read: |text| Ok(Criterion::Is(Condition::Recipient(AddressPattern::of(text)))),
    },
    Key {
        name: "domain",
        aliases: &[],
        value: "`example.org`",
        finds: "E-mails from or to an address of this domain, its subdomains not included.",
        values: Vec::new,
        read: |text| {
            let domain = text.parse().map_err(|error| format!("{text:?} is no domain: {error}"))?;
            Ok(Criterion::Is(Condition::Domain(domain)))
        },
    },
    Key {
        name: "tag",
        aliases: &[],
        value: "`newsletter`",
        finds: "E-mails that their sender gave this tag. Upper and lower case are different here.",
        values: Vec::new,
        read: |text| Ok(Criterion::Is(Condition::Tag(text.to_owned()))),
    },
    Key {
        name: "subject",
        aliases: &[],
        value: "`invoice` or `\"your invoice\"`",
        finds: "E-mails whose subject has this word in it, or these words one after the other.",
        values: Vec::new,
        read: |text| words(text).map(|words| Criterion::Is(Condition::Subject(words))),
    },
    Key {
        name: "id",
        aliases: &[],
        value: "24 hex digits",
        finds: "The e-mail with this id.",
        values: Vec::new,
        read: |text| {
            let id = text.parse().map_err(|_| format!("{text:?} is no id, which is 24 hex digits"))?;
            Ok(Criterion::Is(Condition::Id(id)))
        },
    },
    Key {
        name: "messageid",
        aliases: &["message-id"],
        value: "`abc.1@host.example`, with or without `<` and `>`",
        finds: "E-mails with just this Message-ID.",
        values: Vec::new,
        read: |text| {
            let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
            if inner.is_empty() {
                return Err("the Message-ID is missing".into());
            }
            Ok(Criterion::Is(Condition::MessageId(inner.to_owned())))
        },
    },
    Key {
        name: "older",
        aliases: &[],
        value: "`30m`, `1h`, `2d`, `1w`",
        finds: "E-mails that were accepted longer ago than this.",
        values: Vec::new,
        read: |text| age(text).map(Criterion::Older),
    },
    Key {
        name: "newer",
        aliases: &[],
        value: "as with `older`",
        finds: "E-mails that were accepted within this time.",
        values: Vec::new,
        read: |text| age(text).map(Criterion::Newer),
    },
    Key {
        name: "after",
        aliases: &["since"],
        value: "`2026-11-22`, or `2026-11-22T13:39:40Z` (RFC 3339)",
        finds: "E-mails that were accepted then or later. A date is its first moment in UTC.",
        values: Vec::new,
        read: |text| time(text).map(|at| Criterion::Is(Condition::From(at))),
    },
    Key {
        name: "before",
        aliases: &["until"],
        value: "as with `after`",
        finds: "E-mails that were accepted before then.",
        values: Vec::new,
        read: |text| time(text).map(|at| Criterion::Is(Condition::Before(at))),
    },
    Key {
        name: "larger",
        aliases: &[],
        value: "bytes, or `500K`, `1M`",
        finds: "E-mails of this size or more; a K is 1024 bytes.",
        values: Vec::new,
        read: |text| size(text).map(|bytes| Criterion::Is(Condition::Larger(bytes))),
    },
    Key {
        name: "smaller",
        aliases: &[],
        value: "as with `larger`",
        finds: "E-mails that are smaller than this.",
        values: Vec::new,
        read: |text| size(text).map(|bytes| Criterion::Is(Condition::Smaller(bytes))),
    },
    Key {
        name: "has",
        aliases: &[],
        value: "`attachment`",
        finds: "E-mails that have an attachment.",
        values: || vec!["attachment"],
        read: |text| match text {
            "attachment" | "attachments" => Ok(Criterion::Is(Condition::HasAttachment)),
            _ => Err(format!("{text:?} is not attachment")),
        },
    },
    Key {
        name: "error",
        aliases: &[],
        value: "`greylisted` or `\"mailbox full\"`",
        finds: "E-mails whose last error has this in it.",
        values: Vec::new,
        read: |text| Ok(Criterion::Is(Condition::Error(text.to_ascii_lowercase()))),
    },
    Key {
        name: "sourceip",
        aliases: &["source-ip"],
        value: "`192.0.2.7`",
        finds: "E-mails whose last attempt left from this address.",
        values: Vec::new,
        read: |text| {
            let ip = text.parse().map_err(|_| format!("{text:?} is no IP address"))?;
            Ok(Criterion::Is(Condition::SourceIp(ip)))
        },
    },
];

impl Key {
    /// Finds a key by any of its names.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| {
            key.name.eq_ignore_ascii_case(name) || key.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
        })
    }
}

pub(super) fn words(text: &str) -> Result<Words, String> {
    Words::of(text).ok_or_else(|| format!("{text:?} has no letter and no digit to look for"))
}

fn statuses() -> Vec<&'static str> {
    EmailStatus::ALL.iter().map(|status| status.as_str()).collect()
}

/// What the units of ages are, in seconds; the largest first.
pub(super) const AGE_UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// As [`AGE_UNITS`], of sizes, in bytes.
pub(super) const SIZE_UNITS: [(char, u64); 3] = [('G', 1 << 30), ('M', 1 << 20), ('K', 1 << 10)];

/// A hundred years: behind every e-mail, and far from where times end.
const AGE_SECONDS_MAX: u64 = 100 * 366 * 86_400;

fn age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time like 30m, 1h, 2d or 1w");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let (_, seconds) = AGE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let count = digits(&text[..text.len() - unit.len_utf8()]).ok_or_else(wrong)?;
    let seconds = count.checked_mul(*seconds).filter(|&seconds| seconds <= AGE_SECONDS_MAX);
    seconds.map(Duration::from_secs).ok_or_else(|| format!("{text:?} is more than a hundred years"))
}

fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size like 20000, 500K or 1M");
    let unit = text.chars().next_back().ok_or_else(wrong)?.to_ascii_uppercase();
    let unit = SIZE_UNITS.iter().find(|(name, _)| *name == unit);
    let (count, bytes) = unit.map_or((text, 1), |(_, bytes)| (&text[..text.len() - 1], *bytes));
    let count = digits(count).ok_or_else(wrong)?;
    // Columns of sizes have a sign.
    count.checked_mul(bytes).filter(|&bytes| i64::try_from(bytes).is_ok()).ok_or_else(wrong)
}

/// A number, of digits alone.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text)
        .ok_or_else(|| format!("{text:?} is no date like 2026-11-22 and no time like 2026-11-22T13:39:40Z"))
}
