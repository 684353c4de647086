//! Traces: a collector is told what a message's way took.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use postrider_testkit::{HttpAnswer, HttpReceived, HttpService, LineClient, Script, Site, mail};
use prost::Message as _;

use crate::support::binary;

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match &found.value {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => Some(text),
        _ => None,
    }
}

/// All spans that a collector was sent, with the name of the service.
fn spans(calls: &[HttpReceived]) -> Vec<(String, Span)> {
    let mut spans = Vec::new();
    for call in calls {
        let request = ExportTraceServiceRequest::decode(&call.body[..]).unwrap();
        for of_resource in request.resource_spans {
            let resource = of_resource.resource.unwrap();
            let service = text(&resource.attributes, "service.name").unwrap_or_default().to_owned();
            let of_scopes = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(of_scopes.map(|span| (service.clone(), span)));
        }
    }
    spans
}

#[tokio::test]
async fn a_collector_is_told_of_a_messages_way() {
    let site = Site::new().await;
    let collector = HttpService::start(site.claim_ip(), |_| HttpAnswer::new(200, "")).await;
    let site = site
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url(""))
        .set("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collect")
        .set("OTEL_SERVICE_NAME", "mail-1");
    let mx = site.mx("example.org", Script::new()).await;
    let mut process = site.process(binary(), &["serve"]);
    process.wait_until_listening(site.smtp()).await;
    let mut client = LineClient::hello(site.smtp()).await;
    let message = mail::plain("a@client.test", "b@example.org", "traced");
    let id = client.send_mail("a@client.test", &["b@example.org"], &message).await.id().unwrap();
    mx.wait_for_messages(1).await;
    client.command("QUIT").await;
    // What is left is sent at the end.
    process.signal("TERM");
    assert!(process.wait().await.success(), "{}", process.output());

    let calls = collector.requests();
    for call in &calls {
        assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/v1/traces"));
        assert_eq!(call.header("authorization"), Some("Bearer collect"));
        assert_eq!(call.header("content-type"), Some("application/x-protobuf"));
    }
    let spans = spans(&calls);
    assert!(spans.iter().all(|(service, _)| service == "mail-1"));
    let named: BTreeSet<&str> = spans.iter().map(|(_, span)| span.name.as_str()).collect();
    for name in ["session", "store", "route", "delivery", "connect", "transaction"] {
        assert!(named.contains(name), "{name} is missing in {named:?}");
    }
    let delivery = spans.iter().map(|(_, span)| span).find(|span| span.name == "delivery").unwrap();
    assert_eq!(text(&delivery.attributes, "email"), Some(id.as_str()));
    let transaction = spans.iter().map(|(_, span)| span).find(|span| span.name == "transaction").unwrap();
    assert_eq!((&transaction.trace_id, &transaction.parent_span_id), (&delivery.trace_id, &delivery.span_id));
    assert!(transaction.end_time_unix_nano > transaction.start_time_unix_nano);
}

/// A collector that is not there is in the way of nothing.
#[tokio::test]
async fn without_a_collector_mail_goes_on() {
    let site = Site::new().await.set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let mx = site.mx("example.org", Script::new()).await;
    let mut process = site.process(binary(), &["serve"]);
    process.wait_until_listening(site.smtp()).await;
    let mut client = LineClient::hello(site.smtp()).await;
    let message = mail::plain("a@client.test", "b@example.org", "not traced");
    client.send_mail("a@client.test", &["b@example.org"], &message).await.id().unwrap();
    mx.wait_for_messages(1).await;
    client.command("QUIT").await;
    process.signal("TERM");
    assert!(process.wait().await.success(), "{}", process.output());
}
