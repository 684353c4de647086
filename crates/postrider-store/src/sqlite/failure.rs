//! How the engine's errors become errors of the store.

use rusqlite::ErrorCode;

use crate::error::StoreError;

/// Why an operation inside a transaction did not succeed, and what that means for the transaction.
#[derive(Debug)]
pub(super) enum Failure {
    /// The operation wrote nothing; the transaction may go on.
    Refused(StoreError),
    /// The operation may have written something: the transaction must be rolled back.
    Undo(StoreError),
}

impl Failure {
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Refused(error) | Self::Undo(error) => error,
        }
    }

    /// For an operation that is one step of several: what it refused undoes the steps before it.
    pub(super) fn undoing(self) -> Self {
        Self::Undo(self.into_error())
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Undo(error.into())
    }
}

/// What could not be read or made sense of, wherever in an operation.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Undo(error)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match &error {
            rusqlite::Error::SqliteFailure(cause, _) => match cause.code {
                ErrorCode::DiskFull => Self::Full(text),
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt(text),
                // Among them are SQLITE_BUSY, when another process held the database too long, and SQLITE_IOERR.
                _ => Self::Unavailable(text),
            },
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => Self::Corrupt(text),
            _ => Self::Unavailable(text),
        }
    }
}

/// What was read cannot have been written by this version.
pub(super) fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(what.to_string())
}
