//! Loading as the program sees it: what comes from where, what is refused and in which words.

use std::collections::BTreeMap;
use std::time::Duration;

use postrider_config::{
    AcmeChallenge, ConfigErrors, DeliveryMode, Loaded, LogFormat, LogLevel, Origin, Profile, SECTIONS, Secret, Sources,
    UnknownRecipients, load,
};

fn serve(variables: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    // The machine's own name is not the tests' matter.
    let named = [("MAIL_HOSTNAME", "mx.example.org")];
    load(Profile::Serve, Sources::from_variables(named.iter().chain(variables).copied()))
}

fn faults(variables: &[(&str, &str)]) -> Vec<String> {
    serve(variables).expect_err("this should not load").0.iter().map(ToString::to_string).collect()
}

fn map(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn defaults_of_serve() {
    let Loaded { settings, effective, warnings } = serve(&[]).unwrap();
    assert_eq!(warnings, [""; 0]);
    assert_eq!(settings.smtp_hosts, ["0.0.0.0".parse::<std::net::IpAddr>().unwrap()]);
    let ports = [
        settings.smtp_port,
        settings.smtp_mx_port,
        settings.submission_port,
        settings.submissions_port,
        settings.lmtp_port,
        settings.lmtps_port,
        settings.imap_port,
        settings.imaps_port,
        settings.api_port,
        settings.delivery_port,
    ];
    assert_eq!(ports, [2525, 25, 587, 465, 24, 1024, 143, 993, 3000, 25]);
    assert!(settings.api_host.is_loopback());
    assert_eq!(settings.max_email_size_bytes, 10_485_760);
    assert_eq!(settings.delivery_mode, DeliveryMode::Mx);
    assert_eq!(settings.unknown_recipients, UnknownRecipients::Store);
    let trusted: Vec<_> = settings.trusted_networks.iter().map(ToString::to_string).collect();
    assert_eq!(trusted, ["127.0.0.0/8", "::1/128"]);
    assert_eq!(settings.data_dir.to_str(), Some("./data"));
    assert!(settings.allowed_domains.is_empty() && settings.dns_servers.is_empty());
    assert!(settings.api_token.is_none() && settings.mongodb_url.is_none() && settings.relay.is_none());
    assert_eq!(settings.api_requests_per_minute, Some(120_000));
    assert_eq!(settings.api_address_requests_per_minute, Some(120_000));
    assert_eq!(settings.audit_retention_days, Some(365));
    assert!(settings.tls_cert_file.is_none() && settings.tls_key_file.is_none());
    assert_eq!(settings.retry.first, Duration::from_secs(60));
    assert!((settings.retry.factor - 2.0).abs() < f64::EPSILON);
    assert_eq!(settings.retry.max, Duration::from_secs(14_400));
    assert_eq!(settings.retry.expire, Duration::from_secs(432_000));
    assert_eq!((settings.queue_concurrency, settings.queue_concurrency_per_domain), (200, 20));
    assert_eq!((settings.log_level, settings.log_format), (LogLevel::Info, LogFormat::Text));
    assert!(settings.enable_console_log);
    assert_eq!(settings.shutdown_timeout_seconds, 30);
    assert_eq!(effective.len(), SECTIONS.iter().map(|section| section.settings.len()).sum::<usize>());
}

#[test]
fn defaults_of_dev_need_no_root_and_send_nothing() {
    let loaded = load(Profile::Dev, Sources::default()).unwrap();
    let settings = loaded.settings;
    let ports = [
        settings.smtp_port,
        settings.smtp_mx_port,
        settings.submission_port,
        settings.submissions_port,
        settings.lmtp_port,
        settings.lmtps_port,
        settings.imap_port,
        settings.imaps_port,
        settings.api_port,
    ];
    assert_eq!(ports, [2525, 3025, 3587, 3465, 3024, 4024, 3143, 3993, 3000]);
    assert!(settings.smtp_hosts.iter().all(|host| host.is_loopback()) && settings.api_host.is_loopback());
    assert_eq!(settings.delivery_mode, DeliveryMode::Capture);
    let origin = |name| loaded.effective.iter().find(|e| e.name == name).unwrap().origin;
    assert_eq!((origin("SMTP_PORT"), origin("SMTP_MX_PORT")), (Origin::Default, Origin::DevDefault));
}

#[test]
fn every_setting_reaches_its_field() {
    let settings = serve(&[
        ("SMTP_HOST", "127.0.0.2, ::1, localhost"),
        ("SMTP_PORT", "1"),
        ("SMTP_MX_PORT", "2"),
        ("SUBMISSION_PORT", "3"),
        ("SUBMISSIONS_PORT", "4"),
        ("LMTP_PORT", "5"),
        ("LMTPS_PORT", "6"),
        ("IMAP_PORT", "7"),
        ("IMAPS_PORT", "8"),
        ("API_PORT", "9"),
        ("API_HOST", "::"),
        ("API_TOKEN", "0123456789abcdef"),
        ("API_RATE_LIMIT_PER_MINUTE", "600"),
        ("API_ADDRESS_RATE_LIMIT_PER_MINUTE", "0"),
        ("AUDIT_RETENTION_DAYS", "30"),
        ("DATA_DIR", "/srv/mail"),
        ("MAX_EMAIL_SIZE", "65536"),
        ("ALLOWED_DOMAINS", "Example.org,bücher.example"),
        ("UNKNOWN_RECIPIENTS", "Reject"),
        ("TRUSTED_NETWORKS", "10.0.0.0/8"),
        ("TLS_CERT_FILE", "cert.pem"),
        ("TLS_KEY_FILE", "key.pem"),
        ("ACME_DIRECTORY_URL", "https://acme.example/directory"),
        ("ACME_EMAIL", "ann@example.org"),
        ("ACME_DOMAINS", "mx.example.org, imap.example.org"),
        ("ACME_CHALLENGE", "tls-alpn-01"),
        ("ACME_HTTP_PORT", "10"),
        ("ACME_TLS_PORT", "11"),
        ("ACME_HOST", "127.0.0.3"),
        ("ACME_EAB_KEY_ID", "key-1"),
        ("ACME_EAB_HMAC_KEY", "c2VjcmV0"),
        ("DELIVERY_MODE", "relay"),
        ("RELAY_URL", "smtps://ann:secret@relay.example"),
        ("DELIVERY_PORT", "26"),
        ("DNS_SERVERS", "127.0.0.1:5353,[::1]:54"),
        ("RETRY_FIRST_SECONDS", "1"),
        ("RETRY_FACTOR", "1.5"),
        ("RETRY_MAX_SECONDS", "2"),
        ("RETRY_EXPIRE_SECONDS", "3"),
        ("QUEUE_CONCURRENCY", "11"),
        ("QUEUE_CONCURRENCY_PER_DOMAIN", "12"),
        ("LOG_LEVEL", "TRACE"),
        ("LOG_FORMAT", "json"),
        ("ENABLE_CONSOLE_LOG", "off"),
        ("SHUTDOWN_TIMEOUT_SECONDS", "0"),
    ])
    .unwrap()
    .settings;
    let hosts: Vec<_> = settings.smtp_hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["127.0.0.2", "::1", "127.0.0.1"]);
    let ports = [
        settings.smtp_port,
        settings.smtp_mx_port,
        settings.submission_port,
        settings.submissions_port,
        settings.lmtp_port,
        settings.lmtps_port,
        settings.imap_port,
        settings.imaps_port,
        settings.api_port,
        settings.delivery_port,
    ];
    assert_eq!(ports, [1, 2, 3, 4, 5, 6, 7, 8, 9, 26]);
    assert!(settings.api_host.is_unspecified());
    assert_eq!(settings.api_token, Some(Secret("0123456789abcdef".into())));
    assert_eq!((settings.api_requests_per_minute, settings.api_address_requests_per_minute), (Some(600), None));
    assert_eq!(settings.audit_retention_days, Some(30));
    assert_eq!(settings.data_dir.to_str(), Some("/srv/mail"));
    assert_eq!(settings.mail_hostname, "mx.example.org");
    assert_eq!(settings.max_email_size_bytes, 65_536);
    let domains: Vec<_> = settings.allowed_domains.iter().map(|domain| domain.as_str()).collect();
    assert_eq!(domains, ["example.org", "xn--bcher-kva.example"]);
    assert_eq!(settings.unknown_recipients, UnknownRecipients::Reject);
    assert_eq!(settings.trusted_networks.len(), 1);
    assert_eq!(settings.tls_cert_file.unwrap().to_str(), Some("cert.pem"));
    assert_eq!(settings.tls_key_file.unwrap().to_str(), Some("key.pem"));
    assert_eq!(settings.acme.hosts, ["127.0.0.3".parse::<std::net::IpAddr>().unwrap()]);
    let acme = settings.acme;
    assert!(!acme.enabled && acme.port() == 0);
    assert_eq!(acme.directory_url.unwrap().as_str(), "https://acme.example/directory");
    assert_eq!(acme.email.unwrap().to_string(), "ann@example.org");
    assert_eq!(acme.domains, ["mx.example.org", "imap.example.org"]);
    assert_eq!((acme.challenge, acme.http_port, acme.tls_port), (AcmeChallenge::TlsAlpn01, 10, 11));
    assert_eq!((acme.eab_key_id.as_deref(), acme.eab_hmac_key), (Some("key-1"), Some(Secret("c2VjcmV0".into()))));
    assert_eq!(settings.delivery_mode, DeliveryMode::Relay);
    assert_eq!(settings.relay.unwrap().port, 465);
    let servers: Vec<_> = settings.dns_servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["127.0.0.1:5353", "[::1]:54"]);
    let retry = settings.retry;
    assert_eq!([retry.first, retry.max, retry.expire].map(|d| d.as_secs()), [1, 2, 3]);
    assert!((retry.factor - 1.5).abs() < f64::EPSILON);
    assert_eq!((settings.queue_concurrency, settings.queue_concurrency_per_domain), (11, 12));
    assert_eq!((settings.log_level, settings.log_format), (LogLevel::Trace, LogFormat::Json));
    assert!(!settings.enable_console_log);
    assert_eq!(settings.shutdown_timeout_seconds, 0);
}

#[test]
fn the_environment_wins_over_dot_env_and_both_over_defaults() {
    let sources = Sources {
        environment: map(&[("SMTP_PORT", "1")]),
        dot_env: Some(map(&[("SMTP_PORT", "2"), ("SMTP_MX_PORT", "3"), ("DELIVERY_MODE", "capture")])),
    };
    let loaded = load(Profile::Dev, sources).unwrap();
    let found: Vec<_> = ["SMTP_PORT", "SMTP_MX_PORT", "SUBMISSION_PORT", "API_PORT"]
        .map(|name| loaded.effective.iter().find(|e| e.name == name).unwrap())
        .map(|e| (e.value.as_str(), e.origin))
        .into();
    let expected =
        [("1", Origin::Environment), ("3", Origin::DotEnv), ("3587", Origin::DevDefault), ("3000", Origin::Default)];
    assert_eq!(found, expected);
}

#[test]
fn a_bad_value_is_told_in_one_line_with_what_is_allowed() {
    for (name, value, line) in [
        ("SMTP_PORT", "smtp", r#"SMTP_PORT is "smtp" (from environment); allowed: a port, 1 to 65535, or 0 for off"#),
        ("API_PORT", "65536", r#"API_PORT is "65536" (from environment); allowed: a port, 1 to 65535, or 0 for off"#),
        ("API_PORT", "", r#"API_PORT is "" (from environment); allowed: a port, 1 to 65535, or 0 for off"#),
        (
            "SMTP_HOST",
            "127.0.0.1,mail",
            r#"SMTP_HOST is "127.0.0.1,mail" (from environment): "mail" is none; allowed: an IP address, or several with commas between"#,
        ),
        ("LOG_LEVEL", "loud", r#"LOG_LEVEL is "loud" (from environment); allowed: error, warn, info, debug, trace"#),
        ("WEBHOOK_ENABLED", "maybe", r#"WEBHOOK_ENABLED is "maybe" (from environment); allowed: true or false"#),
        (
            "MAX_EMAIL_SIZE",
            "10MB",
            r#"MAX_EMAIL_SIZE is "10MB" (from environment); allowed: whole bytes, 1024 to 268435456"#,
        ),
        ("RETRY_FACTOR", "NaN", r#"RETRY_FACTOR is "NaN" (from environment); allowed: a number, 1 to 100"#),
        ("DELIVERY_PORT", "0", r#"DELIVERY_PORT is "0" (from environment); allowed: a whole number, 1 to 65535"#),
        ("FALLBACK_IP", "here", r#"FALLBACK_IP is "here" (from environment); allowed: an IP address of this host"#),
        ("SMTP_PROT", "25", "SMTP_PROT (from environment) is not a setting; did you mean SMTP_PORT?"),
    ] {
        assert_eq!(faults(&[(name, value)]), [line]);
    }
}

#[test]
fn values_out_of_bounds_are_refused_for_every_kind() {
    for (name, value) in [
        ("SMTP_HOST", ""),
        ("SMTP_HOST", ","),
        ("API_HOST", ""),
        ("API_HOST", "127.0.0.1:80"),
        ("API_TOKEN", "two words"),
        ("MONGODB_URL", "postgres://x"),
        ("MONGODB_URL", "mongodb://"),
        ("DATA_DIR", ""),
        ("MAIL_HOSTNAME", ""),
        ("MAIL_HOSTNAME", "a b"),
        ("MAIL_HOSTNAME", "[127.0.0.1]"),
        ("MAX_EMAIL_SIZE", "1023"),
        ("MAX_EMAIL_SIZE", "268435457"),
        ("MAX_EMAIL_SIZE", "-1"),
        ("ALLOWED_DOMAINS", "a..b"),
        ("ALLOWED_DOMAINS", "[127.0.0.1]"),
        ("UNKNOWN_RECIPIENTS", "drop"),
        ("TRUSTED_NETWORKS", "10.0.0.0/40"),
        ("TRUSTED_NETWORKS", "0.0.0.0/0"),
        ("TRUSTED_NETWORKS", "127.0.0.0/8,::/0"),
        ("ACME_DIRECTORY_URL", "http://acme.example/directory"),
        ("ACME_EMAIL", "ann"),
        ("ACME_DOMAINS", "*.example.org"),
        ("ACME_CHALLENGE", "dns-01"),
        ("ACME_EAB_HMAC_KEY", "+/"),
        ("ACME_EAB_HMAC_KEY", "abcde"),
        ("DELIVERY_MODE", "direct"),
        ("RELAY_URL", "relay.example"),
        ("DNS_SERVERS", "dns.example"),
        ("RETRY_FIRST_SECONDS", "0"),
        ("RETRY_FACTOR", "0.5"),
        ("RETRY_FACTOR", "inf"),
        ("RETRY_MAX_SECONDS", "604801"),
        ("QUEUE_CONCURRENCY", "0"),
        ("QUEUE_CONCURRENCY_PER_DOMAIN", "10001"),
        ("WEBHOOK_SUCCESS_URL", "ftp://x"),
        ("WEBHOOK_TIMEOUT", "0"),
        ("IP_SELECTION_API_URL", "x"),
        ("LOG_FORMAT", "xml"),
        ("ENABLE_CONSOLE_LOG", ""),
        ("SHUTDOWN_TIMEOUT_SECONDS", "3601"),
    ] {
        let lines = faults(&[(name, value)]);
        assert_eq!(lines.len(), 1, "{name}={value}: {lines:?}");
        assert!(lines[0].starts_with(&format!("{name} is ")) && !lines[0].contains('\n'), "{}", lines[0]);
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let error = serve(&[("SMTP_PORT", "x"), ("API_PROT", "1"), ("SMTP_FOO", "1"), ("LOG_FORMAT", "y")]).unwrap_err();
    assert_eq!(error.0.len(), 4);
    assert_eq!(error.to_string().lines().count(), 4);
}

#[test]
fn secrets_appear_nowhere() {
    let secrets = [
        ("API_TOKEN", "hunter2hunter2hunter2"),
        ("RELAY_URL", "smtp://ann:hunter2@relay.example"),
        ("MONGODB_URL", "mongodb://ann:hunter2@a:1,b:2/mail?tls=true&proxyPassword=hunter2"),
        ("WEBHOOK_SECRET", "hunter2"),
        ("ACME_EAB_KEY_ID", "key-1"),
        ("ACME_EAB_HMAC_KEY", "hunter2w"),
        ("WEBHOOK_SUCCESS_URL", "https://ann:hunter2@hook.example/?token=hunter2"),
    ];
    let loaded = serve(&secrets).unwrap();
    let shown = format!("{loaded:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(loaded.settings.relay.is_some_and(|r| r.credentials.is_some_and(|c| c.password == "hunter2")));

    let broken = [
        ("API_TOKEN", "hunter2 hunter2"),
        ("MONGODB_URL", "ann:hunter2@a"),
        ("RELAY_URL", "smtp://ann:hunter2@relay.example/hunter2?x"),
        ("RELAY_URL", "smtp://ann:hun/ter2@relay.example"),
        ("WEBHOOK_FAILURE_URL", "hunter2"),
    ];
    for secret in broken {
        let lines = faults(&[secret]);
        let leak =
            lines.iter().any(|line| line.contains("ter2@") || line.contains("hunter2\"") || line.contains(":hun"));
        assert!(!leak, "{lines:?}");
    }
}

#[test]
fn settings_that_do_not_go_together() {
    let open = ("API_HOST", "0.0.0.0");
    for (variables, part) in [
        (vec![open], "API_TOKEN is required because API_HOST is 0.0.0.0"),
        (vec![open, ("API_TOKEN", "")], "API_TOKEN is required"),
        (vec![("DELIVERY_MODE", "relay")], "set RELAY_URL"),
        (vec![("TLS_CERT_FILE", "a")], "TLS_CERT_FILE and TLS_KEY_FILE"),
        (vec![("TLS_KEY_FILE", "a")], "TLS_CERT_FILE and TLS_KEY_FILE"),
        (vec![("ACME_EAB_KEY_ID", "a")], "ACME_EAB_KEY_ID and ACME_EAB_HMAC_KEY belong together"),
        (vec![("ACME_ENABLED", "true"), ("ACME_DOMAINS", "mx")], "no authority certifies mx"),
        (
            vec![("ACME_ENABLED", "true"), ("TLS_CERT_FILE", "a"), ("TLS_KEY_FILE", "a")],
            "ACME_ENABLED is true and TLS_CERT_FILE is set",
        ),
        (vec![("ACME_ENABLED", "true"), ("ACME_HTTP_PORT", "25")], "SMTP_MX_PORT and ACME_HTTP_PORT are both 25"),
        (vec![("SMTP_PORT", "25")], "SMTP_PORT and SMTP_MX_PORT are both 25"),
        (vec![("SMTP_PORT", "1024")], "SMTP_PORT and LMTPS_PORT are both 1024"),
        (
            vec![("VERIFY_INCOMING", "false"), ("DMARC_REJECT", "true")],
            "DMARC_REJECT is true and VERIFY_INCOMING is false",
        ),
        (
            vec![("VERIFY_INCOMING", "false"), ("DMARC_QUARANTINE", "true")],
            "DMARC_QUARANTINE is true and VERIFY_INCOMING is false",
        ),
        (vec![("API_PORT", "2525")], "SMTP_PORT and API_PORT are both 2525"),
        (vec![("RETRY_FIRST_SECONDS", "20000")], "RETRY_FIRST_SECONDS is 20000, more than RETRY_MAX_SECONDS"),
        (vec![("RETRY_EXPIRE_SECONDS", "14399")], "RETRY_MAX_SECONDS is 14400, more than RETRY_EXPIRE_SECONDS"),
    ] {
        let lines = faults(&variables);
        assert!(lines.len() == 1 && lines[0].contains(part), "{variables:?} gave {lines:?}");
    }
}

#[test]
fn what_only_looks_like_a_conflict_is_none() {
    for variables in [
        vec![("API_HOST", "0.0.0.0"), ("API_PORT", "0")],
        vec![("SMTP_PORT", "0"), ("SMTP_MX_PORT", "0"), ("SUBMISSION_PORT", "0")],
        vec![("SMTP_HOST", "127.0.0.2"), ("API_PORT", "2525")],
        vec![("RETRY_FIRST_SECONDS", "10"), ("RETRY_MAX_SECONDS", "10"), ("RETRY_EXPIRE_SECONDS", "10")],
        vec![("MONGODB_URL", "mongodb://db"), ("DATA_DIR", "elsewhere")],
        vec![("VERIFY_INCOMING", "false")],
        vec![("VERIFY_INCOMING", "false"), ("DMARC_QUARANTINE", "false"), ("DMARC_REJECT", "false")],
    ] {
        serve(&variables).unwrap_or_else(|errors| panic!("{variables:?}: {errors}"));
    }
    assert!(serve(&[("TRUSTED_NETWORKS", "")]).unwrap().settings.trusted_networks.is_empty());
}

#[test]
fn warnings_tell_what_has_no_effect_and_what_is_doubtful() {
    for (variables, part) in [
        (vec![("WEBHOOK_ENABLED", "true"), ("WEBHOOK_SECRET", "x")], "none of the WEBHOOK_*_URL is set"),
        (vec![("WEBHOOK_ENABLED", "true"), ("WEBHOOK_FAILURE_URL", "https://x.example")], "WEBHOOK_SECRET is not set"),
        (vec![("ALOWED_DOMAINS", "a.example")], "did you mean ALLOWED_DOMAINS?"),
        (vec![("MONGODB_URL", "mongodb://db"), ("DELIVERY_MODE", "capture")], "is captured here too"),
        (vec![("ACME_ENABLED", "true"), ("ACME_DOMAINS", "a.example")], "ACME_DOMAINS does not hold MAIL_HOSTNAME"),
        (vec![("ACME_ENABLED", "true"), ("ACME_HTTP_PORT", "0")], "ACME_HTTP_PORT is 0"),
        (vec![("MAIL_HOSTNAME", "box")], "not a fully qualified name"),
        (vec![("TRUSTED_NETWORKS", "8.0.0.0/8")], "8.0.0.0/8, a large part of the public Internet"),
        (vec![("TRUSTED_NETWORKS", "2001:d00::/24")], "whoever is in it can relay without AUTH"),
        (vec![("MAX_EMAIL_SIZE", "2000")], "RFC 5321"),
        (vec![("API_HOST", "::"), ("API_TOKEN", "short")], "it can be guessed"),
    ] {
        let warnings = serve(&variables).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(part), "{variables:?} gave {warnings:?}");
    }
    let dev = load(Profile::Dev, Sources::from_variables([("DELIVERY_MODE", "mx")])).unwrap();
    assert!(dev.warnings.iter().any(|line| line.contains("mail really leaves this machine")), "{:?}", dev.warnings);
}

#[test]
fn a_trust_in_everybody_says_why_it_is_refused() {
    let lines = faults(&[("TRUSTED_NETWORKS", "0.0.0.0/0")]);
    assert!(lines[0].contains("the whole Internet, and an open relay"), "{lines:?}");
}

#[test]
fn variables_of_other_programs_are_left_alone() {
    let loaded = serve(&[("PATH", "/bin"), ("API_KEY", "x"), ("LOG_DIR", "x"), ("TLS_CA", "x"), ("RUST_LOG", "x")]);
    assert_eq!(loaded.unwrap().warnings, [""; 0]);
}
