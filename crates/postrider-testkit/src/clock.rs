//! A clock that stands still until a test moves it.
//!
//! It knows nothing of what sleeps on it: a task is seen only as a deadline.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use postrider_core::{Clock, Timestamp};
use tokio::task::JoinHandle;

/// How long [`ManualClock::advance`] waits, in real time, for a task that it woke to notice. A task may rightly not look
/// at its sleep for a while (it may be writing to the store), so this is no error.
const NOTICE_MAX: Duration = Duration::from_millis(20);

/// How long, in real time, [`ManualClock::advance`] then waits at each step for as many new sleeps as it ended: most of
/// what sleeps does so again.
const SLEEP_AGAIN_MAX: Duration = Duration::from_millis(1);

/// The same for [`ManualClock::leap`], which has one step only.
const SLEEP_AGAIN_AFTER_LEAP_MAX: Duration = Duration::from_millis(50);

/// How long, in real time, a second of a running clock takes at least.
const RUNNING_SECOND: Duration = Duration::from_millis(2);

/// How often a moved clock lets other tasks run before it moves on.
const YIELDS_PER_STEP: usize = 16;

/// A [`Clock`] that a test moves by hand. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct ManualClock {
    state: Arc<Mutex<State>>,
}

impl ManualClock {
    /// What the clock shows at first: 2026-01-02T03:04:05Z.
    pub const START: Timestamp = Timestamp::from_millis(1_767_323_045_000);

    pub fn new() -> Self {
        Self::starting_at(Self::START)
    }

    pub fn starting_at(now: Timestamp) -> Self {
        Self { state: Arc::new(Mutex::new(State { now, next_key: 0, begun: 0, sleepers: BTreeMap::new() })) }
    }

    /// Moves the clock on by `duration`, stopping at each deadline in between, earliest first, until the tasks that slept
    /// for it have noticed. A task that goes to sleep again on the way is woken again, if its time comes.
    pub async fn advance(&self, duration: Duration) {
        let target = self.lock().now + duration;
        loop {
            let (due, begun) = {
                let mut state = self.lock();
                match state.next_deadline().filter(|&deadline| deadline <= target) {
                    Some(deadline) => (state.fire(deadline), state.begun),
                    None => {
                        state.now = target;
                        break;
                    }
                }
            };
            let expected = begun + due.len();
            due.into_iter().for_each(Waker::wake);
            self.let_the_woken_run(expected, SLEEP_AGAIN_MAX).await;
        }
    }

    /// Moves the clock on in one leap, as a machine that was asleep sees it: everything due wakes together, late.
    pub async fn leap(&self, duration: Duration) {
        let (due, begun) = {
            let mut state = self.lock();
            let target = state.now + duration;
            (state.fire(target), state.begun)
        };
        let expected = begun + due.len();
        due.into_iter().for_each(Waker::wake);
        self.let_the_woken_run(expected, SLEEP_AGAIN_AFTER_LEAP_MAX).await;
    }

    /// Moves the clock on and wakes nobody: so a process sees the time that was stopped, before its tasks have noticed.
    pub fn skip(&self, duration: Duration) {
        let mut state = self.lock();
        state.now = state.now + duration;
    }

    /// Lets the clock run, much faster than real time, until the returned value is dropped: for tests that wait for
    /// something which takes its time, and do not care how much.
    pub fn run(&self) -> RunningClock {
        let clock = self.clone();
        RunningClock(tokio::spawn(async move {
            loop {
                clock.advance(Duration::from_secs(1)).await;
                tokio::time::sleep(RUNNING_SECOND).await;
            }
        }))
    }

    /// How many sleeps wait for a deadline that is still to come.
    pub fn sleepers(&self) -> usize {
        self.lock().sleepers.values().filter(|sleeper| sleeper.is_some()).count()
    }

    /// The earliest deadline that something sleeps for.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.lock().next_deadline()
    }

    /// Waits until something sleeps for a deadline between `from` and `to` after now: so a test knows that a time-out is
    /// armed before it lets it pass.
    ///
    /// # Panics
    ///
    /// When nothing of the kind went to sleep in ten seconds of real time.
    pub async fn wait_for_sleeper(&self, from: Duration, to: Duration) {
        crate::eventually("a sleep with that deadline", async || {
            let state = self.lock();
            let (from, to) = (state.now + from, state.now + to);
            state.sleepers.iter().any(|((at, _), sleeper)| sleeper.is_some() && (from..=to).contains(at)).then_some(())
        })
        .await;
    }

    /// Waits until the woken tasks have noticed, and have begun `expected` sleeps in all if that is what they do next.
    async fn let_the_woken_run(&self, expected: usize, sleep_again_max: Duration) {
        let started = Instant::now();
        while self.lock().has_unnoticed() && started.elapsed() < NOTICE_MAX {
            tokio::task::yield_now().await;
        }
        let noticed = Instant::now();
        while self.lock().begun < expected && noticed.elapsed() < sleep_again_max {
            tokio::task::yield_now().await;
        }
        for _ in 0..YIELDS_PER_STEP {
            tokio::task::yield_now().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clock that runs; see [`ManualClock::run`]. Dropping it makes the clock stand still again.
#[derive(Debug)]
pub struct RunningClock(JoinHandle<()>);

impl Drop for RunningClock {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut state = self.lock();
        // The clock counts milliseconds; a sleep may be longer than asked for, never shorter.
        let deadline = state.now + Duration::from_millis(duration.as_nanos().div_ceil(1_000_000) as u64);
        let key = state.next_key;
        state.next_key += 1;
        Box::pin(Sleep { clock: self.clone(), deadline, key })
    }
}

#[derive(Debug)]
struct State {
    now: Timestamp,
    next_key: u64,
    /// How many sleeps there have been that did not end at once.
    begun: usize,
    /// By deadline, then by order of going to sleep. `None`: woken, and has not noticed yet.
    sleepers: BTreeMap<(Timestamp, u64), Option<Waker>>,
}

impl State {
    fn next_deadline(&self) -> Option<Timestamp> {
        self.sleepers.iter().find(|(_, sleeper)| sleeper.is_some()).map(|(&(deadline, _), _)| deadline)
    }

    /// Sets the clock and takes the wakers of all that is due, in order.
    fn fire(&mut self, now: Timestamp) -> Vec<Waker> {
        self.now = self.now.max(now);
        self.sleepers.range_mut(..=(self.now, u64::MAX)).filter_map(|(_, sleeper)| sleeper.take()).collect()
    }

    fn has_unnoticed(&self) -> bool {
        self.sleepers.range(..=(self.now, u64::MAX)).any(|(_, sleeper)| sleeper.is_none())
    }
}

/// One sleep. It is known to the clock from its first poll to its end.
struct Sleep {
    clock: ManualClock,
    deadline: Timestamp,
    key: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.lock();
        if state.now >= self.deadline {
            state.sleepers.remove(&(self.deadline, self.key));
            return Poll::Ready(());
        }
        let replaced = state.sleepers.insert((self.deadline, self.key), Some(context.waker().clone()));
        state.begun += usize::from(replaced.is_none());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.clock.lock().sleepers.remove(&(self.deadline, self.key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleepers_wake_in_the_order_of_their_deadlines() {
        let clock = ManualClock::new();
        let woken = Arc::new(Mutex::new(Vec::new()));
        for seconds in [30u64, 10, 20] {
            let (clock, woken) = (clock.clone(), woken.clone());
            tokio::spawn(async move {
                clock.sleep(Duration::from_secs(seconds)).await;
                woken.lock().unwrap().push((seconds, clock.now().since(ManualClock::START).as_secs()));
            });
        }
        crate::eventually("three sleepers", async || (clock.sleepers() == 3).then_some(())).await;
        clock.advance(Duration::from_secs(25)).await;
        assert_eq!(*woken.lock().unwrap(), [(10, 10), (20, 20)]);
        clock.advance(Duration::from_secs(5)).await;
        assert_eq!(woken.lock().unwrap().last(), Some(&(30, 30)));
        assert_eq!(clock.sleepers(), 0);
    }

    async fn fifty_tickers(clock: &ManualClock) -> Arc<Mutex<usize>> {
        let ticks = Arc::new(Mutex::new(0));
        for _ in 0..50 {
            let (clock, ticks) = (clock.clone(), ticks.clone());
            tokio::spawn(async move {
                loop {
                    clock.sleep(Duration::from_secs(1)).await;
                    *ticks.lock().unwrap() += 1;
                }
            });
        }
        crate::eventually("fifty sleepers", async || (clock.sleepers() == 50).then_some(())).await;
        ticks
    }

    #[tokio::test]
    async fn one_advance_wakes_a_task_as_often_as_it_sleeps() {
        let clock = ManualClock::new();
        let ticks = fifty_tickers(&clock).await;
        clock.advance(Duration::from_secs(10)).await;
        assert_eq!(*ticks.lock().unwrap(), 500);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tasks_on_other_threads_wake_too() {
        let clock = ManualClock::new();
        let ticks = fifty_tickers(&clock).await;
        for seconds in 1..=10 {
            clock.advance(Duration::from_secs(1)).await;
            crate::eventually("all ticks of a second", async || {
                (*ticks.lock().unwrap() == 50 * seconds && clock.sleepers() == 50).then_some(())
            })
            .await;
        }
    }

    #[tokio::test]
    async fn a_dropped_sleep_is_forgotten_and_a_zero_sleep_ends_at_once() {
        let clock = ManualClock::new();
        clock.sleep(Duration::ZERO).await;
        let mut sleep = clock.sleep(Duration::from_micros(1));
        tokio::select! {
            biased;
            () = &mut sleep => panic!("a sleep ended before its time"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(clock.next_deadline(), Some(ManualClock::START + Duration::from_millis(1)));
        drop(sleep);
        assert_eq!(clock.next_deadline(), None);
    }

    #[tokio::test]
    async fn a_running_clock_wakes_sleepers_and_stops_when_dropped() {
        let clock = ManualClock::new();
        let running = clock.run();
        clock.sleep(Duration::from_secs(30)).await;
        drop(running);
        tokio::task::yield_now().await;
        let stopped_at = clock.now();
        assert!(stopped_at >= ManualClock::START + Duration::from_secs(30));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(clock.now(), stopped_at);
    }

    #[tokio::test]
    async fn a_leap_wakes_all_late() {
        let clock = ManualClock::new();
        let sleeper = {
            let clock = clock.clone();
            tokio::spawn(async move {
                clock.sleep(Duration::from_secs(1)).await;
                clock.now()
            })
        };
        clock.wait_for_sleeper(Duration::ZERO, Duration::from_secs(1)).await;
        clock.leap(Duration::from_secs(3600)).await;
        assert_eq!(sleeper.await.unwrap(), ManualClock::START + Duration::from_secs(3600));
    }
}
