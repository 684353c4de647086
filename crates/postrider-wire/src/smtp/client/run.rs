//! A transaction under way: which command goes next, and what each reply means for each recipient.
//!
//! The commands of a transaction are one sequence: RSET where the one before left something behind, MAIL, a RCPT for each
//! recipient, DATA. With PIPELINING (RFC 2920) a window of them is under way, without it one. Replies come in order, so two
//! counters tell all. Knows no connection: greeting, EHLO and the rest are the client's.

use std::borrow::Cow;

use super::Stage;
use super::capabilities::Capabilities;
use super::output::Output;
use super::transaction::{Exchange, RecipientResult, Transaction};
use crate::smtp::reply::Reply;

/// Commands under way at once with PIPELINING. RFC 5321 section 4.5.3.1.8 has servers take 100 recipients; a window of
/// that many keeps both sides' buffers small however many recipients a message has.
const COMMANDS_OUTSTANDING_MAX: usize = 102;

/// The window is filled again when it has fallen to this, so that commands leave in batches.
const COMMANDS_OUTSTANDING_LOW: usize = 50;

#[derive(Debug)]
pub(super) struct Run {
    transaction: Transaction,
    capabilities: Capabilities,
    /// 1 if the sequence begins with RSET.
    resets: usize,
    /// Commands of the sequence that were handed to the output.
    sent: usize,
    /// Commands of the sequence whose replies have come.
    answered: usize,
    mail_refused: bool,
    /// Recipients whose RCPT was answered positively.
    accepted: usize,
    /// What is final already.
    results: Vec<Option<RecipientResult>>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Commands,
    /// DATA was taken though no recipient was: a lone dot ends it (RFC 2920 section 3.1).
    EmptyMessage,
    Message,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Reset,
    Mail,
    Recipient(usize),
    Data,
}

/// What a reply has led to.
#[derive(Debug)]
pub(super) enum Step {
    More,
    /// All recipients have a result.
    Finished {
        /// Whether the server ended the transaction itself by accepting the message.
        message_accepted: bool,
        usable: bool,
    },
    /// The reply cannot be, at this place.
    Violation(Cow<'static, str>),
    /// The server cannot even forget the last transaction; nothing was said about this one.
    ResetRefused(Reply),
}

impl Run {
    pub(super) fn new(transaction: Transaction, capabilities: Capabilities, needs_reset: bool) -> Self {
        let results = vec![None; transaction.recipients.len()];
        Self {
            transaction,
            capabilities,
            resets: usize::from(needs_reset),
            sent: 0,
            answered: 0,
            mail_refused: false,
            accepted: 0,
            results,
            phase: Phase::Commands,
        }
    }

    /// Hands as many commands to the output as the window allows.
    pub(super) fn fill(&mut self, output: &mut Output) {
        let (low, max) =
            if self.capabilities.pipelining { (COMMANDS_OUTSTANDING_LOW, COMMANDS_OUTSTANDING_MAX) } else { (0, 1) };
        if self.sent - self.answered > low {
            return;
        }
        while self.sent - self.answered < max
            && let Some(command) = self.next_command()
        {
            match command {
                Command::Reset => output.buffer().extend_from_slice(b"RSET\r\n"),
                Command::Mail => self.transaction.write_mail(&self.capabilities, output.buffer()),
                Command::Recipient(i) => self.transaction.write_rcpt(i, &self.capabilities, output.buffer()),
                Command::Data => output.buffer().extend_from_slice(b"DATA\r\n"),
            }
            self.sent += 1;
        }
    }

    /// Takes the next reply.
    pub(super) fn on_reply(&mut self, reply: Reply, output: &mut Output, exchanges: &mut Vec<Exchange>) -> Step {
        if self.phase == Phase::Commands && self.answered == self.sent {
            return Step::Violation("a reply to no command".into());
        }
        let command = self.command_at(self.answered);
        let (name, recipient) = match (self.phase, command) {
            (Phase::Message | Phase::EmptyMessage, _) => (".", None),
            (Phase::Commands, Command::Reset) => ("RSET", None),
            (Phase::Commands, Command::Mail) => ("MAIL", None),
            (Phase::Commands, Command::Recipient(i)) => ("RCPT", Some(i)),
            (Phase::Commands, Command::Data) => ("DATA", None),
        };
        exchanges.push(Exchange { command: name.into(), recipient, reply: reply.clone() });
        // RFC 5321 section 3.8: the server closes the connection after 421, whatever the command was.
        if reply.code == 421 {
            self.decide_all(|| RecipientResult::Rejected(reply.clone()));
            return Step::Finished { message_accepted: false, usable: false };
        }
        match self.phase {
            Phase::Commands => self.on_command_reply(command, name, reply, output),
            Phase::EmptyMessage => self.finished(false),
            Phase::Message => self.on_message_reply(reply, output),
        }
    }

    /// Where the transaction stands.
    pub(super) fn stage(&self) -> Stage {
        match (self.phase, self.command_at(self.answered)) {
            (Phase::Message | Phase::EmptyMessage, _) => Stage::EndOfData,
            (Phase::Commands, Command::Reset) => Stage::Reset,
            (Phase::Commands, Command::Mail) => Stage::Mail,
            (Phase::Commands, Command::Recipient(_)) => Stage::Recipient,
            (Phase::Commands, Command::Data) => Stage::Data,
        }
    }

    /// Whether the output has been given the message itself.
    pub(super) fn message_sent(&self) -> bool {
        self.phase == Phase::Message
    }

    pub(super) fn into_results(self) -> Vec<Option<RecipientResult>> {
        self.results
    }

    fn on_command_reply(&mut self, command: Command, name: &str, reply: Reply, output: &mut Output) -> Step {
        if reply.is_intermediate() != (command == Command::Data && !reply.is_transient() && !reply.is_permanent()) {
            return Step::Violation(format!("{} in answer to {name}", reply.code).into());
        }
        let is_positive = reply.is_positive();
        match command {
            Command::Reset if !is_positive => return Step::ResetRefused(reply),
            Command::Mail if !is_positive => {
                self.mail_refused = true;
                self.decide_all(|| RecipientResult::Rejected(reply.clone()));
            }
            Command::Recipient(_) if is_positive => self.accepted += 1,
            Command::Recipient(i) => {
                if let Some(result @ None) = self.results.get_mut(i) {
                    *result = Some(RecipientResult::Rejected(reply));
                }
            }
            Command::Data if reply.is_intermediate() => return self.on_data_allowed(output),
            Command::Data => {
                self.decide_all(|| RecipientResult::Rejected(reply.clone()));
                return self.finished(false);
            }
            Command::Reset | Command::Mail => {}
        }
        self.answered += 1;
        if self.answered == self.sent && self.next_command().is_none() {
            return self.finished(false);
        }
        self.fill(output);
        Step::More
    }

    fn on_data_allowed(&mut self, output: &mut Output) -> Step {
        self.answered += 1;
        if self.mail_refused && self.accepted > 0 {
            // A server this confused might deliver an empty message to them. It gets no end of data.
            return Step::Finished { message_accepted: false, usable: false };
        }
        if self.accepted == 0 {
            output.buffer().extend_from_slice(b".\r\n");
            self.phase = Phase::EmptyMessage;
        } else {
            output.send_message(std::mem::take(&mut self.transaction.message));
            self.phase = Phase::Message;
        }
        Step::More
    }

    fn on_message_reply(&mut self, reply: Reply, output: &Output) -> Step {
        if reply.is_intermediate() {
            return Step::Violation(format!("{} in answer to the end of data", reply.code).into());
        }
        let was_sent = output.is_empty();
        if reply.is_positive() && !was_sent {
            return Step::Violation("the message was accepted before its end".into());
        }
        let message_accepted = reply.is_positive();
        self.decide_all(|| match message_accepted {
            true => RecipientResult::Accepted(reply.clone()),
            false => RecipientResult::Rejected(reply.clone()),
        });
        // A refusal in the middle of the message leaves no way to tell what the server takes the rest for.
        Step::Finished { message_accepted, usable: was_sent }
    }

    fn finished(&self, message_accepted: bool) -> Step {
        Step::Finished { message_accepted, usable: true }
    }

    /// Gives a result to every recipient that has none.
    fn decide_all(&mut self, result: impl Fn() -> RecipientResult) {
        self.results.iter_mut().filter(|known| known.is_none()).for_each(|known| *known = Some(result()));
    }

    /// The next command to send, unless what was answered makes it pointless.
    fn next_command(&self) -> Option<Command> {
        if self.mail_refused || self.sent > self.data_position() {
            return None;
        }
        let all_answered = self.answered == self.data_position();
        let command = self.command_at(self.sent);
        (command != Command::Data || !all_answered || self.accepted > 0).then_some(command)
    }

    fn command_at(&self, position: usize) -> Command {
        match position.checked_sub(self.resets) {
            None => Command::Reset,
            Some(0) => Command::Mail,
            Some(n) if n <= self.results.len() => Command::Recipient(n - 1),
            Some(_) => Command::Data,
        }
    }

    fn data_position(&self) -> usize {
        self.resets + 1 + self.results.len()
    }
}
