//! The table as documents: `docs/configuration.md` and `.env.example`. `cargo xtask docs` writes them.

use std::fmt::Write as _;

use crate::names;
use crate::table::{SECTIONS, Setting};

/// `docs/configuration.md`.
pub fn configuration_md() -> String {
    let mut out = CONFIGURATION_HEAD.replace("{names}\n", &wrapped("- ", "  ", &rule_of_names()));
    for section in SECTIONS {
        let _ = write!(out, "\n## {}\n\n", section.title);
        if !section.intro.is_empty() {
            let _ = write!(out, "{}\n\n", section.intro);
        }
        out.push_str("| name | default | meaning | allowed |\n|---|---|---|---|\n");
        for setting in section.settings {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} |",
                setting.name,
                cell(&default_md(setting)),
                cell(setting.doc),
                cell(&setting.allowed())
            );
        }
    }
    out
}

/// `.env.example`: every setting, commented out, with its default.
pub fn env_example() -> String {
    let mut out = String::from(ENV_HEAD);
    for section in SECTIONS {
        let _ = write!(out, "\n# ---- {} ----\n", section.title);
        if !section.intro.is_empty() {
            out.push_str(&comment(section.intro));
        }
        for setting in section.settings {
            out.push('\n');
            out.push_str(&comment(setting.doc));
            out.push_str(&comment(&format!("Allowed: {}.{}", setting.allowed(), default_comment(setting))));
            let _ = writeln!(out, "#{}={}", setting.name, setting.default);
        }
    }
    out
}

fn default_md(setting: &Setting) -> String {
    let general = match (setting.default, setting.default_note) {
        ("", Some(note)) => note.to_owned(),
        ("", None) => "none".to_owned(),
        (default, _) => format!("`{default}`"),
    };
    match setting.dev_default {
        Some(dev) => format!("{general} (`dev`: `{dev}`)"),
        None => general,
    }
}

fn default_comment(setting: &Setting) -> String {
    let note = setting.default_note.map(|note| format!(" Unless set: {note}.")).unwrap_or_default();
    let dev = setting.dev_default.map(|dev| format!(" In `postrider dev`: {dev}.")).unwrap_or_default();
    note + &dev
}

/// A bar would end the table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn rule_of_names() -> String {
    let code = |prefixes: &[&str]| prefixes.iter().map(|prefix| format!("`{prefix}`")).collect::<Vec<_>>().join(", ");
    format!(
        "An unknown name that begins with {} stops the start. Under {}, where other programs have variables too, only a \
         near miss of a setting does.",
        code(names::OWN_PREFIXES),
        code(names::SHARED_PREFIXES)
    )
}

fn comment(text: &str) -> String {
    wrapped("# ", "# ", &text.replace('`', ""))
}

/// Text in lines of at most 120 characters, the first begun in one way, the others in another.
fn wrapped(first: &str, other: &str, text: &str) -> String {
    const LINE_CHARS_MAX: usize = 120;
    let mut out = String::new();
    let mut line = String::from(first);
    let mut is_empty = true;
    for word in text.split_whitespace() {
        if !is_empty && line.len() + 1 + word.len() > LINE_CHARS_MAX {
            out.push_str(&line);
            out.push('\n');
            line = String::from(other);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    out + &line + "\n"
}

const CONFIGURATION_HEAD: &str = "\
# Configuration

<!-- Made by `cargo xtask docs` from crates/postrider-config/src/table/. Change it there. -->

Settings come from the environment and from a file `.env` in the working folder. The environment wins over `.env`, `.env`
over the defaults. `postrider config` prints what is in effect and where it came from, secrets masked. `postrider check`
tells what is wrong.

- A value that does not parse stops the start, with one line that names the setting and says what is allowed. All faults
  are told at once.
- An empty value means none, or an empty list. Where something is needed, it is a fault.
{names}
- In `.env`, put values with spaces, `#` or `$` between single quotes. `$NAME` outside of them is replaced by that
  variable.
- `postrider dev` has other defaults where the table says so: loopback, ports that need no root, and all mail captured.
";

const ENV_HEAD: &str = "\
# Settings of Postrider. Copy this file to .env and take away the # where you want another value.
# Made by `cargo xtask docs`; docs/configuration.md says the same as a table.
# Put values with spaces, # or $ between single quotes.
";
