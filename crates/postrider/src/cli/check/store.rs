//! Whether the store opens and can be written. A store that is not there yet is not made: the server makes it, as the
//! user that it runs as.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use postrider_config::Settings;

use super::Finding;
use crate::cli::context;

const AREA: &str = "store";

pub(super) async fn check(settings: &Settings, findings: &mut Vec<Finding>) {
    let data_dir = &settings.data_dir;
    let existing = nearest_existing(data_dir);
    if let Err(error) = try_writing(&existing) {
        findings.push(Finding::fail(
            AREA,
            format!("{} cannot be written: {error}", existing.display()),
            "run this as the user of the server; give that user the folder, or set DATA_DIR to another",
        ));
        return;
    }
    if !context::store_exists(settings) {
        let message = format!("there is none in {} yet; the server makes it when it starts", data_dir.display());
        findings.push(Finding::ok(AREA, message));
        return;
    }
    let opened = context::open_store(settings);
    let health = match &opened {
        Ok(store) => store.health().await.map_err(|error| error.to_string()),
        Err(failure) => Err(failure.message().unwrap_or("it does not open").to_owned()),
    };
    match health {
        Ok(health) => {
            let size = health.size_bytes.map(|bytes| format!(", {bytes} bytes")).unwrap_or_default();
            findings.push(Finding::ok(AREA, format!("{} in {} is well{size}", health.engine, data_dir.display())));
        }
        Err(error) => findings.push(Finding::fail(
            AREA,
            format!("the store in {} does not answer: {error}", data_dir.display()),
            "look at owner and free space of the folder; restore a backup if the database is damaged",
        )),
    }
}

/// The folder itself, or the one in which it would be made.
fn nearest_existing(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    absolute.ancestors().find(|ancestor| ancestor.exists()).map_or(absolute.clone(), Path::to_owned)
}

/// Makes a file and removes it: permission bits alone do not tell of read-only and full file systems.
fn try_writing(folder: &Path) -> io::Result<()> {
    let file = folder.join(format!(".postrider-check-{}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).open(&file)?;
    fs::remove_file(&file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_where_the_folder_would_be_made() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(nearest_existing(&folder.path().join("a/b/c")), folder.path());
        assert_eq!(nearest_existing(folder.path()), folder.path());
        try_writing(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(try_writing(&folder.path().join("none")).is_err());
    }
}
