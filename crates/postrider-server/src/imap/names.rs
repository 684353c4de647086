//! Names of mailboxes as clients give them, and the order in which the levels of a hierarchy stand.

use std::cmp::Ordering;

use postrider_core::mailbox::{MailboxName, MailboxNameError};
use postrider_wire::imap::response::{self, Code, ListLine, Status};

use super::session::Session;

/// A name that a mailbox is to have. A delimiter at its end says that there will be mailboxes below it, which needs no saying
/// here (RFC 9051 section 6.3.4).
pub(super) fn new_name(text: &str) -> Result<MailboxName, Status> {
    let text = text.strip_suffix(MailboxName::SEPARATOR).unwrap_or(text);
    MailboxName::parse(text).map_err(|error| {
        let why = match error {
            MailboxNameError::Empty => "A name is not empty",
            MailboxNameError::TooLong => "The name is too long",
            MailboxNameError::EmptyLevel => "A level of the name is empty",
            MailboxNameError::ControlCharacter => "A name has no control characters",
            MailboxNameError::Wildcard => "A name has neither % nor *",
        };
        Status::refusal(Code::Cannot, why)
    })
}

/// A name that a mailbox has; one that none can have is one of no mailbox.
pub(super) fn known_name(text: &str) -> Result<MailboxName, Status> {
    MailboxName::parse(text).map_err(|_| super::select::no_such_mailbox())
}

/// The order in which a name stands right before all that is below it.
pub(super) fn by_level(one: &str, two: &str) -> Ordering {
    // No character of a name is as small as what the delimiter is taken for.
    let key = |byte: u8| if byte == MailboxName::SEPARATOR as u8 { 0 } else { byte };
    one.bytes().map(key).cmp(two.bytes().map(key))
}

/// Whether `name` stands somewhere below the level `above`.
pub(super) fn is_below(name: &str, above: &str) -> bool {
    name.strip_prefix(above).is_some_and(|rest| rest.starts_with(MailboxName::SEPARATOR))
}

/// Where the levels of a name end, from the top.
pub(super) fn level_ends(name: &str) -> impl Iterator<Item = usize> {
    name.match_indices(MailboxName::SEPARATOR).map(|(end, _)| end).chain([name.len()])
}

/// Up to where two names have the same levels; 0 if they have none.
pub(super) fn common_levels(one: &str, two: &str) -> usize {
    level_ends(one).take_while(|&end| one.get(..end) == two.get(..end) && ends_level(two, end)).last().unwrap_or(0)
}

fn ends_level(name: &str, end: usize) -> bool {
    name.len() == end || name.as_bytes().get(end) == Some(&(MailboxName::SEPARATOR as u8))
}

impl Session {
    /// Tells how a name is written that the client wrote in another way (RFC 9051 section 6.3.9.7).
    pub(super) fn tell_normalized(&mut self, given: &str, name: &MailboxName) {
        let given = given.strip_suffix(MailboxName::SEPARATOR).unwrap_or(given);
        let dialect = self.wire.dialect();
        if dialect.rev2 && given != name.as_str() {
            let line = ListLine {
                name: name.as_str(),
                delimiter: Some(MailboxName::SEPARATOR),
                old_name: Some(given),
                ..ListLine::default()
            };
            response::list(self.wire.output(), &line, dialect);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_stand_before_what_is_below_them() {
        let mut names = ["a b", "a", "a/b/c", "a.", "b", "a/b"];
        names.sort_by(|one, two| by_level(one, two));
        assert_eq!(names, ["a", "a/b", "a/b/c", "a b", "a.", "b"]);
        assert_eq!(level_ends("a/bc/d").collect::<Vec<_>>(), [1, 4, 6]);
        for (one, two, common) in
            [("a/b", "a/c", 1), ("a/b", "a/b/c", 3), ("a/b", "a/bc", 1), ("ab", "a", 0), ("é/x", "ê/x", 0)]
        {
            assert_eq!(common_levels(one, two), common, "{one} {two}");
        }
        assert!(is_below("a/b", "a") && !is_below("ab", "a") && !is_below("a", "a"));
    }

    #[test]
    fn names_to_be() {
        assert_eq!(new_name("a/b/").map(|name| name.to_string()), Ok("a/b".to_owned()));
        for text in ["", "/", "a//b", "a*", "a\u{1}"] {
            assert_eq!(new_name(text).map_err(|status| status.code), Err(Some(Code::Cannot)), "{text:?}");
        }
    }
}
