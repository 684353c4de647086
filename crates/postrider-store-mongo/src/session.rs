//! Sessions whose transactions do not outlive the interest in them.
//!
//! Where a connection breaks within a transaction, the server keeps it open for a minute, and nobody can write what it wrote. So
//! whoever gives up on one has it ended, as soon as the server can be reached again. And where a whole process died, whoever
//! finds its node gone ends those of its sessions: a node's document names them.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use mongodb::error::Error;
use mongodb::{Client, ClientSession};
use tokio::time::Instant;

use crate::engine::{Engine, lock};
use crate::nodes;

/// After this the server has ended it by itself.
const OPEN_MAX: Duration = Duration::from_secs(75);

/// How long the server may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Between tries.
const AGAIN: Duration = Duration::from_millis(250);

/// How often it is ended: what was sent before may come late, and open it anew.
const TIMES: u32 = 4;

/// Sessions of a process that are remembered. The driver uses the same few again and again; those before them have expired on
/// the server.
const KNOWN_MAX: usize = 256;

/// The sessions that this process has used of late, in the order of their first use.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<VecDeque<Document>>);

impl Sessions {
    pub(crate) fn all(&self) -> Vec<Bson> {
        lock(&self.0).iter().cloned().map(Bson::from).collect()
    }

    /// Whether it is new.
    fn note(&self, session: &Document) -> bool {
        let mut known = lock(&self.0);
        if known.contains(session) {
            return false;
        }
        if known.len() >= KNOWN_MAX {
            known.pop_front();
        }
        known.push_back(session.clone());
        true
    }
}

/// Ends whatever these sessions of another process have open.
pub(crate) async fn kill(client: &Client, sessions: Vec<Bson>) {
    if sessions.is_empty() {
        return;
    }
    let admin = client.database("admin");
    let kill = admin.run_command(doc! { "killSessions": sessions });
    if !matches!(tokio::time::timeout(ANSWER_MAX, kill.into_future()).await, Ok(Ok(_))) {
        tracing::debug!("what a node that is gone has left open stays so for a minute");
    }
}

/// A session of the driver.
pub(crate) struct Session {
    client: Client,
    session: Option<ClientSession>,
    /// Whether a transaction of it may be open.
    is_open: bool,
}

impl Session {
    pub(crate) async fn start(engine: &Engine) -> Result<Self, Error> {
        let session = engine.client.start_session().await?;
        if engine.sessions.note(session.id()) {
            // Before it is used: who dies with it open must have said that it is theirs.
            nodes::note_session(engine, session.id()).await?;
        }
        Ok(Self { client: engine.client.clone(), session: Some(session), is_open: false })
    }

    /// The session, for a transaction that begins.
    pub(crate) fn open(&mut self) -> &mut ClientSession {
        self.is_open = true;
        // It is there until this is dropped.
        self.session.as_mut().expect("a session is only taken when it is dropped")
    }

    /// The transaction is over, and the server knows.
    pub(crate) fn close(&mut self) {
        self.is_open = false;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_open
            && let Some(session) = self.session.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(end(self.client.clone(), session));
        }
    }
}

/// Ends what may be open. Until then nobody else gets the session.
async fn end(client: Client, session: ClientSession) {
    let (started, mut times) = (Instant::now(), 0);
    while started.elapsed() < OPEN_MAX && times < TIMES {
        // A user may do this to sessions of its own.
        let admin = client.database("admin");
        let kill = admin.run_command(doc! { "killSessions": [session.id()] });
        if matches!(tokio::time::timeout(ANSWER_MAX, kill.into_future()).await, Ok(Ok(_))) {
            times += 1;
        }
        tokio::time::sleep(AGAIN * (1 + times)).await;
    }
}
