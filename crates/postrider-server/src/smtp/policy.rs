//! Who may do what on which listener. Nobody relays who is neither trusted by address nor logged in; there is no setting
//! that changes that.

use postrider_config::Settings;
use postrider_core::{Address, Domain};
use postrider_store::StoreError;
use postrider_wire::smtp::reply::Reply;
use postrider_wire::smtp::server::{AuthPolicy, Limits as WireLimits, ServerConfig};
use std::net::IpAddr;
use std::sync::Arc;

use super::Context;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    Kept,
    Elsewhere,
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

    /// Where mail for this recipient goes, or why it is not taken.
    pub(crate) async fn destination(
        &self,
        context: &Context,
        recipient: &Address,
        is_authenticated: bool,
    ) -> Result<Destination, Reply> {
        if context.local_domains.contains(&recipient.domain()) {
            return self.local_destination(context, recipient).await;
        }
        let may_relay = match self.listener {
            Listener::Mx => self.is_trusted,
            Listener::Applications => self.is_trusted || is_authenticated,
            Listener::Submission | Listener::Submissions => is_authenticated,
            // RFC 2033 section 1: final delivery, never a queue.
            Listener::Lmtp | Listener::Lmtps => return Err(Reply::NOT_DELIVERED_HERE),
        };
        if may_relay { Ok(Destination::Elsewhere) } else { Err(Reply::RELAY_DENIED) }
    }

    async fn local_destination(&self, context: &Context, recipient: &Address) -> Result<Destination, Reply> {
        // RFC 5321 section 4.5.1: postmaster is always at home. LMTP delivers to mailboxes, and knows who has none.
        let is_postmaster = recipient.local_part().eq_ignore_ascii_case("postmaster");
        if !self.listener.is_lmtp() && (!context.rejects_unknown_recipients || is_postmaster) {
            return Ok(Destination::Kept);
        }
        let looking = context.store.user(recipient);
        match in_time(context.clock.as_ref(), context.limits.store_timeout, looking).await {
            Ok(Some(_)) => Ok(Destination::Kept),
            Ok(None) => Err(Reply::NO_SUCH_MAILBOX),
            Err(error) => {
                context.queue.store_failed("a recipient could not be looked up", &error);
                Err(store_reply(&error))
            }
        }
    }
}

/// The address that `RCPT TO:<postmaster>` means (RFC 5321 section 4.5.1): at the first domain that is at home here.
pub(crate) fn postmaster(local_domains: &[Domain], hostname: &str) -> Option<Address> {
    let domain = local_domains.first().map_or(hostname, Domain::as_str);
    Address::parse(&format!("postmaster@{domain}")).ok()
}

/// What a peer is told when the store did not do what it should. The cause goes to the log.
pub(crate) fn store_reply(error: &StoreError) -> Reply {
    match error {
        StoreError::Full(_) => Reply::STORE_FULL,
        StoreError::Overloaded => Reply::OVERLOADED,
        StoreError::OverQuota => Reply::STORE_FULL,
        StoreError::Unavailable(_)
        | StoreError::Exists(_)
        | StoreError::Missing(_)
        | StoreError::Limit(_)
        | StoreError::Corrupt(_) => Reply::STORE_UNAVAILABLE,
    }
}
