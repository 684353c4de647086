//! The client: a connection to another server, and transactions on it.
