//! What a list asks for, as the server compares it.

use mongodb::bson::{Document, doc};
use postrider_core::query::{AddressPattern, Condition, Term};

use crate::codes::{date, oid};
use crate::email::direction_text;
use crate::search;

/// The condition of a term; `None` where it is looked at here, or in another way.
pub(crate) fn of(term: &Term) -> Option<Document> {
    let condition = match &term.condition {
        Condition::Status(_) => return None,
        condition if is_left_to_us(condition) => return None,
        Condition::Error(_) => return None,
        Condition::Direction(direction) => doc! { "direction": direction_text(*direction) },
        Condition::Sender(pattern) => search::sender(pattern),
        Condition::Recipient(pattern) => search::recipient(pattern),
        Condition::Domain(domain) => search::domain(domain),
        Condition::Subject(words) => search::subject(words),
        Condition::Text(words) => search::words(words),
        Condition::Tag(tag) => doc! { "tags": tag },
        Condition::Id(id) => doc! { "_id": oid(*id) },
        Condition::MessageId(id) => doc! { "$and": [search::message_id(id), doc! { "messageId": id }] },
        Condition::From(at) => doc! { "createdAt": { "$gte": date(*at) } },
        Condition::Before(at) => doc! { "createdAt": { "$lt": date(*at) } },
        Condition::Larger(bytes) => doc! { "size": { "$gte": number(*bytes) } },
        Condition::Smaller(bytes) => doc! { "size": { "$lt": number(*bytes) } },
        Condition::HasAttachment => doc! { "attachments.0": { "$exists": true } },
        Condition::SourceIp(ip) => doc! { "sourceIp": ip.to_string() },
    };
    Some(if term.is_negated {
        doc! { "$nor": [condition] }
    } else {
        condition
    })
}

/// Whether it is one that the server cannot compare: the last error stands with the deliveries, and a domain in Unicode has
/// another spelling.
pub(crate) fn is_left_to_us(condition: &Condition) -> bool {
    match condition {
        Condition::Error(_) => true,
        Condition::Sender(AddressPattern::Whole(key)) | Condition::Recipient(AddressPattern::Whole(key)) => {
            key.contains("xn--")
        }
        _ => false,
    }
}

/// Whether it is looked for in the text that the index has.
pub(crate) fn searches(condition: &Condition) -> bool {
    matches!(
        condition,
        Condition::Sender(_)
            | Condition::Recipient(_)
            | Condition::Domain(_)
            | Condition::Subject(_)
            | Condition::Text(_)
            | Condition::MessageId(_)
    )
}

fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
