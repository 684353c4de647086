//! LIST (RFC 9051 section 6.3.9) with LIST-EXTENDED (RFC 5258), LIST-STATUS (RFC 5819) and SPECIAL-USE (RFC 6154), and LSUB
//! (RFC 3501 section 6.3.9).
//!
//! A name exists if it is a mailbox's. Names above mailboxes are levels, shown as names that do not exist.

use postrider_core::mailbox::MailboxName;
use postrider_wire::imap::command::{List, ListSelection, Lsub};
use postrider_wire::imap::response::{self, Code, ListLine, Status};

use super::hierarchy::{Listed, Names, Shows};
use super::names::{by_level, common_levels, is_below, level_ends};
use super::pattern::{Matcher, PATTERNS_MAX, Pattern};
use super::session::{End, Session};

impl Session {
    pub(super) async fn list(&mut self, list: List) -> Result<Status, End> {
        if !list.extended && list.patterns.iter().all(String::is_empty) {
            self.tell_delimiter();
            return Ok(Status::ok("The delimiter of the hierarchy"));
        }
        if list.patterns.len() > PATTERNS_MAX {
            return Ok(Status::refusal(Code::Limit, "Too many patterns"));
        }
        if let Some(items) = &list.returns.status {
            self.enable_condstore_for(items);
        }
        let names = match self.names(list.selection.subscribed || list.returns.subscribed).await {
            Ok(names) => names,
            Err(error) => return Ok(self.store_failed("mailboxes could not be listed", &error)),
        };
        // An empty pattern means nothing beside others (RFC 5258 section 3).
        let patterns = list.patterns.iter().filter(|pattern| !pattern.is_empty());
        let patterns: Vec<Pattern> = patterns.map(|pattern| Pattern::new(&list.reference, pattern)).collect();
        let wanted = wanted(&names, list.selection);
        let dialect = self.wire.dialect();
        let shows = shows(&list, dialect.rev2);
        let mut matchers: Vec<_> = patterns.iter().map(Pattern::matcher).collect();
        for (index, name) in wanted.iter().enumerate() {
            let above =
                index.checked_sub(1).and_then(|above| wanted.get(above)).map_or(0, |above| common_levels(above, name));
            let next = wanted.get(index + 1);
            for end in matching_levels(name, above, &mut matchers) {
                let level = &name[..end];
                let is_itself = end == name.len();
                let has_below = !is_itself || next.is_some_and(|next| is_below(next, level));
                // RFC 5258 section 3.1: with RECURSIVEMATCH also those above what is asked for.
                if is_itself || list.selection.recursive_match || is_plain(list.selection) {
                    let child_info = has_below && list.selection.recursive_match && list.selection.subscribed;
                    let listed = Listed { name: level, child_info, old_name: None };
                    names.write(self.wire.output(), listed, shows, dialect);
                    // RFC 5819 section 2: not of what cannot be selected, nor of what is told because of those below it.
                    if let (true, Some(items)) = (is_itself, &list.returns.status)
                        && let Some(mailbox) = names.mailbox(level)
                    {
                        match self.recent(mailbox, items).await {
                            Ok(recent) => self.tell_status(mailbox, items, recent),
                            Err(error) => return Ok(self.store_failed("a mailbox could not be read", &error)),
                        }
                    }
                    self.flush_if_large().await?;
                }
            }
        }
        Ok(Status::ok("Listed"))
    }

    pub(super) async fn lsub(&mut self, lsub: Lsub) -> Result<Status, End> {
        if lsub.pattern.is_empty() {
            self.tell_delimiter();
            return Ok(Status::ok("The delimiter of the hierarchy"));
        }
        let Some(user) = self.user_id() else { return Ok(Status::UNAVAILABLE) };
        let mut names = match self.store().subscriptions(user).await {
            Ok(names) => names,
            Err(error) => return Ok(self.store_failed("subscriptions could not be listed", &error)),
        };
        names.sort_by(|one, two| by_level(one.as_str(), two.as_str()));
        let pattern = Pattern::new(&lsub.reference, &lsub.pattern);
        // RFC 3501 section 6.3.9: what is above subscribed names is told where `%` stops before these.
        let tells_levels = lsub.pattern.ends_with('%');
        let mut matchers = [pattern.matcher()];
        let dialect = self.wire.dialect();
        for (index, name) in names.iter().enumerate() {
            let above = index.checked_sub(1).and_then(|above| names.get(above));
            let above = above.map_or(0, |above| common_levels(above.as_str(), name.as_str()));
            for end in matching_levels(name.as_str(), above, &mut matchers) {
                let is_itself = end == name.as_str().len();
                if is_itself || tells_levels {
                    let attributes: &[&str] = if is_itself { &[] } else { &["\\Noselect"] };
                    let line = ListLine {
                        attributes,
                        name: &name.as_str()[..end],
                        delimiter: Some(MailboxName::SEPARATOR),
                        ..ListLine::default()
                    };
                    response::lsub(self.wire.output(), &line, dialect);
                    self.flush_if_large().await?;
                }
            }
        }
        Ok(Status::ok("Listed"))
    }

    /// What an empty pattern asks for.
    fn tell_delimiter(&mut self) {
        let line =
            ListLine { attributes: &["\\Noselect"], delimiter: Some(MailboxName::SEPARATOR), ..ListLine::default() };
        let dialect = self.wire.dialect();
        response::list(self.wire.output(), &line, dialect);
    }
}

/// Whether all mailboxes are asked for: then levels are told, too.
fn is_plain(selection: ListSelection) -> bool {
    !selection.subscribed && !selection.special_use
}

/// Where levels of a name end that match a pattern, apart from those that end up to `above`.
fn matching_levels(name: &str, above: usize, matchers: &mut [Matcher<'_>]) -> Vec<usize> {
    matchers.iter_mut().for_each(Matcher::restart);
    let mut ends = Vec::new();
    let mut begin = 0;
    for end in level_ends(name) {
        for byte in name.as_bytes().get(begin..end).unwrap_or_default() {
            matchers.iter_mut().for_each(|matcher| matcher.step(*byte));
        }
        begin = end;
        if end > above && matchers.iter().any(Matcher::is_match) {
            ends.push(end);
        }
    }
    ends
}

/// The names that the selection options ask for, whatever the patterns are.
fn wanted(names: &Names, selection: ListSelection) -> Vec<&str> {
    let has_use = |name: &str| names.mailbox(name).is_some_and(|mailbox| mailbox.special_use.is_some());
    if selection.subscribed {
        let subscriptions = names.subscriptions.iter().map(MailboxName::as_str);
        return subscriptions.filter(|name| !selection.special_use || has_use(name)).collect();
    }
    let mailboxes = names.mailboxes.iter().filter(|mailbox| !selection.special_use || mailbox.special_use.is_some());
    mailboxes.map(|mailbox| mailbox.name.as_str()).collect()
}

/// A client that asks in the old way is told what it would not know to ask for (RFC 3348, RFC 6154 section 2).
fn shows(list: &List, rev2: bool) -> Shows {
    Shows {
        children: !list.extended || list.returns.children,
        special_use: !list.extended || list.returns.special_use || list.selection.special_use,
        subscribed: list.returns.subscribed || list.selection.subscribed,
        nonexistent: list.extended || rev2,
    }
}
