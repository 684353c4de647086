//! The table: traces. The names are those that every program with OpenTelemetry has.

use super::services::{HTTP_URL_ALLOWED, set_url};
use super::{Kind, Setting, secret};
use crate::mask::Secrecy;
use crate::settings::Traces;

pub(super) const TRACES: &[Setting] = &[
    Setting::new(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        Kind::Text { allowed: HTTP_URL_ALLOWED, set: |settings, text| set_url(&mut settings.traces.endpoint, text) },
        "The collector, as `http://127.0.0.1:4318`: traces are sent to `/v1/traces` below it (OTLP over HTTP, in protobuf).",
    )
    .note("no traces")
    .secrecy(Secrecy::Url),
    Setting::new(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "",
        Kind::Text {
            allowed: "`name=value` pairs with commas between them, values percent-encoded",
            set: |settings, text| {
                let is_pair = |pair: &str| pair.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty());
                if !text.is_empty() && !text.split(',').all(is_pair) {
                    return Err(None);
                }
                settings.traces.headers = secret(text);
                Ok(())
            },
        },
        "Fields that each request to the collector has, as `authorization=Bearer%20...`.",
    )
    .secrecy(Secrecy::Secret),
    Setting::new(
        "OTEL_SERVICE_NAME",
        "postrider",
        Kind::Text {
            allowed: "a name",
            set: |settings, text| {
                settings.traces.service_name = text.to_owned();
                Ok(())
            },
        },
        "What this server is called in traces.",
    ),
    Setting::new(
        "OTEL_TRACES_SAMPLER_ARG",
        "1",
        Kind::Text {
            allowed: "a number from 0 to 1",
            set: |settings, text| {
                let part = text.parse::<f64>().ok().filter(|part| (0.0..=1.0).contains(part));
                let part = part.ok_or(None)?;
                settings.traces.sampled_per_million = (part * f64::from(Traces::ALL)).round() as u32;
                Ok(())
            },
        },
        "Which part of the traces is sent. A busy server has thousands a second.",
    ),
];
