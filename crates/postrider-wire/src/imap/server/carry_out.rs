//! Commands that have come whole: those that the machine answers by itself, and the way of the others to the driver.

use bytes::Bytes;

use super::reading::status_of;
use super::{Event, Phase, Question, Session, State, without_end};
use crate::imap::command::Command;
use crate::imap::parse::Request;
use crate::imap::response::{Code, Condition, Status, capability};

impl Session {
    pub(super) fn greet(&mut self) {
        let code = Code::Capability(self.capabilities());
        let text = self.config.banner.clone();
        Status::new(Condition::Ok, Some(code), text).write_untagged(&mut self.output);
    }

    /// Carries out a command; `text` has its last line's end.
    pub(super) fn carry_out(&mut self, text: &[u8], literals: &[Bytes]) -> Option<Event> {
        let text = without_end(text);
        let mut parser = self.parser(text, literals);
        let Ok(tag) = parser.tag() else { return self.refuse(None, Status::BAD_TAG) };
        let tag = tag.to_owned();
        match self.parse_request(&mut parser) {
            Ok(request) => self.act(tag, request),
            Err(fault) => {
                if self.phase() == Phase::NotAuthenticated && is_http(text) {
                    // A web page can make its reader's browser send this here, with commands in the body. This must end
                    // before the body is read.
                    self.close(&Status::NOT_HTTP);
                    return None;
                }
                self.refuse(Some(&tag), status_of(fault))
            }
        }
    }

    fn act(&mut self, tag: String, request: Request) -> Option<Event> {
        match request {
            Request::Capability => {
                let capabilities = self.capabilities();
                capability(&mut self.output, &capabilities);
                Status::CAPABILITY_DONE.write_tagged(&mut self.output, &tag);
                None
            }
            Request::Logout => {
                self.close(&Status::LOGOUT);
                Status::LOGOUT_DONE.write_tagged(&mut self.output, &tag);
                None
            }
            Request::StartTls => self.start_tls(&tag),
            Request::Compress { algorithm } => self.compress(&tag, &algorithm),
            Request::Idle => {
                self.output.extend_from_slice(b"+ idling\r\n");
                self.state = State::Idle(tag.clone());
                Some(Event::Idle { tag })
            }
            Request::Authenticate { mechanism, initial_response } => {
                self.authenticate(tag, &mechanism, initial_response.as_deref())
            }
            Request::Login { user, password } => self.login(tag, user, password),
            Request::Command(body) => {
                self.state = State::Waiting(Question::Command { tag: tag.clone() });
                Some(Event::Command(Command { tag, body }))
            }
        }
    }

    /// RFC 9051 section 6.2.1.
    fn start_tls(&mut self, tag: &str) -> Option<Event> {
        if self.tls.is_some() {
            return self.refuse(Some(tag), Status::TLS_ACTIVE);
        }
        if !self.config.starttls {
            return self.refuse(Some(tag), Status::TLS_NOT_OFFERED);
        }
        Status::TLS_BEGINS.write_tagged(&mut self.output, tag);
        self.state = State::StartTls;
        Some(Event::StartTls)
    }

    /// RFC 4978 section 3.
    fn compress(&mut self, tag: &str, algorithm: &str) -> Option<Event> {
        if !algorithm.eq_ignore_ascii_case("DEFLATE") || !self.config.compress {
            return self.refuse(Some(tag), Status::COMPRESSION_UNKNOWN);
        }
        if self.is_compressed {
            return self.refuse(Some(tag), Status::COMPRESSION_ACTIVE);
        }
        Status::COMPRESSION_BEGINS.write_tagged(&mut self.output, tag);
        self.state = State::Compress;
        Some(Event::Compress)
    }
}

fn is_http(text: &[u8]) -> bool {
    text.rsplit(|&b| b == b' ').next().is_some_and(|word| word.starts_with(b"HTTP/"))
}
