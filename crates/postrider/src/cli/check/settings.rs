//! Whether the settings can be read and go together.

use std::path::Path;

use postrider_config::{Profile, Settings, Sources, load};

use super::Finding;

const AREA: &str = "settings";

pub(super) fn check(profile: Profile, findings: &mut Vec<Finding>) -> Option<Settings> {
    match Sources::from_process(Path::new(".")).and_then(|sources| load(profile, sources)) {
        Ok(loaded) => {
            let count = loaded.effective.len();
            findings.push(Finding::ok(AREA, format!("all {count} are understood")));
            for warning in loaded.warnings {
                findings.push(Finding::warn(AREA, warning, "postrider config shows where each setting comes from"));
            }
            Some(loaded.settings)
        }
        Err(errors) => {
            for error in errors.0 {
                let advice = "mend it in the environment or in .env; docs/configuration.md lists all settings";
                findings.push(Finding::fail(AREA, error.to_string(), advice));
            }
            None
        }
    }
}
