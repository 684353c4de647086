//! `postrider serve` and `postrider dev`: run until a signal says otherwise.

use std::sync::Arc;
use std::time::Duration;

use postrider::RecentLog;
use postrider::administration::settings_view;
use postrider::app::{App, Ports, StartError};
use postrider_config::{Loaded, Profile};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::context::Listener;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::{context, demo, dev};
use crate::logging;
use crate::traces::Sending;

/// A shutdown keeps to its time by itself. One that still goes on this much later hangs, and is left.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Runs the server. Ends well after SIGTERM or SIGINT, at once and with a failure after a second one.
pub(super) fn run(profile: Profile, output: &mut Output) -> Result<(), Failure> {
    let loaded = context::load(profile)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("postrider")
        .build()
        .map_err(|error| Failure::Failed(format!("the threads cannot be started: {error}")))?;
    let traces = Sending::start(&loaded.settings, runtime.handle()).map_err(Failure::Failed)?;
    let log = logging::init(&loaded.settings, traces.as_ref());
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let result = runtime.block_on(run_until_signal(loaded, profile, log, output));
    if let Some(traces) = traces {
        traces.finish();
    }
    // Whatever still runs was given its time.
    runtime.shutdown_background();
    result
}

async fn run_until_signal(
    loaded: Loaded,
    profile: Profile,
    log: Arc<RecentLog>,
    output: &mut Output,
) -> Result<(), Failure> {
    // Before the start, so that a signal that comes during it is not lost.
    let mut signals = Signals::new()?;
    let shutdown_timeout = Duration::from_secs(loaded.settings.shutdown_timeout_seconds) + SHUTDOWN_GRACE;
    let ports = Ports { shown_settings: settings_view(&loaded), log, ..Ports::default() };
    let listeners = context::listeners(&loaded.settings);
    let app = App::start(loaded.settings, ports).await.map_err(|error| not_started(&error, &listeners))?;
    if profile == Profile::Dev {
        let demo = demo::ensure(app.store().as_ref(), app.settings()).await;
        let demo = demo.inspect_err(|error| tracing::warn!(error, "there is no demo user")).ok();
        dev::introduce(app.settings(), &app.listeners(), demo.as_ref(), output)?;
    }
    while let Event::Reload = signals.next().await {
        match app.control().reload().await {
            Ok(()) => tracing::info!("reloaded"),
            Err(error) => tracing::error!(error = %error, "the reload failed; what was in use stays in use"),
        }
    }
    tokio::select! {
        () = app.shutdown() => Ok(()),
        () = signals.stop() => Err(Failure::Failed("ended at once by a second signal".to_owned())),
        () = tokio::time::sleep(shutdown_timeout) => {
            tracing::error!("the shutdown does not end; what was acknowledged is safe, what was in hand is tried again");
            Ok(())
        }
    }
}

/// Where a listener stands in the way, with the setting that its port comes from.
fn not_started(error: &StartError, listeners: &[Listener]) -> Failure {
    let (address, cause) = match error {
        StartError::Api { address, error } => (address, error),
        StartError::Server(postrider_server::StartError::Bind { address, error, .. }) => (address, error),
        _ => return Failure::Failed(error.to_string()),
    };
    let listener = listeners.iter().find(|listener| listener.address == *address);
    let advice = listener.map(|listener| context::bind_advice(cause.kind(), listener.setting, address.port()));
    Failure::Failed(format!("{error}; {}", advice.unwrap_or_else(|| "choose another port".to_owned())))
}

enum Event {
    Reload,
    Stop,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::Failed(format!("signals cannot be received: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Event {
        tokio::select! {
            _ = self.terminate.recv() => Event::Stop,
            _ = self.interrupt.recv() => Event::Stop,
            _ = self.hang_up.recv() => Event::Reload,
        }
    }

    async fn stop(&mut self) {
        while let Event::Reload = self.next().await {}
    }
}
