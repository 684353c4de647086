//! The table: each setting once, with name, check, default and doc. What is not here does not exist.

mod acme;
mod api;
mod authentication;
mod bounces;
mod delivery;
mod host;
mod listeners;
mod process;
mod services;
mod traces;

use crate::mask::Secrecy;
use crate::settings::{Secret, Settings};
use crate::value::{self, Reason};

/// The message size that every server should take (RFC 5321 section 4.5.3.1.7).
pub(crate) const EMAIL_SIZE_BYTES_RFC_MIN: usize = 65_536;

/// Settings that belong together.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    /// A sentence or two that hold for the whole section; may be empty.
    pub intro: &'static str,
    pub settings: &'static [Setting],
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// In the environment and in `.env`.
    pub name: &'static str,
    /// As a user would write it; empty where nothing is set.
    pub default: &'static str,
    /// The default of `postrider dev`, where it is another.
    pub dev_default: Option<&'static str>,
    /// What the default means, where its text does not say it.
    pub default_note: Option<&'static str>,
    /// Meaning and unit, in Markdown on one line.
    pub doc: &'static str,
    pub(crate) secrecy: Secrecy,
    pub(crate) kind: Kind,
}

/// Sets what a word stands for.
type Choose = fn(&mut Settings);

/// How a value is read, and where it goes. The check and the words for what is allowed have one source.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A listener's port; 0 turns it off.
    Listener(fn(&mut Settings, u16)),
    Number {
        min: u64,
        max: u64,
        unit: &'static str,
        set: fn(&mut Settings, u64),
    },
    Switch(fn(&mut Settings, bool)),
    /// One of these words, in any case.
    Choice(&'static [(&'static str, Choose)]),
    /// Anything else, with its own reader. `allowed` is what error messages and documentation say.
    Text {
        allowed: &'static str,
        set: fn(&mut Settings, &str) -> Result<(), Reason>,
    },
}

impl Setting {
    const fn new(name: &'static str, default: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, default, dev_default: None, default_note: None, doc, secrecy: Secrecy::Public, kind }
    }

    const fn dev(self, dev_default: &'static str) -> Self {
        Self { dev_default: Some(dev_default), ..self }
    }

    const fn note(self, default_note: &'static str) -> Self {
        Self { default_note: Some(default_note), ..self }
    }

    const fn secrecy(self, secrecy: Secrecy) -> Self {
        Self { secrecy, ..self }
    }

    /// Whether any part of the value must not be shown.
    pub fn is_secret(&self) -> bool {
        self.secrecy != Secrecy::Public
    }

    /// What values are allowed, for people.
    pub fn allowed(&self) -> String {
        match &self.kind {
            Kind::Listener(_) => "a port, 1 to 65535, or 0 for off".to_owned(),
            Kind::Number { min, max, unit: "", .. } => format!("a whole number, {min} to {max}"),
            Kind::Number { min, max, unit, .. } => format!("whole {unit}, {min} to {max}"),
            Kind::Switch(_) => "true or false".to_owned(),
            Kind::Choice(choices) => choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", "),
            Kind::Text { allowed, .. } => (*allowed).to_owned(),
        }
    }

    /// Reads `text` into its place. On an error nothing is changed.
    pub(crate) fn apply(&self, settings: &mut Settings, text: &str) -> Result<(), Reason> {
        match &self.kind {
            Kind::Listener(set) => {
                let port = value::number(text, 0, u64::from(u16::MAX))?;
                set(settings, u16::try_from(port).map_err(|_| None)?);
            }
            Kind::Number { min, max, set, .. } => set(settings, value::number(text, *min, *max)?),
            Kind::Switch(set) => set(settings, value::switch(text)?),
            Kind::Choice(choices) => {
                let choice = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).ok_or(None)?;
                choice.1(settings);
            }
            Kind::Text { set, .. } => set(settings, text)?,
        }
        Ok(())
    }
}

/// All settings in the order of the table.
pub(crate) fn all() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

/// All settings, in the sections and the order in which people read of them.
pub static SECTIONS: &[Section] = &[
    Section { title: "Listeners", intro: "A port of 0 turns its listener off.", settings: listeners::LISTENERS },
    Section { title: "This host and its mail", intro: "", settings: host::HOST },
    Section { title: "Authentication of mail", intro: "", settings: authentication::AUTHENTICATION },
    Section {
        title: "TLS",
        intro: "Without a certificate, a self-signed one is made once and kept in `DATA_DIR`.",
        settings: host::TLS,
    },
    Section {
        title: "Certificates by ACME",
        intro: "The account, the certificate and its key are kept in the store, so nodes on one MongoDB share them, and one of \
                them at a time asks for a new one. Until the first one is there, the self-signed one serves. Each has \
                a new key: TLSA records of this host have to name the authority, not the key.",
        settings: acme::ACME,
    },
    Section { title: "Delivery", intro: "", settings: delivery::DELIVERY },
    Section {
        title: "Retries",
        intro: "The wait after a failed attempt grows by `RETRY_FACTOR` each time, with a tenth of jitter either way.",
        settings: delivery::RETRY,
    },
    Section {
        title: "Bounces and suppression",
        intro: "The suppression list holds addresses that nothing is sent to; `postrider suppression` shows and changes it.",
        settings: bounces::BOUNCES,
    },
    Section { title: "Store", intro: "", settings: host::STORE },
    Section {
        title: "API",
        intro: "Each node counts for itself. What is left of a limit stands in the fields `RateLimit-Policy` and `RateLimit` of \
                each answer; who has used it up reads 429 with `Retry-After`.",
        settings: api::API,
    },
    Section { title: "Webhooks", intro: "", settings: services::WEBHOOK },
    Section {
        title: "Source IP by a service",
        intro: "Before each attempt the service is asked from which of this host's addresses it is made.",
        settings: services::IP_SELECTION,
    },
    Section { title: "Source IPs", intro: "", settings: services::SOURCE_IPS },
    Section { title: "Process", intro: "", settings: process::PROCESS },
    Section {
        title: "Traces",
        intro: "What sessions, messages, deliveries, webhooks and requests spend their time on, for OpenTelemetry. What a collector \
                does not take in time is dropped; mail never waits for it.",
        settings: traces::TRACES,
    },
];

/// A text of which nothing may be shown; the empty text is none.
fn secret(text: &str) -> Option<Secret> {
    (!text.is_empty()).then(|| Secret(text.to_owned()))
}
