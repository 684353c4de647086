//! What engines share of their full-text indexes: the pace at which these follow the commits, so that who indexes does not slow
//! down who accepts.

use std::time::Duration;

/// What comes within this time is indexed together.
pub const GATHER: Duration = Duration::from_millis(200);

/// How often an indexer looks without being called: for what other processes commit.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// How long it leaves an index alone that cannot be written.
pub const FAILED_PAUSE: Duration = Duration::from_secs(5);

/// A pause is as long as the work before it, once more for each so many e-mails that come in a second, and so many times at
/// most: then it works 3 % of the time.
const PAUSE_PER_EMAILS: f64 = 200.0;
const PAUSES_MAX: f64 = 30.0;

/// How many times as long as the work a pause is where so many e-mails came in that time.
pub fn pauses(came: usize, time: Duration) -> f64 {
    let rate = came as f64 / time.as_secs_f64().max(0.001);
    (1.0 + rate / PAUSE_PER_EMAILS).min(PAUSES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_comes_the_longer_it_pauses() {
        assert_eq!(pauses(0, Duration::ZERO), 1.0);
        assert_eq!(pauses(400, Duration::from_secs(1)), 3.0);
        assert_eq!(pauses(100_000, Duration::from_secs(2)), PAUSES_MAX);
    }
}
