//! SEARCH and UID SEARCH (RFC 9051 section 6.4.4) with ESEARCH (RFC 4731), SEARCHRES (RFC 5182), CONDSTORE, WITHIN, OBJECTID
//! and SAVEDATE.

mod find;
mod plan;

use std::sync::Arc;

use postrider_core::mailbox::UidSet;
use postrider_store::Entry;
use postrider_wire::imap::command::{Search, SearchKey, SearchReturn};
use postrider_wire::imap::response::{self, Esearch, Status};
use postrider_wire::imap::sequence::NumberSet;

use self::find::Stopped;
use self::plan::Key;
use super::session::{End, Session};

/// A message that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) place: usize,
    pub(super) entry: Entry,
}

impl Found {
    /// What the client knows it by.
    pub(super) fn number(&self, by_uid: bool) -> u32 {
        if by_uid { self.entry.uid } else { self.place as u32 + 1 }
    }
}

impl Session {
    pub(super) async fn search(&mut self, tag: &str, search: Search) -> Result<Status, End> {
        let found = match self.search_for(tag, &search.key, search.returns).await? {
            Ok(found) => found,
            Err(status) => return Ok(status),
        };
        let wants_modseq = search.key.has_mod_sequence();
        let returns = match search.returns {
            None if self.wire.dialect().rev2 => SearchReturn { all: true, ..SearchReturn::default() },
            None => {
                let highest = found.iter().map(|found| found.entry.modseq).max().filter(|_| wants_modseq);
                let numbers = found.iter().map(|found| found.number(search.uid));
                response::search(self.wire.output(), numbers, highest);
                return Ok(Status::ok("Searched"));
            }
            Some(returns) => returns,
        };
        self.keep(&found, returns);
        let all: NumberSet = found.iter().map(|found| found.number(search.uid)).collect();
        let esearch = Esearch { all: returns.all.then_some(&all), ..esearch(tag, search.uid, &found, returns) };
        self.write_esearch(esearch, &found, returns, wants_modseq);
        Ok(Status::ok("Searched"))
    }

    /// What a search finds, by place. The status says why there is no result.
    pub(super) async fn search_for(
        &mut self,
        tag: &str,
        key: &SearchKey,
        returns: Option<SearchReturn>,
    ) -> Result<Result<Vec<Found>, Status>, End> {
        let result = self.search_or_stop(tag, key).await;
        if !matches!(result, Ok(Ok(_))) && returns.is_some_and(|returns| returns.save) {
            // RFC 5182 section 2.1: a search that fails saves nothing.
            self.saved = UidSet::new();
        }
        result
    }

    async fn search_or_stop(&mut self, tag: &str, key: &SearchKey) -> Result<Result<Vec<Found>, Status>, End> {
        let now = self.now();
        let Some(selected) = &self.selected else { return Ok(Err(Status::bad("No mailbox is selected"))) };
        // RFC 7162 section 3.1.5: it enables CONDSTORE.
        self.condstore |= key.has_mod_sequence();
        let plan = match Key::new(key, selected, &self.saved, now) {
            Ok(plan) => Arc::new(plan),
            Err(status) => return Ok(Err(status)),
        };
        let places = match self.find(tag, plan).await {
            Ok(places) => places,
            Err(Stopped::Session(end)) => return Err(end),
            Err(Stopped::Store(error)) => return Ok(Err(self.store_failed("a search could not be done", &error))),
        };
        let Some(selected) = &self.selected else { return Ok(Ok(Vec::new())) };
        let found = places.into_iter().filter_map(|place| Some(Found { place, entry: *selected.view.get(place)? }));
        Ok(Ok(found.collect()))
    }

    /// RFC 5182: `$` becomes the result, or of a search for the first and last, these.
    pub(super) fn keep(&mut self, found: &[Found], returns: SearchReturn) {
        if !returns.save {
            return;
        }
        let ends = || (found.first().filter(|_| returns.min)).into_iter().chain(found.last().filter(|_| returns.max));
        self.saved = if (returns.min || returns.max) && !returns.all && !returns.count {
            ends().map(|found| found.entry.uid).collect()
        } else {
            found.iter().map(|found| found.entry.uid).collect()
        };
    }

    /// Writes the response, unless nothing was asked for but to keep the result.
    pub(super) fn write_esearch(
        &mut self,
        esearch: Esearch<'_>,
        found: &[Found],
        returns: SearchReturn,
        wants_modseq: bool,
    ) {
        if !(returns.min || returns.max || returns.all || returns.count) {
            return;
        }
        // RFC 4731 section 3.2: of what is returned.
        let highest_mod_sequence = if returns.all || returns.count {
            found.iter().map(|found| found.entry.modseq).max()
        } else {
            let ends = [found.first().filter(|_| returns.min), found.last().filter(|_| returns.max)];
            ends.into_iter().flatten().map(|found| found.entry.modseq).max()
        };
        let highest_mod_sequence = highest_mod_sequence.filter(|_| wants_modseq);
        Esearch { highest_mod_sequence, ..esearch }.write(self.wire.output());
    }
}

/// What is told of messages that were found, in the order that they are told in, but for the list of them.
pub(super) fn esearch<'a>(tag: &'a str, by_uid: bool, found: &[Found], returns: SearchReturn) -> Esearch<'a> {
    Esearch {
        tag,
        uid: by_uid,
        min: found.first().filter(|_| returns.min).map(|found| found.number(by_uid)),
        max: found.last().filter(|_| returns.max).map(|found| found.number(by_uid)),
        count: returns.count.then_some(found.len() as u64),
        ..Esearch::default()
    }
}
