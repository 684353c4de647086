//! What commands stand on: the settings, the store, a runtime, and where a server with these settings listens.

use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use postrider::Engine;
use postrider_config::{Loaded, Profile, Settings, Sources};
use postrider_core::Domain;
use postrider_store::Store;

use crate::cli::failure::Failure;

/// Settings from the environment and from `.env` in the current directory.
pub(super) fn load(profile: Profile) -> Result<Loaded, Failure> {
    Sources::from_process(Path::new("."))
        .and_then(|sources| postrider_config::load(profile, sources))
        .map_err(|errors| Failure::Usage(errors.to_string()))
}

/// The domains that are local by the settings.
pub(super) fn configured_domains() -> Result<Vec<Domain>, Failure> {
    Ok(load(Profile::Serve)?.settings.allowed_domains)
}

/// Runs what a command waits for, on this thread.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime cannot be started: {error}")))?
        .block_on(future)
}

/// Opens the store, beside running servers if there are any, and closes it behind `work`. An embedded store that is not
/// there is not made: most likely the command runs in another folder than the server.
pub(super) fn with_store<T>(work: impl AsyncFnOnce(&dyn Store) -> Result<T, Failure>) -> Result<T, Failure> {
    let settings = load(Profile::Serve)?.settings;
    let engine = Engine::of(&settings);
    block_on(with_store_of(engine, work))
}

/// As [`with_store`], within what a command waits for.
pub(super) async fn with_store_of<T>(
    engine: Engine,
    work: impl AsyncFnOnce(&dyn Store) -> Result<T, Failure>,
) -> Result<T, Failure> {
    require(&engine)?;
    close_behind(engine, work).await
}

/// Refuses to go on where there is no embedded store yet.
pub(super) fn require(engine: &Engine) -> Result<(), Failure> {
    match engine {
        Engine::Sqlite(options) if !options.exists() => Err(no_store(&options.path)),
        Engine::Sqlite(_) | Engine::Mongodb(_) => Ok(()),
    }
}

/// A store that may not be seen looks like one that is not there, and wants other advice.
fn no_store(data_dir: &Path) -> Failure {
    let shown = data_dir.display();
    Failure::Failed(match std::fs::read_dir(data_dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            format!(
                "{shown} cannot be read: {error}: run this as the user of the server, or set DATA_DIR as it is set there"
            )
        }
        _ => format!(
            "there is no store in {shown}: start the server once, or run this where it runs, or set DATA_DIR as it is set there"
        ),
    })
}

/// As [`with_store`], for what makes sense before the first start of the server: makes the store if it is not there.
pub(super) fn with_new_store<T>(work: impl AsyncFnOnce(&dyn Store) -> Result<T, Failure>) -> Result<T, Failure> {
    let engine = Engine::of(&load(Profile::Serve)?.settings);
    block_on(close_behind(engine, work))
}

async fn close_behind<T>(
    engine: Engine,
    work: impl AsyncFnOnce(&dyn Store) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let store = engine.open_beside().await?;
    let result = work(store.as_ref()).await;
    let closed = store.close().await;
    let value = result?;
    closed?;
    Ok(value)
}

/// A listener as the settings want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listener {
    /// As [`postrider_core::ports::ListenerStatus::name`].
    pub(super) name: &'static str,
    /// The setting that holds its port.
    pub(super) setting: &'static str,
    pub(super) address: SocketAddr,
}

/// Every listener that is not turned off.
pub(super) fn listeners(settings: &Settings) -> Vec<Listener> {
    let mail = [
        ("smtp", "SMTP_PORT", settings.smtp_port),
        ("smtp-mx", "SMTP_MX_PORT", settings.smtp_mx_port),
        ("submission", "SUBMISSION_PORT", settings.submission_port),
        ("submissions", "SUBMISSIONS_PORT", settings.submissions_port),
        ("lmtp", "LMTP_PORT", settings.lmtp_port),
        ("lmtps", "LMTPS_PORT", settings.lmtps_port),
        ("imap", "IMAP_PORT", settings.imap_port),
        ("imaps", "IMAPS_PORT", settings.imaps_port),
    ];
    let mail = mail.iter().flat_map(|&(name, setting, port)| {
        settings.smtp_hosts.iter().map(move |&host| Listener { name, setting, address: SocketAddr::new(host, port) })
    });
    let api = SocketAddr::new(settings.api_host, settings.api_port);
    let api = Listener { name: "api", setting: "API_PORT", address: api };
    let acme = settings.acme_hosts().iter().map(|&host| Listener {
        name: settings.acme.listener(),
        setting: settings.acme.port_setting(),
        address: SocketAddr::new(host, settings.acme.port()),
    });
    mail.chain([api]).chain(acme).filter(|listener| listener.address.port() != 0).collect()
}

/// How a listener is mended that cannot be bound, whose port comes from `setting`.
pub(super) fn bind_advice(kind: ErrorKind, setting: &str, port: u16) -> String {
    // The authority decides for itself where it asks.
    let off = if setting.starts_with("ACME_") { "" } else { ", or to 0 to turn this listener off" };
    match kind {
        ErrorKind::AddrInUse => format!(
            "another program listens there already, or another Postrider: ss -ltnp 'sport = :{port}' names it. End it, or set {setting} to another port{off}"
        ),
        ErrorKind::PermissionDenied => format!(
            "ports below 1024 need root or CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=); or set {setting} to another port{off}"
        ),
        ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: set SMTP_HOST, API_HOST or ACME_HOST to one that it has"
                .to_owned()
        }
        _ => format!("set {setting} to another port{off}"),
    }
}

/// Where a client on this machine reaches the applications' port; `None` where it is turned off.
pub(super) fn smtp_address(settings: &Settings) -> Option<SocketAddr> {
    address_of(settings, "smtp")
}

/// Where a client on this machine reaches a listener; `None` where it is turned off.
pub(super) fn address_of(settings: &Settings, name: &str) -> Option<SocketAddr> {
    listeners(settings).iter().find(|listener| listener.name == name).map(|listener| reachable(listener.address))
}

/// Where a client on this machine reaches the API; `None` where it is turned off.
pub(super) fn api_address(settings: &Settings) -> Option<SocketAddr> {
    (settings.api_port != 0).then(|| reachable(SocketAddr::new(settings.api_host, settings.api_port)))
}

/// An address to connect to, where `bound` may be the unspecified one, which stands for all.
pub(super) fn reachable(bound: SocketAddr) -> SocketAddr {
    let host = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(host, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let sources = Sources::from_variables(variables.iter().copied());
        postrider_config::load(Profile::Dev, sources).unwrap().settings
    }

    #[test]
    fn what_cannot_be_read_is_not_called_missing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let message = |data_dir: &Path| no_store(data_dir).message().unwrap().to_owned();
        assert!(message(&file).contains("cannot be read"), "{}", message(&file));
        assert!(message(folder.path()).contains("there is no store"));
        assert!(message(&folder.path().join("none")).contains("there is no store"));
    }

    #[test]
    fn port_zero_is_off() {
        let settings = settings(&[
            ("SMTP_HOST", "127.0.0.1,::1"),
            ("SMTP_MX_PORT", "0"),
            ("SUBMISSIONS_PORT", "0"),
            ("LMTPS_PORT", "0"),
            ("IMAPS_PORT", "0"),
        ]);
        let listeners = listeners(&settings);
        let shown: Vec<_> =
            listeners.iter().map(|listener| format!("{} {}", listener.name, listener.address)).collect();
        assert_eq!(
            shown,
            [
                "smtp 127.0.0.1:2525",
                "smtp [::1]:2525",
                "submission 127.0.0.1:3587",
                "submission [::1]:3587",
                "lmtp 127.0.0.1:3024",
                "lmtp [::1]:3024",
                "imap 127.0.0.1:3143",
                "imap [::1]:3143",
                "api 127.0.0.1:3000"
            ]
        );
        assert_eq!(smtp_address(&settings), Some("127.0.0.1:2525".parse().unwrap()));
    }

    #[test]
    fn all_addresses_are_reached_by_loopback() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(reachable(address("0.0.0.0:25")), address("127.0.0.1:25"));
        assert_eq!(reachable(address("[::]:25")), address("[::1]:25"));
        assert_eq!(reachable(address("192.0.2.1:25")), address("192.0.2.1:25"));
    }
}
