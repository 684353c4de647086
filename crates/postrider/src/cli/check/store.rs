//! Whether the store opens and can be written. An embedded one that is not there yet is not made: the server makes it, as
//! the user that it runs as.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use postrider::Engine;
use postrider_config::Settings;
use postrider_core::Timestamp;
use postrider_store::{SqliteOptions, StoreError, StoreHealth};

use super::Finding;

const AREA: &str = "store";

/// With less, the next checkpoint or a few large messages fill the disk.
const FREE_BYTES_MIN: u64 = 64 << 20;
/// So many messages of the largest size must fit: the log, the database and the queue hold copies of one for a time.
const FREE_MESSAGES_MIN: u64 = 4;
/// With less, somebody should look before a busy day does.
const FREE_BYTES_WARNING: u64 = 1 << 30;

/// What the trial write holds: a file system without free blocks takes an empty file well.
const TRIAL_BYTES: usize = 16 << 10;

/// A larger database is read for damage only when that is asked for: it takes long.
const VERIFY_BYTES_MAX: u64 = 2 << 30;

const SPACE_ADVICE: &str =
    "without space no mail is taken: free some, make the file system larger, or move DATA_DIR to another";
const DAMAGE_ADVICE: &str = "stop the server and restore a backup; without one, save what can be read: \
     sqlite3 postrider.db .recover | sqlite3 recovered.db";

const MONGODB_ADVICE: &str = "MONGODB_URL must name a MongoDB 7 or later that can be reached from here, and a user who \
     may read and write there; it must be a replica set, also with one member: start mongod with --replSet rs0 and run \
     rs.initiate() in mongosh once";

pub(super) async fn check(settings: &Settings, full: bool, findings: &mut Vec<Finding>) {
    let existing = nearest_existing(&settings.data_dir);
    if let Err(error) = try_writing(&existing) {
        findings.push(Finding::fail(
            AREA,
            format!("{} cannot be written: {error}", existing.display()),
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SPACE_ADVICE,
                _ => "run this as the user of the server; give that user the folder, or set DATA_DIR to another",
            },
        ));
        return;
    }
    match Engine::of(settings) {
        Engine::Sqlite(options) => {
            findings.push(match free_bytes(&existing) {
                Ok(bytes) => judge_space(&existing, bytes, settings.max_email_size_bytes),
                Err(error) => Finding::warn(
                    AREA,
                    format!("the free space where {} is cannot be told: {error}", existing.display()),
                    "look at it with df",
                ),
            });
            findings.push(embedded(options, full).await);
        }
        // It needs little space here: certificates and keys.
        engine @ Engine::Mongodb(_) => match mongodb(engine).await {
            Ok(found) => findings.extend(found),
            Err(error) => findings.push(unusable(&error)),
        },
    }
}

async fn embedded(options: SqliteOptions, full: bool) -> Finding {
    let data_dir = options.path.clone();
    if !options.exists() {
        let message = format!("there is none in {} yet; the server makes it when it starts", data_dir.display());
        return Finding::ok(AREA, message);
    }
    let is_verified = full || options.size_bytes() <= VERIFY_BYTES_MAX;
    if is_verified && let Err(error) = options.verify() {
        return broken(&data_dir, &error);
    }
    let health = async { Engine::Sqlite(options).open_beside().await?.health().await };
    match health.await {
        Ok(health) => {
            let depth =
                if is_verified { "" } else { "; not read for damage, being large: postrider check --full does" };
            Finding::ok(AREA, format!("{} in {} is well{}{depth}", health.engine, data_dir.display(), size(&health)))
        }
        Err(error) => Finding::fail(
            AREA,
            format!("the store in {} does not answer: {error}", data_dir.display()),
            "look at owner and free space of the folder; restore a backup if the database is damaged",
        ),
    }
}

/// Opening looks at the server's version and kind, and at the schema; health reads and writes.
async fn mongodb(engine: Engine) -> Result<Vec<Finding>, StoreError> {
    let shown = engine.to_string();
    let store = engine.open_beside().await?;
    let health = store.health().await?;
    let nodes = store.nodes(Timestamp::system()).await?;
    store.close().await?;
    let mut hosts: Vec<&str> = nodes.iter().map(|node| node.host.as_str()).collect();
    hosts.sort_unstable();
    let running = match hosts.len() {
        0 => "no node runs on it now".to_owned(),
        1 => format!("one node runs on it: {}", hosts.join(", ")),
        count => format!("{count} nodes run on it: {}", hosts.join(", ")),
    };
    Ok(vec![Finding::ok(AREA, format!("{shown} is well{}", size(&health))), Finding::ok(AREA, running)])
}

/// A MongoDB that a server could not use either.
fn unusable(error: &StoreError) -> Finding {
    let advice = match error {
        StoreError::Corrupt(_) => "use the newest Postrider of all that use this database",
        StoreError::Full(_) => "without space no mail is taken: make room where MongoDB keeps its data",
        StoreError::Overloaded
        | StoreError::Unavailable(_)
        | StoreError::Exists(_)
        | StoreError::Missing(_)
        | StoreError::OverQuota
        | StoreError::Limit(_) => MONGODB_ADVICE,
    };
    Finding::fail(AREA, format!("MONGODB_URL: {error}"), advice)
}

fn size(health: &StoreHealth) -> String {
    health.size_bytes.map(|bytes| format!(", {bytes} bytes")).unwrap_or_default()
}

/// A database that could not be read through.
fn broken(data_dir: &Path, error: &StoreError) -> Finding {
    let shown = data_dir.display();
    match error {
        StoreError::Corrupt(what) => {
            Finding::fail(AREA, format!("the database in {shown} is damaged: {what}"), DAMAGE_ADVICE)
        }
        _ => Finding::fail(
            AREA,
            format!("the database in {shown} cannot be read: {error}"),
            "look at owner and mode of its files; run this as the user of the server",
        ),
    }
}

/// What users without privileges may still write.
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(folder)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

fn judge_space(folder: &Path, free_bytes: u64, email_size_bytes_max: usize) -> Finding {
    let email_size_bytes_max = u64::try_from(email_size_bytes_max).unwrap_or(u64::MAX);
    let bytes_min = FREE_BYTES_MIN.max(email_size_bytes_max.saturating_mul(FREE_MESSAGES_MIN));
    let message = format!("{} MiB are free where {} is", free_bytes >> 20, folder.display());
    if free_bytes < bytes_min {
        let message = format!("{message}; it takes {} at least", bytes_min >> 20);
        return Finding::fail(AREA, message, SPACE_ADVICE);
    }
    if free_bytes < FREE_BYTES_WARNING {
        Finding::warn(AREA, message, SPACE_ADVICE)
    } else {
        Finding::ok(AREA, message)
    }
}

/// The folder itself, or the one in which it would be made.
fn nearest_existing(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    absolute.ancestors().find(|ancestor| ancestor.exists()).map_or(absolute.clone(), Path::to_owned)
}

/// Writes a file to the disk and removes it: permission bits alone do not tell of read-only and full file systems.
fn try_writing(folder: &Path) -> io::Result<()> {
    let file = folder.join(format!(".postrider-check-{}", std::process::id()));
    let mut trial = OpenOptions::new().write(true).create_new(true).open(&file)?;
    // Some file systems look for a place only when they must.
    let written = trial.write_all(&[0x5a; TRIAL_BYTES]).and_then(|()| trial.sync_all());
    drop(trial);
    let removed = fs::remove_file(&file);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn space_must_suffice_for_the_largest_messages() {
        let level = |free_bytes, email_mib: usize| judge_space(Path::new("/data"), free_bytes, email_mib << 20).level;
        assert_eq!(level(0, 1), Level::Fail);
        assert_eq!(level(64 * MIB - 1, 1), Level::Fail);
        assert_eq!(level(64 * MIB, 1), Level::Warn);
        assert_eq!(level(399 * MIB, 100), Level::Fail);
        assert_eq!(level(400 * MIB, 100), Level::Warn);
        assert_eq!(level(1024 * MIB, 100), Level::Ok);
        assert!(free_bytes(Path::new("/")).is_ok() && free_bytes(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn looks_where_the_folder_would_be_made() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(nearest_existing(&folder.path().join("a/b/c")), folder.path());
        assert_eq!(nearest_existing(folder.path()), folder.path());
        try_writing(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(try_writing(&folder.path().join("none")).is_err());
    }
}
