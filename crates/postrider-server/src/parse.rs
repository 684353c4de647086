//! Parsing a message that came, where it holds up nobody.

use tracing::error;

/// Messages of more bytes are parsed on a thread of their own, so that other sessions go on.
const PARSE_HERE_BYTES_MAX: usize = 64 << 10;

/// What `parse` makes of a message of so many bytes; `None` if it fails, of which the log tells.
pub(crate) async fn parse<T: Send + 'static>(bytes: usize, parse: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if bytes <= PARSE_HERE_BYTES_MAX {
        return Some(parse());
    }
    let parsed = tokio::task::spawn_blocking(parse).await;
    parsed.inspect_err(|error| error!(%error, "parsing a message failed")).ok()
}
