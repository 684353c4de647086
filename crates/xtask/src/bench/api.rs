//! Durable ingest by the API beside SMTP: the same server, messages of the same size, in the same rounds.
//!
//! The clients of the API are threads here, each with one connection that stays open and one request at a time.

use std::time::{Duration, Instant};

use super::Bench;
use super::http::Connection;
use super::ingest::WARM_UP_MESSAGES;
use super::load::{self, KEPT_DOMAIN, PAYLOAD_BYTES, SENDER_DOMAIN};
use super::postrider::{self, Postrider};
use super::process::cpu_microseconds;
use super::report::Sample;

/// Connections that post at once.
pub(crate) const CONNECTIONS: u64 = 16;

/// One round: by SMTP, and by the API.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Round {
    pub(crate) smtp: Sample,
    pub(crate) api: Sample,
}

/// Measures both once in each round, one after the other.
pub(crate) fn measure(bench: &Bench) -> Result<Vec<Round>, String> {
    let mut rounds = Vec::new();
    for round in 1..=bench.options.rounds {
        let smtp = on_new_server(bench, "smtp", round, |server, messages| {
            load::send(server.port, KEPT_DOMAIN, messages, bench.options.sessions)
        })?;
        println!("round {round}: smtp      {smtp}");
        let api = on_new_server(bench, "api", round, post)?;
        println!("round {round}: api       {api}");
        rounds.push(Round { smtp, api });
    }
    Ok(rounds)
}

fn on_new_server(
    bench: &Bench,
    way: &str,
    round: u64,
    send: impl Fn(&Postrider, u64) -> Result<Duration, String>,
) -> Result<Sample, String> {
    let messages = bench.options.messages;
    let folder = postrider::folder(&bench.folder, way, round);
    let server = Postrider::start(&bench.binary, &folder, &[])?;
    send(&server, WARM_UP_MESSAGES)?;
    let before = cpu_microseconds(server.id());
    let took = send(&server, messages)?;
    let sample = Sample::new(messages, took, cpu_microseconds(server.id()) - before);
    let kept = server.count("received")?;
    if kept != messages + WARM_UP_MESSAGES {
        return Err(format!("Postrider keeps {kept} messages, not what it was sent by {way}"));
    }
    server.stop()?;
    Ok(sample)
}

/// Posts e-mails over all connections. Returns how long it took.
fn post(server: &Postrider, messages: u64) -> Result<Duration, String> {
    let request = server.request("/api/emails", &email());
    let started = Instant::now();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|n| messages / CONNECTIONS + u64::from(n < messages % CONNECTIONS))
            .map(|count| {
                scope.spawn({
                    let request = &request;
                    move || post_one_by_one(server.api_port, request, count)
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().map_err(|_| "a client panicked".to_owned())?)
    })?;
    Ok(started.elapsed())
}

/// An e-mail whose text has the size of the other messages' payload, in lines as long as theirs.
fn email() -> String {
    let line = format!("{}\n", "X".repeat(79));
    let text = line.repeat((PAYLOAD_BYTES as usize).div_ceil(line.len()));
    serde_json::json!({
        "from": format!("Sender <sender@{SENDER_DOMAIN}>"),
        "to": [format!("recipient@{KEPT_DOMAIN}")],
        "subject": "One of many",
        "text": text.get(..PAYLOAD_BYTES as usize).unwrap_or(&text),
    })
    .to_string()
}

fn post_one_by_one(port: u16, request: &str, count: u64) -> Result<(), String> {
    let mut connection = Connection::open(port)?;
    for _ in 0..count {
        connection.exchange(request)?.of(202)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_e_mail_has_the_payload() {
        let email: serde_json::Value = serde_json::from_str(&email()).unwrap();
        assert_eq!(email["text"].as_str().unwrap().len() as u64, PAYLOAD_BYTES);
    }
}
