//! What a Rust file of ours must look like, and what no text of ours may hold.

use std::fs;
use std::path::{Path, PathBuf};

/// A longer file is two files. About 500 is what the style asks for; this is where it ends.
const FILE_LINES_MAX: usize = 600;

/// Folders with Rust of ours, from the workspace's root.
const FOLDERS: &[&str] = &["crates", "fuzz"];

const SKIPPED_FOLDERS: &[&str] = &["target", "corpus", "artifacts", "coverage"];

/// Folders with documents and scripts; the root itself is looked at too.
const DOCUMENT_FOLDERS: &[&str] = &["", "docs", ".ci"];

/// A text that may not be there, in two parts so that this file does not hold it, and why.
type Banned = (&'static str, &'static str, &'static str);

const BANNED_CODE: &[Banned] = &[
    ("todo", "!(", "finish it, or leave it out"),
    ("unimplemented", "!(", "finish it, or leave it out"),
    ("#[ign", "ore", "a test that does not run proves nothing"),
];

const BANNED_PATHS: &[Banned] = &[
    ("/ho", "me/", "a path of somebody's machine"),
    ("/Us", "ers/", "a path of somebody's machine"),
    ("/ro", "ot/", "a path of somebody's machine"),
    ("/wo", "rk/", "a path of somebody's machine"),
];

/// Complaints about our Rust files.
pub(super) fn check(root: &Path) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        rust_files(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut complaints = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        complaints.extend(faults(&text).into_iter().map(|fault| format!("{shown}: {fault}")));
    }
    for file in DOCUMENT_FOLDERS.iter().flat_map(|folder| files_in(&root.join(folder))) {
        // What is not UTF-8 is no text.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        complaints.extend(banned(&text, BANNED_PATHS).into_iter().map(|fault| format!("{shown}: {fault}")));
    }
    Ok(complaints)
}

fn faults(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !text.lines().find(|line| !line.starts_with("#!")).is_some_and(|line| line.starts_with("//!")) {
        complaints.push("does not open with //! and its purpose".to_owned());
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        complaints.push(format!("has {lines} lines; at most {FILE_LINES_MAX}"));
    }
    complaints.extend(banned(text, BANNED_CODE));
    complaints.extend(banned(text, BANNED_PATHS));
    complaints
}

fn banned(text: &str, list: &[Banned]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (i, line) in text.lines().enumerate() {
        for (left, right, why) in list {
            if line.contains(&format!("{left}{right}")) {
                complaints.push(format!("line {}: {left}{right}: {why}", i + 1));
            }
        }
    }
    complaints
}

/// The documents and scripts in one folder. A developer's own `.env` is no text of ours.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let is_document = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        name == ".env.example" || ["md", "toml", "tsv", "lock"].contains(&extension) || name == "run"
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file() && is_document(path)).collect();
    files.sort();
    files
}

/// Rust files below `folder`, but for build output and what a fuzzer collects. A folder that is not there has none.
fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.map_err(|error| format!("{}: {error}", folder.display()))?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| !SKIPPED_FOLDERS.iter().any(|skipped| name == *skipped)) {
                rust_files(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_file_has_no_fault() {
        assert_eq!(faults("//! Purpose.\n\nfn f() {}\n"), [""; 0]);
        assert_eq!(faults("#![no_main]\n//! Purpose.\n"), [""; 0]);
    }

    #[test]
    fn faults_are_named_with_their_line() {
        assert_eq!(faults("fn f() {}\n"), ["does not open with //! and its purpose"]);
        assert_eq!(faults(&format!("//! P.\n{}", "\n".repeat(FILE_LINES_MAX))), ["has 601 lines; at most 600"]);
        let text = format!("//! P.\nfn f() {{ {}{}) }}\n", "todo", "!(");
        assert!(faults(&text)[0].starts_with("line 2: "), "{:?}", faults(&text));
        assert_eq!(faults(&format!("//! P.\n#[ign{}]\n", "ore")).len(), 1);
        assert_eq!(faults(&format!("//! P.\n\"/ho{}ann\"\n", "me/")).len(), 1);
    }
}
