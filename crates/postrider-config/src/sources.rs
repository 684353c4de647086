//! Where settings come from: the process's environment and the file `.env`. The only reader of either.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{ConfigError, ConfigErrors};
use crate::load::Origin;
use crate::table;

/// A `.env` may have this many bytes. A larger one is some other file.
pub const DOT_ENV_BYTES_MAX: u64 = 1_048_576;

/// Names and values as they were found. `Debug` shows the names only, because values may be secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Wins over `dot_env`.
    pub environment: BTreeMap<String, String>,
    /// `None` where there is no such file.
    pub dot_env: Option<BTreeMap<String, String>>,
}

impl Sources {
    /// Reads this process's environment, and `.env` in `directory` if it is there.
    ///
    /// Fails where `.env` is there but cannot be read or understood, and where a setting's value is not UTF-8.
    pub fn from_process(directory: &Path) -> Result<Self, ConfigErrors> {
        let (environment, mut errors) = utf8_variables(std::env::vars_os());
        let dot_env = match read_dot_env(&directory.join(".env")) {
            Ok(dot_env) => dot_env,
            Err(error) => {
                errors.push(error);
                None
            }
        };
        if errors.is_empty() { Ok(Self { environment, dot_env }) } else { Err(ConfigErrors(errors)) }
    }

    /// Nothing but these variables, as if they were the environment.
    pub fn from_variables<N: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        let environment = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { environment, dot_env: None }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("environment", &self.environment.keys())
            .field("dot_env", &self.dot_env.as_ref().map(|variables| variables.keys()))
            .finish()
    }
}

/// A name that is not UTF-8 is not ours. A value that is not UTF-8 matters only where its name is ours.
fn utf8_variables(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> (BTreeMap<String, String>, Vec<ConfigError>) {
    let mut taken = BTreeMap::new();
    let mut errors = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        match (value.to_str(), table::all().find(|setting| setting.name == name)) {
            (Some(value), _) => {
                taken.insert(name.to_owned(), value.to_owned());
            }
            (None, Some(setting)) => errors.push(ConfigError::Value {
                name: setting.name,
                value: "not UTF-8".to_owned(),
                origin: Origin::Environment,
                reason: None,
                allowed: setting.allowed(),
            }),
            // The name alone can be wrong.
            (None, None) => {
                taken.insert(name.to_owned(), lossy(&value));
            }
        }
    }
    (taken, errors)
}

fn lossy(value: &OsStr) -> String {
    value.to_string_lossy().into_owned()
}

fn read_dot_env(path: &Path) -> Result<Option<BTreeMap<String, String>>, ConfigError> {
    let refuse = |reason: String| ConfigError::Source(format!("{} cannot be read: {reason}", path.display()));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refuse(error.to_string())),
    };
    let mut text = String::new();
    file.take(DOT_ENV_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| refuse(error.to_string()))?;
    if text.len() as u64 > DOT_ENV_BYTES_MAX {
        return Err(refuse(format!("it is larger than {DOT_ENV_BYTES_MAX} bytes")));
    }
    dotenvy::from_read_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map(Some)
        .map_err(|error| refuse(line_fault(&text, &error)))
}

/// The library's own message holds the text that it did not understand, and with it perhaps a password. Only the line's
/// number is shown, and the name that it sets.
fn line_fault(text: &str, error: &dotenvy::Error) -> String {
    let dotenvy::Error::LineParse(fault, _) = error else {
        return "it is not a list of NAME=value lines".to_owned();
    };
    let line = text.lines().enumerate().find(|(_, line)| !fault.trim().is_empty() && line.contains(fault.trim()));
    let which = match line.map(|(i, line)| (i + 1, line.split_once('='))) {
        Some((number, Some((name, _)))) if is_name(name.trim()) => format!("line {number}, {},", name.trim()),
        Some((number, _)) => format!("line {number}"),
        None => "a line".to_owned(),
    };
    format!("{which} is not NAME=value; put values with spaces, quotes, # or $ between single quotes")
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn read(text: &str) -> Result<Option<BTreeMap<String, String>>, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".env");
        std::fs::write(&path, text).unwrap();
        read_dot_env(&path)
    }

    #[test]
    fn reads_a_dot_env() {
        let variables =
            read("# a comment\n\nSMTP_PORT=2526 # why\nexport API_TOKEN='a$b#c'\n  LOG_LEVEL = \"warn\"\n").unwrap();
        let expected = [("API_TOKEN", "a$b#c"), ("LOG_LEVEL", "warn"), ("SMTP_PORT", "2526")];
        assert_eq!(variables.unwrap(), expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn no_file_is_no_error_but_a_bad_one_is() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read_dot_env(&directory.path().join(".env")), Ok(None));
        // A folder can be opened, but not read.
        assert!(read_dot_env(directory.path()).is_err());
        let large = "A=b\n".repeat(usize::try_from(DOT_ENV_BYTES_MAX).unwrap() / 4 + 1);
        assert!(read(&large).unwrap_err().to_string().contains("larger than"));
    }

    #[test]
    fn a_bad_line_is_named_without_its_value() {
        let fault = read("SMTP_PORT=25\nAPI_TOKEN=hunter2 hunter3\n").unwrap_err().to_string();
        assert!(fault.contains("line 2, API_TOKEN, is not"), "{fault}");
        assert!(!fault.contains("hunter"), "{fault}");
        let fault = read("hunter2 is my password\n").unwrap_err().to_string();
        assert!(!fault.contains("hunter"), "{fault}");
    }

    #[test]
    fn what_is_not_utf8_matters_only_where_it_is_ours() {
        let bad = || OsString::from_vec(vec![b'x', 0xff]);
        let variables = [(bad(), "1".into()), ("OTHER".into(), bad()), ("SMTP_PORT".into(), bad())];
        let (taken, errors) = utf8_variables(variables.into_iter());
        assert_eq!(taken.keys().collect::<Vec<_>>(), ["OTHER"]);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().starts_with("SMTP_PORT is not UTF-8 (from environment)"), "{}", errors[0]);
    }

    #[test]
    fn reads_this_process_and_the_folder_given() {
        let directory = tempfile::tempdir().unwrap();
        let sources = Sources::from_process(directory.path()).unwrap();
        assert!(sources.environment.contains_key("PATH") && sources.dot_env.is_none());
        std::fs::write(directory.path().join(".env"), "SMTP_PORT=1\n").unwrap();
        let dot_env = Sources::from_process(directory.path()).unwrap().dot_env.unwrap();
        assert_eq!(dot_env.get("SMTP_PORT").map(String::as_str), Some("1"));
        std::fs::write(directory.path().join(".env"), "SMTP_PORT\n").unwrap();
        assert_eq!(Sources::from_process(directory.path()).unwrap_err().0.len(), 1);
    }

    #[test]
    fn debug_shows_no_values() {
        let sources = Sources::from_variables([("API_TOKEN", "hunter2")]);
        let shown = format!("{sources:?}");
        assert!(shown.contains("API_TOKEN") && !shown.contains("hunter2"), "{shown}");
    }
}
