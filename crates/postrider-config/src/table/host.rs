//! The table: this host, the mail that it keeps, and where.

use postrider_core::Address;

use super::{Kind, Setting, secret};
use crate::mask::Secrecy;
use crate::settings::UnknownRecipients;
use crate::value;

pub(super) const HOST: &[Setting] = &[
    Setting::new(
        "MAIL_HOSTNAME",
        "",
        Kind::Text {
            allowed: "a host name, best a fully qualified one",
            set: |settings, text| {
                settings.mail_hostname = value::hostname(text).ok_or(None)?;
                Ok(())
            },
        },
        "This host's name in banner, EHLO, Received and Message-ID. Its address record and the address's PTR record \
         should name each other.",
    )
    .note("the machine's name"),
    Setting::new(
        "ALLOWED_DOMAINS",
        "",
        Kind::Text {
            allowed: "domain names with commas between",
            set: |settings, text| {
                settings.allowed_domains = value::list(text, value::domain)?;
                Ok(())
            },
        },
        "The domains whose mail is kept here.",
    ),
    Setting::new(
        "UNKNOWN_RECIPIENTS",
        "store",
        Kind::Choice(&[
            ("store", |settings| settings.unknown_recipients = UnknownRecipients::Store),
            ("reject", |settings| settings.unknown_recipients = UnknownRecipients::Reject),
        ]),
        "Mail for an address of `ALLOWED_DOMAINS` that is no user: `store` keeps it, `reject` answers 550.",
    ),
    Setting::new(
        "TRUSTED_NETWORKS",
        "127.0.0.0/8,::1",
        Kind::Text {
            allowed: "networks (CIDR) and IP addresses with commas between; empty for none",
            set: |settings, text| {
                settings.trusted_networks = value::trusted_networks(text)?;
                Ok(())
            },
        },
        "Who may relay without AUTH. The whole Internet (`0.0.0.0/0`, `::/0`) is refused: that is an open relay.",
    ),
    Setting::new(
        "MAX_EMAIL_SIZE",
        "10485760",
        Kind::Number {
            min: 1_024,
            max: 268_435_456,
            unit: "bytes",
            set: |settings, n| settings.max_email_size_bytes = usize::try_from(n).unwrap_or(usize::MAX),
        },
        "The largest message taken, in bytes; announced in SIZE.",
    ),
];

pub(super) const TLS: &[Setting] = &[
    Setting::new(
        "TLS_CERT_FILE",
        "",
        Kind::Text {
            allowed: "the path of a PEM file",
            set: |settings, text| {
                settings.tls_cert_file = value::path(text);
                Ok(())
            },
        },
        "The certificate chain, PEM, own certificate first. Reread when it changes.",
    )
    .note("self-signed"),
    Setting::new(
        "TLS_KEY_FILE",
        "",
        Kind::Text {
            allowed: "the path of a PEM file",
            set: |settings, text| {
                settings.tls_key_file = value::path(text);
                Ok(())
            },
        },
        "The certificate's private key, PEM. Reread when it changes.",
    )
    .note("self-signed"),
    Setting::new(
        "TLS_EXTRA_CA_FILE",
        "",
        Kind::Text {
            allowed: "the path of a PEM file",
            set: |settings, text| {
                settings.tls_extra_ca_file = value::path(text);
                Ok(())
            },
        },
        "Certificates of authorities that are trusted beside those that browsers trust, PEM: for relays, services and MX hosts \
         that must prove their names.",
    ),
    Setting::new(
        "TLS_REQUIRED_DOMAINS",
        "",
        Kind::Text {
            allowed: "domains, .domain for all below one, or *, several with commas between",
            set: |settings, text| {
                settings.tls_required_domains = value::list(text, value::domain_pattern)?;
                Ok(())
            },
        },
        "Recipient domains whose mail leaves only encrypted, to MX hosts whose certificate is valid for their name; it waits \
         where that cannot be had. Others get TLS where it is offered.",
    ),
    Setting::new(
        "MTA_STS_ENABLED",
        "true",
        Kind::Switch(|settings, on| settings.mta_sts_enabled = on),
        "Whether the MTA-STS policies of recipient domains are obeyed (RFC 8461): a domain that enforces one gets its mail only \
         encrypted, at hosts that the policy names and that prove their names.",
    ),
    Setting::new(
        "DANE_ENABLED",
        "false",
        Kind::Switch(|settings, on| settings.dane_enabled = on),
        "Whether TLSA records of MX hosts are obeyed (RFC 7672): where DNSSEC proves them, mail leaves only encrypted, to hosts whose \
         certificate they speak of. DNSSEC is checked here; the DNS servers have to pass signatures on, and where they do not, DANE is \
         off. It costs some DNS questions more for each recipient domain, and a domain whose signatures are wrong gets no mail.",
    ),
    Setting::new(
        "TLS_REPORTS_ENABLED",
        "false",
        Kind::Switch(|settings, on| settings.tls_reports_enabled = on),
        "Whether recipient domains that ask for it are told, once a day, how well the way to them was protected (TLS-RPT, RFC 8460): by \
         e-mail or HTTPS, as they like. Their reports name this host and its addresses.",
    ),
    Setting::new(
        "TLS_REPORT_FROM",
        "",
        Kind::Text {
            allowed: "an e-mail address",
            set: |settings, text| {
                let address = if text.is_empty() { None } else { Some(Address::parse(text).map_err(|_| None)?) };
                settings.tls_report_from = address;
                Ok(())
            },
        },
        "From whom these reports are, and whom their readers may ask. They are signed with the keys of its domain: `postrider domain add`.",
    )
    .note("postmaster@ and `MAIL_HOSTNAME`"),
    Setting::new(
        "DNSSEC_TRUST_ANCHOR_FILE",
        "",
        Kind::Text {
            allowed: "a file",
            set: |settings, text| {
                let file = if text.is_empty() { None } else { Some(value::path(text).ok_or(None)?) };
                settings.dnssec_trust_anchor_file = file;
                Ok(())
            },
        },
        "DNSKEY records that DNSSEC's proofs begin with, as a zone file has them, in place of those of the Internet's root: for networks \
         with a root of their own.",
    ),
];

pub(super) const STORE: &[Setting] = &[
    Setting::new(
        "DATA_DIR",
        "./data",
        Kind::Text {
            allowed: "the path of a folder",
            set: |settings, text| {
                settings.data_dir = value::path(text).ok_or(None)?;
                Ok(())
            },
        },
        "Embedded database, generated certificate, keys. Made when it is not there. With `MONGODB_URL`, certificate and \
         keys only.",
    ),
    Setting::new(
        "MONGODB_URL",
        "",
        Kind::Text {
            allowed: "mongodb://... or mongodb+srv://...",
            set: |settings, text| {
                if !text.is_empty() {
                    value::mongodb_url(text)?;
                }
                settings.mongodb_url = secret(text);
                Ok(())
            },
        },
        "Keep everything in this MongoDB, version 7 or later, as a replica set: users, messages and queue, shared by any \
         number of nodes. The database is the one that the URL names, `postrider` where it names none. `DATA_DIR` then \
         holds generated certificates and keys only. What another engine kept stays there: `postrider migrate` moves it.",
    )
    .secrecy(Secrecy::Url)
    .note("the embedded database"),
];
