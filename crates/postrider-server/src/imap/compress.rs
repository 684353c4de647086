//! COMPRESS=DEFLATE (RFC 4978).

use super::session::{End, Session};

impl Session {
    pub(super) async fn compress(&mut self) -> Result<(), End> {
        Ok(())
    }
}
