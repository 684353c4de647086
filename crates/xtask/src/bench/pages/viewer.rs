//! A page that is open, as the pages' own module keeps it up to date: told that something happened, it asks for the page anew, but not
//! more often than every second.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::bench::http::Connection;
use crate::bench::postrider::Postrider;

/// See `soon()` in `static/postrider.js`.
const FETCHES_APART: Duration = Duration::from_secs(1);

/// Follows until it is over, and counts what it fetches. What goes wrong is seen in the count, without which there is no result.
pub(super) fn follow(server: &Postrider, path: &str, is_over: &AtomicBool, fetched: &AtomicU64) {
    let told = Connection::open(server.api_port)
        .and_then(|connection| connection.follow(&server.page_request("/api/events/summary")));
    let (Ok(told), Ok(mut connection)) = (told, Connection::open(server.api_port)) else { return };
    let request = server.page_request(path);
    let mut last = Instant::now();
    for line in told {
        // What keeps the connection alive is a line too.
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let Ok(line) = line else { return };
        if !line.starts_with("data:") {
            continue;
        }
        std::thread::sleep(FETCHES_APART.saturating_sub(last.elapsed()));
        last = Instant::now();
        if connection.exchange(&request).and_then(|answer| answer.of(200)).is_ok() {
            fetched.fetch_add(1, Ordering::Relaxed);
        }
    }
}
