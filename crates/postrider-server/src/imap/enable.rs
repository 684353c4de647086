//! ENABLE (RFC 5161), and what enables CONDSTORE by the way (RFC 7162 section 3.1).

use postrider_wire::imap::command::{Extension, StatusItem};
use postrider_wire::imap::response::{self, Code, Status};

use super::session::{End, Session};

impl Session {
    /// Only what is enabled by this very command is told.
    pub(super) async fn enable(&mut self, extensions: Vec<Extension>) -> Result<Status, End> {
        let mut enabled: Vec<&str> = Vec::new();
        for extension in &extensions {
            let before = (self.condstore, self.qresync, self.wire.dialect());
            match extension {
                Extension::Condstore => self.enable_condstore(),
                Extension::Qresync => {
                    // RFC 7162 section 3.2.3.
                    self.enable_condstore();
                    self.qresync = true;
                }
                Extension::Utf8Accept | Extension::Imap4Rev2 => self.wire.enable(extension),
                Extension::Other(_) => {}
            }
            if before != (self.condstore, self.qresync, self.wire.dialect()) {
                enabled.push(extension.as_str());
            }
        }
        response::enabled(self.wire.output(), enabled);
        Ok(Status::ok("Enabled"))
    }

    /// From now on the client is told mod-sequences, and first the one that it knows its mailbox at.
    pub(super) fn enable_condstore(&mut self) {
        if std::mem::replace(&mut self.condstore, true) {
            return;
        }
        if let Some(selected) = &self.selected {
            let code = Code::HighestModSeq(selected.view.modseq());
            Status::ok("The latest change").with_code(code).write_untagged(self.wire.output());
        }
    }

    pub(super) fn enable_condstore_for(&mut self, items: &[StatusItem]) {
        if items.contains(&StatusItem::HighestModSeq) {
            self.enable_condstore();
        }
    }
}
