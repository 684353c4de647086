//! How much a destination is sent at once, and how fast: what is known of it beforehand ([`profiles`]), and what it says
//! itself ([`pace`]).

mod pace;
mod profiles;

use postrider_core::{Outcome, Reply};

pub(crate) use pace::Pace;
pub(crate) use profiles::{Profile, Profiles};

/// What the other side says of our pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It took a message.
    Goes,
    /// It wants fewer connections, or fewer messages.
    TooFast,
}

/// Words by which servers say that we are too fast, where the code does not say it. In lower case.
const TOO_FAST: &[&str] = &[
    "too many connections",
    "too many concurrent",
    "too many sessions",
    "too many messages",
    "too many recipients",
    "too much mail",
    "too fast",
    "connection limit",
    "connection rate",
    "message rate",
    "rate limit",
    "rate-limit",
    "ratelimit",
    "throttl",
    "unusual rate",
    "slow down",
    "exceeded the",
    "reputation",
];

/// Words by which servers say that they would rather see us again than know us slower. In lower case.
const GREYLISTED: &[&str] = &["greylist", "graylist", "grey-list", "gray-list", "grey list", "gray list"];

impl Verdict {
    /// Of an outcome; `None` where it says nothing of our pace.
    pub(crate) fn of(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Delivered { .. } => Some(Self::Goes),
            Outcome::Deferred { reply: Some(reply), .. } => is_too_fast(reply).then_some(Self::TooFast),
            Outcome::Deferred { .. } | Outcome::Failed { .. } => None,
        }
    }
}

/// Whether a temporary refusal is about how we send and not about what.
fn is_too_fast(reply: &Reply) -> bool {
    if reply.is_permanent() || reply.is_positive() {
        return false;
    }
    let text = reply.text.to_lowercase();
    if GREYLISTED.iter().any(|words| text.contains(words)) {
        return false;
    }
    let is_policy = reply.enhanced_code.as_deref().is_some_and(|code| code.starts_with("4.7."));
    reply.code == 421 || is_policy || TOO_FAST.iter().any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use postrider_core::Category;

    use super::*;

    fn verdict(code: u16, enhanced: Option<&str>, text: &str) -> Option<Verdict> {
        let reply = Reply { code, enhanced_code: enhanced.map(str::to_owned), text: text.to_owned() };
        let (category, reason) = (Category::of_reply(&reply), reply.text.clone());
        Verdict::of(&Outcome::Deferred { category, reply: Some(reply), reason })
    }

    #[test]
    fn servers_say_in_many_ways_that_we_are_too_fast() {
        for (code, enhanced, text) in [
            (421, Some("4.7.28"), "Our system has detected an unusual rate of unsolicited mail"),
            (421, None, "mx.example too many sessions from 192.0.2.1"),
            (451, Some("4.7.500"), "Server busy. Please try again later"),
            (450, None, "Too many connections from your host"),
            (452, Some("4.5.3"), "Too many recipients received this hour"),
            (451, None, "Message temporarily deferred due to unexpected volume: Rate limited"),
        ] {
            assert_eq!(verdict(code, enhanced, text), Some(Verdict::TooFast), "{text}");
        }
        for (code, enhanced, text) in [
            (450, Some("4.7.1"), "Greylisted, try again in five minutes"),
            (451, None, "Graylisting in effect"),
            (452, Some("4.2.2"), "Mailbox full"),
            (450, Some("4.2.1"), "The user is receiving mail at the moment, try later"),
        ] {
            assert_eq!(verdict(code, enhanced, text), None, "{text}");
        }
        let reason = "no answer".to_owned();
        assert_eq!(Verdict::of(&Outcome::Deferred { category: Category::Timeout, reply: None, reason }), None);
    }
}
