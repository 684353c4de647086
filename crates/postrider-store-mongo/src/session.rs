//! Sessions whose transactions do not outlive the interest in them.
//!
//! Where a connection breaks within a transaction, the server keeps it open for a minute, and nobody can write what it wrote. So
//! whoever gives up on one has it ended, as soon as the server can be reached again.

use std::time::Duration;

use mongodb::bson::doc;
use mongodb::error::Error;
use mongodb::{Client, ClientSession};
use tokio::time::Instant;

/// After this the server has ended it by itself.
const OPEN_MAX: Duration = Duration::from_secs(75);

/// How long the server may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Between tries.
const AGAIN: Duration = Duration::from_millis(250);

/// How often it is ended: what was sent before may come late, and open it anew.
const TIMES: u32 = 4;

/// A session of the driver.
pub(crate) struct Session {
    client: Client,
    session: Option<ClientSession>,
    /// Whether a transaction of it may be open.
    is_open: bool,
}

impl Session {
    pub(crate) async fn start(client: &Client) -> Result<Self, Error> {
        let session = client.start_session().await?;
        Ok(Self { client: client.clone(), session: Some(session), is_open: false })
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
