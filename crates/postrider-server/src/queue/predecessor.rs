//! The process that ran here before this one.
//!
//! Where many nodes share a store, the claims of a node that died go on elsewhere when its lease has lapsed, and until then it
//! counts among those who share the limits. A process that is started again need not wait so long for itself: the file in the
//! data folder names its node, locked for as long as it lives, and whoever finds the lock free knows that it is dead. A copy of the
//! folder, or one that other hosts see without the lock, tells nothing: the name counts only in this file, since this
//! start of the machine.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use postrider_store::NodeId;
use tracing::debug;

/// In the data folder.
const NAME: &str = "node";

/// What Linux calls this start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// More than a line of it has, in bytes.
const LINE_BYTES_MAX: usize = 256;

/// The file that names this process's node. It is empty-handed where another process has it, or the folder takes none:
/// then a lease lapses as elsewhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeFile(Option<Arc<Locked>>);

#[derive(Debug)]
struct Locked {
    file: File,
    /// This file and no copy of it, on this machine since it was started.
    place: String,
}

impl NodeFile {
    /// Takes the file over from the process that had it, with the node of that process.
    pub(crate) fn take_over(data_dir: &Path) -> (Self, Option<NodeId>) {
        match Locked::open(&data_dir.join(NAME)) {
            Ok(locked) => {
                let node = locked.read();
                (Self(Some(Arc::new(locked))), node)
            }
            Err(error) => {
                debug!(%error, "which node ran here before is not known");
                (Self(None), None)
            }
        }
    }

    /// Notes this process's node, before the store knows of it.
    pub(crate) fn note(&self, node: NodeId) {
        if let Some(locked) = &self.0
            && let Err(error) = locked.write(node)
        {
            debug!(%error, "the node of this process could not be noted");
        }
    }
}

impl Locked {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        file.try_lock()?;
        let metadata = file.metadata()?;
        let boot = std::fs::read_to_string(BOOT_ID)?;
        let place = format!("{} {}:{}", boot.trim(), metadata.dev(), metadata.ino());
        Ok(Self { file, place })
    }

    /// The node that was noted in this very place.
    fn read(&self) -> Option<NodeId> {
        let mut line = [0; LINE_BYTES_MAX];
        let length = self.file.read_at(&mut line, 0).ok()?;
        let line = std::str::from_utf8(line.get(..length)?).ok()?.lines().next()?;
        let (node, place) = line.split_once(' ')?;
        if place == self.place { node.parse().ok() } else { None }
    }

    fn write(&self, node: NodeId) -> io::Result<()> {
        self.file.write_all_at(format!("{node} {}\n", self.place).as_bytes(), 0)
    }
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
        let copy = tempfile::TempDir::new().unwrap();
        std::fs::copy(folder.path().join(NAME), copy.path().join(NAME)).unwrap();
        assert_eq!(NodeFile::take_over(copy.path()).1, None, "it lives, elsewhere");
        drop(file);
        assert_eq!(take_over().1, Some(second));
        assert_eq!(NodeFile::take_over(&folder.path().join("missing")).1, None);
    }
}
