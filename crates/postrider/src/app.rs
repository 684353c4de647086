//! The wiring: settings and ports in, a running Postrider out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postrider_config::Settings;
use postrider_core::ports::ListenerStatus;
use postrider_core::{Clock, Control, LogTail, Resolver};
use postrider_server::clock::SystemClock;
use postrider_server::dns::DnsResolver;
use postrider_server::{Limits, Server};
use postrider_store::{Store, StoreError};
use postrider_web::view::SettingsView;
use postrider_web::{RateLimits, Web};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info};

use crate::administration::Office;
use crate::engine::Engine;
use crate::recent_log::RecentLog;
use crate::retention;

/// How long API requests may take to end when all else has.
const API_PATIENCE: Duration = Duration::from_millis(500);

/// Of the time for a shutdown, what is left for all that comes after sessions and deliveries: giving claims back, the API,
/// the store's last commit.
const CLOSING_TIME: Duration = Duration::from_millis(1500);

/// What Postrider takes from outside; tests bring their own.
#[derive(Debug)]
pub struct Ports {
    pub clock: Arc<dyn Clock>,
    /// `None`: DNS, over `DNS_SERVERS` or the system's. Only with it mail from the world is verified.
    pub resolver: Option<Arc<dyn Resolver>>,
    pub limits: Limits,
    /// `None`: the engine that the settings name.
    pub store: Option<Arc<dyn Store>>,
    /// The settings as the API shows them.
    pub shown_settings: SettingsView,
    pub log: Arc<dyn LogTail>,
}

impl Default for Ports {
    /// The machine's clock, DNS, the usual limits; no settings to show, and no log.
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            resolver: None,
            limits: Limits::default(),
            store: None,
            shown_settings: SettingsView::default(),
            log: Arc::new(RecentLog::new(&SystemClock)),
        }
    }
}

/// Why Postrider did not start. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Server(#[from] postrider_server::StartError),
    #[error("{0}")]
    Resolver(String),
    #[error("the api listener cannot be bound to {address}: {error}")]
    Api { address: SocketAddr, error: io::Error },
    #[error("DATA_DIR {path} cannot be used: {error}")]
    DataDir { path: String, error: io::Error },
}

/// A running Postrider.
#[derive(Debug)]
pub struct App {
    settings: Settings,
    store: Arc<dyn Store>,
    server: Server,
    api: Option<Api>,
    retention: JoinHandle<()>,
}

#[derive(Debug)]
struct Api {
    stop: watch::Sender<bool>,
    task: JoinHandle<io::Result<()>>,
}

impl App {
    /// Opens the store, binds every listener and starts to serve. Must be called within a tokio runtime.
    pub async fn start(settings: Settings, ports: Ports) -> Result<Self, StartError> {
        std::fs::create_dir_all(&settings.data_dir)
            .map_err(|error| StartError::DataDir { path: settings.data_dir.display().to_string(), error })?;
        let (resolver, verifier): (Arc<dyn Resolver>, _) = match ports.resolver {
            Some(resolver) => (resolver, None),
            None => {
                let resolver = DnsResolver::new(&settings.dns_servers).map_err(StartError::Resolver)?;
                let verifier = resolver.verifier();
                (Arc::new(resolver), Some(verifier))
            }
        };
        // The port before the store: a second server by mistake is told of the port that it shares with the first.
        let api_listener = bind_api(&settings).await?;
        let store = match ports.store {
            Some(store) => store,
            None => Engine::of(&settings).open().await?,
        };
        let office =
            Office::new(settings.clone(), ports.shown_settings, store.clone(), resolver.clone(), ports.clock.clone());
        let server =
            Server::start(&settings, ports.limits, store.clone(), ports.clock.clone(), resolver, verifier).await?;
        let api = api_listener.map(|(listener, address)| {
            server.note_listener(ListenerStatus { name: "api", address, open: true });
            info!(listener = "api", %address, "listening");
            let web = Web {
                store: store.clone(),
                control: server.control(),
                administration: Arc::new(office),
                log: ports.log,
                clock: ports.clock.clone(),
                api_token: settings.api_token.as_ref().map(|token| token.0.clone()),
                rate_limits: RateLimits {
                    token_requests_per_minute: settings.api_requests_per_minute,
                    address_requests_per_minute: settings.api_address_requests_per_minute,
                },
                version: env!("CARGO_PKG_VERSION"),
            };
            serve_api(listener, web)
        });
        let retention = retention::keep(store.clone(), ports.clock.clone(), settings.audit_retention_days);
        Ok(Self { settings, store, server, api, retention })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn listeners(&self) -> Vec<ListenerStatus> {
        self.server.control().listeners()
    }

    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    pub fn control(&self) -> Arc<dyn Control> {
        self.server.control()
    }

    /// Shuts down in order, within `SHUTDOWN_TIMEOUT_SECONDS`: listeners close, sessions end after their current command,
    /// deliveries under way finish or are given back, what is written is flushed.
    pub async fn shutdown(self) {
        let whole = Duration::from_secs(self.settings.shutdown_timeout_seconds);
        self.server.shutdown(server_patience(whole)).await;
        if let Some(mut api) = self.api {
            // Requests in hand are answered; clients that keep their connection open are not waited for.
            api.stop.send_replace(true);
            if tokio::time::timeout(API_PATIENCE, &mut api.task).await.is_err() {
                api.task.abort();
            }
        }
        self.retention.abort();
        if let Err(error) = self.store.close().await {
            error!(%error, "the store could not be closed in order; what was acknowledged is safe");
        }
        info!("stopped");
    }
}

/// How long sessions and deliveries have to end, of the time that the whole shutdown may take; half of it at least.
fn server_patience(whole: Duration) -> Duration {
    whole.saturating_sub(CLOSING_TIME).max(whole / 2)
}

async fn bind_api(settings: &Settings) -> Result<Option<(TcpListener, SocketAddr)>, StartError> {
    if settings.api_port == 0 {
        return Ok(None);
    }
    let address = SocketAddr::new(settings.api_host, settings.api_port);
    let listener = TcpListener::bind(address).await.map_err(|error| StartError::Api { address, error })?;
    Ok(Some((listener, address)))
}

fn serve_api(listener: TcpListener, web: Web) -> Api {
    let (stop, mut stopped) = watch::channel(false);
    let task = tokio::spawn(async move {
        postrider_web::serve(listener, web, async move {
            let _ = stopped.wait_for(|&stopped| stopped).await;
        })
        .await
    });
    Api { stop, task }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_leaves_time_to_close() {
        let patience = |seconds| server_patience(Duration::from_secs(seconds));
        assert_eq!(patience(30), Duration::from_millis(28_500));
        assert_eq!(patience(2), Duration::from_secs(1));
        assert_eq!(patience(0), Duration::ZERO);
    }
}
