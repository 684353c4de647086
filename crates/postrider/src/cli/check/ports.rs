//! Whether the listeners can be bound, or are bound by a Postrider that runs already.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use postrider_config::Settings;

use super::Finding;
use crate::cli::context::{self, Listener};
use crate::cli::selftest::http;

const AREA: &str = "ports";

pub(super) async fn check(settings: &Settings, findings: &mut Vec<Finding>) {
    let listeners = context::listeners(settings);
    if listeners.is_empty() {
        findings.push(Finding::fail(AREA, "every listener is turned off", "set at least one port to other than 0"));
    }
    // Asked at most once: it says the same for every port.
    let mut runs_here = None;
    for Listener { name, setting, address } in listeners {
        let finding = match TcpListener::bind(address) {
            Ok(_) => Finding::ok(AREA, format!("{name} can listen on {address}")),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                if runs_here.is_none() {
                    runs_here = Some(postrider_answers(settings).await);
                }
                in_use(name, setting, address, runs_here == Some(true))
            }
            Err(error) => Finding::fail(
                AREA,
                format!("{name} cannot listen on {address}: {error}"),
                advice(error.kind(), setting),
            ),
        };
        findings.push(finding);
    }
}

fn in_use(name: &str, setting: &str, address: SocketAddr, runs_here: bool) -> Finding {
    if runs_here {
        return Finding::ok(AREA, format!("{name} on {address} is in use; a Postrider is running"));
    }
    Finding::fail(
        AREA,
        format!("{name} cannot listen on {address}: another program does"),
        format!("end that program (ss -ltnp 'sport = :{}' names it), or set {setting}", address.port()),
    )
}

fn advice(kind: ErrorKind, setting: &str) -> String {
    match kind {
        ErrorKind::PermissionDenied => {
            format!(
                "ports below 1024 need root or CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=); or set {setting}"
            )
        }
        ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: set SMTP_HOST or API_HOST to one that it has".to_owned()
        }
        _ => format!("set {setting} to another port, or to 0 to turn it off"),
    }
}

/// Whether what listens on the API's port is a Postrider.
async fn postrider_answers(settings: &Settings) -> bool {
    let Some(api) = context::api_address(settings) else { return false };
    match http::get(api, "/health", settings.api_token.as_ref()).await {
        Ok(answer) => answer.json().is_ok_and(|health| health.get("status").is_some()),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_running_postrider_is_no_mistake() {
        let address = "127.0.0.1:25".parse().unwrap();
        assert_eq!(in_use("smtp-mx", "SMTP_MX_PORT", address, true).level, Level::Ok);
        let finding = in_use("smtp-mx", "SMTP_MX_PORT", address, false);
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.advice.unwrap().contains("SMTP_MX_PORT"));
    }
}
