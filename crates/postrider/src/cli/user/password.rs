//! Where a new password comes from.

use std::io::{self, BufRead as _, IsTerminal as _};

use postrider_core::{Address, Timestamp};
use postrider_server::users::{self, PASSWORD_BYTES_MAX, PasswordError};
use postrider_store::User;

use crate::cli::failure::Failure;

/// Asks for a password twice without showing it, or reads the first line of standard input.
pub(super) fn read(from_stdin: bool) -> Result<String, Failure> {
    if from_stdin {
        return read_line(io::stdin().lock());
    }
    if io::stdin().is_terminal() {
        return ask_twice();
    }
    Err(Failure::Usage(
        "standard input is no terminal to ask for a password on; give it with --password-stdin".to_owned(),
    ))
}

fn read_line(input: impl io::BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    // Room for the end of the line, and for one byte too many, which the hashing then refuses.
    input
        .take(PASSWORD_BYTES_MAX as u64 + 3)
        .read_line(&mut line)
        .map_err(|error| Failure::Failed(format!("the password cannot be read: {error}")))?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn ask_twice() -> Result<String, Failure> {
    let ask = |prompt| {
        rpassword::prompt_password(prompt)
            .map_err(|error| Failure::Failed(format!("the password cannot be read: {error}")))
    };
    let password = ask("Password: ")?;
    if ask("Again: ")? != password {
        return Err(Failure::Usage("the two passwords differ".to_owned()));
    }
    Ok(password)
}

/// Hashes the password for a user.
pub(super) fn new_user(address: Address, password: &str, now: Timestamp) -> Result<User, Failure> {
    let chosen = users::check_chosen(password).and_then(|()| users::new_user(address, password, now));
    chosen.map_err(|error| match error {
        PasswordError::Hashing(_) => Failure::Failed(error.to_string()),
        PasswordError::Empty | PasswordError::TooShort | PasswordError::TooLong | PasswordError::ControlCharacters => {
            Failure::Usage(error.to_string())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_line() {
        assert_eq!(read_line(&b"pass word \r\nmore"[..]).unwrap(), "pass word ");
        assert_eq!(read_line(&b"x"[..]).unwrap(), "x");
        assert_eq!(read_line(&b"\n"[..]).unwrap(), "");
    }

    #[test]
    fn refuses_what_cannot_be_a_password() {
        let address = Address::parse("a@example.org").unwrap();
        let refused = |password: &str| match new_user(address.clone(), password, Timestamp::default()) {
            Err(Failure::Usage(message)) => message,
            other => panic!("{password:?}: {other:?}"),
        };
        assert!(refused("").contains("empty"));
        assert!(refused("a\u{0}b").contains("control"));
        let endless = "x".repeat(10 * PASSWORD_BYTES_MAX);
        assert!(refused(&read_line(endless.as_bytes()).unwrap()).contains("longer"));
    }
}
