//! `cargo xtask tidy`: the rules of the house that neither rustc nor clippy knows. Each check returns its complaints, one
//! line each; all are told at once.

mod dependencies;
mod layers;
mod rfc;
mod sources;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::{cargo, docs};

/// Runs every check. Fails if any has a complaint.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    if !arguments.is_empty() {
        return Err("usage: cargo xtask tidy".to_owned());
    }
    let metadata = metadata(root)?;
    let mut complaints = Vec::new();
    complaints.extend(layers::check(&metadata));
    complaints.extend(dependencies::check(&metadata, &built(root)?));
    complaints.extend(sources::check(root)?);
    complaints.extend(rfc::check(root));
    complaints.extend(docs::stale(root).iter().map(|path| format!("{path}: not current; run `cargo xtask docs`")));
    complaints.extend(cargo_deny(root));
    for complaint in &complaints {
        println!("{complaint}");
    }
    match complaints.len() {
        0 => Ok(()),
        count => Err(format!("tidy: {count} complaints")),
    }
}

/// Everything that cargo knows of the workspace and its dependencies.
fn metadata(root: &Path) -> Result<Value, String> {
    let output = cargo()
        .current_dir(root)
        .args(["metadata", "--format-version", "1", "--locked"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err("cargo metadata failed; is Cargo.lock current?".to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// The names of all packages that are built for any platform. A lock file has more: also what a feature would need that nobody
/// turns on.
fn built(root: &Path) -> Result<BTreeSet<String>, String> {
    let output = cargo()
        .current_dir(root)
        .args(["tree", "--workspace", "--locked", "--target", "all", "--all-features", "--edges", "all"])
        .args(["--prefix", "none", "--format", "{p}"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err("cargo tree failed".to_owned());
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    Ok(lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

/// A few more checks than ours, such as yanked crates, where the tool is there. What must hold everywhere is in
/// [`dependencies`].
fn cargo_deny(root: &Path) -> Option<String> {
    let is_installed = crate::packages::find("cargo-deny").is_some();
    if !is_installed {
        println!("cargo-deny is not installed: skipped; tidy's own checks of bans, licences and sources ran");
        return None;
    }
    let status = cargo().current_dir(root).args(["deny", "check", "bans", "licenses", "sources"]).status();
    match status {
        Ok(status) if status.success() => None,
        _ => Some("cargo deny check: see above".to_owned()),
    }
}

/// The packages of a metadata document, or of one crate in a test.
fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

/// The packages of the workspace itself.
fn members(metadata: &Value) -> impl Iterator<Item = &Value> {
    let ids = metadata["workspace_members"].as_array();
    packages(metadata).filter(move |package| ids.is_some_and(|ids| ids.contains(&package["id"])))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
