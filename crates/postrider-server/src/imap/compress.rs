//! COMPRESS=DEFLATE (RFC 4978): a layer between connection and session. The codec knows no socket.

use std::io;

use bytes::BytesMut;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::session::{End, Session};

/// How hard the server tries to make its answers small: beyond this much time buys few bytes.
const LEVEL: u32 = 4;

/// What one read gives the session at most, however much comes of the few bytes that were sent. The rest waits compressed.
const INFLATED_BYTES_MAX: usize = 64 << 10;

/// Room that is made at once for what is written.
const DEFLATED_STEP_BYTES: usize = 16 << 10;

impl Session {
    /// What is in the input already was compressed by the client.
    pub(super) async fn compress(&mut self) -> Result<(), End> {
        self.flush().await?;
        self.codec = Some(Box::new(Codec::new(self.input.split())));
        self.wire.compression_started();
        Ok(())
    }
}

/// Both directions of a compressed connection.
pub(super) struct Codec {
    deflate: Compress,
    inflate: Decompress,
    /// What has come and is still compressed.
    pub(super) input: BytesMut,
    /// All that could be read of `input` was: the last step had room left.
    is_drained: bool,
}

impl Codec {
    fn new(input: BytesMut) -> Self {
        // RFC 4978 section 3: neither zlib's head nor its checksum.
        let (deflate, inflate) = (Compress::new(Compression::new(LEVEL), false), Decompress::new(false));
        Self { deflate, inflate, input, is_drained: false }
    }

    /// Compresses so that the other side can read all of it at once.
    pub(super) fn deflate(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut output = Vec::with_capacity(bytes.len() / 2 + 64);
        let mut rest = bytes;
        loop {
            let before = self.deflate.total_in();
            self.deflate.compress_vec(rest, &mut output, FlushCompress::Sync)?;
            let consumed = usize::try_from(self.deflate.total_in() - before).unwrap_or(rest.len());
            rest = rest.get(consumed..).unwrap_or_default();
            // Room that is left over says that nothing waits to be written.
            if rest.is_empty() && output.len() < output.capacity() {
                return Ok(output);
            }
            output.reserve(DEFLATED_STEP_BYTES);
        }
    }

    /// Appends what was sent, up to [`INFLATED_BYTES_MAX`] at a time. Returns how much; 0: more must come first.
    pub(super) fn inflate(&mut self, output: &mut BytesMut) -> io::Result<usize> {
        if self.input.is_empty() && self.is_drained {
            return Ok(0);
        }
        let mut inflated = Vec::with_capacity(INFLATED_BYTES_MAX);
        let before = self.inflate.total_in();
        let status = self.inflate.decompress_vec(&self.input, &mut inflated, FlushDecompress::None);
        let status = status.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let consumed = usize::try_from(self.inflate.total_in() - before).unwrap_or(usize::MAX).min(self.input.len());
        let _ = self.input.split_to(consumed);
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        self.is_drained = inflated.len() < inflated.capacity();
        output.extend_from_slice(&inflated);
        if status == Status::StreamEnd && inflated.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the client ended its compressed stream"));
        }
        Ok(inflated.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inflate_all(codec: &mut Codec, output: &mut BytesMut) {
        while codec.inflate(output).unwrap() > 0 {}
    }

    #[test]
    fn a_bomb_is_inflated_piece_by_piece() {
        let (mut theirs, mut ours) = (Codec::new(BytesMut::new()), Codec::new(BytesMut::new()));
        ours.input = BytesMut::from(&theirs.deflate(&vec![b'a'; 50 << 20]).unwrap()[..]);
        assert!(ours.input.len() < 1 << 20);
        let mut output = BytesMut::new();
        let mut total = 0;
        loop {
            let count = ours.inflate(&mut output).unwrap();
            assert!(output.len() <= INFLATED_BYTES_MAX);
            if count == 0 {
                break;
            }
            total += count;
            output.clear();
        }
        assert_eq!(total, 50 << 20);
    }

    #[test]
    fn what_is_not_compressed_is_an_error() {
        let mut codec = Codec::new(BytesMut::from(&b"\xffa1 NOOP\r\n"[..]));
        assert!(codec.inflate(&mut BytesMut::new()).is_err());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3_000), 1..8),
            times in 1usize..60,
            cut in 1usize..5_000,
        ) {
            let (mut theirs, mut ours) = (Codec::new(BytesMut::new()), Codec::new(BytesMut::new()));
            for piece in pieces {
                let piece = piece.repeat(times);
                let sent = theirs.deflate(&piece).unwrap();
                let mut received = BytesMut::new();
                for part in sent.chunks(cut) {
                    ours.input.extend_from_slice(part);
                    inflate_all(&mut ours, &mut received);
                }
                // All of it is there, without anything that comes later.
                prop_assert_eq!(&received[..], &piece[..]);
            }
        }
    }
}
