//! Processes that the bench started: their end, their processor time and their memory, read from /proc.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Waited between two looks at something that takes a while.
pub(crate) const POLL: Duration = Duration::from_millis(2);

/// A started process. It is killed when this goes out of scope, whatever went wrong before.
pub(crate) struct Running {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

impl Running {
    /// Starts `command` with its output in a file of `folder`.
    pub(crate) fn start(name: &'static str, folder: &Path, mut command: Command) -> Result<Self, String> {
        let refuse = |error: std::io::Error| format!("{name} does not start: {error}");
        let log = folder.join(format!("{name}.log"));
        let file = fs::File::options().create(true).append(true).open(&log).map_err(refuse)?;
        let errors = file.try_clone().map_err(refuse)?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn().map_err(refuse)?;
        Ok(Self { child, name, log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Fails if the process has ended, with what it said last.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} ended ({status}):\n{}", self.name, self.last_lines())),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// Asks the process to end and waits for it.
    pub(crate) fn stop(mut self, within: Duration) -> Result<(), String> {
        signal("TERM", self.id());
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        Err(format!("{} does not end on SIGTERM within {within:?}:\n{}", self.name, self.last_lines()))
    }

    /// The end of what the process wrote.
    pub(crate) fn last_lines(&self) -> String {
        const LINES_MAX: usize = 10;
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES_MAX)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to one process, by its id.
pub(crate) fn signal(name: &str, id: u32) {
    // A process that has ended in the meantime is what was wanted.
    let _ = Command::new("kill").args([format!("-{name}"), id.to_string()]).stderr(Stdio::null()).status();
}

/// What a tree of processes has used of the processors since its root began, in microseconds. Children that ended and
/// were waited for count too: the kernel adds their time to their parents'.
pub(crate) fn cpu_microseconds(root: u32) -> u64 {
    let tick_microseconds = 1_000_000 / ticks_per_second();
    stats_of_tree(root).iter().map(|stat| stat.microseconds(tick_microseconds)).sum()
}

/// A process and all that descend from it.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    stats_of_tree(root).iter().map(|stat| stat.id).collect()
}

fn stats_of_tree(root: u32) -> Vec<Stat> {
    let mut children: HashMap<u32, Vec<Stat>> = HashMap::new();
    let mut tree = Vec::new();
    for stat in processes().filter_map(Stat::read) {
        if stat.id == root { tree.push(stat) } else { children.entry(stat.parent).or_default().push(stat) }
    }
    let mut looked_at = 0;
    while let Some(id) = tree.get(looked_at).map(|stat: &Stat| stat.id) {
        tree.extend(children.remove(&id).unwrap_or_default());
        looked_at += 1;
    }
    tree
}

/// The resident memory of one process, in bytes.
pub(crate) fn resident_bytes(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    kibibytes * 1024
}

/// What /proc says of one process.
struct Stat {
    id: u32,
    parent: u32,
    threads: u64,
    own_ticks: u64,
    /// Of children that ended.
    children_ticks: u64,
}

impl Stat {
    fn read(id: u32) -> Option<Self> {
        Self::parse(id, &fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    }

    /// proc_pid_stat(5): the name stands in parentheses and may hold anything, so fields count from its end. The first
    /// behind it is number 3.
    fn parse(id: u32, text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            id,
            parent: u32::try_from(field(4)?).ok()?,
            own_ticks: field(14)? + field(15)?,
            children_ticks: field(16)? + field(17)?,
            threads: field(20)?,
        })
    }

    /// A tick is long, and each process's time is cut to whole ticks: over the hundred processes of Postfix that adds up.
    /// The scheduler counts nanoseconds, but by thread, and forgets those that ended: it is asked where there is one only.
    fn microseconds(&self, tick_microseconds: u64) -> u64 {
        let scheduled = || {
            let text = fs::read_to_string(format!("/proc/{}/schedstat", self.id)).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok().map(|nanoseconds| nanoseconds / 1_000)
        };
        let exact = if self.threads == 1 { scheduled() } else { None };
        exact.unwrap_or(self.own_ticks * tick_microseconds) + self.children_ticks * tick_microseconds
    }
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn ticks_per_second() -> u64 {
    const USUAL: u64 = 100;
    let output = Command::new("getconf").arg("CLK_TCK").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.trim().parse().unwrap_or(USUAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_line_with_a_strange_name() {
        let stat = Stat::parse(7, "7 (a ) (b) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 9 0 100 0 0").unwrap();
        assert_eq!((stat.id, stat.parent, stat.threads), (7, 3, 9));
        assert_eq!((stat.own_ticks, stat.children_ticks), (30, 70));
        assert!(Stat::parse(7, "7 (a) S").is_none());
    }

    #[test]
    fn counts_this_process() {
        assert!(resident_bytes(std::process::id()) > 100_000);
        let before = cpu_microseconds(std::process::id());
        let deadline = Instant::now() + Duration::from_secs(60);
        // A busy machine may take its time to give this process a whole tick.
        while cpu_microseconds(std::process::id()) == before {
            assert!(Instant::now() < deadline, "no processor time was counted");
        }
    }
}
