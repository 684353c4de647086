//! `docs/rfc.tsv`: the standards that rule Postrider, and how far each is kept. The table must stay readable by programs.

use std::fs;
use std::path::Path;

const HEAD: &str = "rfc\tsections\ttitle\tstatus\troom\tnote";
const STATUSES: &[&str] = &["implemented", "partly", "later"];

/// Complaints about the table.
pub(super) fn check(root: &Path) -> Vec<String> {
    let text = fs::read_to_string(root.join("docs/rfc.tsv")).unwrap_or_default();
    let is_room = |room: &str| root.join("crates").join(room).is_dir();
    faults(&text, is_room).into_iter().map(|fault| format!("docs/rfc.tsv: {fault}")).collect()
}

fn faults(text: &str, is_room: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, line)| line) != Some(HEAD) {
        return vec![format!("the first line is not {HEAD:?}")];
    }
    let mut complaints = Vec::new();
    let mut last = (0, "");
    for (i, line) in lines {
        let mut complain = |what: &str| complaints.push(format!("line {}: {what}", i + 1));
        let [rfc, sections, title, status, room, _note] = line.split('\t').collect::<Vec<_>>()[..] else {
            complain("there are not 6 columns");
            continue;
        };
        let number = rfc.parse::<u32>().unwrap_or_default();
        if number == 0 || title.is_empty() || sections.is_empty() {
            complain("number, sections or title is missing");
        }
        if !STATUSES.contains(&status) {
            complain(&format!("the status {status:?} is none of {}", STATUSES.join(", ")));
        }
        // A later standard may belong to a room that is not built yet.
        if status != "later" && !is_room(room) {
            complain(&format!("{room:?} is no crate"));
        }
        if number < last.0 || (number, sections) == last {
            complain("out of order, or twice");
        }
        last = (number, sections);
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(rows: &str) -> usize {
        faults(&format!("{HEAD}\n{rows}"), |room| room == "wire").len()
    }

    #[test]
    fn good_rows() {
        assert_eq!(count("1870\tall\tSIZE\timplemented\twire\t\n5321\t4.1\tSMTP\tpartly\twire\tno relay\n"), 0);
        assert_eq!(count("5321\t4.1\tSMTP\tpartly\twire\t\n5321\t4.2\tSMTP\tpartly\twire\t\n"), 0);
    }

    #[test]
    fn bad_rows() {
        for row in [
            "5321\t4.1\tSMTP\tpartly\twire",
            "x\t4.1\tSMTP\tpartly\twire\t",
            "5321\t4.1\tSMTP\tdone\twire\t",
            "5321\t4.1\tSMTP\tpartly\tcellar\t",
            "5321\t4.1\tSMTP\tlater\twire\t\n1870\tall\tSIZE\tlater\twire\t",
            "5321\t4.1\tSMTP\tlater\twire\t\n5321\t4.1\tSMTP\tlater\twire\t",
        ] {
            assert_eq!(count(row), 1, "{row:?}");
        }
        assert_eq!(faults("", |_| true).len(), 1);
    }
}
