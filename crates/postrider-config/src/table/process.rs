//! The table: the log, and the end of the process.

use super::{Kind, Setting};
use crate::settings::{LogFormat, LogLevel};

pub(super) const PROCESS: &[Setting] = &[
    Setting::new(
        "LOG_LEVEL",
        "info",
        Kind::Choice(&[
            (LogLevel::Error.as_str(), |settings| settings.log_level = LogLevel::Error),
            (LogLevel::Warn.as_str(), |settings| settings.log_level = LogLevel::Warn),
            (LogLevel::Info.as_str(), |settings| settings.log_level = LogLevel::Info),
            (LogLevel::Debug.as_str(), |settings| settings.log_level = LogLevel::Debug),
            (LogLevel::Trace.as_str(), |settings| settings.log_level = LogLevel::Trace),
        ]),
        "How much is logged.",
    ),
    Setting::new(
        "LOG_FORMAT",
        "text",
        Kind::Choice(&[
            ("text", |settings| settings.log_format = LogFormat::Text),
            ("json", |settings| settings.log_format = LogFormat::Json),
        ]),
        "`text` for people, `json` for programs: one object a line.",
    ),
    Setting::new(
        "ENABLE_CONSOLE_LOG",
        "true",
        Kind::Switch(|settings, on| settings.enable_console_log = on),
        "Whether the log is written to standard error.",
    ),
    Setting::new(
        "SHUTDOWN_TIMEOUT_SECONDS",
        "30",
        Kind::Number { min: 0, max: 3_600, unit: "seconds", set: |settings, n| settings.shutdown_timeout_seconds = n },
        "How long SIGTERM and SIGINT wait for what is in hand, in seconds.",
    ),
];
