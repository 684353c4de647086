//! Response codes: what a program may learn from a status response (RFC 5530, RFC 9051 section 7.1 and extensions).

use bytes::BytesMut;

use super::text::{list, number, quoted};
use crate::imap::flag::Flag;
use crate::imap::sequence::NumberSet;

/// In brackets before the text. Texts in here must be ASCII without control characters; what is not so is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    Alert,
    AlreadyExists,
    /// RFC 4315: the UIDs that appended messages got, in their order, which is ascending.
    AppendUid {
        uid_validity: u32,
        uids: NumberSet,
    },
    AuthenticationFailed,
    AuthorizationFailed,
    /// The charsets that SEARCH knows.
    BadCharset(&'static [&'static str]),
    /// RFC 5465 section 8: the events that NOTIFY knows.
    BadEvent(&'static [&'static str]),
    /// RFC 4469: the URL that could not be resolved.
    BadUrl(String),
    Cannot,
    /// With a space between.
    Capability(String),
    ClientBug,
    /// RFC 7162 section 3.2.11: what follows is of the mailbox that was just selected.
    Closed,
    CompressionActive,
    ContactAdmin,
    /// RFC 4315: where copies went. The sets are equally large, in ascending order.
    CopyUid {
        uid_validity: u32,
        source: NumberSet,
        destination: NumberSet,
    },
    Corruption,
    Expired,
    ExpungeIssued,
    HasChildren,
    HighestModSeq(u64),
    /// RFC 9585. `goal` only with `progress`.
    InProgress {
        tag: String,
        progress: Option<u32>,
        goal: Option<u32>,
    },
    InUse,
    Limit,
    /// RFC 8474.
    MailboxId(String),
    /// RFC 5464: bytes of the longest value that was left out.
    MetadataLongEntries(u64),
    /// Bytes that a value may have.
    MetadataMaxSize(u64),
    MetadataTooMany,
    MetadataNoPrivate,
    /// RFC 7162: of a conditional STORE, what had changed. Sequence numbers or UIDs.
    Modified(NumberSet),
    NoModSeq,
    Nonexistent,
    NoPerm,
    NotificationOverflow,
    /// RFC 5182: `$` could not be kept.
    NotSaved,
    OverQuota,
    Parse,
    PermanentFlags {
        flags: Vec<Flag>,
        /// `\*`: new keywords may be made.
        new_keywords: bool,
    },
    PrivacyRequired,
    ReadOnly,
    ReadWrite,
    ServerBug,
    /// RFC 7889, RFC 4469.
    TooBig,
    TryCreate,
    UidNext(u32),
    UidNotSticky,
    UidValidity(u32),
    Unavailable,
    UnknownCte,
    /// RFC 3501 only: sequence number of the first message that is not seen.
    Unseen(u32),
    /// RFC 6154.
    UseAttr,
}

impl Code {
    /// Appends it with its brackets.
    pub fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(b"[");
        out.extend_from_slice(self.name().as_bytes());
        self.write_argument(out);
        out.extend_from_slice(b"]");
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Self::Alert => "ALERT",
            Self::AlreadyExists => "ALREADYEXISTS",
            Self::AppendUid { .. } => "APPENDUID",
            Self::AuthenticationFailed => "AUTHENTICATIONFAILED",
            Self::AuthorizationFailed => "AUTHORIZATIONFAILED",
            Self::BadCharset(_) => "BADCHARSET",
            Self::BadEvent(_) => "BADEVENT",
            Self::BadUrl(_) => "BADURL",
            Self::Cannot => "CANNOT",
            Self::Capability(_) => "CAPABILITY",
            Self::ClientBug => "CLIENTBUG",
            Self::Closed => "CLOSED",
            Self::CompressionActive => "COMPRESSIONACTIVE",
            Self::ContactAdmin => "CONTACTADMIN",
            Self::CopyUid { .. } => "COPYUID",
            Self::Corruption => "CORRUPTION",
            Self::Expired => "EXPIRED",
            Self::ExpungeIssued => "EXPUNGEISSUED",
            Self::HasChildren => "HASCHILDREN",
            Self::HighestModSeq(_) => "HIGHESTMODSEQ",
            Self::InProgress { .. } => "INPROGRESS",
            Self::InUse => "INUSE",
            Self::Limit => "LIMIT",
            Self::MailboxId(_) => "MAILBOXID",
            Self::MetadataLongEntries(_) => "METADATA LONGENTRIES",
            Self::MetadataMaxSize(_) => "METADATA MAXSIZE",
            Self::MetadataTooMany => "METADATA TOOMANY",
            Self::MetadataNoPrivate => "METADATA NOPRIVATE",
            Self::Modified(_) => "MODIFIED",
            Self::NoModSeq => "NOMODSEQ",
            Self::Nonexistent => "NONEXISTENT",
            Self::NoPerm => "NOPERM",
            Self::NotificationOverflow => "NOTIFICATIONOVERFLOW",
            Self::NotSaved => "NOTSAVED",
            Self::OverQuota => "OVERQUOTA",
            Self::Parse => "PARSE",
            Self::PermanentFlags { .. } => "PERMANENTFLAGS",
            Self::PrivacyRequired => "PRIVACYREQUIRED",
            Self::ReadOnly => "READ-ONLY",
            Self::ReadWrite => "READ-WRITE",
            Self::ServerBug => "SERVERBUG",
            Self::TooBig => "TOOBIG",
            Self::TryCreate => "TRYCREATE",
            Self::UidNext(_) => "UIDNEXT",
            Self::UidNotSticky => "UIDNOTSTICKY",
            Self::UidValidity(_) => "UIDVALIDITY",
            Self::Unavailable => "UNAVAILABLE",
            Self::UnknownCte => "UNKNOWN-CTE",
            Self::Unseen(_) => "UNSEEN",
            Self::UseAttr => "USEATTR",
        }
    }

    fn write_argument(&self, out: &mut BytesMut) {
        let space = |out: &mut BytesMut| out.extend_from_slice(b" ");
        match self {
            Self::AppendUid { uid_validity, uids } => {
                space(out);
                number(out, u64::from(*uid_validity));
                space(out);
                uids.write(out);
            }
            Self::CopyUid { uid_validity, source, destination } => {
                space(out);
                number(out, u64::from(*uid_validity));
                space(out);
                source.write(out);
                space(out);
                destination.write(out);
            }
            Self::BadCharset(names) | Self::BadEvent(names) => {
                space(out);
                list(out, *names, |out, name: &&str| out.extend_from_slice(name.as_bytes()));
            }
            Self::BadUrl(text) | Self::Capability(text) => {
                space(out);
                out.extend(text.bytes().filter(|b| (b.is_ascii_graphic() && *b != b']') || *b == b' '));
            }
            Self::MailboxId(id) => {
                space(out);
                list(out, [id], |out, id| out.extend_from_slice(id.as_bytes()));
            }
            Self::HighestModSeq(value) | Self::MetadataLongEntries(value) | Self::MetadataMaxSize(value) => {
                space(out);
                number(out, *value);
            }
            Self::UidNext(value) | Self::UidValidity(value) | Self::Unseen(value) => {
                space(out);
                number(out, u64::from(*value));
            }
            Self::InProgress { tag, progress, goal } => {
                out.extend_from_slice(b" (");
                quoted(out, tag.as_bytes());
                for value in [*progress, progress.and(*goal)] {
                    space(out);
                    match value {
                        Some(value) => number(out, u64::from(value)),
                        None => out.extend_from_slice(b"NIL"),
                    }
                }
                out.extend_from_slice(b")");
            }
            Self::Modified(set) => {
                space(out);
                set.write(out);
            }
            Self::PermanentFlags { flags, new_keywords } => {
                space(out);
                let texts = flags.iter().map(Flag::as_str).chain(new_keywords.then_some("\\*"));
                list(out, texts, |out, flag| out.extend_from_slice(flag.as_bytes()));
            }
            _ => {}
        }
    }
}
