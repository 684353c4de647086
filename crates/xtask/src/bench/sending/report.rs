//! The numbers as people read them.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Endpoint, HOOK_DELAY, Options};
use crate::bench::machine::Machine;
use crate::bench::report::{SENDING_HEADING, joined, median};

pub(super) struct Report {
    options: Options,
    machine: Machine,
    /// Seconds, without dead destinations and with them.
    destinations: [Vec<f64>; 2],
    /// Messages a second, without a service and with one that hangs.
    service: [Vec<f64>; 2],
    reuse: Vec<f64>,
    /// Messages a second by endpoint.
    webhooks: [Vec<f64>; 3],
    /// Webhooks a second.
    pub(super) slow_endpoint: Vec<f64>,
}

impl Report {
    pub(super) fn new(options: &Options, machine: Machine) -> Self {
        Self {
            options: options.clone(),
            machine,
            destinations: Default::default(),
            service: Default::default(),
            reuse: Vec::new(),
            webhooks: Default::default(),
            slow_endpoint: Vec::new(),
        }
    }

    pub(super) fn add_destinations(&mut self, has_dead: bool, took: Duration) {
        self.destinations[usize::from(has_dead)].push(took.as_secs_f64());
    }

    pub(super) fn add_service(&mut self, hangs: bool, rate: f64, reuse: f64) {
        self.service[usize::from(hangs)].push(rate);
        self.reuse.push(reuse * 100.0);
    }

    pub(super) fn add_webhooks(&mut self, endpoint: Endpoint, rate: f64) {
        self.webhooks[endpoint as usize].push(rate);
    }

    /// The section of `docs/benchmarks.md`.
    pub(super) fn markdown(&self) -> String {
        let Options { destinations, dead, each, messages, rounds, .. } = &self.options;
        let alive = destinations - dead;
        let mut out = format!(
            "{SENDING_HEADING}\nMeasured by `cargo xtask bench sending`: {rounds} interleaved rounds on loopback, each on a fresh \
             embedded database. Middle values, and each round.\n\nMachine: {}.\n\n",
            self.machine
        );
        let ratios = |of: &[Vec<f64>; 2]| -> Vec<f64> {
            of[0].iter().zip(&of[1]).map(|(without, with)| with / without).collect()
        };
        let slower = ratios(&self.destinations);
        let _ = writeln!(
            out,
            "{each} messages to each of {destinations} destinations, {dead} of which take connections and say nothing: the \
             other {alive} have theirs after {:.2} s ({}); without the {dead} it takes {:.2} s ({}). Ratio {:.2} ({}), target at \
             most 1.5.\n",
            median(&self.destinations[1]),
            joined(&self.destinations[1], 2),
            median(&self.destinations[0]),
            joined(&self.destinations[0], 2),
            median(&slower),
            joined(&slower, 2),
        );
        let faster = ratios(&self.service);
        let _ = writeln!(
            out,
            "{messages} messages to one destination, with a source-IP service that hangs, its breaker open: {:.0}/s ({}); without a \
             service {:.0}/s ({}). Ratio {:.2} ({}), target at least 0.9.\n",
            median(&self.service[1]),
            joined(&self.service[1], 0),
            median(&self.service[0]),
            joined(&self.service[0], 0),
            median(&faster),
            joined(&faster, 2),
        );
        let _ = writeln!(
            out,
            "Of these messages {:.2}% left over a connection that was open already, target at least 95%.\n",
            median(&self.reuse)
        );
        self.write_webhooks(&mut out);
        out
    }

    fn write_webhooks(&self, out: &mut String) {
        let Options { messages, calls, .. } = &self.options;
        let rates = |endpoint: Endpoint| &self.webhooks[endpoint as usize];
        let down = rates(Endpoint::Down);
        let ratios = |to: Endpoint| -> Vec<f64> { down.iter().zip(rates(to)).map(|(down, to)| down / to).collect() };
        let (to_answering, to_none) = (ratios(Endpoint::Answering), ratios(Endpoint::None));
        let _ = writeln!(
            out,
            "{messages} messages to one destination, each told by webhook: {:.0}/s ({}) leave while the endpoint is down, {:.0}/s \
             ({}) while it answers. Ratio {:.2} ({}), target at least 0.95. Where nobody is told it is {:.0}/s ({}): ratio {:.2} \
             ({}).\n",
            median(down),
            joined(down, 0),
            median(rates(Endpoint::Answering)),
            joined(rates(Endpoint::Answering), 0),
            median(&to_answering),
            joined(&to_answering, 2),
            median(rates(Endpoint::None)),
            joined(rates(Endpoint::None), 0),
            median(&to_none),
            joined(&to_none, 2),
        );
        let _ = writeln!(
            out,
            "{calls} webhooks to one endpoint that takes {} ms for each: {:.0}/s ({}), target at least 200/s.",
            HOOK_DELAY.as_millis(),
            median(&self.slow_endpoint),
            joined(&self.slow_endpoint, 0),
        );
    }
}
