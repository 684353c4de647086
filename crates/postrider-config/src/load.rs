//! From sources to settings: environment over `.env` over defaults, all faults at once.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use postrider_core::RetrySchedule;

use crate::check;
use crate::error::{ConfigError, ConfigErrors};
use crate::mask;
use crate::names::{self, Unknown};
use crate::settings::{
    Acme, AcmeChallenge, ClientCheck, DeliveryMode, IpSelection, LogFormat, LogLevel, SenderCheck, Settings, Traces,
    UnknownRecipients, Webhook,
};
use crate::sources::Sources;
use crate::table::{self, Setting};
use crate::value;

/// Which defaults hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// `postrider dev`: loopback, unprivileged ports, mail captured.
    Dev,
    /// Production.
    Serve,
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// A default of `postrider dev` that differs from the general one.
    DevDefault,
    Environment,
    DotEnv,
}

/// One setting as it is in effect, for `postrider config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    pub name: &'static str,
    /// Masked where it is secret; empty where nothing is set.
    pub value: String,
    pub origin: Origin,
    pub doc: &'static str,
}

/// Settings that passed every check.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
    /// Every setting, in the order of the table.
    pub effective: Vec<Effective>,
    /// One line each, for people: what was set but has no effect yet, and what is allowed but doubtful.
    pub warnings: Vec<String>,
}

/// Reads and checks every setting.
///
/// Fails with all faults that were found, not with the first only: values that do not parse, unknown names under one of
/// our prefixes, settings that do not go together. Settings are checked against each other only once each is right alone.
pub fn load(profile: Profile, sources: Sources) -> Result<Loaded, ConfigErrors> {
    let mut settings = blank();
    let mut effective = Vec::new();
    let mut errors = Vec::new();
    let mut warnings = Vec::new();

    for setting in table::all() {
        let (text, origin) = value_of(setting, profile, &sources, &mut warnings);
        if let Err(reason) = setting.apply(&mut settings, &text) {
            errors.push(ConfigError::Value {
                name: setting.name,
                value: mask::quoted(&text, setting.secrecy),
                origin,
                reason,
                allowed: setting.allowed(),
            });
        }
        effective.push(Effective {
            name: setting.name,
            value: mask::masked(&text, setting.secrecy),
            origin,
            doc: setting.doc,
        });
    }
    if settings.acme.domains.is_empty() {
        settings.acme.domains = vec![settings.mail_hostname.clone()];
    }
    judge_names(&sources, &mut errors, &mut warnings);
    if errors.is_empty() {
        check::together(&settings, profile, &effective, &mut errors, &mut warnings);
    }
    if errors.is_empty() { Ok(Loaded { settings, effective, warnings }) } else { Err(ConfigErrors(errors)) }
}

fn value_of(setting: &Setting, profile: Profile, sources: &Sources, warnings: &mut Vec<String>) -> (String, Origin) {
    if let Some(text) = sources.environment.get(setting.name) {
        return (text.trim().to_owned(), Origin::Environment);
    }
    if let Some(text) = sources.dot_env.as_ref().and_then(|variables| variables.get(setting.name)) {
        return (text.trim().to_owned(), Origin::DotEnv);
    }
    if setting.name == "MAIL_HOSTNAME" {
        return (machine_hostname(warnings), Origin::Default);
    }
    match (profile, setting.dev_default) {
        (Profile::Dev, Some(default)) => (default.to_owned(), Origin::DevDefault),
        _ => (setting.default.to_owned(), Origin::Default),
    }
}

/// The one default that is not a constant.
fn machine_hostname(warnings: &mut Vec<String>) -> String {
    let name = gethostname::gethostname().to_string_lossy().into_owned();
    value::hostname(&name).unwrap_or_else(|| {
        warnings.push(format!(
            "MAIL_HOSTNAME is not set, and the machine's name {} is no valid host name: localhost stands in for it",
            mask::quoted(&name, mask::Secrecy::Public)
        ));
        "localhost".to_owned()
    })
}

fn judge_names(sources: &Sources, errors: &mut Vec<ConfigError>, warnings: &mut Vec<String>) {
    let environment = sources.environment.keys().map(|name| (name, Origin::Environment));
    let dot_env = sources.dot_env.iter().flat_map(|variables| variables.keys()).map(|name| (name, Origin::DotEnv));
    for (name, origin) in environment.chain(dot_env) {
        if table::all().any(|setting| setting.name == name) {
            continue;
        }
        match names::judge(name) {
            Unknown::Refused(advice) => errors.push(ConfigError::Unknown { name: name.clone(), origin, advice }),
            Unknown::Doubtful(advice) => warnings.push(format!("{name} (from {origin}) is not a setting; {advice}")),
            Unknown::Foreign => {}
        }
    }
}

/// Settings before any is read. Nobody sees these values: [`load`] sets every field, from the table's default at least,
/// or fails.
fn blank() -> Settings {
    let nowhere = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Settings {
        smtp_hosts: Vec::new(),
        smtp_port: 0,
        smtp_mx_port: 0,
        submission_port: 0,
        submissions_port: 0,
        lmtp_port: 0,
        lmtps_port: 0,
        imap_port: 0,
        imaps_port: 0,
        api_port: 0,
        api_host: nowhere,
        api_token: None,
        api_requests_per_minute: None,
        api_address_requests_per_minute: None,
        audit_retention_days: None,
        mongodb_url: None,
        data_dir: PathBuf::new(),
        mail_hostname: String::new(),
        max_email_size_bytes: 0,
        allowed_domains: Vec::new(),
        unknown_recipients: UnknownRecipients::Reject,
        trusted_networks: Vec::new(),
        dkim_algorithms: Vec::new(),
        verify_incoming: false,
        dmarc_reject: false,
        dmarc_quarantine: false,
        check_reverse_dns: ClientCheck::Off,
        check_ehlo: ClientCheck::Off,
        sender_check: SenderCheck::Off,
        tls_cert_file: None,
        tls_key_file: None,
        acme: Acme {
            enabled: false,
            directory_url: None,
            email: None,
            domains: Vec::new(),
            challenge: AcmeChallenge::Http01,
            http_port: 0,
            tls_port: 0,
            hosts: Vec::new(),
            eab_key_id: None,
            eab_hmac_key: None,
        },
        tls_extra_ca_file: None,
        delivery_mode: DeliveryMode::Capture,
        relay: None,
        delivery_port: 0,
        dns_servers: Vec::new(),
        retry: RetrySchedule { first: Duration::ZERO, factor: 0.0, max: Duration::ZERO, expire: Duration::ZERO },
        queue_concurrency: 0,
        queue_concurrency_per_domain: 0,
        tls_required_domains: Vec::new(),
        mta_sts_enabled: false,
        dane_enabled: false,
        dnssec_trust_anchor_file: None,
        tls_reports_enabled: false,
        tls_report_from: None,
        shaping_file: None,
        suppression_enabled: false,
        bounce_domain: None,
        webhook: Webhook::default(),
        ip_selection: IpSelection {
            enabled: false,
            url: None,
            timeout: Duration::ZERO,
            retries: 0,
            cache: Duration::ZERO,
            fallback: None,
        },
        source_ips: Vec::new(),
        source_ip_warm_up: Vec::new(),
        log_level: LogLevel::Error,
        enable_console_log: false,
        log_format: LogFormat::Json,
        traces: Traces::default(),
        shutdown_timeout_seconds: 0,
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Default => "default",
            Self::DevDefault => "dev default",
            Self::Environment => "environment",
            Self::DotEnv => ".env",
        })
    }
}
