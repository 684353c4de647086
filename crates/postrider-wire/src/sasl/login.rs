//! LOGIN (draft-murchison-sasl-login): no standard, but some clients know nothing else. User name, then password.

/// The challenges that clients expect, whether or not they read them.
pub(super) const USER_CHALLENGE: &[u8] = b"Username:";
pub(super) const PASSWORD_CHALLENGE: &[u8] = b"Password:";

/// A client's answer to the first challenge, before base64.
pub fn login_user(user: &str) -> Vec<u8> {
    user.as_bytes().to_vec()
}

/// A client's answer to the second challenge, before base64.
pub fn login_password(password: &str) -> Vec<u8> {
    password.as_bytes().to_vec()
}
