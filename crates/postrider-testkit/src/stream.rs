//! A byte stream, clear or encrypted, read by lines. What the lines mean is no matter of this module.

use std::io;

use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A stream with what was read ahead of it.
pub(crate) struct LineStream {
    /// `None` only while it is being wrapped in TLS.
    stream: Option<Box<dyn ByteStream>>,
    buffer: Vec<u8>,
}

impl LineStream {
    pub(crate) fn new(stream: impl ByteStream + 'static) -> Self {
        Self { stream: Some(Box::new(stream)), buffer: Vec::new() }
    }

    /// The next line with its line feed; `None` at the end of the stream. What stands before an end without line feed is
    /// given as it is.
    pub(crate) async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                return Ok(Some(self.buffer.drain(..=searched + at).collect()));
            }
            searched = self.buffer.len();
            if self.fill().await? == 0 {
                return Ok(if self.buffer.is_empty() { None } else { Some(std::mem::take(&mut self.buffer)) });
            }
        }
    }

    /// Everything to the first `end`, which is taken too; `None` when the stream ends before it.
    pub(crate) async fn until(&mut self, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            let from = searched.min(self.buffer.len());
            if let Some(at) = memmem::find(&self.buffer[from..], end) {
                let taken = self.buffer.drain(..from + at + end.len()).collect();
                return Ok(Some(taken));
            }
            searched = self.buffer.len().saturating_sub(end.len() - 1);
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// So many bytes.
    pub(crate) async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Everything to the end of the stream. A peer that resets the connection has ended it too.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while let Ok(1..) = self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    /// What has been read and not taken.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.buffer
    }

    /// Puts bytes in front of what will be read.
    pub(crate) fn put_back(&mut self, bytes: Vec<u8>) {
        self.buffer.splice(..0, bytes);
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream()?;
        stream.write_all(bytes).await?;
        stream.flush().await
    }

    pub(crate) async fn shut_down(&mut self) -> io::Result<()> {
        self.stream()?.shutdown().await
    }

    /// Takes the stream out to wrap it; [`LineStream::wrap`] puts it back.
    pub(crate) fn unwrap_stream(&mut self) -> io::Result<Box<dyn ByteStream>> {
        self.stream.take().ok_or_else(gone)
    }

    pub(crate) fn wrap(&mut self, stream: impl ByteStream + 'static) {
        self.stream = Some(Box::new(stream));
    }

    async fn fill(&mut self) -> io::Result<usize> {
        let Some(stream) = self.stream.as_mut() else { return Err(gone()) };
        self.buffer.reserve(64 * 1024);
        stream.read_buf(&mut self.buffer).await
    }

    fn stream(&mut self) -> io::Result<&mut Box<dyn ByteStream>> {
        self.stream.as_mut().ok_or_else(gone)
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the stream was lost in a handshake")
}
