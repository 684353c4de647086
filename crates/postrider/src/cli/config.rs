//! `postrider config`: the effective settings, secrets masked.

use postrider_config::Profile;
use serde_json::json;

use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::table::{Cell, Table};

pub(super) fn run(profile: Profile, output: &mut Output) -> Result<(), Failure> {
    let loaded = context::load(profile)?;
    if output.is_json() {
        let settings: Vec<_> = loaded
            .effective
            .iter()
            .map(|setting| {
                let origin = setting.origin.to_string();
                json!({ "name": setting.name, "value": setting.value, "origin": origin, "doc": setting.doc })
            })
            .collect();
        return output.json(&json!({ "settings": settings, "warnings": loaded.warnings }));
    }
    let mut table = Table::new(&["NAME", "FROM", "VALUE"]);
    for setting in &loaded.effective {
        table.row([Cell::text(setting.name), Cell::text(setting.origin.to_string()), Cell::text(&setting.value)]);
    }
    output.table(&table)?;
    if !loaded.warnings.is_empty() {
        output.line("")?;
    }
    for warning in &loaded.warnings {
        output.line(format!("warning: {warning}"))?;
    }
    Ok(())
}
