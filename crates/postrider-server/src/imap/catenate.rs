//! Messages made of parts of others (RFC 4469): the parts are named by IMAP URLs (RFC 5092) of the user's own mailboxes.

use bytes::{Bytes, BytesMut};
use postrider_core::mailbox::MailboxName;
use postrider_wire::imap::command::{CatenatePart, Partial, Section};
use postrider_wire::imap::response::{Code, Status};

use super::opened::{self, Opened};
use super::session::Session;

/// What an IMAP URL names, as far as it is one of a message here (RFC 5092 section 11: `icommand`, `imessagepart`).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Url {
    /// `None`: the selected one.
    mailbox: Option<String>,
    uid_validity: Option<u32>,
    uid: u32,
    section: Section,
    partial: Option<Partial>,
}

impl Session {
    /// The parts, one behind the other; no more than a message may have.
    pub(super) async fn concatenate(&mut self, parts: Vec<CatenatePart>) -> Result<Bytes, Status> {
        let mut whole = BytesMut::new();
        for part in parts {
            let bytes = match part {
                CatenatePart::Text(bytes) => bytes,
                CatenatePart::Url(url) => self.resolve(&url).await?,
            };
            if whole.len() + bytes.len() > self.context.message_bytes_max {
                return Err(Status::refusal(Code::TooBig, "The message would be too large"));
            }
            let mut share = self.share.take().unwrap_or_else(|| self.context.common.memory.share());
            let has_memory = share.resize(2 * (whole.len() + bytes.len()));
            self.share = Some(share);
            if !has_memory {
                return Err(Status::refusal(Code::InUse, "Too much to do, try again soon"));
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    }

    async fn resolve(&self, text: &str) -> Result<Bytes, Status> {
        let bad = || Status::refusal(Code::BadUrl(text.to_owned()), "The URL names nothing here");
        let owner = Owner { user: self.wire.user().unwrap_or_default(), host: &self.context.common.hostname };
        let url = Url::parse(text, owner).ok_or_else(bad)?;
        let failed = |error| self.store_failed("a part of a message could not be read", &error);
        let user = self.user_id().ok_or_else(bad)?;
        let record = match &url.mailbox {
            None => self.selected.as_ref().ok_or_else(bad)?.record().clone(),
            Some(name) => {
                let name = MailboxName::parse(name).map_err(|_| bad())?;
                self.store().mailbox(user, &name).await.map_err(failed)?.ok_or_else(bad)?
            }
        };
        if url.uid_validity.is_some_and(|uid_validity| uid_validity != record.uid_validity) {
            return Err(bad());
        }
        let shared = self.context.registry.open(record.id).await.map_err(failed)?.ok_or_else(bad)?;
        let snapshot = shared.snapshot().ok_or_else(bad)?;
        let entry = snapshot.index_of(url.uid).and_then(|index| snapshot.get(index)).ok_or_else(bad)?;
        let message = self.store().messages(&[entry.email]).await.map_err(failed)?.pop().flatten();
        let opened = Opened::new(entry.email, message.ok_or_else(bad)?);
        let section = opened.section(&url.section).ok_or_else(bad)?;
        Ok(opened::cut(section, url.partial))
    }
}

/// Whose mail URLs may name, and where.
#[derive(Debug, Clone, Copy)]
struct Owner<'a> {
    user: &'a str,
    host: &'a str,
}

impl Owner<'_> {
    /// Whether the part of a URL between `//` and the path is of this user here. What is elsewhere is not read as our own.
    fn is(self, authority: &str) -> Option<bool> {
        let (named, server) = authority.rsplit_once('@').unwrap_or(("", authority));
        let named = decode(named.split(';').next().unwrap_or_default())?;
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
        let is_user = named.is_empty() || named.eq_ignore_ascii_case(self.user);
        Some(is_user && decode(host)?.eq_ignore_ascii_case(self.host))
    }
}

impl Url {
    /// Reads an absolute URL of this user, or one that is relative to it or to the selected mailbox.
    fn parse(text: &str, owner: Owner<'_>) -> Option<Self> {
        let path = match text.get(..7) {
            Some(scheme) if scheme.eq_ignore_ascii_case("imap://") => {
                let (authority, path) = text[7..].split_once('/')?;
                if !owner.is(authority)? {
                    return None;
                }
                path
            }
            _ => text.strip_prefix('/').unwrap_or(text),
        };
        let lower = path.to_ascii_lowercase();
        // A mailbox's name may have slashes; where the message begins is said by its first word.
        let (mailbox, message) = match lower.find("/;uid=") {
            Some(at) => (Some(&path[..at]), &path[at + 1..]),
            None if lower.starts_with(";uid=") => (None, path),
            None => return None,
        };
        let (mailbox, uid_validity) = match mailbox {
            None => (None, None),
            Some(mailbox) => {
                let at = mailbox.to_ascii_lowercase().find(";uidvalidity=");
                let (name, uid_validity) = match at {
                    Some(at) => (&mailbox[..at], Some(mailbox[at + 13..].parse().ok()?)),
                    None => (mailbox, None),
                };
                (Some(decode(name)?), uid_validity)
            }
        };
        let mut url =
            Self { mailbox, uid_validity, uid: 0, section: Section { part: Vec::new(), text: None }, partial: None };
        for word in message.split("/;") {
            let (name, value) = word.trim_start_matches(';').split_once('=')?;
            let value = decode(value)?;
            match name.to_ascii_lowercase().as_str() {
                "uid" => url.uid = value.parse().ok().filter(|uid| *uid > 0)?,
                "section" => url.section = Section::parse(&value)?,
                "partial" => url.partial = Some(partial(&value)?),
                _ => return None,
            }
        }
        (url.uid > 0).then_some(url)
    }
}

/// `offset` or `offset.length`.
fn partial(text: &str) -> Option<Partial> {
    let (offset, length) = match text.split_once('.') {
        Some((offset, length)) => (offset, length.parse().ok().filter(|length| *length > 0)?),
        None => (text, u64::MAX),
    };
    Some(Partial { offset: offset.parse().ok()?, length })
}

fn decode(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use postrider_wire::imap::command::SectionText;

    use super::*;

    fn url(text: &str) -> Option<Url> {
        Url::parse(text, Owner { user: "bob@example.org", host: "mail.example.org" })
    }

    #[test]
    fn urls_of_messages_and_their_parts() {
        let whole = Section { part: Vec::new(), text: None };
        assert_eq!(
            url("/Sent/2026;UIDVALIDITY=385759045/;UID=20"),
            Some(Url {
                mailbox: Some("Sent/2026".into()),
                uid_validity: Some(385_759_045),
                uid: 20,
                section: whole.clone(),
                partial: None,
            })
        );
        let part =
            url("imap://bob%40example.org@mail.example.org/INBOX/;uid=3/;section=1.2.MIME/;partial=0.100").unwrap();
        assert_eq!(part.mailbox.as_deref(), Some("INBOX"));
        assert_eq!(part.section, Section { part: vec![1, 2], text: Some(SectionText::Mime) });
        assert_eq!(part.partial, Some(Partial { offset: 0, length: 100 }));
        assert_eq!(url(";UID=7/;SECTION=TEXT").map(|url| (url.mailbox, url.uid)), Some((None, 7)));
        assert_eq!(url("/Gr%C3%BCn/;UID=1").and_then(|url| url.mailbox).as_deref(), Some("Gr\u{fc}n"));
    }

    #[test]
    fn what_is_no_such_url() {
        for text in [
            "",
            "/INBOX",
            "/INBOX/;UID=0",
            "/INBOX/;UID=x",
            "imap://ann%40example.org@mail.example.org/INBOX/;UID=1",
            "imap://other.example/INBOX/;UID=1",
            "/INBOX;UIDVALIDITY=x/;UID=1",
            "/INBOX/;UID=1/;SECTION=nonsense",
            "/INBOX/;UID=1/;PARTIAL=1.0",
            "/INBOX/;UID=1/;OTHER=1",
            "http://example.org/",
        ] {
            assert_eq!(url(text), None, "{text:?}");
        }
    }
}
