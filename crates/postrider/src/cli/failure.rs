//! How a command can end other than well.

use std::io;

use postrider_store::StoreError;
use postrider_store::directory::DirectoryError;
use postrider_store::tokens::TokenError;

/// Each kind has its exit code; `--help` lists them.
#[derive(Debug)]
pub(super) enum Failure {
    /// It did not work.
    Failed(String),
    /// The command line or the settings are wrong.
    Usage(String),
    /// There is no such e-mail, user, domain or alias.
    NotFound(String),
    /// The state does not allow it.
    Conflict(String),
    /// All is said already; only the exit code is left to tell that something was wrong.
    Reported,
    /// Nobody reads on, as after `| head`. Not our failure.
    BrokenPipe,
}

impl Failure {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::Failed(_) | Self::Reported => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Conflict(_) => 4,
        }
    }

    pub(super) fn message(&self) -> Option<&str> {
        match self {
            Self::Failed(message) | Self::Usage(message) | Self::NotFound(message) | Self::Conflict(message) => {
                Some(message)
            }
            Self::Reported | Self::BrokenPipe => None,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Exists(_) => Self::Conflict(error.to_string()),
            StoreError::Overloaded => Self::Failed(format!("{error}; try again soon")),
            StoreError::Full(_)
            | StoreError::Unavailable(_)
            | StoreError::Missing(_)
            | StoreError::OverQuota
            | StoreError::Limit(_)
            | StoreError::Corrupt(_) => Self::Failed(error.to_string()),
        }
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        let message = error.to_string();
        match error {
            DirectoryError::Store(error) => error.into(),
            DirectoryError::NotLocal(domain) => Self::Conflict(format!(
                "{message}: make it one with `postrider domain add {domain}`, or in ALLOWED_DOMAINS"
            )),
            DirectoryError::InUse(..) => Self::Conflict(message),
            DirectoryError::LedTo(user, ways) => Self::Conflict(format!(
                "mail for {ways} reaches {user}: have it go elsewhere first, or remove that with the user by --with-aliases"
            )),
            DirectoryError::NoUser(_) | DirectoryError::NoAlias(_) | DirectoryError::NoDomain(_) => {
                Self::NotFound(message)
            }
            DirectoryError::Elsewhere(_)
            | DirectoryError::IsAlias(_)
            | DirectoryError::IsPattern(..)
            | DirectoryError::NoTargets
            | DirectoryError::TooManyTargets => Self::Usage(message),
        }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Store(error) => error.into(),
            TokenError::TooMany | TokenError::Changed => Self::Conflict(error.to_string()),
            TokenError::BadName
            | TokenError::NoScope
            | TokenError::TooManyDomains
            | TokenError::ExpiresInThePast
            | TokenError::BadRate => Self::Usage(error.to_string()),
        }
    }
}

/// Of standard output: everything else that does I/O names what failed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::Failed(format!("standard output cannot be written: {error}"))
    }
}
