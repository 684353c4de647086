//! The machine that is measured on, and what it must allow.

use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Open files that the bench and the servers may have: the idle sessions have one on each side.
const OPEN_FILES_MAX: u64 = 65_536;

/// What a reader must know to judge the numbers.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    memory_gibibytes: f64,
    kernel: String,
    file_system: String,
    /// Median of writing 4 KiB and waiting for the disk.
    sync_latency: Duration,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} cores, {:.1} GiB, Linux {}, {} with fdatasync of 4 KiB in {:.2} ms (median)",
            self.processor,
            self.cores,
            self.memory_gibibytes,
            self.kernel,
            self.file_system,
            self.sync_latency.as_secs_f64() * 1000.0
        )
    }
}

/// Looks at this machine, and at the disk that `folder` is on.
pub(crate) fn describe(folder: &Path) -> Result<Machine, String> {
    let field = |path: &str, name: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches([':', ' ', '\t']).trim().to_owned()
    };
    let memory_kibibytes: f64 = field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    Ok(Machine {
        processor: field("/proc/cpuinfo", "model name"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_gibibytes: memory_kibibytes / 1024.0 / 1024.0,
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        file_system: file_system(folder),
        sync_latency: sync_latency(folder).map_err(|error| format!("{}: {error}", folder.display()))?,
    })
}

/// The type of the file system, as `stat` calls it.
pub(crate) fn file_system(folder: &Path) -> String {
    let output = Command::new("stat").args(["--file-system", "--format=%T"]).arg(folder).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Lifts this process's limit of open files as far as it may, and at most to [`OPEN_FILES_MAX`]; what it starts inherits
/// it. Returns the limit.
pub(crate) fn raise_open_files_max() -> u64 {
    let (soft, hard) = open_files_limits();
    let wanted = hard.min(OPEN_FILES_MAX);
    let limit = format!("--nofile={wanted}:{hard}");
    let status = Command::new("prlimit").args(["--pid", &std::process::id().to_string(), &limit]).status();
    if status.is_ok_and(|status| status.success()) { wanted } else { soft }
}

fn open_files_limits() -> (u64, u64) {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let mut numbers = line.split_whitespace().map(|word| word.parse().unwrap_or(u64::MAX));
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

fn sync_latency(folder: &Path) -> std::io::Result<Duration> {
    const SYNCS: usize = 200;
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    let mut latencies = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&[0x55; 4096])?;
        let started = Instant::now();
        file.sync_data()?;
        latencies.push(started.elapsed());
    }
    fs::remove_file(&path)?;
    latencies.sort_unstable();
    Ok(latencies[SYNCS / 2])
}
