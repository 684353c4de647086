//! What Postrider keeps: the records, the traits by which every other room reads and writes them, the SQLite engine, and
//! the conformance suite that every engine passes.
//!
//! The traits are written for many equal nodes that share one database; one process on SQLite is the case of one node.
//! Nothing a node needs to know to go on after another's death is in that other's memory alone.

mod error;
mod records;
mod traits;

pub mod acme;
pub mod conformance;
pub mod directory;
pub mod dkim;
pub mod indexing;
pub mod listing;
pub mod sqlite;
pub mod tokens;
pub mod webhooks;

pub use error::StoreError;
pub use records::*;
pub use sqlite::{SqliteOptions, SqliteStore};
pub use traits::*;
