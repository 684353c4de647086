//! Traces for OpenTelemetry: what is said with `tracing` goes to a collector too, where one is set.

use std::collections::HashMap;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use percent_encoding::percent_decode_str;
use postrider_config::{Settings, Traces};
use postrider_server::collector::CollectorClient;
use postrider_server::tls;
use tokio::runtime::Handle;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::logging::OUR_TARGETS;

/// Traces that are being sent. What is left is sent by [`Sending::finish`].
pub(crate) struct Sending(SdkTracerProvider);

impl Sending {
    /// Starts to send as the settings say; `None` where they name no collector.
    pub(crate) fn start(settings: &Settings, runtime: &Handle) -> Result<Option<Self>, String> {
        let Traces { endpoint, headers, service_name, sampled_per_million } = &settings.traces;
        let Some(endpoint) = endpoint else { return Ok(None) };
        let cannot = |error: &dyn std::fmt::Display| format!("traces cannot be sent: {error}");
        let tls = tls::verifying_client(settings.tls_extra_ca_file.as_deref()).map_err(|error| cannot(&error))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')))
            .with_headers(headers.as_ref().map(|headers| fields(&headers.0)).unwrap_or_default())
            .with_http_client(CollectorClient::new(&tls, runtime.clone()))
            .build()
            .map_err(|error| cannot(&error))?;
        let resource = Resource::builder_empty()
            .with_service_name(service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("host.name", settings.mail_hostname.clone()))
            .build();
        let part = f64::from(*sampled_per_million) / f64::from(Traces::ALL);
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(part))))
            .with_resource(resource)
            .build();
        Ok(Some(Self(provider)))
    }

    /// What is to be told of: spans with their finer parts, and in them what is logged.
    pub(crate) fn layer<S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync>(
        &self,
    ) -> Box<dyn Layer<S> + Send + Sync> {
        let tracer = self.0.tracer(OUR_TARGETS);
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        let layer = layer.with_location(false).with_threads(false).with_context_activation(false);
        let is_told = filter_fn(|metadata| {
            let level_max = if metadata.is_span() { Level::DEBUG } else { Level::INFO };
            metadata.target().starts_with(OUR_TARGETS) && *metadata.level() <= level_max
        });
        layer.with_filter(is_told.with_max_level_hint(LevelFilter::DEBUG)).boxed()
    }

    /// Sends what is left. Blocks for as long as the collector takes, but not for long.
    pub(crate) fn finish(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// `name=value,name=value`, values percent-encoded.
fn fields(text: &str) -> HashMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.trim().split_once('='));
    pairs
        .map(|(name, value)| {
            (name.trim().to_owned(), percent_decode_str(value.trim()).decode_utf8_lossy().into_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_the_standard_says() {
        let read = fields("authorization=Bearer%20a%3Db, x-team = mail");
        assert_eq!(read["authorization"], "Bearer a=b");
        assert_eq!(read["x-team"], "mail");
        assert!(fields("").is_empty());
    }
}
