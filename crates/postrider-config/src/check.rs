//! Settings that are right alone and wrong together.

use std::net::IpAddr;

use crate::error::ConfigError;
use crate::load::{Effective, Origin, Profile};
use crate::settings::{DeliveryMode, Settings};
use crate::table::EMAIL_SIZE_BYTES_RFC_MIN;
use crate::value;

/// A shorter token can be guessed.
const API_TOKEN_BYTES_SAFE_MIN: usize = 16;

/// Adds every conflict to `errors`, and what is allowed but doubtful to `warnings`.
pub(crate) fn together(
    settings: &Settings,
    profile: Profile,
    effective: &[Effective],
    errors: &mut Vec<ConfigError>,
    warnings: &mut Vec<String>,
) {
    let mut conflicts = Vec::new();
    api(settings, &mut conflicts, warnings);
    if settings.tls_cert_file.is_some() != settings.tls_key_file.is_some() {
        conflicts.push("TLS_CERT_FILE and TLS_KEY_FILE belong together: set both or neither".to_owned());
    }
    if settings.delivery_mode == DeliveryMode::Relay && settings.relay.is_none() {
        conflicts.push("DELIVERY_MODE is relay: set RELAY_URL to smtp[s]://[user:password@]host[:port]".to_owned());
    }
    if profile == Profile::Dev && settings.delivery_mode != DeliveryMode::Capture {
        warnings.push("DELIVERY_MODE is not capture: mail really leaves this machine".to_owned());
    }
    // A queue of many nodes: whoever captures takes the mail of all of them.
    if settings.mongodb_url.is_some() && settings.delivery_mode == DeliveryMode::Capture {
        warnings.push(
            "DELIVERY_MODE is capture and MONGODB_URL is set: mail that other nodes queue there is captured here too, \
             and counts as sent"
                .to_owned(),
        );
    }
    acme(settings, &mut conflicts, warnings);
    source_ips(settings, &mut conflicts, warnings);
    webhooks(settings, warnings);
    verification(settings, effective, &mut conflicts);
    ports(settings, &mut conflicts);
    retry(settings, &mut conflicts);
    host(settings, profile, warnings);
    errors.extend(conflicts.into_iter().map(ConfigError::Conflict));
}

fn acme(settings: &Settings, conflicts: &mut Vec<String>, warnings: &mut Vec<String>) {
    let acme = &settings.acme;
    if acme.eab_key_id.is_some() != acme.eab_hmac_key.is_some() {
        conflicts.push("ACME_EAB_KEY_ID and ACME_EAB_HMAC_KEY belong together: set both or neither".to_owned());
    }
    if !acme.enabled {
        return;
    }
    if settings.tls_cert_file.is_some() {
        conflicts.push(
            "ACME_ENABLED is true and TLS_CERT_FILE is set: the certificate can come from one of them only, so leave one out"
                .to_owned(),
        );
    }
    for name in acme.domains.iter().filter(|name| !name.contains('.')) {
        conflicts.push(format!(
            "ACME_ENABLED is true: no authority certifies {name}, which is no name of the Internet; set ACME_DOMAINS or \
             MAIL_HOSTNAME to fully qualified ones"
        ));
    }
    if !acme.domains.contains(&settings.mail_hostname) {
        warnings.push(format!(
            "ACME_DOMAINS does not hold MAIL_HOSTNAME, {}: who connects by that name does not trust the certificate",
            settings.mail_hostname
        ));
    }
    if acme.port() == 0 && settings.mongodb_url.is_none() {
        warnings.push(format!("{} is 0: the authority of ACME is answered by nobody", acme.port_setting()));
    }
}

fn source_ips(settings: &Settings, conflicts: &mut Vec<String>, warnings: &mut Vec<String>) {
    let selection = &settings.ip_selection;
    if selection.enabled && selection.url.is_none() {
        conflicts.push("IP_SELECTION_ENABLED is true: set IP_SELECTION_API_URL to the service's URL".to_owned());
    }
    if selection.enabled && !settings.source_ips.is_empty() {
        warnings.push("SOURCE_IPS has no effect while IP_SELECTION_ENABLED is true: the service chooses".to_owned());
    }
    let sources: Vec<IpAddr> = settings.source_ips.iter().map(|source| source.ip).collect();
    let warm_ups: Vec<IpAddr> = settings.source_ip_warm_up.iter().map(|warm_up| warm_up.ip).collect();
    for (name, ips) in [("SOURCE_IPS", &sources), ("SOURCE_IP_WARMUP", &warm_ups)] {
        for (n, ip) in ips.iter().enumerate().filter(|(n, ip)| ips[..*n].contains(ip)) {
            conflicts.push(format!("{name} names {ip} twice, as number {} too: leave one out", n + 1));
        }
    }
    for ip in warm_ups.iter().filter(|ip| !sources.contains(ip)) {
        conflicts.push(format!(
            "SOURCE_IP_WARMUP names {ip}, which is not in SOURCE_IPS: add it there, or leave it out here"
        ));
    }
}

/// DMARC is known only of what is verified.
fn verification(settings: &Settings, effective: &[Effective], conflicts: &mut Vec<String>) {
    if settings.verify_incoming {
        return;
    }
    let is_set = |name| effective.iter().any(|setting| setting.name == name && setting.origin != Origin::Default);
    for (name, is_on) in [
        ("DMARC_REJECT", settings.dmarc_reject),
        // It is on unless somebody says otherwise.
        ("DMARC_QUARANTINE", settings.dmarc_quarantine && is_set("DMARC_QUARANTINE")),
    ] {
        if is_on {
            conflicts.push(format!(
                "{name} is true and VERIFY_INCOMING is false: what is not verified fails nothing, so set VERIFY_INCOMING to true \
                 or {name} to false"
            ));
        }
    }
}

fn webhooks(settings: &Settings, warnings: &mut Vec<String>) {
    let webhook = &settings.webhook;
    let urls = [&webhook.success_url, &webhook.failure_url, &webhook.received_url];
    let has_url = urls.iter().any(|url| url.is_some());
    if webhook.enabled && !has_url {
        warnings.push("WEBHOOK_ENABLED is true, but none of the WEBHOOK_*_URL is set: nobody is called".to_owned());
    }
    if webhook.enabled && has_url && webhook.secret.is_none() {
        warnings.push(
            "WEBHOOK_SECRET is not set: calls are not signed, and whoever knows the URL can send false ones".to_owned(),
        );
    }
}

fn api(settings: &Settings, conflicts: &mut Vec<String>, warnings: &mut Vec<String>) {
    if settings.api_port == 0 {
        return;
    }
    match &settings.api_token {
        None if !settings.api_host.is_loopback() => conflicts.push(format!(
            "API_TOKEN is required because API_HOST is {}, not loopback: set it to a long random text",
            settings.api_host
        )),
        Some(token) if !settings.api_host.is_loopback() && token.0.len() < API_TOKEN_BYTES_SAFE_MIN => {
            warnings
                .push(format!("API_TOKEN is shorter than {API_TOKEN_BYTES_SAFE_MIN} characters: it can be guessed"));
        }
        _ => {}
    }
}

/// Two listeners that would bind the same port of the same address. Those that do not exist yet bind nothing.
fn ports(settings: &Settings, conflicts: &mut Vec<String>) {
    let mail = [
        ("SMTP_PORT", settings.smtp_port),
        ("SMTP_MX_PORT", settings.smtp_mx_port),
        ("SUBMISSION_PORT", settings.submission_port),
        ("SUBMISSIONS_PORT", settings.submissions_port),
        ("LMTP_PORT", settings.lmtp_port),
        ("LMTPS_PORT", settings.lmtps_port),
        ("IMAP_PORT", settings.imap_port),
        ("IMAPS_PORT", settings.imaps_port),
    ];
    let mut bound: Vec<(&str, u16)> = mail.into_iter().filter(|&(_, port)| port != 0).collect();
    if settings.smtp_hosts.iter().any(|host| overlap(*host, settings.api_host)) && settings.api_port != 0 {
        bound.push(("API_PORT", settings.api_port));
    }
    let acme = settings.acme.port();
    if settings.acme_hosts().iter().any(|host| settings.smtp_hosts.iter().any(|mail| overlap(*host, *mail)))
        && acme != 0
    {
        bound.push((settings.acme.port_setting(), acme));
    }
    for (i, (name, port)) in bound.iter().enumerate() {
        if let Some((other, _)) = bound[..i].iter().find(|(_, other)| other == port) {
            conflicts.push(format!("{other} and {name} are both {port}: each listener needs its own port"));
        }
    }
}

/// Whether sockets bound to these addresses compete for a port.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a == b || a.is_unspecified() || b.is_unspecified()
}

fn retry(settings: &Settings, conflicts: &mut Vec<String>) {
    let retry = &settings.retry;
    for (less, less_name, more, more_name) in [
        (retry.first, "RETRY_FIRST_SECONDS", retry.max, "RETRY_MAX_SECONDS"),
        (retry.max, "RETRY_MAX_SECONDS", retry.expire, "RETRY_EXPIRE_SECONDS"),
    ] {
        if less > more {
            let (less, more) = (less.as_secs(), more.as_secs());
            conflicts.push(format!(
                "{less_name} is {less}, more than {more_name}, which is {more}: raise that or lower this"
            ));
        }
    }
}

fn host(settings: &Settings, profile: Profile, warnings: &mut Vec<String>) {
    if settings.max_email_size_bytes < EMAIL_SIZE_BYTES_RFC_MIN {
        warnings.push(format!(
            "MAX_EMAIL_SIZE is {}: RFC 5321 section 4.5.3.1.7 asks every server to take {EMAIL_SIZE_BYTES_RFC_MIN} bytes",
            settings.max_email_size_bytes
        ));
    }
    let all_loopback = settings.smtp_hosts.iter().all(IpAddr::is_loopback);
    let wide = settings.trusted_networks.iter().filter(|network| value::is_wide_and_public(network));
    for network in wide.filter(|_| !all_loopback) {
        warnings.push(format!(
            "TRUSTED_NETWORKS holds {network}, a large part of the public Internet: whoever is in it can relay without AUTH"
        ));
    }
    let sends_to_the_world = profile == Profile::Serve && settings.delivery_mode == DeliveryMode::Mx;
    if sends_to_the_world && !settings.mail_hostname.contains('.') {
        warnings.push(format!(
            "MAIL_HOSTNAME is {}, not a fully qualified name: many servers refuse mail from such a host",
            settings.mail_hostname
        ));
    }
}
