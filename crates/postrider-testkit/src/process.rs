//! The program itself, run as a process of its own: to kill it, to signal it, to use its command line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use tokio::net::TcpStream;

use crate::{eventually, eventually_within};

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct PostriderProcess {
    child: Child,
    output: PathBuf,
}

impl PostriderProcess {
    /// Starts `binary` with these variables and no others, in `folder`, where also its output goes.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(binary: &Path, arguments: &[&str], environment: &BTreeMap<String, String>, folder: &Path) -> Self {
        let output = folder.join("output.log");
        let file = File::options().create(true).append(true).open(&output).expect("a log can be written");
        let errors = file.try_clone().expect("a log can be written");
        let child = command(binary, arguments, environment, folder)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        Self { child, output }
    }

    /// Waits until it takes connections at `address`.
    ///
    /// # Panics
    ///
    /// When it ends instead, or takes none in the time of [`eventually`].
    pub async fn wait_until_listening(&mut self, address: SocketAddr) {
        let output = self.output.clone();
        let child = &mut self.child;
        eventually(&format!("{address} to listen"), async || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("it ended ({status}) instead of listening:\n{}", read(&output));
            }
            TcpStream::connect(address).await.ok().map(drop)
        })
        .await;
    }

    /// SIGKILL: it ends at once, with nothing tidied up.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by its name, such as `TERM`.
    ///
    /// # Panics
    ///
    /// When there is no such process any more.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(status.is_ok_and(|status| status.success()), "SIG{name} was not sent");
    }

    /// SIGSTOP: returns when every thread stands still, which on a busy machine takes its time.
    ///
    /// # Panics
    ///
    /// When there is no such process any more.
    pub async fn stop(&self) {
        self.signal("STOP");
        let threads = format!("/proc/{}/task", self.child.id());
        eventually("every thread to stop", async || {
            let threads = std::fs::read_dir(&threads).ok()?;
            let mut states = threads.flatten().map(|thread| read(&thread.path().join("stat")));
            // The state stands behind the name, which is in parentheses.
            states.all(|state| state.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T"))).then_some(())
        })
        .await;
    }

    /// SIGCONT: it goes on after [`PostriderProcess::stop`].
    ///
    /// # Panics
    ///
    /// When there is no such process any more.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it does not end in a minute.
    pub async fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually_within(std::time::Duration::from_secs(60), "the process to end", async || {
            child.try_wait().ok().flatten()
        })
        .await
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What it wrote to both outputs, and those that ran before it in the same folder.
    pub fn output(&self) -> String {
        read(&self.output)
    }
}

impl Drop for PostriderProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a command left behind.
#[derive(Debug, Clone)]
pub struct CommandOutput {
    /// -1 if a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `binary` to its end with these variables and no others, in `folder`, with `input` on its standard input.
///
/// # Panics
///
/// When it cannot be started: it is not installed, perhaps.
pub async fn run_command(
    binary: &Path,
    arguments: &[&str],
    environment: &BTreeMap<String, String>,
    folder: &Path,
    input: &str,
) -> CommandOutput {
    let mut command = command(binary, arguments, environment, folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let running = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that reads no input may have closed it.
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output()
    });
    let output = running.await.expect("the task does not panic");
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
    CommandOutput {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn command(binary: &Path, arguments: &[&str], environment: &BTreeMap<String, String>, folder: &Path) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).env_clear().envs(environment).current_dir(folder);
    command
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_signalled_and_its_end_seen() {
        let folder = tempfile::tempdir().unwrap();
        let script = ["-c", "trap 'echo told; exit 7' TERM; echo ready; while :; do read -t 1 x </dev/zero; done"];
        let mut process = PostriderProcess::start(Path::new("/bin/bash"), &script, &BTreeMap::new(), folder.path());
        eventually("the trap to be set", async || process.output().contains("ready").then_some(())).await;
        assert!(!process.has_ended());
        process.signal("TERM");
        assert_eq!(process.wait().await.code(), Some(7));
        assert!(process.output().contains("told"));
    }

    #[tokio::test]
    async fn a_stopped_process_does_nothing_until_it_may_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let script = ["-c", "while :; do echo tick; done"];
        let mut process = PostriderProcess::start(Path::new("/bin/sh"), &script, &BTreeMap::new(), folder.path());
        eventually("a tick", async || (!process.output().is_empty()).then_some(())).await;
        process.stop().await;
        let length = process.output().len();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        assert_eq!(process.output().len(), length);
        assert!(!process.has_ended());
        process.go_on();
        eventually("more ticks", async || (process.output().len() > length).then_some(())).await;
    }

    #[tokio::test]
    async fn a_command_gets_its_input_and_only_its_variables() {
        let folder = tempfile::tempdir().unwrap();
        let environment = BTreeMap::from([("NAME".to_owned(), "value".to_owned())]);
        let script = ["-c", "cat; echo $NAME-$HOME; echo wrong >&2; exit 3"];
        let output = run_command(Path::new("/bin/sh"), &script, &environment, folder.path(), "input\n").await;
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (3, "input\nvalue-\n", "wrong\n"));
    }
}
