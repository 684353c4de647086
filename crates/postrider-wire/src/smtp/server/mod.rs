//! The server: one session.
