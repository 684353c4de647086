//! Every setting of Postrider, once: name, default, check, doc. Nothing else in Postrider reads the environment.
//!
//! [`SECTIONS`] is the table. From it come loading, masking, `postrider config`, `docs/configuration.md` and
//! `.env.example`. This crate knows no socket, no store and no running server: it says whether a setting makes sense, not
//! whether a port is free or a file is there.

mod check;
mod document;
mod error;
mod load;
mod mask;
mod names;
mod settings;
mod sources;
mod table;
mod value;

pub use document::{configuration_md, env_example};
pub use error::{ConfigError, ConfigErrors};
pub use load::{Effective, Loaded, Origin, Profile, load};
pub use settings::*;
pub use sources::{DOT_ENV_BYTES_MAX, Sources};
pub use table::{SECTIONS, Section, Setting};
