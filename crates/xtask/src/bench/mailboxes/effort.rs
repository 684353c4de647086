//! Processor time of short work and memory, over a whole tree of processes.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::super::process::tree;

/// What each thread of a tree has used of the processors. The scheduler counts nanoseconds by thread and forgets those
/// that ended: this is for work of less than a second, where ticks are too long.
pub(super) struct Effort(HashMap<PathBuf, u64>);

impl Effort {
    pub(super) fn of(root: u32) -> Self {
        let folders = tree(root).into_iter().map(|id| format!("/proc/{id}/task"));
        let threads = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        Self(threads.filter_map(|thread| Some((thread.path(), nanoseconds(&thread.path())?))).collect())
    }

    /// What was used since `before`.
    pub(super) fn since(&self, before: &Self) -> Duration {
        let used =
            |(thread, after): (&PathBuf, &u64)| after.saturating_sub(before.0.get(thread).copied().unwrap_or_default());
        Duration::from_nanos(self.0.iter().map(used).sum())
    }
}

/// The memory of a tree of processes, in bytes; what several share is divided among them (PSS).
pub(super) fn memory_bytes(root: u32) -> u64 {
    let kibibytes = |id: u32| {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default()
    };
    tree(root).into_iter().map(kibibytes).sum::<u64>() * 1024
}

fn nanoseconds(thread: &std::path::Path) -> Option<u64> {
    fs::read_to_string(thread.join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn counts_this_process() {
        assert!(memory_bytes(std::process::id()) > 100_000);
        let before = Effort::of(std::process::id());
        let deadline = Instant::now() + Duration::from_secs(60);
        while Effort::of(std::process::id()).since(&before).is_zero() {
            assert!(Instant::now() < deadline, "no processor time was counted");
        }
    }
}
