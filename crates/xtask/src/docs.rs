//! `cargo xtask docs`: writes what is generated from the code, or tells whether it is current.

use std::fs;
use std::path::Path;

use crate::cargo;

/// What other crates print of themselves: the file, the package and its example. This tool is built without them; a test of
/// each package sees to it that its file is current.
const PRINTED: &[(&str, &str, &str)] =
    &[("docs/openapi.json", "postrider-web", "openapi"), ("docs/metrics.md", "postrider-core", "metrics")];

/// A generated file: its path from the workspace's root, and its text as it should be.
pub(crate) fn generated() -> [(&'static str, String); 3] {
    [
        ("docs/configuration.md", postrider_config::configuration_md()),
        (".env.example", postrider_config::env_example()),
        ("docs/search.md", postrider_core::query::document()),
    ]
}

/// Writes every generated file, or with `--check` fails if one is not current.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    match arguments {
        [] => {
            generated().into_iter().try_for_each(|(path, text)| write(&root.join(path), &text))?;
            PRINTED
                .iter()
                .try_for_each(|(path, package, example)| write(&root.join(path), &printed(root, package, example)?))
        }
        [option] if option == "--check" => match stale(root).as_slice() {
            [] => Ok(()),
            paths => Err(format!("not current: {}; run `cargo xtask docs`", paths.join(", "))),
        },
        _ => Err("usage: cargo xtask docs [--check]".to_owned()),
    }
}

/// The generated files that are not current.
pub(crate) fn stale(root: &Path) -> Vec<&'static str> {
    let is_current = |path: &str, text: &str| fs::read_to_string(root.join(path)).is_ok_and(|found| found == text);
    generated().into_iter().filter(|(path, text)| !is_current(path, text)).map(|(path, _)| path).collect()
}

fn printed(root: &Path, package: &str, example: &str) -> Result<String, String> {
    let mut command = cargo();
    command.current_dir(root).args(["run", "--quiet", "--package", package, "--example", example]);
    let output = command.output().map_err(|error| format!("cargo run: {error}"))?;
    if !output.status.success() {
        return Err(format!("the example {example} of {package}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("the example {example} of {package}: {error}"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let refuse = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(refuse)?;
    }
    fs::write(path, text).map_err(refuse)
}
