//! The plain loop over the driver, as a process of its own: it takes part in nothing of ours, and what it uses of the
//! processor is counted like that of a server.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::Database;

/// A loop that inserts when it is told to.
pub(super) struct Inserts {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// Keeps some of the database's e-mails in a file, as documents to insert.
pub(super) fn sample(program: &Path, database: &Database, file: &Path, count: u64) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(["sample", &database.url]).arg(file).arg(count.to_string());
    let status = command.status().map_err(|error| format!("{}: {error}", program.display()))?;
    if status.success() { Ok(()) } else { Err("the documents could not be read back".to_owned()) }
}

impl Inserts {
    /// A loop of `tasks` tasks with the documents of `file`.
    pub(super) fn start(program: &Path, database: &Database, file: &Path, tasks: u64) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.args(["insert", &database.url]).arg(file).arg(tasks.to_string());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let orders = child.stdin.take();
        let answers = child.stdout.take().map(BufReader::new).ok_or("the loop has no standard output")?;
        Ok(Self { child, orders, answers })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Inserts so many documents. Returns how long it took.
    pub(super) fn insert(&mut self, count: u64) -> Result<Duration, String> {
        let refuse = |error: std::io::Error| format!("the loop: {error}");
        let orders = self.orders.as_mut().ok_or("the loop has no standard input")?;
        writeln!(orders, "{count}").map_err(refuse)?;
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(refuse)?;
        let microseconds = line.trim().parse().map_err(|_| format!("the loop ended; it said {line:?}"))?;
        Ok(Duration::from_micros(microseconds))
    }
}

impl Drop for Inserts {
    fn drop(&mut self) {
        // Both fail only where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
