//! THREAD and UID THREAD (RFC 5256).

use postrider_core::mailbox::{self, Threads};
use postrider_wire::imap::command::{Thread, ThreadAlgorithm};
use postrider_wire::imap::response::{self, Status, Threading};

use super::session::{End, Session};
use super::sort::listed_messages;

impl Session {
    pub(super) async fn thread(&mut self, tag: &str, thread: Thread) -> Result<Status, End> {
        let found = match self.search_for(tag, &thread.key, None).await? {
            Ok(found) => found,
            Err(status) => return Ok(status),
        };
        let listed = match self.with_digests(&found).await {
            Ok(listed) => listed,
            Err(error) => return Ok(self.store_failed("messages could not be threaded", &error)),
        };
        let algorithm = match thread.algorithm {
            ThreadAlgorithm::OrderedSubject => mailbox::ThreadAlgorithm::OrderedSubject,
            ThreadAlgorithm::References => mailbox::ThreadAlgorithm::References,
        };
        let threads = Threads::of(&listed_messages(&listed, thread.uid), algorithm);
        let messages: Vec<Threading> = threads.walk().map(|(depth, number)| Threading { number, depth }).collect();
        response::thread(self.wire.output(), &messages);
        Ok(Status::ok("Threaded"))
    }
}
