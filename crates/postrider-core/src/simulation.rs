//! What the local part of an address asks of the simulator of `DELIVERY_MODE=capture`.
//!
//! Only what is asked. Who answers so is not known here.

use std::fmt;
use std::time::Duration;

/// No answer is held back for longer, whatever the address says.
const SLOW_SECONDS_MAX: u64 = 3600;

/// What becomes of mail to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Accept,
    /// For good, with this code.
    Refuse {
        code: u16,
    },
    /// For now, with this code. `times`: then it is accepted; `None`: never.
    Defer {
        code: u16,
        times: Option<u32>,
    },
    /// Accepted after this time.
    Slow(Duration),
    /// The connection is closed without an answer.
    Drop,
}

impl Behaviour {
    /// Reads `bounce+550`, `defer+451`, `defer+451x2`, `slow+5`, `drop`; anything else is accepted.
    pub fn of(recipient: &str) -> Self {
        let local = recipient.rsplit_once('@').map_or(recipient, |(local, _)| local).to_ascii_lowercase();
        let (verb, detail) = local.split_once('+').unwrap_or((&local, ""));
        match verb {
            "bounce" => {
                Self::Refuse { code: detail.parse().ok().filter(|code| (500..600).contains(code)).unwrap_or(550) }
            }
            "defer" => {
                let (code, times) = match detail.split_once('x') {
                    Some((code, times)) => (code, times.parse().ok()),
                    None => (detail, None),
                };
                let code = code.parse().ok().filter(|code| (400..500).contains(code)).unwrap_or(451);
                Self::Defer { code, times }
            }
            "slow" => {
                let seconds = detail.parse().unwrap_or(5);
                Self::Slow(Duration::from_secs(u64::min(seconds, SLOW_SECONDS_MAX)))
            }
            "drop" => Self::Drop,
            _ => Self::Accept,
        }
    }
}

/// What happens, as part of a sentence: `refused for good with 550`.
impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("taken at once"),
            Self::Refuse { code } => write!(f, "refused for good with {code}"),
            Self::Defer { code, times: None } => write!(f, "deferred with {code} each time, until it expires"),
            Self::Defer { code, times: Some(0) } => write!(f, "taken at once, for it is deferred with {code} no times"),
            Self::Defer { code, times: Some(1) } => write!(f, "deferred with {code} once, then taken"),
            Self::Defer { code, times: Some(times) } => write!(f, "deferred with {code} {times} times, then taken"),
            Self::Slow(duration) => write!(f, "taken after {} s", duration.as_secs()),
            Self::Drop => f.write_str("cut off: the connection is closed without an answer, and it is tried again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_part_decides() {
        for (address, expected, said) in [
            ("bounce+550@example.org", Behaviour::Refuse { code: 550 }, "refused for good with 550"),
            ("Bounce+554@example.org", Behaviour::Refuse { code: 554 }, "refused for good with 554"),
            ("bounce@example.org", Behaviour::Refuse { code: 550 }, "refused for good with 550"),
            ("bounce+250@example.org", Behaviour::Refuse { code: 550 }, "refused for good with 550"),
            ("defer+451@example.org", Behaviour::Defer { code: 451, times: None }, "until it expires"),
            ("defer+421x2@example.org", Behaviour::Defer { code: 421, times: Some(2) }, "421 2 times, then taken"),
            ("defer+451x1@example.org", Behaviour::Defer { code: 451, times: Some(1) }, "451 once, then taken"),
            ("defer+999@example.org", Behaviour::Defer { code: 451, times: None }, "deferred with 451"),
            ("slow+7@example.org", Behaviour::Slow(Duration::from_secs(7)), "taken after 7 s"),
            ("slow+99999@example.org", Behaviour::Slow(Duration::from_secs(3600)), "taken after 3600 s"),
            ("drop@example.org", Behaviour::Drop, "cut off"),
            ("bouncer@example.org", Behaviour::Accept, "taken at once"),
        ] {
            assert_eq!(Behaviour::of(address), expected, "{address}");
            assert!(expected.to_string().contains(said), "{expected}");
        }
    }
}
