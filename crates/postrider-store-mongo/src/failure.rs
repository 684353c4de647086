//! What goes wrong between here and the server, and what of it is worth another try.

use mongodb::error::{Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure};
use postrider_store::StoreError;

/// The server's error codes that mean something to us.
mod code {
    pub(super) const DUPLICATE_KEY: i32 = 11_000;
    pub(super) const ILLEGAL_OPERATION: i32 = 20;
    pub(super) const OUT_OF_DISK_SPACE: i32 = 14_031;
    pub(super) const WRITE_CONFLICT: i32 = 112;
    pub(super) const UNAUTHORIZED: i32 = 13;
    pub(super) const AUTHENTICATION_FAILED: i32 = 18;
}

/// What stopped a transaction.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another transaction is in the way. The server has ended this one, and it may be tried again.
    Conflict(StoreError),
    /// Something came between; the whole transaction may be tried again.
    Transient(StoreError),
    /// What was asked for cannot be done, whoever asks when: others in the same transaction did not cause it.
    Refused(StoreError),
    /// The server does not do its part now.
    Server(StoreError),
}

impl Failure {
    pub(crate) fn into_error(self) -> StoreError {
        match self {
            Self::Conflict(error) | Self::Transient(error) | Self::Refused(error) | Self::Server(error) => error,
        }
    }
}

/// What our own rules refuse, they refuse whoever asks when.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if code_of(&error) == Some(code::WRITE_CONFLICT) {
            return Self::Conflict(store_error(&error));
        }
        if error.contains_label(TRANSIENT_TRANSACTION_ERROR) {
            return Self::Transient(store_error(&error));
        }
        // A command that the server understood and refused would be refused again.
        let is_refused = matches!(
            *error.kind,
            ErrorKind::Write(_) | ErrorKind::InsertMany(_) | ErrorKind::Command(_) | ErrorKind::InvalidArgument { .. }
        ) && !is_unavailable(&error);
        if is_refused { Self::Refused(store_error(&error)) } else { Self::Server(store_error(&error)) }
    }
}

/// Whether nobody knows if the transaction was committed.
pub(crate) fn is_commit_unknown(error: &Error) -> bool {
    error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
}

/// Whether a record of that key is there already.
pub(crate) fn is_duplicate(error: &Error) -> bool {
    code_of(error) == Some(code::DUPLICATE_KEY)
}

/// The error as callers know it. What the driver says names hosts and causes, never credentials.
pub(crate) fn store_error(error: &Error) -> StoreError {
    match code_of(error) {
        Some(code::DUPLICATE_KEY) => StoreError::Exists("a record of that id".into()),
        Some(code::OUT_OF_DISK_SPACE) => StoreError::Full(error.kind.to_string()),
        Some(code::UNAUTHORIZED) => StoreError::Unavailable(format!(
            "MongoDB does not let this user do what is needed; give it the role readWrite on the database ({})",
            error.kind
        )),
        Some(code::AUTHENTICATION_FAILED) => StoreError::Unavailable(
            "MongoDB refuses user or password; look at MONGODB_URL, and at its authSource if the user was made in another \
             database"
                .into(),
        ),
        Some(code::ILLEGAL_OPERATION) => StoreError::Unavailable(format!("{NOT_A_REPLICA_SET} ({})", error.kind)),
        _ => match error.kind.as_ref() {
            ErrorKind::Authentication { .. } => StoreError::Unavailable(format!(
                "MongoDB refuses user or password; look at MONGODB_URL, and at its authSource if the user was made in \
                 another database ({})",
                error.kind
            )),
            ErrorKind::BsonDeserialization(_) | ErrorKind::InvalidResponse { .. } => {
                StoreError::Corrupt(error.kind.to_string())
            }
            _ => StoreError::Unavailable(error.kind.to_string()),
        },
    }
}

/// What a server is told that keeps no log to replicate.
pub(crate) const NOT_A_REPLICA_SET: &str = "the MongoDB server is no member of a replica set, and only those have \
     transactions; for a single server: start it with --replSet rs0 and call rs.initiate() in mongosh once";

pub(crate) fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(what.to_string())
}

pub(crate) fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}

pub(crate) fn timed_out() -> StoreError {
    StoreError::Unavailable("MongoDB does not answer in time".into())
}

fn code_of(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        ErrorKind::InsertMany(error) => error.write_errors.as_ref()?.first().map(|error| error.code),
        ErrorKind::Command(error) => Some(error.code),
        _ => None,
    }
}

/// Whether the server answered that it cannot now: no primary, shutting down, interrupted.
fn is_unavailable(error: &Error) -> bool {
    const CODES: &[i32] =
        &[6, 7, 50, 64, 89, 91, 100, 112, 189, 251, 262, 9001, 10_058, 10_107, 11_600, 11_602, 13_435, 13_436];
    error.contains_label("RetryableWriteError")
        || code_of(error).is_some_and(|code| CODES.contains(&code) || code == code::OUT_OF_DISK_SPACE)
}
