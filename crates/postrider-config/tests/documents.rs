//! The generated documents are current, and what they say of defaults is true.

use std::path::Path;

use postrider_config::{Profile, SECTIONS, Sources, configuration_md, env_example, load};

#[test]
fn the_documents_in_the_repository_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (path, expected) in [("docs/configuration.md", configuration_md()), (".env.example", env_example())] {
        let found = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        assert!(found == expected, "{path} is not current: run `cargo xtask docs`");
    }
}

#[test]
fn the_example_holds_every_setting_and_its_defaults_load() {
    let uncommented: Vec<(String, String)> = env_example()
        .lines()
        .filter(|line| !line.starts_with("# "))
        .filter_map(|line| line.strip_prefix('#')?.split_once('='))
        .filter(|(name, _)| *name != "MAIL_HOSTNAME")
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(uncommented.len() + 1, SECTIONS.iter().map(|section| section.settings.len()).sum::<usize>());
    load(Profile::Serve, Sources::from_variables(uncommented)).unwrap();
}

#[test]
fn names_are_unique_and_docs_are_sentences() {
    let mut names = std::collections::BTreeSet::new();
    for setting in SECTIONS.iter().flat_map(|section| section.settings) {
        assert!(names.insert(setting.name), "{} stands twice", setting.name);
        assert!(setting.doc.ends_with('.') && !setting.doc.contains('\n'), "{}: {:?}", setting.name, setting.doc);
    }
}
