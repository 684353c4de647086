//! The server's side of a TLS handshake.

use postrider_wire::sasl::ChannelBinding;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tracing::info;

use crate::clock::timeout;
use crate::smtp::Context;
use crate::stream::Stream;

/// Encrypts a connection. `None` if that fails, or if the server shuts down before its end.
pub(crate) async fn handshake(context: &Context, tcp: TcpStream) -> Option<Stream> {
    let acceptor = TlsAcceptor::from(context.tls.config());
    let mut draining = context.draining.clone();
    let handshake = timeout(context.clock.as_ref(), context.limits.handshake_timeout, acceptor.accept(tcp));
    let done = tokio::select! {
        done = handshake => done,
        _ = draining.wait_for(|&draining| draining) => return None,
    };
    match done {
        Ok(Ok(stream)) => {
            context.stats.tls_handshakes.inc();
            Some(Stream::Tls(Box::new(TlsStream::Server(stream))))
        }
        Ok(Err(error)) => {
            context.stats.tls_failures.inc();
            info!(%error, "the TLS handshake failed");
            None
        }
        Err(_) => {
            context.stats.tls_failures.inc();
            info!("the TLS handshake took too long");
            None
        }
    }
}

/// What SCRAM-SHA-256-PLUS binds to.
pub(crate) fn channel_binding(stream: &Stream) -> Option<ChannelBinding> {
    stream.channel_binding().map(|data| ChannelBinding { name: "tls-exporter", data })
}
