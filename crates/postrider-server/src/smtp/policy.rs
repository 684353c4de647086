//! Who may do what on which listener. Nobody relays who is neither trusted by address nor logged in; there is no setting
//! that changes that.

use postrider_config::Settings;
use postrider_core::{Address, Domain};
use postrider_store::directory::Reached;
use postrider_store::{Quota, StoreError, Usage};
use postrider_wire::smtp::reply::Reply;
use postrider_wire::smtp::server::{AuthPolicy, Limits as WireLimits, ServerConfig};
use std::net::IpAddr;
use std::sync::Arc;

use super::Context;
use crate::bounces::return_path::ReturnPath;
use crate::directory::Home;
use crate::limits::Limits;
use crate::outage::in_time;

/// The listeners of SMTP and LMTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// `SMTP_PORT`: the applications' port.
    Applications,
    /// `SMTP_MX_PORT`: mail from the world.
    Mx,
    /// `SUBMISSION_PORT`: STARTTLS, then AUTH.
    Submission,
    /// `SUBMISSIONS_PORT`: TLS from the first byte, AUTH.
    Submissions,
    /// `LMTP_PORT`: final delivery by other hosts of trusted networks.
    Lmtp,
    /// `LMTPS_PORT`: the same with TLS from the first byte.
    Lmtps,
}

impl Listener {
    pub(crate) const ALL: [Self; 6] =
        [Self::Applications, Self::Mx, Self::Submission, Self::Submissions, Self::Lmtp, Self::Lmtps];

    /// As `/health` and the log name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Applications => "smtp",
            Self::Mx => "smtp-mx",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Lmtp => "lmtp",
            Self::Lmtps => "lmtps",
        }
    }

    pub(crate) fn port(self, settings: &Settings) -> u16 {
        match self {
            Self::Applications => settings.smtp_port,
            Self::Mx => settings.smtp_mx_port,
            Self::Submission => settings.submission_port,
            Self::Submissions => settings.submissions_port,
            Self::Lmtp => settings.lmtp_port,
            Self::Lmtps => settings.lmtps_port,
        }
    }

    pub(crate) fn has_implicit_tls(self) -> bool {
        matches!(self, Self::Submissions | Self::Lmtps)
    }

    pub(crate) fn is_lmtp(self) -> bool {
        matches!(self, Self::Lmtp | Self::Lmtps)
    }
}

/// What one peer may do on one listener.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) listener: Listener,
    pub(crate) is_trusted: bool,
    pub(crate) wire: Arc<ServerConfig>,
}

/// The policies of one listener, made once.
#[derive(Debug)]
pub(crate) struct Policies {
    listener: Listener,
    /// By `is_trusted`, then by `is_loopback`.
    wire: [[Arc<ServerConfig>; 2]; 2],
}

impl Policies {
    pub(crate) fn new(listener: Listener, settings: &Settings, limits: &Limits, scram_decoy_key: [u8; 32]) -> Self {
        let wire = [false, true].map(|is_trusted| {
            [false, true].map(|is_loopback| {
                let limits = wire_limits(settings, limits);
                let banner = "Postrider".to_owned();
                if listener.is_lmtp() {
                    let lmtp = ServerConfig::lmtp(settings.mail_hostname.clone());
                    return Arc::new(ServerConfig { limits, banner, repair_line_ends: is_trusted, ..lmtp });
                }
                Arc::new(ServerConfig {
                    limits,
                    banner,
                    starttls: !listener.has_implicit_tls(),
                    // Strangers' mail is kept here, never sent on: of RFC 3461 only NOTIFY=SUCCESS would bear on it, and
                    // would let anyone make this server write to anyone. Who is not offered DSN tells its sender itself
                    // (section 5.2.2), so nothing is lost by not offering it to them.
                    dsn: listener != Listener::Mx || is_trusted,
                    priorities: listener != Listener::Mx,
                    auth: match listener {
                        Listener::Mx => AuthPolicy::Never,
                        _ if is_loopback => AuthPolicy::Always,
                        _ => AuthPolicy::TlsOnly,
                    },
                    repair_line_ends: is_trusted,
                    scram_decoy_key,
                    ..ServerConfig::new(settings.mail_hostname.clone())
                })
            })
        });
        Self { listener, wire }
    }

    pub(crate) fn of_peer(&self, peer: IpAddr, is_trusted: bool) -> Policy {
        let wire = self.wire[usize::from(is_trusted)][usize::from(peer.is_loopback())].clone();
        Policy { listener: self.listener, is_trusted, wire }
    }
}

fn wire_limits(settings: &Settings, limits: &Limits) -> WireLimits {
    WireLimits {
        message_bytes_max: settings.max_email_size_bytes,
        recipients_max: limits.recipients_max,
        errors_max: limits.errors_max,
        text_line_bytes_max: limits.text_line_bytes_max,
        ..WireLimits::default()
    }
}

/// Where a recipient's mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// It stays here: in the mailboxes of these users, or on record alone where there are none.
    Kept(Arc<[Reached]>),
    Elsewhere,
}

impl Destination {
    pub(crate) fn is_here(&self) -> bool {
        matches!(self, Self::Kept(_))
    }

    pub(crate) fn is_in_mailboxes(&self) -> bool {
        matches!(self, Self::Kept(users) if !users.is_empty())
    }
}

impl Policy {
    /// Whether the peer is served at all. LMTP gives mail to people without asking where it is from: that is for the hosts
    /// that have asked.
    pub(crate) fn may_connect(&self) -> Result<(), Reply> {
        if self.listener.is_lmtp() && !self.is_trusted { Err(Reply::LMTP_FOR_TRUSTED) } else { Ok(()) }
    }

    /// Whether a transaction may begin.
    pub(crate) fn may_send(&self, is_authenticated: bool) -> Result<(), Reply> {
        let needs_login = match self.listener {
            Listener::Mx | Listener::Lmtp | Listener::Lmtps => false,
            Listener::Applications => !self.is_trusted,
            Listener::Submission | Listener::Submissions => true,
        };
        if needs_login && !is_authenticated { Err(Reply::AUTH_REQUIRED) } else { Ok(()) }
    }

    /// Whether messages are completed with Date and Message-ID (RFC 6409 section 8): where applications and people
    /// submit them, not where the world delivers.
    pub(crate) fn completes_messages(&self) -> bool {
        self.listener != Listener::Mx && !self.listener.is_lmtp()
    }

    /// Whether Authentication-Results in this host's name may be those of a server that it trusts (RFC 8601 section 5): one that
    /// stands before it, and hands on what it found out.
    pub(crate) fn trusts_results(&self) -> bool {
        self.listener.is_lmtp() || self.listener == Listener::Mx && self.is_trusted
    }

    /// Whether a client may say what is to be done with its messages (RFC 4865, RFC 6710, and fields for this server): where
    /// they are submitted.
    pub(crate) fn takes_instructions(&self) -> bool {
        self.completes_messages()
    }

    /// Whether it is asked if messages are from whom they say: where the world delivers.
    pub(crate) fn verifies_messages(&self) -> bool {
        self.listener == Listener::Mx && !self.is_trusted
    }

    /// Whether a client is asked who it is before it may write to this recipient. Whoever is refused can ask the postmaster why
    /// (RFC 5321 section 4.5.1).
    pub(crate) fn checks_client(&self, recipient: &Address) -> bool {
        self.verifies_messages() && !is_postmaster(recipient)
    }

    /// Whether each user's quota is asked when the message is there. SMTP has one answer for all recipients, and asks before
    /// ([`Self::destination`]).
    pub(crate) fn enforces_quota(&self) -> bool {
        self.listener.is_lmtp()
    }

    /// Where mail for this recipient goes, or why it is not taken. `message_bytes`: as announced, or 0.
    pub(crate) async fn destination(
        &self,
        context: &Context,
        recipient: &Address,
        message_bytes: u64,
        is_authenticated: bool,
    ) -> Result<Destination, Reply> {
        match context.bounces.return_path(recipient) {
            Some(ReturnPath::Of(_)) => return Ok(Destination::Kept(Arc::default())),
            Some(ReturnPath::Forged) => return Err(Reply::NO_SUCH_MAILBOX),
            None => {}
        }
        // RFC 5321 section 4.5.1: postmaster is always at home. LMTP delivers to mailboxes, and knows who has none.
        let refuses_unknown =
            self.listener.is_lmtp() || (context.rejects_unknown_recipients && !is_postmaster(recipient));
        let recipients = &context.recipients;
        let home = if refuses_unknown {
            recipients.home_for_certain(recipient).await
        } else {
            recipients.home(recipient).await
        };
        match home.map_err(|error| store_failed(context, "a recipient could not be looked up", &error))? {
            Home::Here(users) if users.is_empty() && refuses_unknown => Err(Reply::NO_SUCH_MAILBOX),
            Home::Here(users) => {
                self.check_room(context, &users, message_bytes).await?;
                Ok(Destination::Kept(users))
            }
            Home::Elsewhere => self.check_relay(is_authenticated).map(|()| Destination::Elsewhere),
        }
    }

    fn check_relay(&self, is_authenticated: bool) -> Result<(), Reply> {
        let may_relay = match self.listener {
            Listener::Mx => self.is_trusted,
            Listener::Applications => self.is_trusted || is_authenticated,
            Listener::Submission | Listener::Submissions => is_authenticated,
            // RFC 2033 section 1: final delivery, never a queue.
            Listener::Lmtp | Listener::Lmtps => return Err(Reply::NOT_DELIVERED_HERE),
        };
        if may_relay { Ok(()) } else { Err(Reply::RELAY_DENIED) }
    }

    /// Refuses what is for full mailboxes alone, while the client can still tell its sender of each recipient. LMTP needs no
    /// such look ahead: it answers for each when the message is there, and by then exactly.
    async fn check_room(&self, context: &Context, users: &[Reached], message_bytes: u64) -> Result<(), Reply> {
        if self.enforces_quota() {
            return Ok(());
        }
        let message = Usage { bytes: message_bytes, messages: 1 };
        for user in users {
            if user.quota == Quota::default() {
                return Ok(());
            }
            let looking = context.store.usage(user.user);
            match in_time(context.clock.as_ref(), context.limits.store_timeout, looking).await {
                Ok(usage) if !user.quota.has_room(usage, message) => {}
                // A user who is gone is no reason to refuse the others.
                Ok(_) | Err(StoreError::Missing(_)) => return Ok(()),
                Err(error) => return Err(store_failed(context, "a quota could not be looked up", &error)),
            }
        }
        if users.is_empty() { Ok(()) } else { Err(Reply::MAILBOX_FULL) }
    }
}

fn is_postmaster(recipient: &Address) -> bool {
    recipient.local_part().eq_ignore_ascii_case("postmaster")
}

/// The address that `RCPT TO:<postmaster>` means (RFC 5321 section 4.5.1): at the first domain that is at home here.
pub(crate) async fn postmaster(context: &Context) -> Result<Option<Address>, Reply> {
    let first = context.recipients.first_domain().await;
    let domain = first.map_err(|error| store_failed(context, "the domains could not be looked up", &error))?;
    let domain = domain.as_ref().map_or(context.hostname.as_str(), Domain::as_str);
    Ok(Address::parse(&format!("postmaster@{domain}")).ok())
}

/// Notes that the store did not do what it should.
pub(super) fn store_failed(context: &Context, what: &'static str, error: &StoreError) -> Reply {
    context.queue.store_failed(what, error);
    store_reply(error)
}

/// What a peer is told when the store did not do what it should. The cause goes to the log.
pub(crate) fn store_reply(error: &StoreError) -> Reply {
    match error {
        StoreError::Full(_) => Reply::STORE_FULL,
        StoreError::Overloaded => Reply::OVERLOADED,
        StoreError::OverQuota => Reply::MAILBOX_FULL,
        StoreError::Unavailable(_)
        | StoreError::Exists(_)
        | StoreError::Missing(_)
        | StoreError::Limit(_)
        | StoreError::Corrupt(_) => Reply::STORE_UNAVAILABLE,
    }
}
