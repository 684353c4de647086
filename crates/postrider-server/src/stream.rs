//! A connection, clear or encrypted, either side of it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};

use bytes::BytesMut;
use postrider_core::TlsInfo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// A TCP connection, or TLS over one.
#[derive(Debug)]
pub(crate) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Gone: while a handshake has the connection, and for good if it fails.
    Closed,
}

/// What came of reading and writing at the same time. Read 0: the end.
#[derive(Debug)]
pub(crate) enum Transfer {
    Read(io::Result<usize>),
    Wrote(io::Result<usize>),
    /// Nothing: what there is to write may not be written any more.
    Barred,
}

impl Stream {
    /// Waits for bytes and appends them, about `bytes_max` at most; 0 at the end. A clear connection takes no buffer
    /// while it waits, so that idle sessions cost no memory for one.
    pub(crate) async fn read(&mut self, input: &mut BytesMut, bytes_max: usize) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => {
                stream.readable().await?;
                input.reserve(bytes_max);
                // Not try_read_buf: this one knows that after a read of less than asked for there is nothing more, and
                // spares the next wait a read in vain.
                stream.read_buf(input).await
            }
            Self::Tls(stream) => {
                input.reserve(bytes_max);
                stream.read_buf(input).await
            }
            Self::Closed => Ok(0),
        }
    }

    /// Reads, and meanwhile writes some of `output`, until one of both has come to something. What the other side has said
    /// comes first: it may change what there is to say. With nothing to write, what TLS holds back is still sent.
    ///
    /// `may_write` is asked right before anything leaves, also after a wait for the other side to take more.
    pub(crate) async fn transfer(
        &mut self,
        input: &mut BytesMut,
        bytes_max: usize,
        output: &[u8],
        may_write: &(dyn Fn() -> bool + Send + Sync),
    ) -> Transfer {
        match self {
            Self::Clear(stream) => transfer(stream, input, bytes_max, output, may_write, |_| false).await,
            Self::Tls(stream) => {
                let holds_back = |stream: &TlsStream<TcpStream>| stream.get_ref().1.wants_write();
                transfer(stream.as_mut(), input, bytes_max, output, may_write, holds_back).await
            }
            Self::Closed => Transfer::Read(Ok(0)),
        }
    }

    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Says goodbye on TLS (close_notify) and TCP. Errors do not matter any more.
    pub(crate) async fn shutdown(&mut self) {
        let _ = match self {
            Self::Clear(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
            Self::Closed => Ok(()),
        };
    }

    /// Whether the connection is open and nothing waits to be read. What does wait is lost: ask only of a connection that
    /// is thrown away if it is not quiet.
    pub(crate) fn is_quiet(&self) -> bool {
        let tcp = match self {
            Self::Clear(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Closed => return false,
        };
        matches!(tcp.try_read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Version and cipher, where encrypted.
    pub(crate) fn tls_info(&self) -> Option<TlsInfo> {
        let Self::Tls(stream) = self else { return None };
        let (_, connection) = stream.get_ref();
        Some(TlsInfo {
            version: match connection.protocol_version()? {
                rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
                rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
                other => format!("{other:?}"),
            },
            cipher: format!("{:?}", connection.negotiated_cipher_suite()?.suite()),
            authentication: None,
        })
    }

    /// Keying material for SCRAM's channel binding `tls-exporter` (RFC 9266). Only TLS 1.3 gives it safely.
    pub(crate) fn channel_binding(&self) -> Option<Vec<u8>> {
        let Self::Tls(stream) = self else { return None };
        let (_, connection) = stream.get_ref();
        if connection.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
            return None;
        }
        match stream.as_ref() {
            TlsStream::Server(stream) => {
                stream.get_ref().1.export_keying_material(vec![0; 32], b"EXPORTER-Channel-Binding", Some(&[])).ok()
            }
            TlsStream::Client(stream) => {
                stream.get_ref().1.export_keying_material(vec![0; 32], b"EXPORTER-Channel-Binding", Some(&[])).ok()
            }
        }
    }

    /// The clear connection, to start TLS on; `None` if it is encrypted already.
    pub(crate) fn into_clear(self) -> Option<TcpStream> {
        match self {
            Self::Clear(stream) => Some(stream),
            Self::Tls(_) | Self::Closed => None,
        }
    }
}

async fn transfer<S>(
    stream: &mut S,
    input: &mut BytesMut,
    bytes_max: usize,
    output: &[u8],
    may_write: &(dyn Fn() -> bool + Send + Sync),
    holds_back: impl Fn(&S) -> bool,
) -> Transfer
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    input.reserve(bytes_max);
    poll_fn(|context| {
        // Nothing is lost with the future of a read that was not ready.
        if let Poll::Ready(read) = pin!(stream.read_buf(input)).poll(context) {
            return Poll::Ready(Transfer::Read(read));
        }
        if (!output.is_empty() || holds_back(stream)) && !may_write() {
            return Poll::Ready(Transfer::Barred);
        }
        let mut stream = Pin::new(&mut *stream);
        if !output.is_empty() {
            let written = ready!(stream.as_mut().poll_write(context, output));
            if written.is_err() {
                return Poll::Ready(Transfer::Wrote(written));
            }
            // What does not leave now leaves with the next transfer.
            return match stream.poll_flush(context) {
                Poll::Ready(Err(error)) => Poll::Ready(Transfer::Wrote(Err(error))),
                _ => Poll::Ready(Transfer::Wrote(written)),
            };
        }
        match ready!(stream.poll_flush(context)) {
            Err(error) => Poll::Ready(Transfer::Wrote(Err(error))),
            Ok(()) => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::duplex;

    use super::*;

    /// The process may be stopped for long just while the other side takes its time.
    #[tokio::test]
    async fn whether_it_may_be_written_is_asked_after_a_wait_too() {
        let (mut ours, mut theirs) = duplex(4);
        let (may, mut input) = (AtomicBool::new(true), BytesMut::new());
        let may_write = || may.load(Ordering::SeqCst);
        let wrote = transfer(&mut ours, &mut input, 16, b"0123", &may_write, |_| false).await;
        assert!(matches!(wrote, Transfer::Wrote(Ok(4))), "{wrote:?}");

        let mut waiting = Box::pin(transfer(&mut ours, &mut input, 16, b"end", &may_write, |_| false));
        assert!(poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_pending())).await);
        may.store(false, Ordering::SeqCst);
        theirs.read_exact(&mut [0; 4]).await.unwrap();
        assert!(matches!(waiting.as_mut().await, Transfer::Barred));
        drop(waiting);

        // What was said meanwhile is heard; what is held back stays here.
        theirs.write_all(b"250").await.unwrap();
        let read = transfer(&mut ours, &mut input, 16, b"end", &may_write, |_| false).await;
        assert!(matches!(read, Transfer::Read(Ok(3))), "{read:?}");
        assert!(matches!(transfer(&mut ours, &mut input, 16, b"", &may_write, |_| true).await, Transfer::Barred));
    }
}
