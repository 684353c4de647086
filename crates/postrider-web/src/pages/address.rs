//! Addresses of our own pages: a path and its parameters, of which links change one and keep the others.

use std::fmt;

use askama::filters::HtmlSafe;
use axum::extract::Query;
use axum::http::Uri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Written, it is safe in HTML: nothing but letters, digits and what separates them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    path: String,
    pairs: Vec<(String, String)>,
}

impl Address {
    pub(super) fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), pairs: Vec::new() }
    }

    /// That of a request, without parameters that say nothing.
    pub(super) fn of(uri: &Uri) -> Self {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(pairs)| pairs).unwrap_or_default();
        let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        Self { path: uri.path().to_owned(), pairs }
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// With this parameter in place of what it was.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mut address = self.without(&[name]);
        address.pairs.push((name.to_owned(), value.to_owned()));
        address
    }

    pub(super) fn without(&self, names: &[&str]) -> Self {
        let kept = self.pairs.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        Self { path: self.path.clone(), pairs: kept.cloned().collect() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.path.split('/').skip(1) {
            write!(f, "/{}", utf8_percent_encode(piece, PATH))?;
        }
        for (i, (name, value)) in self.pairs.iter().enumerate() {
            let sign = if i == 0 { '?' } else { '&' };
            // In HTML an ampersand is written so.
            let sign = if sign == '&' { "&amp;" } else { "?" };
            write!(f, "{sign}{}={}", utf8_percent_encode(name, PATH), utf8_percent_encode(value, PATH))?;
        }
        Ok(())
    }
}

/// Everything but what needs no escape anywhere (RFC 3986 section 2.3), and what was escaped in the path already.
const PATH: &percent_encoding::AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'%');

impl HtmlSafe for Address {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_change_one_parameter_and_keep_the_others() {
        let here = Address::of(&"/emails?q=a+%22b%22&status=&cursor=abc".parse().unwrap());
        assert_eq!(here.get("q"), Some("a \"b\""));
        let there = here.with("status", "failed").without(&["cursor"]);
        assert_eq!(there.to_string(), "/emails?q=a%20%22b%22&amp;status=failed");
        assert_eq!(there.without(&["q", "status"]), Address::new("/emails"));
    }

    #[test]
    fn nothing_in_it_means_something_in_html() {
        let hostile = Address::new("/emails").with("q", "\"><script>&'%");
        assert!(!hostile.to_string().contains(['"', '<', '>', '\'']));
    }
}
