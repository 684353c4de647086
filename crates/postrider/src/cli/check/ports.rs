//! Whether the listeners can be bound, or are bound by a Postrider that runs already.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use postrider_config::Settings;
use serde_json::Value;

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
    let mut running_ports = None;
    for Listener { name, setting, address } in listeners {
        let finding = match TcpListener::bind(address) {
            Ok(_) => Finding::ok(AREA, format!("{name} can listen on {address}")),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                if running_ports.is_none() {
                    running_ports = Some(ports_of_running(settings).await);
                }
                let is_ours = running_ports.as_ref().is_some_and(|ports| ports.contains(&u64::from(address.port())));
                in_use(name, setting, address, is_ours)
            }
            Err(error) => Finding::fail(
                AREA,
                format!("{name} cannot listen on {address}: {error}"),
                context::bind_advice(error.kind(), setting, address.port()),
            ),
        };
        findings.push(finding);
    }
}

fn in_use(name: &str, setting: &str, address: SocketAddr, is_ours: bool) -> Finding {
    if is_ours {
        return Finding::ok(AREA, format!("{name} on {address} is in use by the Postrider that is running"));
    }
    Finding::fail(
        AREA,
        format!("{name} cannot listen on {address}: another program does, or a Postrider whose API was not reached"),
        context::bind_advice(ErrorKind::AddrInUse, setting, address.port()),
    )
}

/// The ports of the Postrider that answers where these settings have the API; none where no such one answers.
async fn ports_of_running(settings: &Settings) -> Vec<u64> {
    let Some(api) = context::api_address(settings) else { return Vec::new() };
    let answer = http::get(api, "/health", settings.api_token.as_ref()).await;
    answer.and_then(|answer| answer.json()).map(|health| listening_ports(&health)).unwrap_or_default()
}

/// The ports in a `/health` document.
fn listening_ports(health: &Value) -> Vec<u64> {
    let listeners = health.get("listeners").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let port = |listener: &Value| listener.get("address")?.as_str()?.rsplit_once(':')?.1.parse().ok();
    listeners.iter().filter_map(port).collect()
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

    #[test]
    fn reads_the_ports_of_a_running_server() {
        let health = serde_json::json!({ "listeners": [
            { "name": "smtp", "address": "127.0.0.1:2525", "open": true },
            { "name": "api", "address": "[::1]:3000", "open": true },
        ] });
        assert_eq!(listening_ports(&health), [2525, 3000]);
        assert!(listening_ports(&serde_json::json!({ "status": "ok" })).is_empty());
    }
}
