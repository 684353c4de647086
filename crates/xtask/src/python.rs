//! The Python packages that judge what Postrider says and that Debian does not have: in an environment of their own, made once a
//! machine in the folder for caches.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages::{self, Part, Tool};

/// Each with its version. Whoever changes one raises the number in [`FOLDER`].
const PACKAGES: &[&str] = &["standardwebhooks==1.0.0", "schemathesis==4.32.5"];

/// Of these only files are used: what they need besides is not installed. The first has axe-core, the judge of accessibility.
const FILES: &[&str] = &["axe-playwright-python==0.1.8"];

/// In the folder for caches.
const FOLDER: &str = "postrider/python-3";

const TOOLS: &[Tool] = &[Tool { part: Part::PythonModule("ensurepip"), package: "python3-venv" }];

const DEBIAN_PYTHON: &str = "/usr/bin/python3";

/// Makes the environment where the tests look for it, unless it is there.
pub(crate) fn install() -> Result<(), String> {
    let folder = folder(|name| env::var_os(name).filter(|value| !value.is_empty()))?;
    if folder.join("bin/python").exists() {
        return Ok(());
    }
    packages::install(TOOLS)?;
    println!("installing {} for the tests, once a machine", PACKAGES.join(", "));
    let cannot = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder.parent().unwrap_or(Path::new("."))).map_err(cannot)?;
    // Environments cannot be moved: one that was not finished is made anew.
    let made = run(Command::new(DEBIAN_PYTHON).args(["-m", "venv", "--clear"]).arg(&folder))
        && run(Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))
        && run(Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .args(FILES));
    if made {
        return Ok(());
    }
    let _ = fs::remove_dir_all(&folder);
    Err(format!("{} cannot be installed; see above", PACKAGES.join(", ")))
}

fn run(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

fn folder(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<PathBuf, String> {
    match (variable("XDG_CACHE_HOME"), variable("HOME")) {
        (Some(cache), _) => Ok(PathBuf::from(cache).join(FOLDER)),
        (None, Some(home)) => Ok(PathBuf::from(home).join(".cache").join(FOLDER)),
        (None, None) => Err("HOME is not set; it says where Python packages for the tests are kept".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_look_where_it_is_installed() {
        let support = include_str!("../../postrider/tests/it/support.rs");
        assert!(support.contains(&format!("\"{FOLDER}/bin/python\"")));
    }
}
