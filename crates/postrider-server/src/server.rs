//! The server as a whole: started, running, shut down.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postrider_config::{DeliveryMode, Settings};
use postrider_core::ports::ListenerStatus;
use postrider_core::{Clock, Control, ObjectId, Resolver, Timestamp};
use postrider_store::{Renewal, Store, StoreError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::acme::{Acme, Answerer};
use crate::bounces::matching::Bounces;
use crate::bounces::return_path::ReturnPaths;
use crate::clock::timeout;
use crate::control::ServerControl;
use crate::deliver::Delivery;
use crate::deliver::route::Router;
use crate::directory::Recipients;
use crate::dkim::{self, Signers};
use crate::dnssec::Dnssec;
use crate::history::Recorder;
use crate::http::HttpClient;
use crate::imap;
use crate::limits::Limits;
use crate::listen::{self, Sessions};
use crate::memory::MemoryBudget;
use crate::policy::mta_sts::MtaSts;
use crate::policy::shaping::Profiles;
use crate::policy::source::Sources;
use crate::policy::suppression::SuppressionList;
use crate::queue::{NodeFile, Queue, QueueOptions, Registered};
use crate::requests;
use crate::simulator::Simulator;
use crate::smtp::policy::{Listener, Policies};
use crate::smtp::{self, Context};
use crate::stats::Stats;
use crate::tls::{self, ServerTls, TlsError};
use crate::tls_reports::{Ledger, Reporter};
use crate::users::Logins;
use crate::verify::{ClientChecks, Obedience, Verifier};
use crate::webhook::Webhooks;

/// How often the certificate's files are looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(10);

/// At the end, for what was counted to be kept.
const LAST_COUNTS_PATIENCE: Duration = Duration::from_secs(1);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the {name} listener cannot be bound to {address}: {error}")]
    Bind { name: &'static str, address: SocketAddr, error: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{path}: {error}")]
    File { path: String, error: io::Error },
    #[error("SHAPING_FILE {path}: {error}")]
    Shaping { path: String, error: String },
    #[error("{0}")]
    Dnssec(String),
    #[error("the simulator cannot be started: {0}")]
    Simulator(io::Error),
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    context: Arc<Context>,
    control: Arc<ServerControl>,
    sessions: Arc<Sessions>,
    draining: watch::Sender<bool>,
    queue_loop: tokio::task::JoinHandle<()>,
    tls_reports: Option<Arc<Reporter>>,
    history: Arc<Recorder>,
}

impl Server {
    /// Binds every listener, then starts them and the queue. Without a `verifier`, mail from the world is not verified. Must be called within a tokio runtime.
    pub async fn start(
        settings: &Settings,
        limits: Limits,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        resolver: Arc<dyn Resolver>,
        verifier: Option<Verifier>,
    ) -> Result<Self, StartError> {
        let tls = Arc::new(ServerTls::load(settings)?);
        let decoy_key = kept_key(&settings.data_dir.join("scram-decoy.key"))?;
        listen::raise_open_files_max(limits.sessions_max);
        let bound = bind_all(settings, &Listener::ALL, Listener::port, Listener::name)?;
        let imap_listeners = &imap::Listener::ALL;
        let bound_imap = bind_all(settings, imap_listeners, imap::Listener::port, imap::Listener::name)?;
        let bound_acme = bind_acme(settings)?;
        let verifying_tls = tls::verifying_client(settings.tls_extra_ca_file.as_deref())?;
        let profiles = profiles(settings.shaping_file.as_deref())?;
        let (draining, is_draining) = watch::channel(false);

        let simulator_port = match settings.delivery_mode {
            DeliveryMode::Capture => {
                let simulator = Simulator::bind(clock.clone()).await.map_err(StartError::Simulator)?;
                let port = simulator.port();
                tokio::spawn(simulator.run(is_draining.clone()));
                Some(port)
            }
            DeliveryMode::Mx | DeliveryMode::Relay => None,
        };
        let mta_sts = settings.mta_sts_enabled.then(|| {
            let http = HttpClient::of_world(&verifying_tls, resolver.clone());
            MtaSts::new(clock.clone(), resolver.clone(), store.clone(), http, limits.mta_sts_port)
        });
        let acme = Acme::new(
            &settings.acme,
            store.clone(),
            clock.clone(),
            tls.clone(),
            HttpClient::of_world(&verifying_tls, resolver.clone()),
            limits.acme_order_max,
        );
        if let Some(acme) = &acme {
            acme.use_kept().await;
        }
        let dnssec = dnssec(settings, &clock)?;
        let sources_of_policy = (mta_sts, dnssec.clone());
        let router =
            Router::new(settings, simulator_port, profiles, sources_of_policy, resolver.clone(), clock.clone());
        let return_paths = match &settings.bounce_domain {
            Some(domain) => Some(Arc::new(ReturnPaths::open(domain.clone(), store.as_ref()).await?)),
            None => None,
        };
        let client_checks = ClientChecks {
            clock: clock.clone(),
            resolver: resolver.clone(),
            hostname: settings.mail_hostname.clone(),
            reverse_dns: settings.check_reverse_dns,
            ehlo: settings.check_ehlo,
        };
        let signers = Arc::new(Signers::new(
            store.clone(),
            clock.clone(),
            limits.store_timeout,
            settings.dkim_algorithms.clone(),
        ));
        let tls_ledger = Ledger::of(settings, &clock);
        let world = (resolver.clone(), HttpClient::of_world(&verifying_tls, resolver.clone()));
        let delivery = Delivery {
            signers: (!settings.dkim_algorithms.is_empty()).then(|| signers.clone()),
            clock: clock.clone(),
            resolver,
            dnssec,
            tls_ledger: tls_ledger.clone(),
            limits: limits.clone(),
            hostname: settings.mail_hostname.clone(),
            own_listeners: (bound.iter().map(|(_, _, address)| *address))
                .chain(bound_imap.iter().map(|(_, _, address)| *address))
                .collect(),
            opportunistic_tls: tls::opportunistic_client(),
            verifying_tls,
            return_paths: return_paths.clone(),
        };
        let http = HttpClient::new(&delivery.verifying_tls);
        let sources = Sources::new(settings, http, store.clone(), clock.clone(), delivery.resolver.clone());
        let sources = Arc::new(sources);
        let registered = register(store.as_ref(), clock.now(), limits.lease, settings).await?;
        let recipients = Arc::new(Recipients::new(
            store.clone(),
            clock.clone(),
            limits.store_timeout,
            settings.allowed_domains.clone(),
        ));
        recipients.warm_up().await;
        tokio::spawn(dkim::watch(store.clone(), delivery.resolver.clone(), clock.clone(), is_draining.clone()));
        let stats = Arc::new(Stats::new());
        let http = HttpClient::new(&delivery.verifying_tls);
        let http_requested = match settings.webhook.private_urls {
            true => http.clone(),
            false => HttpClient::of_public(&delivery.verifying_tls),
        };
        let clients = (http, http_requested);
        let webhooks = Webhooks::new(&settings.webhook, store.clone(), clock.clone(), clients, stats.clone());
        // Nothing is accepted or settled before it is known who is to be told.
        webhooks.look_up_endpoints().await?;
        let options = QueueOptions {
            webhooks: webhooks.clone(),
            stats: stats.clone(),
            registered,
            retry: settings.retry,
            concurrency: settings.queue_concurrency,
            concurrency_per_destination: settings.queue_concurrency_per_domain,
            recipients: recipients.clone(),
            signers: signers.clone(),
            suppressions: SuppressionList::new(
                store.clone(),
                clock.clone(),
                limits.store_timeout,
                settings.suppression_enabled,
                settings.delivery_mode == DeliveryMode::Capture,
            ),
        };
        let memory = MemoryBudget::new(limits.memory_bytes_max);
        let queue = Queue::new(options, store.clone(), router, sources.clone(), delivery, memory.clone());

        let bounces = Bounces {
            store: store.clone(),
            clock: clock.clone(),
            store_timeout: limits.store_timeout,
            return_paths,
            suppresses: settings.suppression_enabled,
        };
        let context = Arc::new(Context {
            bounces,
            logins: Logins::new(store.clone(), clock.clone(), limits.store_timeout),
            memory,
            clock: clock.clone(),
            store,
            queue: queue.clone(),
            sources,
            tls,
            limits: limits.clone(),
            stats,
            hostname: settings.mail_hostname.clone(),
            recipients,
            signers,
            webhooks: webhooks.clone(),
            verifier: verifier.filter(|_| settings.verify_incoming),
            client_checks,
            sender_check: settings.sender_check,
            dmarc: Obedience { rejects: settings.dmarc_reject, quarantines: settings.dmarc_quarantine },
            rejects_unknown_recipients: settings.unknown_recipients == postrider_config::UnknownRecipients::Reject,
            draining: is_draining,
        });
        let tls_reports = tls_ledger.map(|ledger| Reporter::start(settings, ledger, context.clone(), world));
        let sessions = Sessions::new(settings.trusted_networks.clone());
        let mut listeners = Vec::new();
        for (kind, listener, address) in bound {
            let policies = Policies::new(kind, settings, &limits, decoy_key);
            let service = Arc::new(smtp::Service { listener: kind, policies, context: context.clone() });
            info!(listener = kind.name(), %address, "listening");
            listeners.push(ListenerStatus { name: kind.name(), address, open: true });
            tokio::spawn(listen::accept(listener, service, sessions.clone(), context.clone()));
        }
        let imap_context = imap::Context::new(context.clone(), settings.max_email_size_bytes);
        if !bound_imap.is_empty() {
            tokio::spawn(imap_context.registry.clone().follow());
        }
        for (kind, listener, address) in bound_imap {
            let service = Arc::new(imap::Service::new(kind, imap_context.clone(), decoy_key));
            info!(listener = kind.name(), %address, "listening");
            listeners.push(ListenerStatus { name: kind.name(), address, open: true });
            tokio::spawn(listen::accept(listener, service, sessions.clone(), context.clone()));
        }
        for (listener, address) in bound_acme {
            let name = settings.acme.listener();
            let service = Answerer { method: settings.acme.challenge, name, context: context.clone() };
            info!(listener = name, %address, "listening");
            listeners.push(ListenerStatus { name, address, open: true });
            tokio::spawn(listen::accept(listener, Arc::new(service), sessions.clone(), context.clone()));
        }
        for listener in &listeners {
            context.stats.listener_opened(listener.name);
        }
        let acme = acme.map(Arc::new);
        if let Some(acme) = &acme {
            tokio::spawn(acme.clone().run(context.draining.clone()));
        }
        let control = ServerControl {
            context: context.clone(),
            submissions: smtp::Submissions::new(settings, &limits, decoy_key),
            acme,
            started_at: clock.now(),
            listeners: Mutex::new(listeners),
        };
        tokio::spawn(watch_certificate(context.clone()));
        tokio::spawn(requests::sweep(context.store.clone(), clock.clone(), context.draining.clone()));
        tokio::spawn(webhooks.run(queue.clone(), context.draining.clone()));
        let history = Recorder::new(context.stats.tally.clone(), context.store.clone(), clock.clone());
        tokio::spawn(history.clone().run(context.draining.clone()));
        let queue_loop = tokio::spawn(queue.run());
        Ok(Self { context, control: Arc::new(control), sessions, draining, queue_loop, tls_reports, history })
    }

    /// What may be asked of the server while it runs.
    pub fn control(&self) -> Arc<dyn Control> {
        self.control.clone()
    }

    /// Adds a listener that is not the server's own to what `/health` shows.
    pub fn note_listener(&self, listener: ListenerStatus) {
        self.control.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// Becomes true when the server begins to shut down.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Closes the listeners, lets sessions end after their current command and deliveries that are under way finish, and
    /// gives every claim back. What is not done after `patience` is cut off.
    pub async fn shutdown(self, patience: Duration) {
        info!("shutting down");
        self.draining.send_replace(true);
        let clock = self.context.clock.clone();
        let queue = self.context.queue.clone();
        let sessions = async {
            tokio::select! {
                () = self.sessions.all_ended() => {}
                () = clock.sleep(patience) => warn!(sessions = self.sessions.open(), "sessions were cut off by the shutdown"),
            }
        };
        tokio::join!(sessions, queue.stop(clock.sleep(patience)));
        self.queue_loop.abort();
        let reports = async {
            if let Some(reports) = self.tls_reports {
                reports.flush().await;
            }
        };
        let counts = async { tokio::join!(self.history.flush(), reports) };
        // What a store that does not answer would keep is lost: it is a count.
        let _ = timeout(self.context.clock.as_ref(), LAST_COUNTS_PATIENCE, counts).await;
    }
}

/// Makes this process known to the store, as one of its nodes.
async fn register(
    store: &dyn Store,
    now: Timestamp,
    lease: Duration,
    settings: &Settings,
) -> Result<Registered, StoreError> {
    let node = ObjectId::new(now);
    let host = host(&settings.mail_hostname);
    let mut file = NodeFile::default();
    if !store.is_exclusive() {
        let (taken_over, predecessor) = NodeFile::take_over(&settings.data_dir);
        file = taken_over;
        if let Some(predecessor) = predecessor {
            // Its claims go on at once. If it left in order, there is nothing to do.
            store.leave(predecessor).await?;
        }
        file.note(node);
    }
    let renewal = Renewal { host: host.clone(), ..Renewal::new(node, now, lease) };
    let membership = store.renew(renewal).await?;
    let membership = membership.ok_or_else(|| StoreError::Unavailable("it registers no node".to_owned()))?;
    Ok(Registered { node, host, at: now, membership, file })
}

/// What people know this node by. Nodes may share the name that they show to the world.
fn host(mail_hostname: &str) -> String {
    let machine = gethostname::gethostname().to_string_lossy().into_owned();
    if machine.is_empty() || machine.eq_ignore_ascii_case(mail_hostname) {
        return mail_hostname.to_owned();
    }
    format!("{mail_hostname} ({machine})")
}

type Bound<L> = Vec<(L, TcpListener, SocketAddr)>;

/// Binds those listeners whose port is not 0.
fn bind_all<L: Copy>(
    settings: &Settings,
    all: &[L],
    port: impl Fn(L, &Settings) -> u16,
    name: impl Fn(L) -> &'static str,
) -> Result<Bound<L>, StartError> {
    let mut bound = Vec::new();
    for &kind in all {
        let port = port(kind, settings);
        for &host in settings.smtp_hosts.iter().filter(|_| port != 0) {
            let address = SocketAddr::new(host, port);
            let failed = |error| StartError::Bind { name: name(kind), address, error };
            bound.push((kind, listen::bind(address).map_err(failed)?, address));
        }
    }
    Ok(bound)
}

/// Binds where the authority of ACME is answered.
fn bind_acme(settings: &Settings) -> Result<Vec<(TcpListener, SocketAddr)>, StartError> {
    let port = settings.acme.port();
    let bind = |&host: &IpAddr| {
        let address = SocketAddr::new(host, port);
        let failed = |error| StartError::Bind { name: settings.acme.listener(), address, error };
        Ok((listen::bind(address).map_err(failed)?, address))
    };
    settings.acme_hosts().iter().filter(|_| port != 0).map(bind).collect()
}

/// What DANE stands on, where it is obeyed.
fn dnssec(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Option<Arc<Dnssec>>, StartError> {
    if !settings.dane_enabled || settings.delivery_mode != DeliveryMode::Mx {
        return Ok(None);
    }
    let anchors = settings.dnssec_trust_anchor_file.as_deref();
    let dnssec = Dnssec::new(&settings.dns_servers, anchors, clock.clone()).map_err(StartError::Dnssec)?;
    Ok(Some(Arc::new(dnssec)))
}

/// Reads a `SHAPING_FILE`. The error says what is wrong with it.
pub fn check_shaping_file(path: &Path) -> Result<(), StartError> {
    profiles(Some(path)).map(drop)
}

/// What is known of destinations beforehand.
fn profiles(file: Option<&Path>) -> Result<Profiles, StartError> {
    let failed = |path: &Path, error: io::Error| StartError::Shaping {
        path: path.display().to_string(),
        error: error.to_string(),
    };
    let own = file.map(|path| std::fs::read_to_string(path).map_err(|error| failed(path, error))).transpose()?;
    Profiles::new(own.as_deref().unwrap_or_default()).map_err(|error| {
        let path = file.map(|path| path.display().to_string()).unwrap_or_default();
        StartError::Shaping { path, error: error.to_string() }
    })
}

/// A random key that stays the same over restarts.
fn kept_key(path: &Path) -> Result<[u8; 32], StartError> {
    let failed = |error| StartError::File { path: path.display().to_string(), error };
    match std::fs::read(path) {
        Ok(bytes) => {
            if let Ok(key) = bytes.try_into() {
                return Ok(key);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| failed(io::Error::other(error.to_string())))?;
    tls::write_private(path, &key).map_err(failed)?;
    Ok(key)
}

/// Rereads the certificate when its files change.
async fn watch_certificate(context: Arc<Context>) {
    let mut draining = context.draining.clone();
    loop {
        tokio::select! {
            () = context.clock.sleep(CERTIFICATE_LOOK) => {}
            _ = draining.wait_for(|&draining| draining) => return,
        }
        match context.tls.refresh() {
            Ok(true) => info!(file = %context.tls.cert_file().display(), "the certificate has changed and was reread"),
            Ok(false) => {}
            Err(error) => error!(%error, "the certificate has changed but cannot be used; the old one stays in use"),
        }
    }
}
