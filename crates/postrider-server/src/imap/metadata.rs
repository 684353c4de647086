//! GETMETADATA and SETMETADATA (RFC 5464).

use postrider_wire::imap::command::{GetMetadata, SetMetadata};
use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn get_metadata(&mut self, _get: GetMetadata) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }

    pub(super) async fn set_metadata(&mut self, _set: SetMetadata) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
