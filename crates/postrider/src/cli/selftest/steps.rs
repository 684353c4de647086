//! What a self-test says of its steps.

use postrider_core::EmailStatus;
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::output::{BAD, GOOD, Output, printable, style_of};

/// Says what happens, as it happens or as one JSON document at the end.
#[derive(Debug)]
pub(super) struct Steps<'a> {
    output: &'a mut Output,
    all: Vec<String>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(output: &'a mut Output) -> Self {
        Self { output, all: Vec::new() }
    }

    pub(super) fn done(&mut self, text: String) -> Result<(), Failure> {
        if !self.output.is_json() {
            self.output.line(format!("{GOOD}ok{GOOD:#}    {}", printable(&text)))?;
        }
        self.all.push(text);
        Ok(())
    }

    pub(super) fn seen(&mut self, status: EmailStatus, error: &str) -> Result<(), Failure> {
        let style = style_of(status);
        let reason = if error.is_empty() { String::new() } else { format!(": {error}") };
        if !self.output.is_json() {
            self.output.line(format!("...   {style}{status}{style:#}{}", printable(&reason)))?;
        }
        self.all.push(format!("{status}{reason}"));
        Ok(())
    }

    /// `found`: an object that goes into the JSON document.
    pub(super) fn succeeded(self, found: &Value) -> Result<(), Failure> {
        if !self.output.is_json() {
            return Ok(());
        }
        let mut report = json!({ "ok": true, "steps": self.all });
        if let (Some(report), Some(found)) = (report.as_object_mut(), found.as_object()) {
            report.extend(found.clone());
        }
        self.output.json(&report)
    }

    pub(super) fn failed(self, error: String, advice: impl Into<String>) -> Result<(), Failure> {
        let advice = advice.into();
        if self.output.is_json() {
            let report = json!({ "ok": false, "steps": self.all, "error": error, "advice": advice });
            self.output.json(&report)?;
        } else {
            self.output.line(format!("{BAD}FAIL{BAD:#}  {}", printable(&error)))?;
            self.output.line(format!("      {}", printable(&advice)))?;
        }
        Err(Failure::Reported)
    }
}
