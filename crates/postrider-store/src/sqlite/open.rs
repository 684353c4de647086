//! Opening the database: its folder, its lock, its connections.

use std::fs::{DirBuilder, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{schema, search};
use crate::error::StoreError;

/// The database within `DATA_DIR`; SQLite keeps its log and index beside it.
const DATABASE_FILE: &str = "postrider.db";

/// What is written and not yet in the database.
const LOG_FILE: &str = "postrider.db-wal";

/// Held by the process that sends.
const LOCK_FILE: &str = "postrider.lock";

/// Pages are this large: a compressed message of ordinary size fits one.
const PAGE_BYTES: u32 = 8_192;

/// How long another process may hold the database before a call gives up.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a starting server waits for the lock: a command line holds it while it brings an older database up to date,
/// and so does a server that is about to end.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// How long it waits before it tries the lock again.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The log is cut down to this after a checkpoint that emptied it.
const LOG_BYTES_KEPT: u32 = 64 << 20;

/// Memory for pages: the writer's holds the ends of all b-trees, a reader's little more than what one read touches.
const WRITER_CACHE_KIB: u32 = 16 << 10;
const READER_CACHE_KIB: u32 = 2 << 10;

/// Prepared statements that a connection keeps.
const STATEMENTS_KEPT: usize = 128;

/// How to open the store.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The folder (`DATA_DIR`); it is made if it is not there.
    pub path: PathBuf,
    /// Writes, and likewise reads, that wait at most; one more is answered [`StoreError::Overloaded`].
    pub waiting_max: usize,
    /// The database grows to this at most, the log not counted, in bytes; a write that needs more is answered
    /// [`StoreError::Full`].
    pub size_bytes_max: Option<u64>,
    /// Reads at once.
    pub readers: usize,
}

impl SqliteOptions {
    pub const WAITING_MAX: usize = 4_096;
    pub const READERS: usize = 4;

    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), waiting_max: Self::WAITING_MAX, size_bytes_max: None, readers: Self::READERS }
    }

    /// Whether there is a store to open.
    pub fn exists(&self) -> bool {
        self.path.join(DATABASE_FILE).exists()
    }

    /// How large the database is on the disk, its log and the full-text index included, in bytes; 0 where there is none.
    pub fn size_bytes(&self) -> u64 {
        let files = [DATABASE_FILE, LOG_FILE, search::INDEX_FILE].map(|name| std::fs::metadata(self.path.join(name)));
        files.iter().flatten().map(std::fs::Metadata::len).sum()
    }

    /// Reads the whole database, beside a running server if there is one, and looks for damage; changes nothing. Takes as
    /// long as reading the file does.
    ///
    /// [`StoreError::Corrupt`] with the first damage found.
    pub fn verify(&self) -> Result<(), StoreError> {
        let connection = connect(&self.path, May::Open)?;
        connection.pragma_update(None, "query_only", true)?;
        // The last connection to go would otherwise write the log into what may be damaged.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let first: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if first == "ok" { Ok(()) } else { Err(StoreError::Corrupt(first)) }
    }
}

/// What an open store is made of.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) checkpoint: Connection,
    pub(super) readers: Vec<Connection>,
}

/// Takes the lock of the process that sends.
pub(super) fn lock(options: &SqliteOptions) -> Result<File, StoreError> {
    make_folder(&options.path)?;
    let started = Instant::now();
    loop {
        if let Some(lock) = try_lock(&options.path)? {
            return Ok(lock);
        }
        if started.elapsed() >= LOCK_WAIT {
            return Err(StoreError::Unavailable(format!(
                "another Postrider is running on {}: stop it first, or set DATA_DIR to another folder",
                options.path.display()
            )));
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

/// Opens the connections of the process that holds the lock, and brings the schema up to date.
pub(super) fn open(options: &SqliteOptions) -> Result<Opened, StoreError> {
    let mut writer = connect(&options.path, May::Create)?;
    schema::migrate(&mut writer)?;
    search::prepare(&options.path, &writer, true)?;
    let opened = connections(options, writer)?;
    opened.readers.iter().try_for_each(|reader| search::attach(reader, &options.path))?;
    Ok(opened)
}

/// Opens the connections of a process beside the one that may hold the lock.
pub(super) fn open_shared(options: &SqliteOptions) -> Result<Opened, StoreError> {
    make_folder(&options.path)?;
    let mut writer = connect(&options.path, May::Create)?;
    // The lock is for changing the schema only: a server that starts at this moment is not kept from it.
    if schema::version(&writer)? != schema::VERSION {
        let lock = try_lock(&options.path)?;
        let version = schema::version(&writer)?;
        if lock.is_some() {
            schema::migrate(&mut writer)?;
        } else if version != schema::VERSION {
            return Err(StoreError::Unavailable(format!(
                "the running Postrider keeps schema version {version}, this program version {}: use the same version \
                 of both",
                schema::VERSION
            )));
        }
    }
    let prepared = search::prepare(&options.path, &writer, false);
    let opened = connections(options, writer)?;
    let mut readers = opened.readers.iter();
    // Whoever does not search does not need it. A server that starts builds it anew.
    if let Err(error) = prepared.and_then(|()| readers.try_for_each(|reader| search::attach(reader, &options.path))) {
        tracing::warn!(error = %error, "the full-text index cannot be read");
    }
    Ok(opened)
}

/// A new connection for the writer, in place of one that does not work any more.
pub(super) fn reopen_writer(options: &SqliteOptions) -> Result<Connection, StoreError> {
    let writer = connect(&options.path, May::Open)?;
    let version = schema::version(&writer)?;
    if version != schema::VERSION {
        return Err(StoreError::Unavailable(format!("the database has become one of schema version {version}")));
    }
    prepare_writer(options, &writer)?;
    Ok(writer)
}

fn connections(options: &SqliteOptions, writer: Connection) -> Result<Opened, StoreError> {
    prepare_writer(options, &writer)?;
    let readers = (0..options.readers.max(1)).map(|_| connect_to_read(&options.path));
    let readers = readers.collect::<Result<_, StoreError>>()?;
    Ok(Opened { writer, checkpoint: connect(&options.path, May::Open)?, readers })
}

/// A connection that only reads the database.
pub(super) fn connect_to_read(folder: &Path) -> Result<Connection, StoreError> {
    let reader = connect(folder, May::Open)?;
    reader.pragma_update(None, "query_only", true)?;
    reader.pragma_update(None, "cache_size", -i64::from(READER_CACHE_KIB))?;
    Ok(reader)
}

fn prepare_writer(options: &SqliteOptions, writer: &Connection) -> Result<(), StoreError> {
    writer.pragma_update(None, "cache_size", -i64::from(WRITER_CACHE_KIB))?;
    if let Some(bytes) = options.size_bytes_max {
        let page_bytes: u32 = writer.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from(bytes / u64::from(page_bytes.max(1))).unwrap_or(i64::MAX);
        writer.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    Ok(())
}

/// What opening may do where there is no database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    Create,
    Open,
}

fn connect(folder: &Path, may: May) -> Result<Connection, StoreError> {
    let connection = connect_file(&folder.join(DATABASE_FILE), may)?;
    // Checkpoints have their own thread.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

/// A connection to a file of ours.
pub(super) fn connect_file(path: &Path, may: May) -> Result<Connection, StoreError> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, may == May::Create);
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        // Otherwise a statement whose plan may depend on its parameters is compiled anew each time it comes from the cache,
        // which costs three times what running it does. Where a plan matters, the statement names the index.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // The page size counts only for a database that is not there yet.
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        Ok(connection)
    };
    open().map_err(|error| match StoreError::from(error) {
        StoreError::Unavailable(text) => StoreError::Unavailable(format!("{}: {text}", path.display())),
        StoreError::Corrupt(text) => StoreError::Corrupt(format!("{}: {text}", path.display())),
        other => other,
    })
}

/// Makes the folder, for its owner alone: it holds mail.
fn make_folder(path: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))
}

/// The lock, or `None` when another process holds it.
fn try_lock(folder: &Path) -> Result<Option<File>, StoreError> {
    let path = folder.join(LOCK_FILE);
    let unavailable = |error| StoreError::Unavailable(format!("{}: {error}", path.display()));
    let file = File::create(&path).map_err(unavailable)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(unavailable(error)),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn damage_is_found() {
        let folder = tempfile::TempDir::new().unwrap();
        let options = SqliteOptions::new(folder.path());
        drop(open(&options).unwrap());
        options.verify().unwrap();
        let path = folder.path().join(DATABASE_FILE);
        let sizes = [&path, &folder.path().join(search::INDEX_FILE)].map(|path| std::fs::metadata(path).unwrap().len());
        assert_eq!(options.size_bytes(), sizes.iter().sum::<u64>());
        // All pages but the first two: the schema is whole, what it names is not.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[2 * PAGE_BYTES as usize..].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(options.verify(), Err(StoreError::Corrupt(_))), "{:?}", options.verify());
    }

    #[test]
    fn statements_are_compiled_once_whatever_their_parameters() {
        let folder = tempfile::TempDir::new().unwrap();
        let opened = open(&SqliteOptions::new(folder.path())).unwrap();
        for connection in opened.readers.iter().chain([&opened.writer]) {
            for sql in [
                "SELECT 1 FROM emails AS e JOIN blobs AS b ON b.seq = e.seq WHERE e.seq BETWEEN ?1 AND ?2 AND e.id = ?3",
                "SELECT 1 FROM emails WHERE seq BETWEEN ?1 AND ?2 AND id = ?3",
            ] {
                for n in 0..10u8 {
                    let mut statement = connection.prepare_cached(sql).unwrap();
                    assert!(!statement.exists((n, n + 100, [n; 12])).unwrap());
                }
                let statement = connection.prepare_cached(sql).unwrap();
                assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{sql}");
            }
        }
    }
}
