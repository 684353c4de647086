//! One session of a scripted MX.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use memchr::memmem;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::record::{ReceivedMessage, ReceivedRecipient, Shared};
use super::script::{Answer, Command, Script, StartTls};
use crate::stream::LineStream;

/// A text line of a message with its CRLF (RFC 5321 section 4.5.3.1.6).
const TEXT_LINE_BYTES_MAX: usize = 1000;

pub(super) async fn serve(stream: TcpStream, peer: IpAddr, number: usize, shared: Arc<Shared>) {
    let mut session = Session {
        peer,
        stream: LineStream::new(stream),
        number,
        shared,
        tls: false,
        helo: None,
        extended: false,
        user: None,
        transaction: None,
    };
    let ended = session.run().await;
    session.end_transaction();
    if matches!(ended, Ok(End::Quit)) {
        // The peer may be gone already, which it may.
        let _ = session.stream.shut_down().await;
    }
    session.note(match ended {
        Ok(End::ByClient) => Some("C: <close>".to_owned()),
        Ok(End::ByServer) => Some("S: <close>".to_owned()),
        Ok(End::Quit) => None,
        Err(error) => Some(format!("-- {error}")),
    });
    let number = session.number;
    session.shared.change(|inner| inner.connections[number - 1].open = false);
}

/// How a session ended.
enum End {
    Quit,
    ByClient,
    ByServer,
}

/// What a step leads to.
enum Step {
    GoOn,
    End(End),
}

#[derive(Default)]
struct Transaction {
    sender: String,
    parameters: Vec<String>,
    recipients: Vec<ReceivedRecipient>,
}

struct Session {
    stream: LineStream,
    peer: IpAddr,
    number: usize,
    shared: Arc<Shared>,
    tls: bool,
    helo: Option<String>,
    extended: bool,
    user: Option<String>,
    transaction: Option<Transaction>,
}

impl Session {
    async fn run(&mut self) -> io::Result<End> {
        if self.script().implicit_tls {
            self.handshake().await?;
        }
        if let (_, Step::End(end)) = self.answer("CONNECT", "", "220 mx.test ESMTP").await? {
            return Ok(end);
        }
        while let Some(line) = self.stream.line().await? {
            let line = self.checked_line(line);
            self.note(Some(format!("C: {line}")));
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            if let Step::End(end) = self.command(&verb.to_ascii_uppercase(), argument).await? {
                return Ok(end);
            }
        }
        Ok(End::ByClient)
    }

    async fn command(&mut self, verb: &str, argument: &str) -> io::Result<Step> {
        match verb {
            "EHLO" | "HELO" => self.hello(verb, argument).await,
            "STARTTLS" => self.starttls().await,
            "AUTH" => self.authenticate(argument).await,
            "MAIL" => self.mail(argument).await,
            "RCPT" => self.recipient(argument).await,
            "DATA" => self.data().await,
            "RSET" => {
                self.end_transaction();
                Ok(self.answer(verb, argument, "250 2.0.0 Reset").await?.1)
            }
            "NOOP" => Ok(self.answer(verb, argument, "250 2.0.0 Ok").await?.1),
            "QUIT" => match self.answer(verb, argument, "221 2.0.0 Bye").await?.1 {
                Step::GoOn => Ok(Step::End(End::Quit)),
                end => Ok(end),
            },
            _ => {
                self.violation(format!("{verb} is no command that was offered"));
                Ok(self.answer(verb, argument, "500 5.5.1 Unknown command").await?.1)
            }
        }
    }

    async fn hello(&mut self, verb: &str, name: &str) -> io::Result<Step> {
        let script = self.script();
        let mut lines = vec!["mx.test".to_owned()];
        if verb == "EHLO" {
            lines.extend(script.capabilities.iter().cloned());
            if script.starttls != StartTls::Absent && !self.tls {
                lines.push("STARTTLS".to_owned());
            }
            if script.credentials.is_some() {
                lines.push("AUTH PLAIN LOGIN".to_owned());
            }
        }
        let last = lines.len() - 1;
        let reply: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(n, line)| format!("250{}{line}", if n == last { ' ' } else { '-' }))
            .collect();
        let (code, step) = self.answer(verb, name, &reply.join("\n")).await?;
        if code == 250 {
            self.end_transaction();
            self.helo = Some(name.to_owned());
            self.extended = verb == "EHLO";
        }
        Ok(step)
    }

    async fn starttls(&mut self) -> io::Result<Step> {
        let kind = self.script().starttls;
        if kind == StartTls::Absent || self.tls {
            self.violation("STARTTLS was not offered".to_owned());
        }
        if !self.stream.ahead().is_empty() {
            self.violation("something was pipelined behind STARTTLS".to_owned());
        }
        let (code, step) = self.answer("STARTTLS", "", "220 2.0.0 Go ahead").await?;
        if code != 220 {
            return Ok(step);
        }
        if kind == StartTls::BrokenHandshake {
            self.stream.write(b"this is no handshake\r\n").await?;
            return Ok(Step::End(End::ByServer));
        }
        self.handshake().await?;
        (self.helo, self.extended) = (None, false);
        Ok(Step::GoOn)
    }

    async fn handshake(&mut self) -> io::Result<()> {
        let stream = self.stream.unwrap_stream()?;
        let stream = TlsAcceptor::from(crate::tls::server_config()).accept(stream).await?;
        self.stream.wrap(stream);
        self.tls = true;
        self.note(Some("-- TLS".to_owned()));
        Ok(())
    }

    /// PLAIN and LOGIN (RFC 4954, RFC 4616).
    async fn authenticate(&mut self, argument: &str) -> io::Result<Step> {
        let Some((user, password)) = self.script().credentials else {
            self.violation("AUTH was not offered".to_owned());
            return Ok(self.answer("AUTH", argument, "503 5.5.1 AUTH is not offered").await?.1);
        };
        let (mechanism, initial) = argument.split_once(' ').unwrap_or((argument, ""));
        let said = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => {
                let response = if initial.is_empty() { self.challenge("").await? } else { initial.to_owned() };
                let response = decode(&response);
                let mut parts = response.split('\0').skip(1).map(str::to_owned);
                (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
            }
            "LOGIN" => {
                let name = if initial.is_empty() { self.challenge("VXNlcm5hbWU6").await? } else { initial.to_owned() };
                (decode(&name), decode(&self.challenge("UGFzc3dvcmQ6").await?))
            }
            other => {
                self.violation(format!("{other} was not offered"));
                return Ok(self.answer("AUTH", argument, "504 5.5.4 Unknown mechanism").await?.1);
            }
        };
        let right = said == (user, password);
        let default = if right { "235 2.7.0 Welcome" } else { "535 5.7.8 Wrong credentials" };
        let (code, step) = self.answer("AUTH", argument, default).await?;
        if code == 235 {
            self.user = Some(said.0);
        }
        Ok(step)
    }

    async fn challenge(&mut self, text: &str) -> io::Result<String> {
        self.write(&format!("334 {text}")).await?;
        let line = self.stream.line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let line = self.checked_line(line);
        self.note(Some("C: <credentials>".to_owned()));
        Ok(line)
    }

    async fn mail(&mut self, argument: &str) -> io::Result<Step> {
        if self.helo.is_none() {
            self.violation("MAIL before EHLO".to_owned());
        }
        if self.transaction.is_some() {
            self.violation("MAIL inside a transaction".to_owned());
        }
        let (sender, parameters) = self.path(argument, "FROM:");
        self.judge_mail_parameters(&parameters);
        let needs_login = self.script().credentials.is_some() && self.user.is_none();
        let default = if needs_login { "530 5.7.0 Log in first" } else { "250 2.1.0 Ok" };
        let (code, step) = self.answer("MAIL", argument, default).await?;
        if code == 250 {
            self.transaction = Some(Transaction { sender, parameters, recipients: Vec::new() });
            self.shared.change(|inner| {
                inner.transactions_open += 1;
                inner.transactions_open_peak = inner.transactions_open_peak.max(inner.transactions_open);
            });
        }
        Ok(step)
    }

    async fn recipient(&mut self, argument: &str) -> io::Result<Step> {
        let (address, parameters) = self.path(argument, "TO:");
        if !parameters.is_empty() && !self.offers("DSN") {
            self.violation(format!("RCPT parameters {parameters:?} without DSN"));
        }
        let default = if self.transaction.is_some() { "250 2.1.5 Ok" } else { "503 5.5.1 MAIL first" };
        let (code, step) = self.answer("RCPT", argument, default).await?;
        if let (250..=259, Some(transaction)) = (code, &mut self.transaction) {
            transaction.recipients.push(ReceivedRecipient { address, parameters });
        }
        Ok(step)
    }

    async fn data(&mut self) -> io::Result<Step> {
        let has_recipients = self.transaction.as_ref().is_some_and(|transaction| !transaction.recipients.is_empty());
        let default = if has_recipients { "354 Go ahead" } else { "554 5.5.1 No valid recipients" };
        let (code, step) = self.answer("DATA", "", default).await?;
        if code != 354 {
            return Ok(step);
        }
        let Some(data) = self.read_data().await? else { return Ok(Step::End(End::ByClient)) };
        self.note(Some("C: <data>".to_owned()));
        self.judge_data(&data);
        let transaction = self.transaction.take().unwrap_or_default();
        let message = ReceivedMessage {
            connection: self.number,
            peer: self.peer,
            helo: self.helo.clone().unwrap_or_default(),
            tls: self.tls,
            user: self.user.clone(),
            sender: transaction.sender,
            parameters: transaction.parameters,
            recipients: transaction.recipients,
            data: data.into(),
            acknowledged: false,
        };
        let default = if message.recipients.is_empty() { "554 5.5.1 No valid recipients" } else { "250 2.0.0 Taken" };
        let index = self.shared.change(|inner| {
            inner.messages.push(message);
            inner.messages.len() - 1
        });
        let answered = self.answer(".", "", default).await;
        self.shared.change(|inner| {
            inner.transactions_open = inner.transactions_open.saturating_sub(1);
            inner.messages[index].acknowledged = matches!(answered, Ok((200..=299, _)));
        });
        Ok(answered?.1)
    }

    /// Reads to the final dot and undoes the dot-stuffing (RFC 5321 section 4.5.2).
    async fn read_data(&mut self) -> io::Result<Option<Vec<u8>>> {
        // A line break before the data makes an empty message no special case.
        self.stream.put_back(b"\r\n".to_vec());
        let Some(stuffed) = self.stream.until(b"\r\n.\r\n").await? else { return Ok(None) };
        let stuffed = &stuffed[2..stuffed.len() - 3];
        let mut data = Vec::with_capacity(stuffed.len());
        for line in stuffed.split_inclusive(|&b| b == b'\n') {
            data.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        Ok(Some(data))
    }

    /// Says what the script says to a command, or `default`. Gives the code that was sent; 0 for none.
    async fn answer(&mut self, verb: &str, argument: &str, default: &str) -> io::Result<(u16, Step)> {
        self.judge_pipelining(verb);
        let command =
            Command { verb: verb.to_owned(), argument: argument.to_owned(), connection: self.number, tls: self.tls };
        let mut answer = self.script().answer(&command).unwrap_or_else(|| default.into());
        loop {
            return match answer {
                Answer::After(gate, then) => {
                    gate.passed().await;
                    answer = *then;
                    continue;
                }
                Answer::Reply(text) => Ok((self.write(&text).await?, Step::GoOn)),
                Answer::ReplyThenClose(text) => Ok((self.write(&text).await?, Step::End(End::ByServer))),
                Answer::Close => Ok((0, Step::End(End::ByServer))),
                Answer::Silence => {
                    self.stream.rest().await;
                    Ok((0, Step::End(End::ByClient)))
                }
            };
        }
    }

    async fn write(&mut self, reply: &str) -> io::Result<u16> {
        let mut bytes = Vec::new();
        for line in reply.lines() {
            self.note(Some(format!("S: {line}")));
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        let packet_bytes = self.script().reply_packet_bytes.unwrap_or(bytes.len()).max(1);
        for packet in bytes.chunks(packet_bytes) {
            self.stream.write(packet).await?;
            tokio::task::yield_now().await;
        }
        Ok(reply.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0))
    }

    /// The line without its CRLF.
    fn checked_line(&mut self, line: Vec<u8>) -> String {
        let text = match line.strip_suffix(b"\r\n") {
            Some(text) => text,
            None => {
                self.violation(format!("a line without CRLF: {:?}", String::from_utf8_lossy(&line)));
                line.strip_suffix(b"\n").unwrap_or(&line)
            }
        };
        if text.iter().any(|&b| b < 32 || b == 127) {
            self.violation("control characters in a command".to_owned());
        }
        String::from_utf8_lossy(text).into_owned()
    }

    /// The address between the angle brackets, and the parameters behind them.
    fn path(&mut self, argument: &str, keyword: &str) -> (String, Vec<String>) {
        let path = argument.get(keyword.len()..).filter(|_| argument.to_ascii_uppercase().starts_with(keyword));
        let parts = path.and_then(|path| path.strip_prefix('<')).and_then(|path| path.rsplit_once('>'));
        let Some((address, parameters)) = parts else {
            self.violation(format!("{argument:?} is no path"));
            return Default::default();
        };
        if !address.is_ascii() && !self.offers("SMTPUTF8") {
            self.violation(format!("{address:?} without SMTPUTF8"));
        }
        (address.to_owned(), parameters.split_ascii_whitespace().map(str::to_owned).collect())
    }

    fn judge_mail_parameters(&mut self, parameters: &[String]) {
        for parameter in parameters {
            let keyword = match parameter.split('=').next().unwrap_or_default() {
                "BODY" => "8BITMIME",
                "RET" | "ENVID" => "DSN",
                other => other,
            };
            if !self.offers(keyword) {
                self.violation(format!("MAIL parameter {parameter} was not offered"));
            }
        }
    }

    /// RFC 2920 section 3.1: only after PIPELINING was offered may a client send before it has read.
    fn judge_pipelining(&mut self, verb: &str) {
        if verb != "." && !self.stream.ahead().is_empty() && !self.offers("PIPELINING") {
            self.violation(format!("something was pipelined behind {verb}"));
        }
        if verb == "DATA" && !self.stream.ahead().is_empty() {
            self.violation("data came before the answer to DATA".to_owned());
        }
    }

    fn judge_data(&mut self, data: &[u8]) {
        let body = memmem::find(data, b"\r\n\r\n").map_or(&[][..], |at| &data[at..]);
        if !body.is_ascii() && !self.offers("8BITMIME") {
            self.violation("8-bit data without 8BITMIME".to_owned());
        }
        for line in data.split_inclusive(|&b| b == b'\n') {
            let Some(text) = line.strip_suffix(b"\r\n") else {
                self.violation("a bare line feed in data".to_owned());
                continue;
            };
            if text.contains(&b'\r') {
                self.violation("a bare carriage return in data".to_owned());
            }
            if line.len() > TEXT_LINE_BYTES_MAX {
                self.note(Some(format!("-- a line of {} bytes", line.len())));
            }
        }
    }

    fn offers(&self, keyword: &str) -> bool {
        self.extended && self.shared.read().script.offers(keyword)
    }

    fn script(&self) -> Script {
        self.shared.read().script.clone()
    }

    fn end_transaction(&mut self) {
        if self.transaction.take().is_some() {
            self.shared.change(|inner| inner.transactions_open = inner.transactions_open.saturating_sub(1));
        }
    }

    fn note(&self, line: Option<String>) {
        let number = self.number;
        if let Some(line) = line {
            self.shared.change(|inner| inner.connections[number - 1].transcript.push(line));
        }
    }

    fn violation(&mut self, what: String) {
        let number = self.number;
        self.shared.change(|inner| inner.violations.push(format!("connection {number}: {what}")));
    }
}

fn decode(text: &str) -> String {
    BASE64.decode(text).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
