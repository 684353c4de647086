//! The last records of the log in memory, for the API and the page: a layer of `tracing` that writes them, and the port by which they
//! are read.
//!
//! Who logs is held up by no reader: a record is made before the lock is taken and put into its place under it, and readers copy
//! references out in parts.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postrider_core::{Clock, LogFilter, LogLevel, LogPage, LogRecord, LogTail, ObjectId};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Records that are remembered, and what they may take in memory together, in bytes.
pub const RECORDS_MAX: usize = 5_000;
pub const BYTES_MAX: usize = 4 << 20;

/// The texts of one record; what is longer is cut.
const RECORD_BYTES_MAX: usize = 8 << 10;

/// Stands where something was cut.
const CUT: &str = "…";

/// Records that a reader copies while it holds the lock.
const PART_RECORDS: usize = 256;

/// The fields that name the e-mail.
const EMAIL_FIELD: &str = "email";

/// What was logged last.
#[derive(Debug)]
pub struct RecentLog {
    ring: Mutex<Ring>,
}

/// Records with consecutive numbers.
#[derive(Debug)]
struct Ring {
    records: VecDeque<Arc<LogRecord>>,
    bytes: usize,
    /// The number of the first record of all, and of the next.
    origin: u64,
    next: u64,
}

impl RecentLog {
    /// Numbers begin with the microseconds since 1970: nothing logs for long faster than these go by, so whoever followed the
    /// process before this one goes on here.
    pub fn new(clock: &dyn Clock) -> Self {
        let origin = u64::try_from(clock.now().as_millis()).unwrap_or_default().saturating_mul(1_000).max(1);
        let ring = Ring { records: VecDeque::new(), bytes: 0, origin, next: origin };
        Self { ring: Mutex::new(ring) }
    }

    /// Remembers what is logged through it.
    pub fn layer<S>(self: &Arc<Self>, clock: Arc<dyn Clock>) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        Remembering { log: self.clone(), clock }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, record: LogRecord) {
        let bytes = bytes_of(&record);
        let mut ring = self.ring();
        let record = Arc::new(LogRecord { number: ring.next, ..record });
        ring.next += 1;
        ring.bytes += bytes;
        ring.records.push_back(record);
        while ring.records.len() > RECORDS_MAX || ring.bytes > BYTES_MAX {
            let Some(oldest) = ring.records.pop_front() else { break };
            ring.bytes -= bytes_of(&oldest);
        }
    }

    /// The first that match behind a number, from `first` on.
    fn behind(&self, first: u64, filter: &LogFilter, limit: usize) -> (Vec<Arc<LogRecord>>, u64) {
        let (mut records, mut next) = (Vec::new(), first);
        loop {
            let part = self.ring().part(next, next.saturating_add(PART_RECORDS as u64));
            let Some(last) = part.last() else { return (records, next - 1) };
            next = last.number + 1;
            for record in part {
                if filter.matches(&record) {
                    let number = record.number;
                    records.push(record);
                    if records.len() >= limit {
                        return (records, number);
                    }
                }
            }
        }
    }

    /// The last that match before `end`.
    fn newest(&self, end: u64, filter: &LogFilter, limit: usize) -> Vec<Arc<LogRecord>> {
        let (mut records, mut end) = (Vec::new(), end);
        while records.len() < limit {
            let part = self.ring().part(end.saturating_sub(PART_RECORDS as u64), end);
            let Some(first) = part.first() else { break };
            end = first.number;
            let matching = part.into_iter().rev().filter(|record| filter.matches(record));
            records.extend(matching.take(limit - records.len()));
        }
        records.reverse();
        records
    }
}

impl LogTail for RecentLog {
    fn records(&self, after: Option<u64>, filter: &LogFilter, limit: usize) -> LogPage {
        let (origin, oldest, next) = {
            let ring = self.ring();
            (ring.origin, ring.oldest(), ring.next)
        };
        match after {
            None => LogPage { records: self.newest(next, filter, limit), last: next - 1, missed: false },
            Some(after) => {
                // The last of none is one before the origin.
                let is_ours = (origin - 1..next).contains(&after);
                let first = if is_ours { oldest.max(after + 1) } else { oldest };
                let missed = if is_ours { first > after + 1 } else { true };
                let (records, last) = self.behind(first, filter, limit);
                LogPage { records, last, missed }
            }
        }
    }
}

impl Ring {
    /// The number of the oldest that is there, or of the next.
    fn oldest(&self) -> u64 {
        self.records.front().map_or(self.next, |record| record.number)
    }

    /// Those of these numbers that are there.
    fn part(&self, from: u64, to: u64) -> Vec<Arc<LogRecord>> {
        let oldest = self.oldest();
        let place = |number: u64| usize::try_from(number.saturating_sub(oldest)).unwrap_or(usize::MAX);
        let end = place(to).min(self.records.len());
        let start = place(from).min(end);
        self.records.range(start..end).cloned().collect()
    }
}

fn bytes_of(record: &LogRecord) -> usize {
    let fields: usize =
        record.fields.iter().map(|(_, value)| mem::size_of::<(&str, String)>() + value.capacity()).sum();
    mem::size_of::<LogRecord>() + record.message.capacity() + fields
}

/// The layer.
struct Remembering {
    log: Arc<RecentLog>,
    clock: Arc<dyn Clock>,
}

/// What a span was given, for the records within it.
struct SpanFields(Texts);

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Remembering {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut texts = Texts::default();
        attributes.record(&mut texts);
        span.extensions_mut().insert(SpanFields(texts));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(SpanFields(texts)) = span.extensions_mut().get_mut::<SpanFields>() {
            values.record(texts);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut texts = Texts::default();
        event.record(&mut texts);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(SpanFields(outer)) = span.extensions().get::<SpanFields>() {
                texts.add(outer);
            }
        }
        let metadata = event.metadata();
        self.log.push(LogRecord {
            // Given where it is put.
            number: 0,
            timestamp: self.clock.now(),
            level: level(*metadata.level()),
            target: metadata.target(),
            email: texts.email(),
            message: texts.message,
            fields: texts.fields,
        });
    }
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

/// Fields as text, within the limit.
#[derive(Default)]
struct Texts {
    message: String,
    fields: Vec<(&'static str, String)>,
    bytes: usize,
}

impl Texts {
    /// Takes over what is not there by that name.
    fn add(&mut self, outer: &Self) {
        for (name, value) in &outer.fields {
            if !self.fields.iter().any(|(other, _)| other == name) {
                let value = self.cut(|text| text.write_str(value));
                self.fields.push((name, value));
            }
        }
    }

    fn put(&mut self, field: &Field, write: impl FnOnce(&mut Bounded) -> fmt::Result) {
        let value = self.cut(write);
        match field.name() {
            "message" => self.message = value,
            name => match self.fields.iter_mut().find(|(other, _)| *other == name) {
                Some((_, old)) => *old = value,
                None => self.fields.push((name, value)),
            },
        }
    }

    /// What is written, as much of it as there is room for.
    fn cut(&mut self, write: impl FnOnce(&mut Bounded) -> fmt::Result) -> String {
        let mut bounded = Bounded { text: String::new(), room: RECORD_BYTES_MAX.saturating_sub(self.bytes) };
        // An error says that it was cut.
        let is_whole = write(&mut bounded).is_ok();
        self.bytes += bounded.text.len();
        if !is_whole {
            bounded.text.push_str(CUT);
        }
        bounded.text.shrink_to_fit();
        bounded.text
    }

    fn email(&self) -> Option<ObjectId> {
        let (_, value) = self.fields.iter().find(|(name, _)| *name == EMAIL_FIELD)?;
        value.parse().ok()
    }
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |text| text.write_str(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, |text| write!(text, "{value:?}"));
    }
}

/// A text that takes no more than there is room for.
struct Bounded {
    text: String,
    room: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let taken = &more[..more.floor_char_boundary(self.room)];
        self.text.push_str(taken);
        self.room -= taken.len();
        if taken.len() < more.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use postrider_server::clock::SystemClock;
    use tracing::{debug, debug_span, info, info_span, warn};
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::registry;

    use super::*;

    const ID: &str = "65f0c1d2a3b4c5d6e7f80912";

    /// A log of what `say` logs at `info`.
    fn logged(say: impl FnOnce()) -> Arc<RecentLog> {
        let log = Arc::new(RecentLog::new(&SystemClock));
        let layer = log.layer(Arc::new(SystemClock)).with_filter(LevelFilter::INFO);
        tracing::subscriber::with_default(registry().with(layer), say);
        log
    }

    fn all(log: &RecentLog) -> Vec<Arc<LogRecord>> {
        log.records(None, &LogFilter::default(), usize::MAX).records
    }

    fn messages(page: &LogPage) -> Vec<&str> {
        page.records.iter().map(|record| record.message.as_str()).collect()
    }

    #[test]
    fn records_have_their_fields_and_those_of_what_is_under_way() {
        let log = logged(|| {
            let _session =
                info_span!("session", listener = "smtp", peer = "outer", sent = tracing::field::Empty).entered();
            let delivery = info_span!("delivery", email = %ID).entered();
            let _unseen = debug_span!("transaction", recipients = 3).entered();
            warn!(peer = "inner", mx.host = ?"mx", attempt = 2, "{} and more", "a message");
            debug!("not asked for");
            drop(delivery);
        });
        let records = all(&log);
        let [record] = records.as_slice() else { panic!("{records:?}") };
        assert_eq!((record.level, record.message.as_str()), (LogLevel::Warn, "a message and more"));
        assert_eq!(record.target, "postrider::recent_log::tests");
        assert_eq!(record.email, ID.parse().ok());
        let fields: Vec<_> = record.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let expected =
            [("peer", "inner"), ("mx.host", "\"mx\""), ("attempt", "2"), ("email", ID), ("listener", "smtp")];
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_a_span_is_told_later_is_there_too() {
        let log = logged(|| {
            let span = info_span!("delivery", email = tracing::field::Empty);
            let _entered = span.enter();
            info!("before");
            span.record("email", ID);
            info!("behind");
        });
        assert_eq!(all(&log).iter().map(|record| record.email.is_some()).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn the_oldest_go_where_there_are_too_many() {
        let log = logged(|| (0..RECORDS_MAX + 7).for_each(|n| info!("record {n}")));
        let records = all(&log);
        assert_eq!((records.len(), records[0].message.as_str()), (RECORDS_MAX, "record 7"));
        assert!(records.windows(2).all(|pair| pair[1].number == pair[0].number + 1));
    }

    #[test]
    fn the_oldest_go_where_they_are_too_large() {
        let large = "é".repeat(100_000);
        let log = logged(|| (0..RECORDS_MAX).for_each(|n| info!(n, large, also = %large, "large")));
        let records = all(&log);
        let bytes: usize = records.iter().map(|record| bytes_of(record)).sum();
        assert!((BYTES_MAX / 2..=BYTES_MAX).contains(&bytes), "{bytes}");
        assert_eq!(log.ring().bytes, bytes);
        let last = records.last().unwrap();
        let value = |wanted| &last.fields.iter().find(|(name, _)| *name == wanted).unwrap().1;
        assert!(value("large").ends_with("é…") && value("large").len() <= RECORD_BYTES_MAX + CUT.len());
        assert_eq!((last.message.as_str(), value("also").as_str()), ("large", CUT));
    }

    #[test]
    fn readers_go_on_where_they_were() {
        let log = logged(|| (0..1_000).for_each(|n| info!(even = n % 2 == 0, "record {n}")));
        let filter = LogFilter::new(None, None, Some("even=TRUE"));
        let newest = log.records(None, &filter, 3);
        assert_eq!(messages(&newest), ["record 994", "record 996", "record 998"]);
        assert_eq!((newest.last, newest.missed), (log.ring().next - 1, false));
        let start = log.ring().origin - 1;
        let first = log.records(Some(start), &filter, 2);
        assert_eq!((messages(&first), first.missed), (vec!["record 0", "record 2"], false));
        let second = log.records(Some(first.last), &filter, 2);
        assert_eq!(messages(&second), ["record 4", "record 6"]);
        let all = log.records(Some(second.last), &filter, 10_000);
        assert_eq!((all.records.len(), all.last), (496, newest.last));
        let none = log.records(Some(all.last), &filter, 10);
        assert_eq!(none, LogPage { records: Vec::new(), last: all.last, missed: false });
    }

    #[test]
    fn who_missed_some_is_told() {
        let log = logged(|| (0..RECORDS_MAX + 2).for_each(|n| info!("record {n}")));
        let origin = log.ring().origin;
        let page = |after| log.records(Some(after), &LogFilter::default(), 1);
        assert_eq!((messages(&page(origin)), page(origin).missed), (vec!["record 2"], true));
        assert_eq!((messages(&page(origin + 1)), page(origin + 1).missed), (vec!["record 2"], false));
        // Of other processes.
        for after in [0, u64::MAX, origin - 2, origin + RECORDS_MAX as u64 + 2] {
            assert_eq!((messages(&page(after)), page(after).missed), (vec!["record 2"], true), "{after}");
        }
        let empty = logged(|| {});
        let last = empty.records(None, &LogFilter::default(), 10).last;
        assert_eq!(empty.records(Some(last), &LogFilter::default(), 10), LogPage { last, ..LogPage::default() });
    }
}
