//! IMAP: people and programs read their mail.
//!
//! [`session`] drives the wire's machine over a connection; each command has a file of its own, which carries it out on the
//! store. What a mailbox holds is shared by all sessions of the process ([`registry`], [`snapshot`]); what one client was told
//! of it is its own ([`selected`]).

mod append;
mod catenate;
mod close;
mod command;
mod compress;
mod copy;
mod create;
mod delete;
mod digests;
mod enable;
mod fetch;
mod hierarchy;
mod id;
mod idle;
mod list;
mod listener;
mod metadata;
mod names;
mod namespace;
mod notify;
mod opened;
mod pattern;
mod quota;
mod registry;
mod rename;
mod search;
mod select;
mod selected;
#[cfg(test)]
mod selected_tests;
mod session;
mod snapshot;
mod sort;
mod status;
mod store;
mod subscribe;
mod thread;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use postrider_store::UserId;

pub(crate) use listener::{Listener, Service};
pub(crate) use registry::Registry;

/// What all IMAP sessions share.
#[derive(Debug)]
pub(crate) struct Context {
    /// What they share with those of SMTP.
    pub(crate) common: Arc<crate::smtp::Context>,
    pub(crate) registry: Arc<Registry>,
    /// Of a message that is appended (APPENDLIMIT, RFC 7889).
    pub(crate) message_bytes_max: usize,
    connections: Connections,
}

impl Context {
    pub(crate) fn new(common: Arc<crate::smtp::Context>, message_bytes_max: usize) -> Arc<Self> {
        let registry = Registry::new(common.store.clone(), common.clock.clone());
        Arc::new(Self { common, registry, message_bytes_max, connections: Connections::default() })
    }
}

/// Sessions that are logged in, by user.
#[derive(Debug, Default, Clone)]
struct Connections(Arc<Mutex<HashMap<UserId, usize>>>);

/// One of them; counted out when dropped.
#[derive(Debug)]
struct Connection {
    of: Connections,
    user: UserId,
}

impl Connections {
    /// Counts a session in, unless the user has too many.
    fn enter(&self, user: UserId, max: usize) -> Option<Connection> {
        let mut by_user = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_user.entry(user).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Connection { of: self.clone(), user })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut by_user = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_user.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                by_user.remove(&self.user);
            }
        }
    }
}
