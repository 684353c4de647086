//! How the indexer learns that there is something to do.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::writer::lock;

/// Rung by whoever commits or asks; heard by the one thread that indexes.
#[derive(Debug, Default)]
pub(in crate::sqlite) struct Bell {
    rung: Mutex<Rung>,
    changed: Condvar,
}

/// Since it was last looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rung {
    /// E-mails that came or went.
    pub(super) came: usize,
    /// Somebody waits for what was committed.
    pub(super) is_asked: bool,
    pub(super) is_stopped: bool,
}

impl Bell {
    /// So many e-mails were committed that are to be indexed.
    pub(in crate::sqlite) fn ring(&self, emails: usize) {
        let mut rung = lock(&self.rung);
        if rung.came == 0 {
            self.changed.notify_one();
        }
        rung.came += emails;
    }

    /// Somebody waits.
    pub(super) fn ask(&self) {
        lock(&self.rung).is_asked = true;
        self.changed.notify_one();
    }

    pub(super) fn stop(&self) {
        lock(&self.rung).is_stopped = true;
        self.changed.notify_one();
    }

    /// Waits until something was committed or somebody asks, but for so long at most.
    pub(super) fn wait(&self, timeout: Duration) -> Rung {
        self.wait_until(timeout, |rung| rung.came > 0 || rung.is_asked || rung.is_stopped)
    }

    /// Lets time pass, unless somebody asks.
    pub(super) fn pause(&self, time: Duration) {
        self.wait_until(time, |rung| rung.is_asked || rung.is_stopped);
    }

    /// Lets time pass, whoever asks.
    pub(super) fn wait_for_stop(&self, time: Duration) {
        self.wait_until(time, |rung| rung.is_stopped);
    }

    /// Forgets what was rung: a look at what there is follows.
    pub(super) fn quiet(&self) -> Rung {
        let mut rung = lock(&self.rung);
        let before = *rung;
        rung.came = 0;
        rung.is_asked = false;
        before
    }

    fn wait_until(&self, timeout: Duration, is_enough: impl Fn(&Rung) -> bool) -> Rung {
        let until = Instant::now() + timeout;
        let mut rung = lock(&self.rung);
        while !is_enough(&rung) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (rung, _) = self.changed.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner);
        }
        *rung
    }
}
