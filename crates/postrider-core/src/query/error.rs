//! Why a query cannot be read.

/// A query that cannot be read: where, and what would be right there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {reason}")]
pub struct QueryError {
    /// The first character is 1.
    pub position: usize,
    /// A sentence without its full stop.
    pub reason: String,
}
