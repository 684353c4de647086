//! Where log lines go: to standard error, as text or as one JSON object a line, and the last of them to memory. Standard output is
//! for what a command was asked for.

use std::sync::Arc;

use anstream::{AutoStream, ColorChoice};
use postrider::RecentLog;
use postrider_config::{LogFormat, LogLevel, Settings};
use postrider_server::clock::SystemClock;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, registry};

use crate::traces::Sending;

/// Our crates' targets all start so.
pub(crate) const OUR_TARGETS: &str = "postrider";

/// It shows whole answers of name servers where something is wrong with a signature. What follows from that we say ourselves.
const PROOFS: &str = "hickory_net::dnssec";

/// Starts logging as the settings say; gives what remembers the last records. Later calls change nothing: the first one holds for
/// the process.
pub(crate) fn init(settings: &Settings, traces: Option<&Sending>) -> Arc<RecentLog> {
    let console = settings.enable_console_log.then(|| console(settings));
    let recent = Arc::new(RecentLog::new(&SystemClock));
    let remembering = recent.layer(Arc::new(SystemClock)).with_filter(filter(settings.log_level)).boxed();
    let layers: Vec<_> = console.into_iter().chain([remembering]).chain(traces.map(Sending::layer)).collect();
    // An error says that logging has been started already, which is what is wanted.
    let _ = registry().with(layers).try_init();
    recent
}

fn console(settings: &Settings) -> Box<dyn Layer<Registry> + Send + Sync> {
    let filter = filter(settings.log_level);
    let layer = fmt::layer().with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => {
            let colours = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
            layer.with_ansi(colours).with_target(false).with_filter(filter).boxed()
        }
        LogFormat::Json => layer.json().flatten_event(true).with_ansi(false).with_filter(filter).boxed(),
    }
}

/// What we say at `level`; what libraries say only from a warning up, unless everything is wanted.
fn filter(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let theirs = if level == LogLevel::Trace { LevelFilter::DEBUG } else { ours.min(LevelFilter::WARN) };
    let proofs = if level == LogLevel::Trace { LevelFilter::DEBUG } else { LevelFilter::OFF };
    Targets::new().with_default(theirs).with_target(OUR_TARGETS, ours).with_target(PROOFS, proofs)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_do_not_drown_us() {
        let info = filter(LogLevel::Info);
        assert!(info.would_enable("postrider_server::queue", &Level::INFO));
        assert!(!info.would_enable("postrider_server::queue", &Level::DEBUG));
        assert!(!info.would_enable("hyper::proto", &Level::INFO));
        assert!(info.would_enable("hyper::proto", &Level::WARN));
        assert!(!info.would_enable("hickory_net::dnssec", &Level::ERROR));
        assert!(!filter(LogLevel::Error).would_enable("hyper::proto", &Level::WARN));
        assert!(filter(LogLevel::Trace).would_enable("postrider", &Level::TRACE));
    }
}
