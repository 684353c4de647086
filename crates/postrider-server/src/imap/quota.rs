//! GETQUOTA, GETQUOTAROOT and SETQUOTA (RFC 9208).

use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn get_quota(&mut self, _root: &str) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }

    pub(super) async fn get_quota_root(&mut self, _mailbox: &str) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }

    pub(super) async fn set_quota(&mut self, _root: &str) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
