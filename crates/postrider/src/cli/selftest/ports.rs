//! `postrider selftest ports`: connects to every listener and speaks its protocol far enough to know it.

use std::net::SocketAddr;

use postrider_config::Settings;
use postrider_server::tls;
use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::smtp::Dialogue;
use super::{http, step};
use crate::cli::context::{self, Listener};
use crate::cli::failure::Failure;
use crate::cli::output::{BAD, GOOD, Output, printable};

/// A greeting that lists capabilities is a long line.
const IMAP_LINE_BYTES_MAX: u64 = 8192;

#[derive(Debug, Serialize)]
struct Tried {
    name: &'static str,
    address: SocketAddr,
    ok: bool,
    /// What it said, or what went wrong.
    message: String,
}

pub(super) async fn run(settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    let mut all = Vec::new();
    for listener in context::listeners(settings) {
        let address = context::reachable(listener.address);
        let outcome = try_listener(&listener, address, settings).await;
        let ok = outcome.is_ok();
        let message = outcome.unwrap_or_else(|error| error);
        let tried = Tried { name: listener.name, address, ok, message };
        if !output.is_json() {
            show(&tried, listener.setting, output)?;
        }
        all.push(tried);
    }
    if output.is_json() {
        output.json(&all)?;
    }
    if all.iter().all(|tried| tried.ok) { Ok(()) } else { Err(Failure::Reported) }
}

fn show(tried: &Tried, setting: &str, output: &mut Output) -> Result<(), Failure> {
    let (style, word) = if tried.ok { (GOOD, "ok") } else { (BAD, "FAIL") };
    let Tried { name, address, message, .. } = tried;
    output.line(format!("{style}{word:<4}{style:#}  {name:<12} {address:<22} {}", printable(message)))?;
    if !tried.ok {
        output.line(format!(
            "{:<6}is the server running with these settings ({setting})? postrider check looks for mistakes",
            ""
        ))?;
    }
    Ok(())
}

async fn try_listener(listener: &Listener, address: SocketAddr, settings: &Settings) -> Result<String, String> {
    match listener.name {
        "api" => try_api(address, settings).await,
        "acme-http" => {
            let answer = http::get(address, "/", None).await?;
            if answer.status == 404 { Ok("answers".to_owned()) } else { Err(format!("it answered {}", answer.status)) }
        }
        // It ends handshakes that no authority begins.
        "acme-tls" => connect(address).await.map(|_| "takes connections".to_owned()),
        "submissions" => try_tls(address, "EHLO", settings).await,
        "lmtps" => try_tls(address, "LHLO", settings).await,
        "lmtp" => {
            let mut dialogue = Dialogue::new(connect(address).await?);
            let greeting = dialogue.greeting().await?;
            dialogue.command("LHLO localhost", 250).await?;
            dialogue.command("QUIT", 221).await?;
            Ok(greeting.to_string())
        }
        "imap" => try_imap(connect(address).await?).await,
        "imaps" => {
            let stream = encrypt(connect(address).await?, settings).await?;
            let tls = describe(&stream);
            Ok(format!("{} ({tls})", try_imap(stream).await?))
        }
        _ => try_smtp(address, settings).await,
    }
}

/// TLS from the first byte, greeting, `hello`, QUIT.
async fn try_tls(address: SocketAddr, hello: &str, settings: &Settings) -> Result<String, String> {
    let stream = encrypt(connect(address).await?, settings).await?;
    let tls = describe(&stream);
    let mut dialogue = Dialogue::new(stream);
    let greeting = dialogue.greeting().await?;
    dialogue.command(&format!("{hello} localhost"), 250).await?;
    dialogue.command("QUIT", 221).await?;
    Ok(format!("{greeting} ({tls})"))
}

/// The greeting and LOGOUT (RFC 9051 sections 7.1 and 6.1.3). What the server greets with.
async fn try_imap(stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<String, String> {
    let mut stream = BufReader::new(stream);
    let greeting = imap_line(&mut stream, "greeting").await?;
    if !greeting.starts_with("* OK") {
        return Err(format!("the greeting is {greeting:?}"));
    }
    let sent = async {
        stream.write_all(b"a LOGOUT\r\n").await?;
        stream.flush().await
    };
    step("LOGOUT", sent).await?;
    let mut last = imap_line(&mut stream, "LOGOUT").await?;
    if last.starts_with("* BYE") {
        last = imap_line(&mut stream, "LOGOUT").await?;
    }
    if last.starts_with("a OK") { Ok(greeting) } else { Err(format!("LOGOUT was answered {last:?}")) }
}

async fn imap_line(stream: &mut (impl AsyncBufRead + Unpin), what: &str) -> Result<String, String> {
    let mut line = Vec::new();
    let mut limited = stream.take(IMAP_LINE_BYTES_MAX);
    step(what, limited.read_until(b'\n', &mut line)).await?;
    if line.is_empty() {
        return Err(format!("{what}: the server closed the connection"));
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

async fn try_api(address: SocketAddr, settings: &Settings) -> Result<String, String> {
    let answer = http::get(address, "/health", settings.api_token.as_ref()).await?;
    let health = answer.json()?;
    let status = health.get("status").and_then(|status| status.as_str()).unwrap_or("without a status");
    if answer.status == 200 { Ok(format!("health is {status}")) } else { Err(format!("health is {status}")) }
}

/// Greeting, EHLO, STARTTLS with a handshake where it is offered, QUIT.
async fn try_smtp(address: SocketAddr, settings: &Settings) -> Result<String, String> {
    let mut dialogue = Dialogue::new(connect(address).await?);
    let greeting = dialogue.greeting().await?;
    let ehlo = dialogue.command("EHLO localhost", 250).await?;
    if !ehlo.lists("STARTTLS") {
        dialogue.command("QUIT", 221).await?;
        return Ok(format!("{greeting} (no STARTTLS)"));
    }
    dialogue.command("STARTTLS", 220).await?;
    let stream = encrypt(dialogue.into_stream(), settings).await?;
    let tls = describe(&stream);
    let mut dialogue = Dialogue::new(stream);
    dialogue.command("EHLO localhost", 250).await?;
    dialogue.command("QUIT", 221).await?;
    Ok(format!("{greeting} (STARTTLS: {tls})"))
}

pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    step(&format!("connecting to {address}"), TcpStream::connect(address)).await
}

/// Takes whatever certificate the server has: whether it is a good one, `postrider check` says.
async fn encrypt(stream: TcpStream, settings: &Settings) -> Result<TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(settings.mail_hostname.clone())
        .map_err(|_| format!("{} is no name for a TLS handshake; set MAIL_HOSTNAME", settings.mail_hostname))?;
    step("TLS handshake", TlsConnector::from(tls::opportunistic_client()).connect(name, stream)).await
}

fn describe(stream: &TlsStream<TcpStream>) -> String {
    let (_, connection) = stream.get_ref();
    let version = connection.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS").replace('_', ".");
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("some cipher");
    format!("{version} {cipher}")
}
