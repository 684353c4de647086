//! The tables, their indexes, and how an older database becomes one of this version.
//!
//! An e-mail touches as few b-trees as possible: its row, its blob, one row for each delivery, and partial indexes that
//! hold only what still moves. E-mails are found by id without an index (see [`super::sequence`]).

use rusqlite::Connection;

use crate::error::StoreError;

/// Each step leads from the version that is its position to the next. Steps are never changed, only added.
const MIGRATIONS: &[&str] = &[
    VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8, VERSION_9, VERSION_10,
    VERSION_11, VERSION_12, VERSION_13, VERSION_14, VERSION_15, VERSION_16, VERSION_17, VERSION_18,
];

/// The version of this program's schema, kept in `PRAGMA user_version`.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// Status codes are those of [`super::codes`]; times are milliseconds since 1970.
const VERSION_1: &str = "
CREATE TABLE emails (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    status INTEGER NOT NULL,
    direction INTEGER NOT NULL,
    size INTEGER NOT NULL,
    return_path_bytes INTEGER NOT NULL,
    is_8bit INTEGER NOT NULL,
    sender TEXT NOT NULL,
    recipients TEXT NOT NULL,   -- line by line, kept ones first
    message_id TEXT,
    subject TEXT,
    envelope TEXT,              -- JSON, where it says more than the sender
    kept TEXT,                  -- JSON, the recipients kept here
    attachments TEXT,           -- JSON, where there are any
    last_error TEXT,
    source_ip TEXT
) STRICT;

-- What a list by status looks for; sent and received are most of a database and found by scanning it.
CREATE INDEX emails_open ON emails (status) WHERE status <= 4;

-- Apart from emails, so that lists do not read through messages.
CREATE TABLE blobs (
    seq INTEGER PRIMARY KEY,
    encoding INTEGER NOT NULL,  -- 0: as it is, 1: zstd
    size INTEGER NOT NULL,      -- decoded
    return_path_bytes INTEGER NOT NULL,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE deliveries (
    email INTEGER NOT NULL,
    number INTEGER NOT NULL,
    status INTEGER NOT NULL,
    owner INTEGER,              -- nodes.number of the node that sends it now
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    delay_notified INTEGER NOT NULL,
    domain TEXT NOT NULL,
    recipient TEXT NOT NULL,
    parameters TEXT,            -- JSON of the recipient, where it is more than an address
    last_category TEXT,
    queued_at INTEGER,          -- where an order started it again
    PRIMARY KEY (email, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_claimable ON deliveries (domain, due_at, status) WHERE owner IS NULL AND status <= 1;
CREATE INDEX deliveries_owned ON deliveries (owner, domain, status) WHERE owner IS NOT NULL;
CREATE INDEX deliveries_resting ON deliveries (status, domain) WHERE status BETWEEN 2 AND 4;

CREATE TABLE attempts (
    email INTEGER NOT NULL,
    number INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    record TEXT NOT NULL,       -- JSON
    PRIMARY KEY (email, number, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE nodes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    lease_until INTEGER NOT NULL
) STRICT;

-- How many e-mails have each status.
CREATE TABLE counters (
    status INTEGER PRIMARY KEY,
    emails INTEGER NOT NULL
) STRICT;

-- Deliveries that ended, by spans of 10 seconds.
CREATE TABLE rates (
    span INTEGER PRIMARY KEY,
    sent INTEGER NOT NULL,
    failed INTEGER NOT NULL
) STRICT;

-- Why a delivery to a domain was deferred last.
CREATE TABLE domain_errors (
    domain TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    error TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    key TEXT PRIMARY KEY,       -- the address as it is looked up
    address TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    scram_salt BLOB NOT NULL,
    scram_iterations INTEGER NOT NULL,
    scram_stored_key BLOB NOT NULL,
    scram_server_key BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row, rewritten to see whether writing works.
CREATE TABLE health (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    writes INTEGER NOT NULL
) STRICT;
INSERT INTO health VALUES (1, 0);
";

/// Counters instead of a pass over all that waits; the last error of an e-mail is found from its deliveries.
const VERSION_2: &str = "
-- How many deliveries to each domain wait, those that are being sent now included. Rows of zeros go by and by.
CREATE TABLE domain_counters (
    domain TEXT PRIMARY KEY,
    queued INTEGER NOT NULL,
    deferred INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO domain_counters
    SELECT domain, sum(status = 0), sum(status = 1) FROM deliveries WHERE status <= 1 GROUP BY domain;

-- When its last attempt ended; unknown for older ones.
ALTER TABLE deliveries ADD COLUMN tried_at INTEGER;
ALTER TABLE emails DROP COLUMN last_error;
";

/// Where a node runs, for people who look.
const VERSION_3: &str = "
ALTER TABLE nodes ADD COLUMN host TEXT NOT NULL DEFAULT '';
";

/// What parts of the program keep under names of their own.
const VERSION_5: &str = "
CREATE TABLE notes (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    version INTEGER NOT NULL    -- raised by each change
) STRICT, WITHOUT ROWID;
";

/// What came back after a delivery was sent.
const VERSION_7: &str = "
ALTER TABLE deliveries ADD COLUMN feedback TEXT;    -- JSON, where there is any
";

/// What senders ask of us: how urgent a message is, its tags; and what was found out about who it is from.
const VERSION_8: &str = "
ALTER TABLE emails ADD COLUMN instructions TEXT;    -- JSON, where there are any
ALTER TABLE emails ADD COLUMN authentication TEXT;  -- JSON, where there is any
ALTER TABLE deliveries ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;  -- the lower, the sooner
DROP INDEX deliveries_claimable;
CREATE INDEX deliveries_claimable ON deliveries (domain, rank, due_at, status) WHERE owner IS NULL AND status <= 1;

CREATE TABLE tags (
    tag TEXT NOT NULL,
    email INTEGER NOT NULL,
    PRIMARY KEY (tag, email)
) STRICT, WITHOUT ROWID;
";

/// For one e-mail's timeline.
const VERSION_10: &str = "
CREATE INDEX calls_about ON calls (email, seq);
";

/// What happened, and who is still to be told of it.
const VERSION_9: &str = "
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- in the order of commits; never used twice
    id BLOB NOT NULL,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    email BLOB NOT NULL,
    delivery INTEGER
) STRICT;

CREATE TABLE calls (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    endpoint BLOB NOT NULL,
    event BLOB NOT NULL,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    email BLOB NOT NULL,
    state INTEGER NOT NULL,                 -- 0 waiting, 1 delivered, 2 given up
    due_at INTEGER NOT NULL,
    locked_until INTEGER NOT NULL,          -- whoever makes it has it until then
    tries INTEGER NOT NULL,
    attempts TEXT,                          -- JSON, where there are any
    data TEXT NOT NULL
) STRICT;

CREATE INDEX calls_due ON calls (endpoint, due_at) WHERE state = 0;
CREATE INDEX calls_of_email ON calls (endpoint, email, seq) WHERE state = 0;
CREATE INDEX calls_listed ON calls (endpoint, state, seq);
CREATE INDEX calls_given_up ON calls (seq) WHERE state = 2;
";

/// Where a call goes, if the endpoint does not say.
const VERSION_13: &str = "
ALTER TABLE calls ADD COLUMN url TEXT;
";

/// Requests that came with a key.
const VERSION_11: &str = "
CREATE TABLE requests (
    key BLOB NOT NULL,
    number INTEGER NOT NULL,                -- which of the e-mails that it brings
    fingerprint BLOB NOT NULL,
    at INTEGER NOT NULL,
    answer TEXT NOT NULL,                   -- JSON
    PRIMARY KEY (key, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX requests_old ON requests (at);
";

/// What came into lists or left them, for the full-text index (see [`super::search`]).
const VERSION_12: &str = "
CREATE TABLE index_log (
    n INTEGER PRIMARY KEY,      -- in the order of commits; the last row stays, so that none is used twice
    emails BLOB NOT NULL        -- their rows, 8 bytes each, big-endian
) STRICT;
";

/// Who changed what.
const VERSION_14: &str = "
CREATE TABLE audit (
    id BLOB PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    token BLOB,
    peer TEXT,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    outcome TEXT,               -- none: under way, or nobody knows
    details TEXT                -- JSON, where there are any
) STRICT, WITHOUT ROWID;

CREATE INDEX audit_at ON audit (at);
";

/// What was done when.
const VERSION_15: &str = "
CREATE TABLE history (
    step INTEGER NOT NULL,      -- the length of the span, in seconds
    at INTEGER NOT NULL,        -- when it begins
    part BLOB NOT NULL,         -- each process that counts has parts of its own
    accepted INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    deferred INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    latencies TEXT,             -- JSON: how many deliveries took how long
    PRIMARY KEY (step, at, part)
) STRICT, WITHOUT ROWID;

CREATE TABLE address_history (
    at INTEGER NOT NULL,        -- when the hour begins
    ip TEXT NOT NULL,
    part BLOB NOT NULL,
    delivered INTEGER NOT NULL,
    deferred INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    origins TEXT,               -- JSON: attempts by who chose the address
    PRIMARY KEY (at, ip, part)
) STRICT, WITHOUT ROWID;
";

/// With the owner, though there is none in it, SQLite answers from the index alone what is asked of all that waits for a domain;
/// else it looks each of them up.
const VERSION_16: &str = "
DROP INDEX deliveries_claimable;
CREATE INDEX deliveries_claimable ON deliveries (domain, rank, due_at, status, owner)
    WHERE owner IS NULL AND status <= 1;
";

/// What an e-mail's endpoints were told is found by the e-mail: whoever looks at one asks for that.
const VERSION_17: &str = "
CREATE INDEX calls_by_email ON calls (email, seq);
";

/// The suppression list.
const VERSION_6: &str = "
CREATE TABLE suppressions (
    key TEXT PRIMARY KEY,       -- the address as it is looked up
    address TEXT NOT NULL,
    reason TEXT NOT NULL,
    email BLOB,
    text TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX suppressions_created ON suppressions (created_at);
";

/// Mailboxes. Each user who was there before gets those that a new one has.
const VERSION_4: &str = "
-- How many entries of mailboxes refer to it, and what else keeps it: 1 it is listed, 2 it stays on record.
ALTER TABLE emails ADD COLUMN entries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE emails ADD COLUMN hold INTEGER NOT NULL DEFAULT 3;

-- Apart from emails and blobs: a mailbox is listed by reading these alone.
CREATE TABLE digests (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    content BLOB NOT NULL
) STRICT;

ALTER TABLE users ADD COLUMN id BLOB NOT NULL DEFAULT x'';
ALTER TABLE users ADD COLUMN quota_bytes INTEGER;
ALTER TABLE users ADD COLUMN quota_messages INTEGER;
ALTER TABLE users ADD COLUMN uid_validity_next INTEGER NOT NULL DEFAULT 1;
UPDATE users SET id = unhex(printf('%08x', created_at / 1000) || hex(randomblob(8))),
    uid_validity_next = max(created_at / 1000, 0) + 7;
CREATE UNIQUE INDEX users_id ON users (id);

CREATE TABLE mailboxes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice: what is left of one that was deleted has its number
    id BLOB NOT NULL UNIQUE,
    user BLOB NOT NULL,
    name TEXT NOT NULL,
    special_use TEXT,
    uid_validity INTEGER NOT NULL,
    uid_next INTEGER NOT NULL DEFAULT 1,
    modseq INTEGER NOT NULL DEFAULT 1,
    keywords TEXT NOT NULL DEFAULT '',          -- in the order of their numbers, spaces between them
    messages INTEGER NOT NULL DEFAULT 0,
    unseen INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    deleted_bytes INTEGER NOT NULL DEFAULT 0,
    recent_from INTEGER NOT NULL DEFAULT 1,
    expunged_since INTEGER NOT NULL DEFAULT 0,  -- what was expunged after this modseq is remembered
    expunged_kept INTEGER NOT NULL DEFAULT 0,   -- how many UIDs that are
    created_at INTEGER NOT NULL,
    UNIQUE (user, name)
) STRICT;

-- Messages in mailboxes, 160 UIDs to a row: changing one flag of ten thousand messages rewrites 63 rows instead of ten
-- thousand, and a delivery appends to a row that the last one has touched as well.
CREATE TABLE entries (
    chunk INTEGER PRIMARY KEY,                  -- number of the mailbox << 26 | UID / 160
    modseq INTEGER NOT NULL,                    -- the highest among them
    content BLOB NOT NULL                       -- see entries.rs
) STRICT;

CREATE TABLE expunged (
    mailbox INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    uids BLOB NOT NULL,                         -- ranges: first and last, 4 bytes each, big-endian
    PRIMARY KEY (mailbox, modseq)
) STRICT, WITHOUT ROWID;

-- Mailboxes that are gone and whose entries are not yet.
CREATE TABLE removed_mailboxes (number INTEGER PRIMARY KEY) STRICT;

CREATE TABLE subscriptions (
    user BLOB NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (user, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE metadata (
    user BLOB NOT NULL,
    mailbox INTEGER NOT NULL,                   -- 0: all of the user's mail
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (user, mailbox, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE domains (
    name TEXT PRIMARY KEY,
    catch_all TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE aliases (
    key TEXT PRIMARY KEY,                       -- as of users
    address TEXT NOT NULL,
    targets TEXT NOT NULL,                      -- JSON
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO mailboxes (id, user, name, special_use, uid_validity, created_at)
    SELECT unhex(printf('%08x', u.created_at / 1000) || hex(randomblob(8))), u.id, n.column1, n.column2,
        u.uid_validity_next - 6 + n.column3, u.created_at
    FROM users AS u, (VALUES ('INBOX', NULL, 0), ('Archive', 'Archive', 1), ('Drafts', 'Drafts', 2), ('Junk', 'Junk', 3),
        ('Sent', 'Sent', 4), ('Trash', 'Trash', 5)) AS n;
INSERT INTO subscriptions SELECT user, name FROM mailboxes;
";

/// Whether a user may log in.
const VERSION_18: &str = "
ALTER TABLE users ADD COLUMN is_enabled INTEGER NOT NULL DEFAULT 1;
";

/// The version of the database; 0 for an empty one.
pub(super) fn version(connection: &Connection) -> Result<u32, StoreError> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let newer = || {
        StoreError::Corrupt(format!(
            "the database is of schema version {version}, this program knows up to {VERSION}; use the newer Postrider \
             that wrote it, or a backup from before"
        ))
    };
    u32::try_from(version).ok().filter(|&version| version <= VERSION).ok_or_else(newer)
}

/// Brings the database to this version, each step in a transaction of its own. The caller holds the lock.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let version = version(connection)?;
    for (step, to) in MIGRATIONS.iter().zip(1u32..).skip(version as usize) {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", to)?;
        transaction.commit()?;
        tracing::info!(store.schema_version = to, "the database was brought to a newer schema");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(version: usize) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        MIGRATIONS[..version].iter().for_each(|step| connection.execute_batch(step).unwrap());
        connection.pragma_update(None, "user_version", version as i64).unwrap();
        connection
    }

    #[test]
    fn what_waits_is_counted_when_counters_come() {
        let mut connection = database(1);
        let domains = [("a.example", 0), ("b.example", 1), ("b.example", 1), ("b.example", 0), ("c.example", 5)];
        for (number, (domain, status)) in (0i64..).zip(domains) {
            connection
                .prepare("INSERT INTO deliveries VALUES (1, ?1, ?2, NULL, 0, 0, 0, ?3, 'a@' || ?3, NULL, NULL, NULL)")
                .unwrap()
                .execute((number, status, domain))
                .unwrap();
        }
        migrate(&mut connection).unwrap();
        assert_eq!(super::version(&connection), Ok(VERSION));
        let mut statement = connection.prepare("SELECT domain, queued, deferred FROM domain_counters").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        let rows: Vec<(String, i64, i64)> = rows.map(Result::unwrap).collect();
        assert_eq!(rows, [("a.example".into(), 1, 0), ("b.example".into(), 1, 2)]);
    }

    #[test]
    fn users_who_were_there_get_mailboxes() {
        let mut connection = database(3);
        for key in ["a@example.org", "b@example.org"] {
            connection
                .execute("INSERT INTO users VALUES (?1, ?1, '', x'', 1, x'', x'', 1800000000000, 1800000000000)", [key])
                .unwrap();
        }
        migrate(&mut connection).unwrap();
        let one = |sql: &str| -> i64 { connection.query_row(sql, [], |row| row.get(0)).unwrap() };
        assert_eq!(one("SELECT count(DISTINCT id) FROM users WHERE length(id) = 12 AND typeof(id) = 'blob'"), 2);
        assert_eq!(one("SELECT count(DISTINCT id) FROM mailboxes WHERE length(id) = 12 AND typeof(id) = 'blob'"), 12);
        assert_eq!(one("SELECT count(*) FROM mailboxes AS m JOIN users AS u ON u.id = m.user"), 12);
        assert_eq!(one("SELECT count(*) FROM subscriptions"), 12);
        assert_eq!(one("SELECT count(*) FROM mailboxes WHERE coalesce(special_use, 'INBOX') = name"), 12);
        assert_eq!(one("SELECT count(DISTINCT uid_validity) FROM mailboxes WHERE uid_validity >= 1800000000"), 6);
        let low = "SELECT count(*) FROM users AS u JOIN mailboxes AS m ON m.user = u.id WHERE uid_validity_next <= uid_validity";
        assert_eq!(one(low), 0);
        assert_eq!(
            one("SELECT substr(hex(id), 1, 8) = printf('%08X', 1800000000) FROM users"),
            1,
            "made with the user"
        );
    }

    #[test]
    fn an_older_database_becomes_what_a_new_one_is() {
        let columns = |connection: &Connection| -> Vec<String> {
            let sql = "SELECT t.name || '.' || c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
                WHERE t.type = 'table' ORDER BY t.name, c.cid";
            connection.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        for version in 0..MIGRATIONS.len() {
            let mut connection = database(version);
            migrate(&mut connection).unwrap();
            assert_eq!(columns(&connection), columns(&database(MIGRATIONS.len())), "from version {version}");
        }
    }
}
