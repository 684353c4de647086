//! The table: certificates from an authority, by ACME.

use super::{Kind, Setting, secret};
use crate::mask::Secrecy;
use crate::settings::AcmeChallenge;
use crate::value;

pub(super) const ACME: &[Setting] = &[
    Setting::new(
        "ACME_ENABLED",
        "false",
        Kind::Switch(|settings, on| settings.acme.enabled = on),
        "Get the certificate from the authority of `ACME_DIRECTORY_URL` and renew it when a third of its life is left, without a \
         restart. `true` says that you agree to the authority's terms of service. Not together with `TLS_CERT_FILE`.",
    ),
    Setting::new(
        "ACME_DIRECTORY_URL",
        "https://acme-v02.api.letsencrypt.org/directory",
        Kind::Text {
            allowed: "an https:// URL",
            set: |settings, text| {
                settings.acme.directory_url = Some(value::https_url(text)?);
                Ok(())
            },
        },
        "The authority. The default is Let's Encrypt; to try it without its limits, take \
         `https://acme-staging-v02.api.letsencrypt.org/directory`, whose certificates nobody trusts.",
    ),
    Setting::new(
        "ACME_EMAIL",
        "",
        Kind::Text {
            allowed: "an e-mail address",
            set: |settings, text| {
                settings.acme.email = match text {
                    "" => None,
                    text => Some(text.parse().map_err(|_| None)?),
                };
                Ok(())
            },
        },
        "Where the authority may write to, if it does.",
    ),
    Setting::new(
        "ACME_DOMAINS",
        "",
        Kind::Text {
            allowed: "up to 100 host names with commas between",
            set: |settings, text| {
                let domains = value::list(text, value::hostname)?;
                if domains.len() > ACME_DOMAINS_MAX {
                    return Err(None);
                }
                settings.acme.domains = domains;
                Ok(())
            },
        },
        "The names in the certificate. Each must lead here: the authority connects to all of them.",
    )
    .note("`MAIL_HOSTNAME`"),
    Setting::new(
        "ACME_CHALLENGE",
        "http-01",
        Kind::Choice(&[
            ("http-01", |settings| settings.acme.challenge = AcmeChallenge::Http01),
            ("tls-alpn-01", |settings| settings.acme.challenge = AcmeChallenge::TlsAlpn01),
        ]),
        "How the authority is shown that the names lead here: `http-01` on port 80 (RFC 8555), `tls-alpn-01` on port 443 (RFC 8737).",
    ),
    Setting::new(
        "ACME_HTTP_PORT",
        "80",
        Kind::Listener(|settings, port| settings.acme.http_port = port),
        "Answers the authority where `ACME_CHALLENGE` is `http-01`, and nothing else. The authority connects to port 80 of each name, \
         which must reach this port, if need be through a redirection or a proxy for `/.well-known/acme-challenge/`. 0: other \
         nodes on the same store answer.",
    )
    .dev("3080"),
    Setting::new(
        "ACME_TLS_PORT",
        "443",
        Kind::Listener(|settings, port| settings.acme.tls_port = port),
        "Answers the authority where `ACME_CHALLENGE` is `tls-alpn-01`, and nothing else. The authority connects to port 443 of each \
         name, which must reach this port, with TLS still on. 0: other nodes on the same store answer.",
    )
    .dev("3443"),
    Setting::new(
        "ACME_HOST",
        "",
        Kind::Text {
            allowed: "an IP address, or several with commas between",
            set: |settings, text| {
                settings.acme.hosts = value::list(text, value::bind_address)?;
                Ok(())
            },
        },
        "The addresses that `ACME_HTTP_PORT` or `ACME_TLS_PORT` is bound at.",
    )
    .note("`SMTP_HOST`"),
    Setting::new(
        "ACME_EAB_KEY_ID",
        "",
        Kind::Text {
            allowed: "any text",
            set: |settings, text| {
                settings.acme.eab_key_id = (!text.is_empty()).then(|| text.to_owned());
                Ok(())
            },
        },
        "For authorities where one needs a customer's account first (external account binding): the key's name.",
    ),
    Setting::new(
        "ACME_EAB_HMAC_KEY",
        "",
        Kind::Text {
            allowed: "letters, digits, - and _ (base64url)",
            set: |settings, text| {
                if !value::is_base64url(text) {
                    return Err(None);
                }
                settings.acme.eab_hmac_key = secret(text);
                Ok(())
            },
        },
        "That key, as the authority shows it.",
    )
    .secrecy(Secrecy::Secret),
];

/// As many as most authorities put into one certificate.
const ACME_DOMAINS_MAX: usize = 100;
