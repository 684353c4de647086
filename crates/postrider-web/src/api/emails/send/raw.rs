//! A message that comes whole (`message/rfc822`), with its envelope and what is asked of it in the query.

use axum::http::Uri;
use bytes::Bytes;
use postrider_core::trace::HeaderScan;
use postrider_core::{Address, Instructions, ReversePath, Submission, Timestamp};

use super::body::wrong;
use crate::extract::pairs_of;
use crate::problem::Problem;

const PARAMETERS: &str = "from, to (for each recipient), tag and metadata=NAME=VALUE (as often as needed), priority, notBefore, expiresAt, webhookUrl, sourceIp";

/// What a query says of a message.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    reverse_path: Option<ReversePath>,
    recipients: Vec<Address>,
    instructions: Instructions,
    not_before: Option<Timestamp>,
}

impl Envelope {
    pub(super) fn of(uri: &Uri) -> Result<Self, Problem> {
        let pairs = pairs_of(uri)?;
        let mut envelope = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in pairs {
            let may_repeat = matches!(name.as_str(), "to" | "tag" | "metadata");
            if !may_repeat && seen.contains(&name) {
                return Err(Problem::bad_parameter(&name, format!("{name} is given twice.")));
            }
            envelope.read(&name, &value)?;
            seen.push(name);
        }
        Ok(envelope)
    }

    fn read(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        let fails = |why: &dyn std::fmt::Display| wrong(name, why);
        let instructions = &mut self.instructions;
        let time = || {
            let why = "a time is RFC 3339, as 2026-11-22T13:39:40Z (with %2B for a plus)";
            Timestamp::parse_rfc3339(value).ok_or_else(|| fails(&why))
        };
        match name {
            "from" => {
                let path = if value == "<>" { "" } else { value };
                self.reverse_path = Some(ReversePath::parse(path).map_err(|error| fails(&error))?);
            }
            "to" => self.recipients.push(Address::parse(value).map_err(|error| fails(&error))?),
            "tag" => instructions.add_tag(value).map_err(|error| fails(&error))?,
            "metadata" => {
                let (key, text) = value.split_once('=').ok_or_else(|| fails(&"it is NAME=VALUE"))?;
                instructions.add_metadata(key, text).map_err(|error| fails(&error))?;
            }
            "priority" => instructions.priority = value.parse().map_err(|error| fails(&error))?,
            "notBefore" => self.not_before = Some(time()?),
            "expiresAt" => instructions.expires_at = Some(time()?),
            "webhookUrl" => instructions.set_webhook_url(value).map_err(|error| fails(&error))?,
            "sourceIp" => {
                let ip = value.parse().map_err(|_| fails(&"it is no IP address"))?;
                instructions.set_source_ip(ip).map_err(|error| fails(&error))?;
            }
            _ => {
                let detail = format!("There is no parameter {name:?}; there are {PARAMETERS}.");
                return Err(Problem::bad_parameter(name, detail));
            }
        }
        Ok(())
    }

    /// Puts a message into the envelope.
    pub(super) fn seal(self, message: Bytes) -> Result<Submission, Problem> {
        let missing = |name: &str, what: &str| {
            Problem::bad_parameter(name, format!("{name} is missing: give {what} in the query, as ?from=A&to=B&to=C."))
        };
        let reverse_path =
            self.reverse_path.ok_or_else(|| missing("from", "the sender's address, or %3C%3E (<>) for none,"))?;
        if self.recipients.is_empty() {
            return Err(missing("to", "each recipient's address"));
        }
        if HeaderScan::of(&message).from_fields == 0 {
            return Err(Problem::bad_body(
                "The body has no From field: it is to be a message (RFC 5322), its header section first. An e-mail in \
                 JSON is sent as application/json.",
            ));
        }
        Ok(Submission {
            reverse_path,
            recipients: self.recipients,
            message,
            instructions: self.instructions,
            not_before: self.not_before,
            require_tls: false,
            is_resent: false,
            sender_domains: Vec::new(),
            request: None,
        })
    }
}
