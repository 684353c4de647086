//! The table: where Postrider listens.

use super::{Kind, Setting, secret};
use crate::mask::Secrecy;
use crate::value;

pub(super) const LISTENERS: &[Setting] = &[
    Setting::new(
        "SMTP_HOST",
        "0.0.0.0",
        Kind::Text {
            allowed: "an IP address, or several with commas between",
            set: |settings, text| {
                let hosts = value::list(text, value::bind_address)?;
                if hosts.is_empty() {
                    return Err(None);
                }
                settings.smtp_hosts = hosts;
                Ok(())
            },
        },
        "The addresses that every mail listener binds.",
    )
    .dev("127.0.0.1"),
    Setting::new(
        "SMTP_PORT",
        "2525",
        Kind::Listener(|settings, port| settings.smtp_port = port),
        "The applications' port: relays without AUTH for `TRUSTED_NETWORKS`, with AUTH for everybody else.",
    ),
    Setting::new(
        "SMTP_MX_PORT",
        "25",
        Kind::Listener(|settings, port| settings.smtp_mx_port = port),
        "Mail from the world for `ALLOWED_DOMAINS`. Forwards to other domains only for `TRUSTED_NETWORKS`.",
    )
    .dev("3025"),
    Setting::new(
        "SUBMISSION_PORT",
        "587",
        Kind::Listener(|settings, port| settings.submission_port = port),
        "Submission: STARTTLS, then AUTH.",
    )
    .dev("3587"),
    Setting::new(
        "SUBMISSIONS_PORT",
        "465",
        Kind::Listener(|settings, port| settings.submissions_port = port),
        "Submission with TLS from the first byte, then AUTH.",
    )
    .dev("3465"),
    Setting::new(
        "LMTP_PORT",
        "24",
        Kind::Listener(|settings, port| settings.lmtp_port = port),
        "Delivery to the users' mailboxes by other mail servers (LMTP, RFC 2033), only for `TRUSTED_NETWORKS`.",
    )
    .dev("3024"),
    Setting::new(
        "LMTPS_PORT",
        "1024",
        Kind::Listener(|settings, port| settings.lmtps_port = port),
        "LMTP with TLS from the first byte, only for `TRUSTED_NETWORKS`.",
    )
    .dev("4024"),
    Setting::new(
        "IMAP_PORT",
        "143",
        Kind::Listener(|settings, port| settings.imap_port = port),
        "IMAP: users read their mail. A password is taken only after STARTTLS, or from loopback.",
    )
    .dev("3143"),
    Setting::new(
        "IMAPS_PORT",
        "993",
        Kind::Listener(|settings, port| settings.imaps_port = port),
        "IMAP with TLS from the first byte.",
    )
    .dev("3993"),
    Setting::new(
        "API_PORT",
        "3000",
        Kind::Listener(|settings, port| settings.api_port = port),
        "REST API and web page.",
    ),
    Setting::new(
        "API_HOST",
        "127.0.0.1",
        Kind::Text {
            allowed: "an IP address",
            set: |settings, text| {
                settings.api_host = value::bind_address(text).ok_or(None)?;
                Ok(())
            },
        },
        "The address that REST API and web page bind. If it is not loopback, `API_TOKEN` is required.",
    ),
    Setting::new(
        "API_TOKEN",
        "",
        Kind::Text {
            allowed: "letters, digits and -._~+/= (RFC 6750)",
            set: |settings, text| {
                if !value::is_bearer_token(text) {
                    return Err(None);
                }
                settings.api_token = secret(text);
                Ok(())
            },
        },
        "Bearer token of the first administrator. `openssl rand -hex 32` makes a good one.",
    )
    .secrecy(Secrecy::Secret),
];
