//! Which engine keeps the store, and how it is opened.

use std::fmt;
use std::sync::Arc;

use postrider_config::Settings;
use postrider_store::{SqliteOptions, SqliteStore, Store, StoreError};
use postrider_store_mongo::MongoOptions;

/// An engine of the store, with what it takes to open it.
#[derive(Debug, Clone)]
pub enum Engine {
    /// The embedded database in `DATA_DIR`.
    Sqlite(SqliteOptions),
    /// The database of `MONGODB_URL`.
    Mongodb(MongoOptions),
}

impl Engine {
    /// The one that the settings choose.
    pub fn of(settings: &Settings) -> Self {
        Self::mongodb(settings).unwrap_or_else(|| Self::sqlite(settings))
    }

    /// The embedded database, chosen or not.
    pub fn sqlite(settings: &Settings) -> Self {
        Self::Sqlite(SqliteOptions::new(&settings.data_dir))
    }

    /// MongoDB, where the settings say which.
    pub fn mongodb(settings: &Settings) -> Option<Self> {
        settings.mongodb_url.as_ref().map(|url| Self::Mongodb(MongoOptions::new(url.0.as_str())))
    }

    /// Opens the store for a server. Of an embedded one no other server may be running.
    pub async fn open(self) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::Sqlite(options) => Ok(Arc::new(SqliteStore::open(options)?)),
            Self::Mongodb(options) => postrider_store_mongo::open(options).await,
        }
    }

    /// Opens the store for a command, such that running servers are not disturbed.
    pub async fn open_beside(self) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::Sqlite(options) => Ok(Arc::new(SqliteStore::open_shared(SqliteOptions { readers: 1, ..options })?)),
            Self::Mongodb(options) => postrider_store_mongo::open(options).await,
        }
    }
}

impl fmt::Display for Engine {
    /// For people: where everything is kept.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(options) => write!(f, "the embedded database in {}", options.path.display()),
            Self::Mongodb(_) => f.write_str("the MongoDB of MONGODB_URL"),
        }
    }
}

#[cfg(test)]
mod tests {
    use postrider_config::{Profile, Sources};

    use super::*;

    #[test]
    fn the_url_chooses_the_engine() {
        let settings = |variables: &[(&str, &str)]| {
            postrider_config::load(Profile::Serve, Sources::from_variables(variables.iter().copied())).unwrap().settings
        };
        let embedded = settings(&[("DATA_DIR", "/mail")]);
        assert_eq!(Engine::of(&embedded).to_string(), "the embedded database in /mail");
        assert!(Engine::mongodb(&embedded).is_none());
        let shared = settings(&[("DATA_DIR", "/mail"), ("MONGODB_URL", "mongodb://ann:secret@db.example/mail")]);
        let chosen = Engine::of(&shared);
        assert!(matches!(&chosen, Engine::Mongodb(options) if options.url == "mongodb://ann:secret@db.example/mail"));
        assert!(!format!("{chosen} {chosen:?}").contains("secret"));
    }
}
