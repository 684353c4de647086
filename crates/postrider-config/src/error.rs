//! What is wrong with the settings, one line for each fault. No line shows a secret.

use std::fmt;

use crate::load::Origin;

/// One fault. `Display` is one line that names the setting and says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The value does not parse, or is out of range.
    #[error("{name} is {value} (from {origin}){}; allowed: {allowed}", reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())]
    Value {
        name: &'static str,
        /// In quotes and shortened, or masked.
        value: String,
        origin: Origin,
        /// What is wrong, where more is known than that it does not parse.
        reason: Option<String>,
        allowed: String,
    },
    /// The name begins like one of ours, and is none.
    #[error("{name} (from {origin}) is not a setting; {advice}")]
    Unknown { name: String, origin: Origin, advice: String },
    /// Two settings do not go together.
    #[error("{0}")]
    Conflict(String),
    /// A source could not be read.
    #[error("{0}")]
    Source(String),
}

/// Every fault that was found, in the order of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            let line_end = if i == 0 { "" } else { "\n" };
            write!(f, "{line_end}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}
