//! The settings as the program uses them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
pub use postrider_core::LogLevel;
use postrider_core::{Address, Domain, RetrySchedule};
use url::Url;

/// How mail for other hosts leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryMode {
    /// To the recipient domain's MX.
    Mx,
    /// All through [`Settings::relay`].
    Relay,
    /// To the built-in simulator.
    Capture,
}

/// What becomes of mail for an address of a local domain that is no user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownRecipients {
    Store,
    Reject,
}

/// What is done about a client that fails a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCheck {
    /// Nobody looks.
    Off,
    /// What was found is kept with its messages.
    Record,
    /// Its mail is refused.
    Reject,
}

/// As whom logged-in users may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderCheck {
    /// As anybody.
    Off,
    /// At the domains of their addresses.
    Domain,
    /// From addresses whose mail they get.
    Address,
}

/// How messages are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DkimAlgorithm {
    /// RFC 8463.
    Ed25519,
    /// RFC 6376 section 3.3.2.
    Rsa,
}

/// `RELAY_URL`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// `smtps://`: TLS from the first byte. `smtp://`: STARTTLS where offered; required when there are credentials and
    /// the host is not loopback.
    pub implicit_tls: bool,
    pub host: String,
    pub port: u16,
    pub credentials: Option<Credentials>,
}

/// A user name and a password. `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

/// The service that picks source addresses. `Debug` does not show its URL, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct IpSelection {
    pub enabled: bool,
    /// Present where `enabled`.
    pub url: Option<Url>,
    pub timeout: Duration,
    pub retries: u32,
    /// How long an answer holds that does not say it.
    pub cache: Duration,
    /// `None`: the system's choice.
    pub fallback: Option<IpAddr>,
}

/// Who is called by webhook. `Debug` does not show the URLs, which may hold passwords.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Webhook {
    pub enabled: bool,
    pub success_url: Option<Url>,
    pub failure_url: Option<Url>,
    pub received_url: Option<Url>,
    pub secret: Option<Secret>,
    pub timeout: Duration,
    pub retries: u32,
    /// Whether URLs that e-mails ask for may lead to addresses that are not public.
    pub private_urls: bool,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("enabled", &self.enabled)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

/// Where traces go. `Debug` does not show the URL, which may hold a password.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Traces {
    /// `None`: nowhere.
    pub endpoint: Option<Url>,
    /// `name=value`, with commas between them.
    pub headers: Option<Secret>,
    pub service_name: String,
    /// Of a million traces, those that are sent.
    pub sampled_per_million: u32,
}

impl Traces {
    /// See [`Traces::sampled_per_million`].
    pub const ALL: u32 = 1_000_000;
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("service_name", &self.service_name).finish_non_exhaustive()
    }
}

/// How an authority is shown that names lead here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// RFC 8555 section 8.3.
    Http01,
    /// RFC 8737.
    TlsAlpn01,
}

/// How certificates come from an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    pub enabled: bool,
    /// Always present in loaded settings.
    pub directory_url: Option<Url>,
    pub email: Option<Address>,
    /// Not empty in loaded settings where `enabled`.
    pub domains: Vec<String>,
    pub challenge: AcmeChallenge,
    pub http_port: u16,
    pub tls_port: u16,
    /// Empty: those of [`Settings::smtp_hosts`].
    pub hosts: Vec<IpAddr>,
    /// There is a key where there is an id.
    pub eab_key_id: Option<String>,
    /// Base64url, without padding or with it.
    pub eab_hmac_key: Option<Secret>,
}

/// Which domains a setting is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainPattern {
    All,
    One(Domain),
    /// All below this one, and not this one itself.
    Below(Domain),
}

impl DomainPattern {
    pub fn matches(&self, domain: &Domain) -> bool {
        match self {
            Self::All => true,
            Self::One(only) => only == domain,
            Self::Below(parent) => {
                let rest = domain.as_str().strip_suffix(parent.as_str());
                rest.is_some_and(|rest| rest.ends_with('.'))
            }
        }
    }
}

/// One of this host's addresses that mail leaves from.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceIp {
    pub ip: IpAddr,
    /// Of all that leaves, it gets this part by the sum of all weights.
    pub weight: u32,
}

/// How an address gets a name: by few messages a day at first, and more each day.
#[derive(Debug, Clone, PartialEq)]
pub struct WarmUp {
    pub ip: IpAddr,
    /// On its first day.
    pub messages: u64,
    /// So many times as many as on the day before.
    pub growth: f64,
}

/// A secret text. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// All settings, checked. A port of 0 turns its listener off.
#[derive(Debug, Clone)]
pub struct Settings {
    pub smtp_hosts: Vec<IpAddr>,
    pub smtp_port: u16,
    pub smtp_mx_port: u16,
    pub submission_port: u16,
    pub submissions_port: u16,
    pub lmtp_port: u16,
    pub lmtps_port: u16,
    pub imap_port: u16,
    pub imaps_port: u16,
    pub api_port: u16,
    pub api_host: IpAddr,
    pub api_token: Option<Secret>,
    /// Of each token that has no limit of its own; `None`: any number.
    pub api_requests_per_minute: Option<u32>,
    /// Of each address, but for those of this machine; `None`: any number.
    pub api_address_requests_per_minute: Option<u32>,
    /// `None`: for ever.
    pub audit_retention_days: Option<u32>,
    pub mongodb_url: Option<Secret>,
    pub data_dir: PathBuf,
    pub mail_hostname: String,
    pub max_email_size_bytes: usize,
    pub allowed_domains: Vec<Domain>,
    pub unknown_recipients: UnknownRecipients,
    pub trusted_networks: Vec<IpNet>,
    /// Empty: nothing is signed.
    pub dkim_algorithms: Vec<DkimAlgorithm>,
    pub verify_incoming: bool,
    pub dmarc_reject: bool,
    pub dmarc_quarantine: bool,
    pub check_reverse_dns: ClientCheck,
    pub check_ehlo: ClientCheck,
    pub sender_check: SenderCheck,
    pub tls_cert_file: Option<PathBuf>,
    pub tls_key_file: Option<PathBuf>,
    pub acme: Acme,
    /// Authorities trusted beside the built-in ones.
    pub tls_extra_ca_file: Option<PathBuf>,
    pub delivery_mode: DeliveryMode,
    pub relay: Option<Relay>,
    pub delivery_port: u16,
    /// Empty: the system's.
    pub dns_servers: Vec<SocketAddr>,
    pub retry: RetrySchedule,
    pub queue_concurrency: usize,
    pub queue_concurrency_per_domain: usize,
    /// Whose mail leaves only encrypted, to hosts that prove their names.
    pub tls_required_domains: Vec<DomainPattern>,
    pub mta_sts_enabled: bool,
    pub dane_enabled: bool,
    /// DNSKEY records of the root, in place of the built-in ones.
    pub dnssec_trust_anchor_file: Option<PathBuf>,
    pub tls_reports_enabled: bool,
    /// From whom they are; `None`: the postmaster of [`Settings::mail_hostname`].
    pub tls_report_from: Option<Address>,
    /// Lines for single destinations, before the built-in ones.
    pub shaping_file: Option<PathBuf>,
    /// Whether addresses are listed that bounce, and nothing is sent to listed ones.
    pub suppression_enabled: bool,
    /// Where what comes back goes; `None`: to the senders.
    pub bounce_domain: Option<Domain>,
    pub webhook: Webhook,
    pub ip_selection: IpSelection,
    /// Where no service selects. Empty: the system's choice.
    pub source_ips: Vec<SourceIp>,
    /// Of some of them.
    pub source_ip_warm_up: Vec<WarmUp>,
    pub log_level: LogLevel,
    pub enable_console_log: bool,
    pub log_format: LogFormat,
    pub traces: Traces,
    pub shutdown_timeout_seconds: u64,
}

impl Acme {
    /// The port of the challenge that is in use; 0 where it is off, or all of ACME is.
    pub fn port(&self) -> u16 {
        match self.challenge {
            _ if !self.enabled => 0,
            AcmeChallenge::Http01 => self.http_port,
            AcmeChallenge::TlsAlpn01 => self.tls_port,
        }
    }

    /// The setting that [`Acme::port`] comes from.
    pub fn port_setting(&self) -> &'static str {
        match self.challenge {
            AcmeChallenge::Http01 => "ACME_HTTP_PORT",
            AcmeChallenge::TlsAlpn01 => "ACME_TLS_PORT",
        }
    }

    /// How that listener is called.
    pub fn listener(&self) -> &'static str {
        match self.challenge {
            AcmeChallenge::Http01 => "acme-http",
            AcmeChallenge::TlsAlpn01 => "acme-tls",
        }
    }
}

impl Settings {
    /// Where the authority of ACME is answered.
    pub fn acme_hosts(&self) -> &[IpAddr] {
        if self.acme.hosts.is_empty() { &self.smtp_hosts } else { &self.acme.hosts }
    }
}

impl std::fmt::Debug for IpSelection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { enabled, url: _, timeout, retries, cache, fallback } = self;
        f.debug_struct("IpSelection")
            .field("enabled", enabled)
            .field("timeout", timeout)
            .field("retries", retries)
            .field("cache", cache)
            .field("fallback", fallback)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).field("password", &"***").finish()
    }
}
