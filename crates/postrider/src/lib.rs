//! Postrider as a library: the wiring of its rooms, for the binary and for tests that start it in their own process.

pub mod administration;
pub mod app;
pub mod engine;
pub mod recent_log;
mod retention;

pub use app::{App, Ports, StartError};
pub use engine::Engine;
pub use recent_log::RecentLog;
