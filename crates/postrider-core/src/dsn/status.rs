//! Enhanced status codes (RFC 3463) of outcomes, also where no server gave one.

use crate::delivery::{Category, Outcome};

/// A failure for good that is our own decision: no reply is on record, because nobody said one (RFC 3464 section 2.3.6).
/// The reason begins with the status code, so that [`status_of`] finds it and whoever reads the reason sees it.
pub fn refused_here(category: Category, status: &str, reason: &str) -> Outcome {
    Outcome::Failed { category, reply: None, reason: format!("{status} {reason}") }
}

/// The status code of an outcome: the reply's own, or that of [`refused_here`], where it is of the right class, otherwise
/// one that says as much as is known.
///
/// A delivery that expired keeps a class of 4, as RFC 3464 section 2.3.4 allows: nothing was refused for good.
pub fn status_of(outcome: &Outcome) -> String {
    let (class, category) = match outcome {
        Outcome::Delivered { .. } => ('2', None),
        Outcome::Deferred { category, .. } | Outcome::Failed { category: category @ Category::Expired, .. } => {
            ('4', Some(*category))
        }
        Outcome::Failed { category, .. } => ('5', Some(*category)),
    };
    let given = match outcome {
        Outcome::Failed { reply: None, reason, .. } => reason.split(' ').next(),
        _ => outcome.reply().and_then(|reply| reply.enhanced_code.as_deref()),
    };
    match given {
        Some(code) if is_status(code) && code.starts_with(class) => code.to_owned(),
        _ => format!("{class}.{}", category.map_or("0.0", detail)),
    }
}

/// Whether a text is a status code: class 2, 4 or 5, and two numbers of up to three digits (RFC 3463 section 2).
pub(super) fn is_status(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let is_number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    matches!(&parts[..], ["2" | "4" | "5", subject, detail] if is_number(subject) && is_number(detail))
}

/// Subject and detail (RFC 3463 section 3).
fn detail(category: Category) -> &'static str {
    match category {
        Category::BadMailbox => "1.1",
        Category::BadDomain => "1.2",
        Category::Policy => "7.1",
        Category::Content => "6.0",
        Category::Quota => "2.2",
        Category::Dns => "4.3",
        Category::Connection => "4.1",
        Category::Tls => "7.5",
        Category::Timeout => "4.2",
        Category::Temporary => "3.0",
        Category::Protocol => "5.0",
        Category::Expired => "4.7",
        Category::Other => "0.0",
    }
}
