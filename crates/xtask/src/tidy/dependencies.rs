//! What may come from outside: one TLS provider, allowed licences, crates.io only. `deny.toml` says the same to
//! cargo-deny; this holds where that is not installed.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{packages, text};

/// Each would be a second TLS or cryptography provider beside ring, or brings one.
const BANNED: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "boring",
    "hyper-tls",
    "native-tls",
    "openssl",
    "openssl-sys",
    "rustls-openssl",
    "schannel",
    "tokio-native-tls",
];

/// The licences that a dependency may have, by SPDX identifier. As `deny.toml`.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// What only the tests are built with may have another licence: crate and licence. As `deny.toml`.
const TESTS_ONLY: &[(&str, &str)] = &[("webdriver", "MPL-2.0")];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Complaints about dependencies, also about those of other platforms: Cargo.lock names them all. Banned is only what is
/// `built`.
pub(super) fn check(metadata: &Value, built: &BTreeSet<String>) -> Vec<String> {
    packages(metadata).flat_map(|package| faults(package, built)).collect()
}

fn faults(package: &Value, built: &BTreeSet<String>) -> Vec<String> {
    let (name, version) = (text(package, "name"), text(package, "version"));
    let mut complaints = Vec::new();
    if BANNED.contains(&name) && built.contains(name) {
        complaints.push(format!("{name} {version}: banned; ring is the one provider"));
    }
    match package["source"].as_str() {
        // Ours.
        None => {}
        Some(CRATES_IO) => {}
        Some(source) => complaints.push(format!("{name} {version}: comes from {source}, not from crates.io")),
    }
    let licence = text(package, "license");
    if !is_allowed(licence) && !TESTS_ONLY.contains(&(name, licence)) {
        complaints.push(format!("{name} {version}: the licence {licence:?} is not on the list"));
    }
    complaints
}

/// Whether an SPDX expression can be satisfied with the licences of the list. `/` is the old way to write OR.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let allowed = any_of(&mut rest);
    allowed && rest.is_empty()
}

fn any_of(words: &mut &[&str]) -> bool {
    let mut allowed = all_of(words);
    while let Some(("OR", rest)) = words.split_first().map(|(word, rest)| (*word, rest)) {
        *words = rest;
        // Both sides must be read, whatever the first says.
        allowed |= all_of(words);
    }
    allowed
}

fn all_of(words: &mut &[&str]) -> bool {
    let mut allowed = term(words);
    while let Some(("AND", rest)) = words.split_first().map(|(word, rest)| (*word, rest)) {
        *words = rest;
        allowed &= term(words);
    }
    allowed
}

fn term(words: &mut &[&str]) -> bool {
    let taken = *words;
    match taken {
        ["(", rest @ ..] => {
            *words = rest;
            let allowed = any_of(words);
            match words.split_first() {
                Some((&")", rest)) => {
                    *words = rest;
                    allowed
                }
                _ => false,
            }
        }
        [licence, "WITH", exception, rest @ ..] => {
            *words = rest;
            LICENCES.contains(&format!("{licence} WITH {exception}").as_str()) || LICENCES.contains(licence)
        }
        [licence, rest @ ..] => {
            *words = rest;
            LICENCES.contains(licence)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn licence_expressions() {
        for expression in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(is_allowed(expression), "{expression}");
        }
        for expression in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR GPL-3.0) AND AGPL-3.0", "(MIT", "MIT)", "MIT MIT"]
        {
            assert!(!is_allowed(expression), "{expression}");
        }
    }

    #[test]
    fn bans_and_sources() {
        let package = |name: &str, source: Option<&str>| json!({ "name": name, "version": "1.0.0", "license": "MIT", "source": source });
        let built = ["ring", "openssl"].map(str::to_owned).into();
        let faults = |name, source| faults(&package(name, source), &built);
        assert_eq!(faults("ring", Some(CRATES_IO)), [""; 0]);
        assert_eq!(faults("postrider", None), [""; 0]);
        assert_eq!(faults("openssl", Some(CRATES_IO)).len(), 1);
        assert_eq!(faults("schannel", Some(CRATES_IO)), [""; 0], "only Cargo.lock knows it");
        assert_eq!(faults("x", Some("git+https://example.org/x")).len(), 1);
    }
}
