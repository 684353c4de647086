//! What a session tells its driver, and what the driver answers. Texts from the peer in here have no control characters
//! and hold to their limits; whether an address means anything is for others to say.

use bytes::BytesMut;

use crate::sasl::Password;
use crate::smtp::envelope::{BodyType, DsnReturn, Hold, Notify};
use crate::smtp::reply::Reply;

/// What happened. Those that say so wait for an answer; until it is given the session reads nothing.
#[derive(Debug)]
pub enum Event {
    /// HELO, EHLO or LHLO; an open transaction is forgotten. Answer: [`Session::respond`](super::Session::respond).
    Hello {
        /// What the client calls itself: a domain name, an address literal, or what it takes for one.
        name: String,
        /// Not HELO.
        extended: bool,
    },
    /// MAIL. Answer: `respond`. Whatever transaction there was before is over.
    Mail(MailCommand),
    /// RCPT. Answer: `respond`.
    Recipient(RcptCommand),
    /// DATA, or the first BDAT. Answer: [`Session::begin_message`](super::Session::begin_message), or `respond` with a
    /// rejection, which ends the transaction.
    DataStart,
    /// A whole message. Answer: `respond`, or for LMTP
    /// [`Session::respond_each`](super::Session::respond_each), and only when the message is kept for good if it is accepted. The transaction
    /// is over whatever the answer.
    Message {
        /// What [`Session::begin_message`](super::Session::begin_message) was given, and the message behind it.
        raw: BytesMut,
        bare_line_ends_repaired: bool,
    },
    /// A message that had begun was read to the end of its data, or of a chunk, and refused: by its bytes or by
    /// [`Session::refuse_message`](super::Session::refuse_message). The transaction is over; the reply is in the output.
    MessageRefused { reply: Reply },
    /// RSET, or QUIT amid a transaction: it is forgotten.
    Reset,
    /// The client wants TLS. Write the output, do the handshake, call
    /// [`Session::tls_started`](super::Session::tls_started).
    StartTls,
    /// A user name and a password to check. Answer: `respond`; rejections as [`Reply::AUTH_FAILED`] or, if it could not
    /// be checked, [`Reply::AUTH_UNAVAILABLE`]. [`Event::Authenticated`] or, after 5xx, [`Event::AuthFailed`] follows.
    AuthPassword { user: String, password: Password },
    /// Whose SCRAM keys are they? Answer: [`Session::scram_keys`](super::Session::scram_keys), or, if they cannot be looked
    /// up, `respond` with [`Reply::AUTH_UNAVAILABLE`].
    ScramLookup { user: String },
    /// The session belongs to this user from now on. Comes once, whatever the mechanism.
    Authenticated { user: String },
    /// Wrong user name or password, whatever the mechanism. The reply is in the output: who delays writing it, delays
    /// guessing.
    AuthFailed { user: String },
    /// The session answered a command by itself with this refusal. Only for counting and logging.
    Violation { reply: Reply },
    /// The session is over: write what is in the output and close the connection. Comes once; nothing comes after it.
    Closed,
}

/// The driver's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Done, in the table's words.
    Accept,
    /// Done, in other words; a reply of class 2.
    AcceptAs(Reply),
    /// Not done; a reply of class 4 or 5.
    Reject(Reply),
}

/// MAIL (RFC 5321 section 4.1.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailCommand {
    /// What stood between the angle brackets, without a source route; empty for `<>`.
    pub reverse_path: String,
    /// SIZE (RFC 1870): bytes, as announced. Never more than the limit.
    pub size: Option<u64>,
    pub body: BodyType,
    /// RFC 6531.
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689 section 2). Only where the session is encrypted.
    pub require_tls: bool,
    /// RET (RFC 3461 section 4.3).
    pub dsn_return: Option<DsnReturn>,
    /// ENVID (RFC 3461 section 4.4), in xtext as it came.
    pub envelope_id: Option<String>,
    /// HOLDFOR or HOLDUNTIL (RFC 4865). Whether that is too far off is for others to say.
    pub hold: Option<Hold>,
    /// MT-PRIORITY (RFC 6710): from -9 to 9, the higher the more urgent.
    pub priority: Option<i8>,
}

/// RCPT (RFC 5321 section 4.1.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RcptCommand {
    /// What stood between the angle brackets, without a source route: an address, or `postmaster` in any case.
    pub forward_path: String,
    /// NOTIFY (RFC 3461 section 4.1).
    pub notify: Option<Notify>,
    /// ORCPT (RFC 3461 section 4.2) as it came: address type, semicolon, xtext.
    pub original_recipient: Option<String>,
}
