//! The server that the tests of the MongoDB engine talk to: built from source once a machine, because Debian has no package
//! of any. It stays a program of its own, outside the clone: nothing of ours is linked with it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages::{self, Part, Tool};

const CRATE: &str = "secantus-mdb";
const VERSION: &str = "0.5.3-beta.196";
const BINARY: &str = "bin/secantusd-rs";

/// What building it takes, beside Rust and the C compiler that Postrider itself needs.
const TOOLS: &[Tool] = &[
    Tool { part: Part::Program("cmake"), package: "cmake" },
    Tool { part: Part::Program("g++"), package: "g++" },
    Tool { part: Part::Program("make"), package: "make" },
];

/// Builds and installs the server where the tests look for it, unless it is there or the tests are told of another.
pub(crate) fn install() -> Result<(), String> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let Some(folder) = folder(variable)? else { return Ok(()) };
    if folder.join(BINARY).is_file() {
        return Ok(());
    }
    packages::install(TOOLS)?;
    println!("building the MongoDB test server, once a machine: about 8 minutes of processor time");
    let cannot = |error: std::io::Error| format!("{}: {error}", folder.display());
    let parent = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(cannot)?;
    // Built beside its place and moved there whole: an interrupted build leaves nothing that looks like a server.
    let building = tempfile::Builder::new().prefix("building-").tempdir_in(parent).map_err(cannot)?;
    let root = building.path().join("root");
    let status = build(building.path(), &root).status().map_err(|error| format!("cargo install: {error}"))?;
    if !status.success() {
        return Err(format!("the MongoDB test server {CRATE} {VERSION} cannot be built; see above"));
    }
    match fs::rename(&root, &folder) {
        // Another run was faster.
        Err(_) if folder.join(BINARY).is_file() => Ok(()),
        moved => moved.map_err(cannot),
    }
}

/// The program of the server. `None` where the tests are told of a server that runs already.
pub(crate) fn program() -> Result<Option<PathBuf>, String> {
    program_among(|name| env::var_os(name).filter(|value| !value.is_empty()))
}

fn program_among(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<PathBuf>, String> {
    if variable("MONGODB_TEST_URL").is_some() {
        return Ok(None);
    }
    match variable("POSTRIDER_TEST_MONGOD") {
        Some(program) => Ok(Some(program.into())),
        None => Ok(folder(variable)?.map(|folder| folder.join(BINARY))),
    }
}

/// The command that builds it in `folder` and installs it into `root`.
fn build(folder: &Path, root: &Path) -> Command {
    let mut command = crate::cargo();
    command
        .args(["install", CRATE, "--version", VERSION, "--locked", "--ignore-rust-version", "--root"])
        .arg(root)
        // Neither our settings of cargo nor our target folder: what is built there is another program.
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("RUSTFLAGS")
        // Its own profile takes twice the time, for a speed that tests do not need.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    command
}

/// Where it is to be. `None` where the tests do not need it.
fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<PathBuf>, String> {
    if variable("MONGODB_TEST_URL").is_some() || variable("POSTRIDER_TEST_MONGOD").is_some() {
        return Ok(None);
    }
    let cache = match (variable("XDG_CACHE_HOME"), variable("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache"),
        (None, None) => return Err("HOME is not set; it says where the MongoDB test server is kept".to_owned()),
    };
    Ok(Some(cache.join("postrider").join(format!("{CRATE}-{VERSION}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(variables: &[(&str, &str)]) -> Result<Option<PathBuf>, String> {
        folder(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn it_is_kept_in_the_folder_for_caches() {
        let kept = |variables: &[(&str, &str)]| folder_with(variables).unwrap().unwrap();
        let name = format!("postrider/{CRATE}-{VERSION}");
        assert_eq!(kept(&[("HOME", "/h")]), Path::new("/h/.cache").join(&name));
        assert_eq!(kept(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), Path::new("/c").join(&name));
        assert!(folder_with(&[]).is_err());
    }

    #[test]
    fn the_program_is_the_one_that_the_tests_start() {
        let program = |variables: &[(&str, &str)]| {
            program_among(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
        };
        let cached = format!("/h/.cache/postrider/{CRATE}-{VERSION}/{BINARY}");
        assert_eq!(program(&[("HOME", "/h")]), Ok(Some(cached.into())));
        let named = [("HOME", "/h"), ("POSTRIDER_TEST_MONGOD", "/opt/mongod")];
        assert_eq!(program(&named), Ok(Some("/opt/mongod".into())));
        assert_eq!(program(&[named[1], ("MONGODB_TEST_URL", "mongodb://db")]), Ok(None));
    }

    #[test]
    fn where_the_tests_are_told_of_another_server_none_is_built() {
        for variable in ["MONGODB_TEST_URL", "POSTRIDER_TEST_MONGOD"] {
            assert_eq!(folder_with(&[("HOME", "/h"), (variable, "x")]), Ok(None));
        }
    }

    #[test]
    fn the_tests_look_where_it_is_installed() {
        let testkit = include_str!("../../postrider-testkit/src/mongo.rs");
        assert!(testkit.contains(&format!("\"postrider/{CRATE}-{VERSION}/{BINARY}\"")));
    }

    #[test]
    fn it_is_built_apart_from_postrider() {
        let command = build(Path::new("/b"), Path::new("/b/root"));
        let target = command.get_envs().find(|(name, _)| *name == "CARGO_TARGET_DIR");
        assert_eq!(target.unwrap().1, Some("/b/target".as_ref()));
        assert_eq!(command.get_current_dir(), Some(Path::new("/b")));
    }
}
