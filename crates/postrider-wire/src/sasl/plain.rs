//! PLAIN (RFC 4616): authorization identity, NUL, user name, NUL, password. It knows no encoding around that.

use super::{Password, Step, credential};

/// What a client sends, before base64.
pub fn plain_response(user: &str, password: &str) -> Vec<u8> {
    format!("\0{user}\0{password}").into_bytes()
}

/// The server's only step.
pub(super) fn read(response: &[u8]) -> Step {
    let mut parts = response.split(|&b| b == 0);
    let (Some(identity), Some(user), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Step::Malformed;
    };
    let (Some(user), Some(password)) = (credential(user), credential(password)) else { return Step::Malformed };
    // Nobody may act for another here, and so asking for it fails like a wrong password (section 2 lets a server say so).
    if !identity.is_empty() && identity != user.as_bytes() {
        return Step::Failure { user: user.to_owned() };
    }
    Step::Password { user: user.to_owned(), password: Password::new(password) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(response: &[u8]) -> String {
        match read(response) {
            Step::Password { user, password } => format!("{user} {}", password.as_str()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn reads_what_a_client_writes() {
        assert_eq!(outcome(&plain_response("tim", "tanstaaftanstaaf")), "tim tanstaaftanstaaf");
        assert_eq!(outcome(b"tim\0tim\0x"), "tim x");
        assert_eq!(outcome(b"Ursel\0Kurt\0xipj3plmq"), r#"Failure { user: "Kurt" }"#);
    }

    #[test]
    fn refuses_the_rest() {
        for response in [&b""[..], b"tim", b"tim\0x", b"\0\0x", b"\0tim\0", b"\0tim\0x\0", b"\0t\rm\0x", b"\0\xff\0x"] {
            assert_eq!(outcome(response), "Malformed", "{response:?}");
        }
        assert_eq!(outcome(format!("\0tim\0{}", "x".repeat(1025)).as_bytes()), "Malformed");
    }
}
