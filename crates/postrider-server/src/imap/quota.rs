//! GETQUOTA, GETQUOTAROOT and SETQUOTA (RFC 9208): what a user may keep, over all mailboxes.

use postrider_store::{Quota, StoreError, Usage};
use postrider_wire::imap::response::{self, Code, Status};

use super::session::{End, Session};

/// All of a user's mailboxes count for the same quota.
const ROOT: &str = "User quota";

/// STORAGE is counted in units of so many bytes (RFC 9208 section 5.1).
const STORAGE_UNIT_BYTES: u64 = 1024;

impl Session {
    pub(super) async fn get_quota(&mut self, root: &str) -> Result<Status, End> {
        let (quota, usage) = match self.quota().await {
            Ok(quota) => quota,
            Err(error) => return Ok(self.store_failed("a quota could not be looked up", &error)),
        };
        if root != ROOT || quota == Quota::default() {
            return Ok(no_such_root());
        }
        self.tell_quota(quota, usage);
        Ok(Status::ok("Told"))
    }

    /// The mailbox need not be there (RFC 9208 section 4.1.3).
    pub(super) async fn get_quota_root(&mut self, mailbox: &str) -> Result<Status, End> {
        let (quota, usage) = match self.quota().await {
            Ok(quota) => quota,
            Err(error) => return Ok(self.store_failed("a quota could not be looked up", &error)),
        };
        let dialect = self.wire.dialect();
        let is_limited = quota != Quota::default();
        response::quota_root(self.wire.output(), mailbox, is_limited.then_some(ROOT), dialect);
        if is_limited {
            self.tell_quota(quota, usage);
        }
        Ok(Status::ok("Told"))
    }

    /// Quotas are given by those who administer the server.
    pub(super) async fn set_quota(&mut self, root: &str) -> Result<Status, End> {
        Ok(if root == ROOT { Status::refusal(Code::NoPerm, "Quotas are not set here") } else { no_such_root() })
    }

    async fn quota(&self) -> Result<(Quota, Usage), StoreError> {
        let (Some(address), Some(id)) = (self.user_address(), self.user_id()) else { return Ok(Default::default()) };
        let user = self.store().user(address).await?;
        let quota = user.filter(|user| user.id == id).map(|user| user.quota).unwrap_or_default();
        Ok((quota, self.store().usage(id).await?))
    }

    /// Resources without a limit are left out.
    fn tell_quota(&mut self, quota: Quota, usage: Usage) {
        let storage =
            quota.bytes.map(|max| ("STORAGE", usage.bytes.div_ceil(STORAGE_UNIT_BYTES), max / STORAGE_UNIT_BYTES));
        let messages = quota.messages.map(|max| ("MESSAGE", usage.messages, max));
        let dialect = self.wire.dialect();
        response::quota(self.wire.output(), ROOT, storage.into_iter().chain(messages), dialect);
    }
}

fn no_such_root() -> Status {
    Status::refusal(Code::Nonexistent, "There is no such quota root")
}
