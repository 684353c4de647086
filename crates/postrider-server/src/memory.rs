//! The bytes of messages that the process holds, all sessions and the queue together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use postrider_core::ports::MemoryLease;

/// A number of bytes that is shared out.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget {
    used: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl MemoryBudget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { used: Arc::default(), bytes_max }
    }

    pub(crate) fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// An empty share, to grow.
    pub(crate) fn share(&self) -> MemoryShare {
        MemoryShare { budget: self.clone(), bytes: 0 }
    }
}

/// Bytes taken from the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct MemoryShare {
    budget: MemoryBudget,
    bytes: usize,
}

impl MemoryShare {
    /// Makes the share `bytes` large; `false` (and nothing changed) if the budget does not have that.
    pub(crate) fn resize(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            let before = self.budget.used.fetch_add(more, Ordering::Relaxed);
            if before + more > self.budget.bytes_max {
                self.budget.used.fetch_sub(more, Ordering::Relaxed);
                return false;
            }
        } else {
            self.budget.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        true
    }

    /// Whether nothing is left of the budget.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.budget.used_bytes() >= self.budget.bytes_max
    }

    /// Whether the budget is so far used that what can be read again from the store had better not be held.
    pub(crate) fn is_scarce(&self) -> bool {
        self.budget.used_bytes() > self.budget.bytes_max / 2
    }
}

impl MemoryLease for MemoryShare {
    fn resize(&mut self, bytes: usize) -> bool {
        Self::resize(self, bytes)
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_budget() {
        let budget = MemoryBudget::new(100);
        let (mut a, mut b) = (budget.share(), budget.share());
        assert!(a.resize(60));
        assert!(!b.resize(41));
        assert!(b.resize(40));
        assert!(a.is_scarce());
        drop(a);
        assert_eq!(budget.used_bytes(), 40);
        assert!(b.resize(0));
        assert_eq!(budget.used_bytes(), 0);
    }
}
