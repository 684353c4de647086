//! Pages for who administers this server: users and aliases, domains, suppressions, webhooks, tokens, settings, and who changed what.

pub(super) mod aliases;
pub(super) mod audit;
pub(super) mod deliveries;
pub(super) mod domain;
pub(super) mod domains;
pub(super) mod settings;
pub(super) mod suppressions;
pub(super) mod tokens;
pub(super) mod user;
pub(super) mod users;
pub(super) mod webhooks;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::address::Address;

/// The address of one thing of a kind: its name may hold what separates the parts of a path.
fn address_of(path: &str, name: &str) -> Address {
    Address::new(format!("{path}/{}", utf8_percent_encode(name, NON_ALPHANUMERIC)))
}

/// Names with commas between them.
fn listed<T: ToString>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_part_of_the_path() {
        assert_eq!(address_of("/users", "a/b%@example.org").to_string(), "/users/a%2Fb%25%40example%2Eorg");
    }
}
