//! What is offered (RFC 9051 section 6.1.1): by the configuration and the state of the session.

use std::fmt::Write as _;

use super::{AuthPolicy, Phase, Session};
use crate::imap::response::Status;
use crate::sasl::Mechanism;

impl Session {
    /// Names with a space between. Before login only what is of use then, and IDLE: some clients do not ask again.
    pub fn capabilities(&self) -> String {
        let mut names = String::from("IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE IDLE");
        // Writing to a String does not fail.
        if self.phase() == Phase::NotAuthenticated {
            if self.config.starttls && self.tls.is_none() {
                names.push_str(" STARTTLS");
            }
            if !self.offers_login() {
                names.push_str(" LOGINDISABLED");
            }
            for mechanism in self.mechanisms() {
                let _ = write!(names, " AUTH={}", mechanism.name());
            }
            return names;
        }
        if self.config.compress && !self.is_compressed {
            names.push_str(" COMPRESS=DEFLATE");
        }
        let _ = write!(names, " APPENDLIMIT={}", self.config.limits.message_bytes_max);
        for extension in &self.config.extensions {
            let _ = write!(names, " {extension}");
        }
        names
    }

    /// Mechanisms that are offered now; none where passwords could be overheard.
    pub(super) fn mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        let offered = self.offers_login();
        let can_bind = self.tls.as_ref().is_some_and(|facts| facts.channel_binding.is_some());
        Mechanism::ALL
            .into_iter()
            .filter(move |mechanism| offered && (can_bind || *mechanism != Mechanism::ScramSha256Plus))
    }

    /// RFC 9051 sections 6.2.2, 6.2.3 and 7.1 (PRIVACYREQUIRED).
    pub(super) fn check_privacy(&self) -> Result<(), Status> {
        match self.config.auth {
            AuthPolicy::Never => Err(Status::LOGIN_NOT_OFFERED),
            AuthPolicy::TlsOnly if self.tls.is_none() => Err(Status::LOGIN_NEEDS_TLS),
            _ => Ok(()),
        }
    }

    fn offers_login(&self) -> bool {
        self.check_privacy().is_ok()
    }
}
