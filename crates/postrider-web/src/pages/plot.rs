//! The history as people see it: a chart for each thing that is counted, per minute, and the same as a table.

use std::time::Duration;

use postrider_core::Timestamp;
use postrider_core::history::Traffic;
use postrider_store::TrafficSpan;

use super::address::Address;
use super::chart::{Bar, BarChart, rate};
use super::format::{Grouped, Lasting};
use crate::view::history::{PercentilesView, Span, total};

/// A chart with what stands around it.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) name: &'static str,
    /// A class of the style sheet.
    pub(super) class: &'static str,
    /// In the whole span.
    pub(super) total: Grouped,
    /// What the top stands for.
    pub(super) top: String,
    pub(super) chart: BarChart,
    /// The times at the beginning, in the middle and at the end.
    pub(super) times: [String; 3],
}

/// A step as a row of a table.
#[derive(Debug)]
pub(super) struct StepRow {
    pub(super) time: String,
    pub(super) counts: [Grouped; 4],
    pub(super) latency: Option<[Lasting; 3]>,
}

/// A link to another span.
#[derive(Debug)]
pub(super) struct SpanLink {
    pub(super) label: &'static str,
    pub(super) leads_to: Address,
    pub(super) is_taken: bool,
}

pub(super) fn span_links(path: &str, taken: Span) -> Vec<SpanLink> {
    let link = |span: Span| SpanLink {
        label: match span {
            Span::Hour => "Last hour",
            Span::Day => "Last day",
            Span::Week => "Last week",
        },
        leads_to: match span {
            Span::Hour => Address::new(path),
            _ => Address::new(path).with("span", span.as_str()),
        },
        is_taken: span == taken,
    };
    Span::ALL.into_iter().map(link).collect()
}

type Count = fn(&Traffic) -> u64;

/// What is counted: its name, its class, and where it stands.
const COUNTED: [(&str, &str, Count); 4] = [
    ("Accepted", "accepted", |traffic| traffic.accepted),
    ("Delivered", "delivered", |traffic| traffic.delivered),
    ("Deferred", "deferred", |traffic| traffic.deferred),
    ("Failed", "failed", |traffic| traffic.failed),
];

/// A chart for each; `steps` are all of the span.
pub(super) fn plots(span: Span, now: Timestamp, steps: &[TrafficSpan]) -> Vec<Plot> {
    let all = total(steps);
    let plot = |(name, class, count): (&'static str, &'static str, Count)| {
        let bars = steps.iter().map(|step| bar(span, now, step, class, count(&step.traffic)));
        let title = format!("{name} per minute, in the last {span}; the table below has the values");
        let chart = BarChart::new(title, bars.collect());
        Plot { name, class, total: Grouped(count(&all)), top: rate(chart.top()), chart, times: times(span, steps) }
    };
    COUNTED.into_iter().map(plot).collect()
}

fn bar(span: Span, now: Timestamp, step: &TrafficSpan, verb: &str, count: u64) -> Bar {
    let minutes = minutes(span, now, step.at);
    let value = count as f64 / minutes;
    let time = time(span, step.at);
    let text = match span {
        Span::Hour => format!("{time}: {} {verb}", Grouped(count)),
        Span::Day | Span::Week => format!("{time}: {} {verb}, {} per minute", Grouped(count), rate(value)),
    };
    Bar { value, text }
}

/// How much of a step has passed: all but of the last. A minute at least, so that what has just begun is not blown up.
fn minutes(span: Span, now: Timestamp, at: Timestamp) -> f64 {
    let passed = now.since(at).min(span.step().duration());
    (passed.as_secs_f64() / 60.0).max(1.0)
}

/// The time of a step, in UTC.
fn time(span: Span, at: Timestamp) -> String {
    let text = at.to_rfc3339();
    let part = match span {
        Span::Hour | Span::Day => text.get(11..16),
        Span::Week => text.get(5..16),
    };
    part.unwrap_or_default().replace('T', " ")
}

fn times(span: Span, steps: &[TrafficSpan]) -> [String; 3] {
    let last = steps.len().saturating_sub(1);
    [0, steps.len() / 2, last].map(|place| steps.get(place).map_or_else(String::new, |step| time(span, step.at)))
}

/// Steps in which something was done, the latest first.
pub(super) fn rows(span: Span, steps: &[TrafficSpan]) -> Vec<StepRow> {
    let is_quiet = |step: &&TrafficSpan| COUNTED.iter().all(|(_, _, count)| count(&step.traffic) == 0);
    let row = |step: &TrafficSpan| StepRow {
        time: time(span, step.at),
        counts: COUNTED.map(|(_, _, count)| Grouped(count(&step.traffic))),
        latency: PercentilesView::of(&step.traffic.latencies)
            .map(|found| [found.p50, found.p95, found.p99].map(|millis| Lasting(Duration::from_millis(millis)))),
    };
    steps.iter().rev().filter(|step| !is_quiet(step)).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::history::filled;

    const NOW: Timestamp = Timestamp::from_millis(1_795_354_780_123);

    fn steps(span: Span, ago: u32, accepted: u64) -> Vec<TrafficSpan> {
        let at = span.step().start_of(NOW - span.step().duration() * ago);
        let traffic = Traffic { accepted, ..Traffic::default() };
        filled(span, NOW, vec![TrafficSpan { at, traffic }])
    }

    #[test]
    fn rates_are_per_minute() {
        let top = |span, ago, accepted| plots(span, NOW, &steps(span, ago, accepted))[0].top.clone();
        assert_eq!(top(Span::Hour, 3, 50), "50");
        assert_eq!(top(Span::Day, 3, 500), "50");
        assert_eq!(top(Span::Week, 3, 6_000), "100");
        // The last step, of which 9 min 40 s and 39 min 40 s have passed.
        assert_eq!(top(Span::Day, 0, 90), "10");
        assert_eq!(top(Span::Week, 0, 390), "10");
        assert_eq!(top(Span::Hour, 0, 0), "1");
    }

    #[test]
    fn charts_say_each_step_and_tables_those_with_something() {
        let steps = steps(Span::Hour, 3, 1_234);
        let [accepted, .., failed] = &plots(Span::Hour, NOW, &steps)[..] else { panic!() };
        let svg = accepted.chart.to_string();
        assert_eq!(svg.matches("<title>").count(), 60);
        assert!(svg.contains("<title>13:36: 1,234 accepted</title>"), "{svg}");
        assert_eq!((accepted.total.to_string(), failed.total.to_string()), ("1,234".to_owned(), "0".to_owned()));
        assert_eq!(accepted.times, ["12:40", "13:10", "13:39"]);
        let rows = rows(Span::Hour, &steps);
        assert_eq!((rows.len(), rows[0].time.as_str(), rows[0].latency.is_none()), (1, "13:36", true));
        assert_eq!(times(Span::Week, &[]), ["", "", ""]);
        assert_eq!(time(Span::Week, NOW), "11-22 13:39");
    }
}
