//! Letting log-ins through, one after the other where some have failed: what the sessions of all protocols share.

use std::net::IpAddr;

use postrider_core::{Address, Timestamp};
use postrider_store::{Change, StoreError};
use tracing::warn;

use crate::hearing::Hearing;
use crate::smtp::Context;
use crate::users::Turn;

/// Whether a log-in may be looked at.
pub(crate) enum Admission {
    Turn(Turn),
    /// It would wait for too long behind others that failed.
    PutOff,
    Draining,
}

/// Lets a log-in wait for as long as the failures before it demand; nothing that was sent along is to be looked at before.
pub(crate) async fn admit(context: &Context, user: &str, peer: IpAddr, began_at: Timestamp) -> Admission {
    let mut draining = context.draining.clone();
    let turn = tokio::select! {
        turn = context.logins.turn(user, peer, began_at) => turn,
        _ = draining.wait_for(|&draining| draining) => return Admission::Draining,
    };
    match turn {
        Some(turn) => Admission::Turn(turn),
        None => {
            warn!(user, peer = %peer, "log-in put off: too many before it have failed");
            Admission::PutOff
        }
    }
}

/// Whether who logged in may stay: hears when the directory has changed, and looks then.
#[derive(Debug)]
pub(crate) struct Standing {
    changes: Hearing,
    /// Of a look that the store did not answer, the answer is still to come.
    is_in_doubt: bool,
    /// As of the last look.
    is_good: bool,
}

impl Standing {
    /// To be made before the log-in is checked.
    pub(crate) fn new(context: &Context) -> Self {
        Self { changes: Hearing::new(context.store.as_ref(), Change::Directory), is_in_doubt: false, is_good: true }
    }

    /// `false`: the user was removed or disabled since.
    pub(crate) async fn holds(&mut self, context: &Context, user: &Address) -> Result<bool, StoreError> {
        self.is_in_doubt |= self.changes.has_changed();
        if self.is_in_doubt {
            let known = context.store.user(user).await?;
            self.is_good = known.is_some_and(|user| user.is_enabled);
            self.is_in_doubt = false;
        }
        Ok(self.is_good)
    }
}

/// A SCRAM exchange under way: its proof is still to come. SCRAM is guessed at with the client's proof, and many exchanges that
/// were let through before any had failed must not all have theirs looked at together: each proof waits for a turn of its own.
pub(crate) struct ScramTry {
    pub(crate) user: String,
    pub(crate) began_at: Timestamp,
    /// As [`crate::users::Logins::failures`] had it when the exchange was let through.
    pub(crate) failures_known: u32,
}

impl ScramTry {
    /// From when on the proof waits: it has waited already where nothing has failed since.
    pub(crate) fn proof_began_at(&self, context: &Context, peer: IpAddr) -> Timestamp {
        let has_waited = context.logins.failures(&self.user, peer) <= self.failures_known;
        if has_waited { self.began_at } else { context.clock.now() }
    }
}
