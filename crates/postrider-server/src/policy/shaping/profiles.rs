//! What is known beforehand of how much a destination takes: lines of a file, those of the operator before the built-in ones.

use crate::deliver::route::MxHost;

const BUILT_IN: &str = include_str!("profiles.txt");

/// What one destination takes of all nodes together. `None`: what the settings say, or no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    /// At once.
    pub(crate) connections: Option<usize>,
    pub(crate) messages_per_connection: Option<u32>,
    pub(crate) messages_per_minute: Option<u32>,
}

/// A line that makes no sense. The text names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {reason}")]
pub(crate) struct ProfileError {
    number: usize,
    reason: String,
}

/// All that is known, the first match first.
#[derive(Debug, Default)]
pub(crate) struct Profiles(Vec<(Pattern, Profile)>);

#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    Host(String),
    /// With the dot at its start.
    Suffix(String),
    All,
}

impl Profiles {
    /// Those of the operator's file, then the built-in ones.
    pub(crate) fn new(own: &str) -> Result<Self, ProfileError> {
        let mut lines = parse(own)?;
        lines.extend(parse(BUILT_IN)?);
        Ok(Self(lines))
    }

    /// For a destination with these hosts, the best of which come first.
    pub(crate) fn of(&self, hosts: &[MxHost]) -> Profile {
        let Some(best) = hosts.first() else { return Profile::default() };
        let found = self.0.iter().find(|(pattern, _)| pattern.matches(&best.name));
        found.map(|(_, profile)| *profile).unwrap_or_default()
    }
}

impl Pattern {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Host(name) => name == host,
            Self::Suffix(suffix) => host.ends_with(suffix),
            Self::All => true,
        }
    }
}

fn parse(text: &str) -> Result<Vec<(Pattern, Profile)>, ProfileError> {
    let mut lines = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let content = line.split('#').next().unwrap_or_default().trim();
        if !content.is_empty() {
            lines.push(parse_line(content).map_err(|reason| ProfileError { number, reason })?);
        }
    }
    Ok(lines)
}

fn parse_line(line: &str) -> Result<(Pattern, Profile), String> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let &[host, connections, messages_per_connection, messages_per_minute] = &columns[..] else {
        return Err(format!(
            "{} columns instead of 4: host, connections, messages on one connection, messages per minute",
            columns.len()
        ));
    };
    let host = host.to_ascii_lowercase();
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let pattern = match host.strip_prefix('.') {
        _ if host == "*" => Pattern::All,
        Some(rest) if is_name(rest) => Pattern::Suffix(host),
        None if is_name(&host) => Pattern::Host(host),
        _ => return Err(format!("{host:?} is no host, no .suffix and not *")),
    };
    let number = |text: &str, max: u32| match text {
        "-" => Ok(None),
        _ => match text.parse::<u32>() {
            Ok(number) if (1..=max).contains(&number) => Ok(Some(number)),
            _ => Err(format!("{text:?} is no number from 1 to {max}, and no dash")),
        },
    };
    Ok((
        pattern,
        Profile {
            connections: number(connections, 10_000)?.map(|number| number as usize),
            messages_per_connection: number(messages_per_connection, 1_000_000)?,
            messages_per_minute: number(messages_per_minute, 10_000_000)?,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(profiles: &Profiles, host: &str) -> Profile {
        profiles.of(&[MxHost::new(0, host.to_owned(), None)])
    }

    #[test]
    fn the_first_line_that_matches_counts() {
        let own = "# ours\n\nmx.one.example 1 2 3   # slow\n.Example - 5 -\n.google.com 7 - -\n";
        let profiles = Profiles::new(own).unwrap();
        let profile = |connections, messages_per_connection, messages_per_minute| Profile {
            connections,
            messages_per_connection,
            messages_per_minute,
        };
        assert_eq!(of(&profiles, "mx.one.example"), profile(Some(1), Some(2), Some(3)));
        assert_eq!(of(&profiles, "mx.two.example"), profile(None, Some(5), None));
        assert_eq!(of(&profiles, "alt1.aspmx.l.google.com"), profile(Some(7), None, None));
        assert_eq!(of(&profiles, "mta5.am0.yahoodns.net"), profile(Some(10), Some(20), None));
        assert_eq!(of(&profiles, "example"), Profile::default());
        assert_eq!(of(&Profiles::new("* 2 - -").unwrap(), "mx.google.com").connections, Some(2));
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        for (text, part) in [
            ("a.example 1 2", "line 1: 3 columns instead of 4"),
            ("\n# x\na.example 1 2 0", "line 3: \"0\" is no number from 1"),
            ("a.example x 2 3", "line 1: \"x\" is no number"),
            ("a/b 1 2 3", "line 1: \"a/b\" is no host"),
            (". 1 2 3", "line 1: \".\" is no host"),
        ] {
            let error = Profiles::new(text).unwrap_err().to_string();
            assert!(error.starts_with(part), "{error}");
        }
    }
}
