//! A compressed connection (RFC 4978) that reads and writes like a plain one, for the IMAP client.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::stream::ByteStream;

const STEP_BYTES: usize = 16 << 10;

/// The plain end of a compressed stream. It ends with it.
pub(crate) fn deflated(stream: Box<dyn ByteStream>) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(STEP_BYTES);
    let (mut plain_read, mut plain_write) = tokio::io::split(theirs);
    let (mut read, mut write) = tokio::io::split(stream);
    tokio::spawn(async move {
        let (mut inflate, mut buffer) = (Decompress::new(false), vec![0; STEP_BYTES]);
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            let mut rest = &buffer[..count];
            loop {
                let mut out = Vec::with_capacity(STEP_BYTES);
                let before = inflate.total_in();
                let Ok(_) = inflate.decompress_vec(rest, &mut out, FlushDecompress::None) else { return };
                rest = &rest[(inflate.total_in() - before) as usize..];
                if plain_write.write_all(&out).await.is_err() {
                    return;
                }
                if rest.is_empty() && out.len() < out.capacity() {
                    break;
                }
            }
        }
        let _ = plain_write.shutdown().await;
    });
    tokio::spawn(async move {
        let (mut deflate, mut buffer) = (Compress::new(Compression::best(), false), vec![0; STEP_BYTES]);
        while let Ok(count @ 1..) = plain_read.read(&mut buffer).await {
            // What a step does not take in, or out, is no less than what this has room for.
            let mut out = Vec::with_capacity(2 * STEP_BYTES);
            if deflate.compress_vec(&buffer[..count], &mut out, FlushCompress::Sync).is_err()
                || write.write_all(&out).await.is_err()
                || write.flush().await.is_err()
            {
                return;
            }
        }
    });
    ours
}
