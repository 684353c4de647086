//! Tests of the whole: a started server, real sockets, a small Internet on loopback.
//!
//! Each test stands alone: it has its own addresses, folder, name server and clock. Where a transcript says best what
//! must happen, it is a snapshot.

// What fails in a helper of a test is a failed test too, though clippy does not take helpers for tests.
#![allow(clippy::unwrap_used)]

mod acme;
mod api;
mod api_access;
mod api_directory;
mod api_document;
mod api_orders;
mod api_search;
mod api_send;
mod api_send_again;
mod audit;
mod bounces;
mod certificate;
mod cli;
mod client_checks;
mod clients;
mod cluster;
mod crash;
mod dane;
mod delivery_notification;
mod delivery_outcome;
mod delivery_protocol;
mod delivery_queue;
mod delivery_relay;
mod delivery_retry;
mod delivery_route;
mod delivery_shaping;
mod delivery_time;
mod delivery_tls;
mod directory;
mod directory_cli;
mod dkim;
mod dmarc;
mod dns_cli;
mod imap_append;
mod imap_clients;
mod imap_compress;
mod imap_copy;
mod imap_crash;
mod imap_fetch;
mod imap_idle;
mod imap_login;
mod imap_mailboxes;
mod imap_notify;
mod imap_openings;
mod imap_quota;
mod imap_search;
mod imap_store;
mod imap_support;
mod instructions;
mod lmtp;
mod lmtp_crash;
mod load;
mod migrate;
mod mongodb_nodes;
mod mongodb_outage;
mod mongodb_reader;
mod nodes;
mod process;
mod quarantine;
mod queue_orders;
mod require_tls;
mod sender_check;
mod shutdown;
mod simulator;
mod smtp_auth;
mod smtp_hostile;
mod smtp_limits;
mod smtp_message;
mod smtp_policy;
mod smtp_time;
mod source_ip;
mod store_outage;
mod support;
mod suppression;
mod tls_reports;
mod traces;
mod verify;
mod webhook;
mod webhook_url;
mod why;
