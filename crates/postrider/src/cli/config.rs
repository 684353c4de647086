//! `postrider config`: the effective settings, secrets masked.

use postrider::administration::settings_view;
use postrider_config::Profile;

use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::table::{Cell, Table};

pub(super) fn run(profile: Profile, output: &mut Output) -> Result<(), Failure> {
    let loaded = context::load(profile)?;
    if output.is_json() {
        return output.json(&settings_view(&loaded));
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
