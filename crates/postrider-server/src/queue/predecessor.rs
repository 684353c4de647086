//! The process that ran here before this one.
//!
//! Where many nodes share a store, the claims of a node that died go on elsewhere when its lease has lapsed, and until then it
//! counts among those who share the limits. A process that is started again need not wait so long for itself: the file in the
//! data folder names its node, locked for as long as it lives, and whoever finds the lock free knows that it is dead.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use postrider_store::NodeId;
use tracing::debug;

/// In the data folder.
const NAME: &str = "node";

/// The text of an id, in bytes.
const ID_BYTES: usize = 24;

/// The file that names this process's node. It is empty-handed where another process has it, or the folder takes none:
/// then a lease lapses as elsewhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeFile(Option<Arc<File>>);

impl NodeFile {
    /// Takes the file over from the process that had it, with the node of that process.
    pub(crate) fn take_over(data_dir: &Path) -> (Self, Option<NodeId>) {
        match lock(&data_dir.join(NAME)) {
            Ok(file) => {
                let mut text = [0; ID_BYTES];
                let read = file.read_exact_at(&mut text, 0);
                let node = read.ok().and_then(|()| std::str::from_utf8(&text).ok()?.parse().ok());
                (Self(Some(Arc::new(file))), node)
            }
            Err(error) => {
                debug!(%error, "which node ran here before is not known");
                (Self(None), None)
            }
        }
    }

    /// Notes this process's node, before the store knows of it.
    pub(crate) fn note(&self, node: NodeId) {
        let Some(file) = &self.0 else { return };
        if let Err(error) = file.write_all_at(node.to_string().as_bytes(), 0) {
            debug!(%error, "the node of this process could not be noted");
        }
    }
}

fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    file.try_lock()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use postrider_core::{ObjectId, Timestamp};

    use super::*;

    #[test]
    fn a_process_learns_who_died_here() {
        let folder = tempfile::TempDir::new().unwrap();
        let take_over = || NodeFile::take_over(folder.path());
        let (file, predecessor) = take_over();
        assert_eq!(predecessor, None);
        let [first, second] = [1, 2].map(|n| ObjectId::new(Timestamp::from_millis(n)));
        file.note(first);
        file.note(second);
        let (beside, living) = take_over();
        assert_eq!(living, None, "it lives");
        beside.note(first);
        drop(file);
        assert_eq!(take_over().1, Some(second));
        assert_eq!(NodeFile::take_over(&folder.path().join("missing")).1, None);
    }
}
