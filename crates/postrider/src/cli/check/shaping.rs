//! Whether the file that says how much destinations take can be read.

use postrider_config::Settings;
use postrider_server::check_shaping_file;

use super::Finding;

const AREA: &str = "shaping";

pub(super) fn check(settings: &Settings, findings: &mut Vec<Finding>) {
    let Some(file) = &settings.shaping_file else { return };
    findings.push(match check_shaping_file(file) {
        Ok(()) => Finding::ok(AREA, format!("SHAPING_FILE {} is understood", file.display())),
        Err(error) => {
            let advice = "mend it: docs/configuration.md has its form, a line for each destination";
            Finding::fail(AREA, error.to_string(), advice)
        }
    });
}
