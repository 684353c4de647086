//! Imports point only downward. A crate may have only these edges, and every crate takes the workspace's lints.

use std::fs;

use serde_json::Value;

use super::{members, text};

/// What a crate may import of ours: in its code, and beyond that in its tests.
struct Layer {
    name: &'static str,
    imports: &'static [&'static str],
    test_imports: &'static [&'static str],
}

const fn layer(name: &'static str, imports: &'static [&'static str], test_imports: &'static [&'static str]) -> Layer {
    Layer { name, imports, test_imports }
}

/// The house, lowest first. A crate that is not here is refused: its place must be thought about first.
const LAYERS: &[Layer] = &[
    layer("postrider-wire", &[], &[]),
    layer("postrider-core", &["postrider-wire"], &[]),
    layer("postrider-config", &["postrider-core"], &[]),
    layer("postrider-store", &["postrider-core"], &[]),
    layer("postrider-store-mongo", &["postrider-store", "postrider-core"], &["postrider-testkit"]),
    layer(
        "postrider-server",
        &["postrider-config", "postrider-store", "postrider-core", "postrider-wire"],
        &["postrider-testkit"],
    ),
    layer("postrider-web", &["postrider-config", "postrider-store", "postrider-core"], &["postrider-testkit"]),
    layer(
        "postrider",
        &[
            "postrider-config",
            "postrider-core",
            "postrider-server",
            "postrider-store",
            "postrider-store-mongo",
            "postrider-web",
            "postrider-wire",
        ],
        &["postrider-testkit"],
    ),
    layer(
        "postrider-testkit",
        &[
            "postrider",
            "postrider-config",
            "postrider-core",
            "postrider-server",
            "postrider-store",
            "postrider-store-mongo",
            "postrider-wire",
        ],
        &[],
    ),
    layer("xtask", &["postrider-config", "postrider-core"], &[]),
];

/// Complaints about edges, lints and editions.
pub(super) fn check(metadata: &Value) -> Vec<String> {
    let ours: Vec<&str> = members(metadata).map(|package| text(package, "name")).collect();
    let mut complaints = Vec::new();
    for package in members(metadata) {
        let name = text(package, "name");
        match LAYERS.iter().find(|layer| layer.name == name) {
            Some(layer) => complaints.extend(refused_edges(package, layer, &ours)),
            None => complaints.push(format!("{name}: not in the table of layers in crates/xtask/src/tidy/layers.rs")),
        }
        complaints.extend(manifest_faults(package));
    }
    complaints
}

fn refused_edges(package: &Value, layer: &Layer, ours: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let to = text(dependency, "name");
        if !ours.contains(&to) {
            continue;
        }
        let is_test = dependency["kind"].as_str() == Some("dev");
        let allowed = layer.imports.contains(&to) || (is_test && layer.test_imports.contains(&to));
        if !allowed {
            complaints.push(format!("{}: may not import {to}; imports point only downward", layer.name));
        }
    }
    complaints
}

fn manifest_faults(package: &Value) -> Vec<String> {
    let path = text(package, "manifest_path");
    let manifest = fs::read_to_string(path).unwrap_or_default();
    let mut complaints = Vec::new();
    if !has_workspace_lints(&manifest) {
        complaints.push(format!("{}: Cargo.toml lacks `[lints] workspace = true`", text(package, "name")));
    }
    if text(package, "edition") != "2024" {
        complaints.push(format!("{}: the edition is not the workspace's", text(package, "name")));
    }
    complaints
}

fn has_workspace_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    lines.by_ref().take_while(|line| !line.starts_with('[')).any(|line| line == "workspace = true")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complaints(name: &str, to: &str, kind: Option<&str>) -> Vec<String> {
        let layer = LAYERS.iter().find(|layer| layer.name == name).unwrap();
        let package = json!({ "name": name, "dependencies": [{ "name": to, "kind": kind }, { "name": "serde" }] });
        refused_edges(&package, layer, &["postrider-web", "postrider-server", "postrider-testkit", "postrider-core"])
    }

    #[test]
    fn edges_upward_are_refused() {
        assert_eq!(complaints("postrider-server", "postrider-core", None), [""; 0]);
        assert_eq!(
            complaints("postrider-web", "postrider-server", None),
            ["postrider-web: may not import postrider-server; imports point only downward"]
        );
        assert_eq!(complaints("postrider-web", "postrider-testkit", Some("dev")), [""; 0]);
        assert_eq!(complaints("postrider-web", "postrider-testkit", None).len(), 1);
        assert_eq!(complaints("postrider-core", "postrider-web", Some("build")).len(), 1);
    }

    #[test]
    fn the_table_itself_points_downward() {
        // The testkit stands above the binary; everything else imports only what stands before it.
        for (i, layer) in LAYERS.iter().enumerate() {
            for import in layer.imports {
                assert!(LAYERS[..i].iter().any(|lower| lower.name == *import), "{} -> {import}", layer.name);
            }
        }
    }

    #[test]
    fn lints_must_come_from_the_workspace() {
        assert!(has_workspace_lints("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"));
        assert!(!has_workspace_lints("[package]\nedition.workspace = true\n"));
        assert!(!has_workspace_lints("[lints]\n[dependencies]\nworkspace = true\n"));
    }
}
