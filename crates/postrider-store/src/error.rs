//! Why the store did not do what it was asked.

/// Every error means that nothing of the request was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// More is waiting to be written than the store keeps waiting. Try again soon.
    #[error("the store is overloaded")]
    Overloaded,
    /// No space is left where the store writes.
    #[error("the store is full: {0}")]
    Full(String),
    /// The store cannot be reached or does not answer now.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A record of that name or id is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// What the request is about is not there, or not any more.
    #[error("there is no {0}")]
    Missing(String),
    /// The user would keep more than the quota allows.
    #[error("the quota is full")]
    OverQuota,
    /// The request would pass a limit of this program on what is kept; the text names it.
    #[error("{0}")]
    Limit(String),
    /// What was read makes no sense, or was written by a newer Postrider. Waiting will not mend it.
    #[error("the store is damaged or not readable by this version: {0}")]
    Corrupt(String),
}
