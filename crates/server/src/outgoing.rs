//! An artifact's bytes on their way out.

use axum::body::{Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use store::{BlobError, BlobReader};
use tokio::task::JoinHandle;

/// The body of an answer: block after block, each checked. While one is sent, the next is read; so there are never
/// more than a few, however much is sent.
pub(crate) struct Outgoing {
    reader: Arc<BlobReader>,
    /// What is to be read after `next`.
    rest: Range<u64>,
    /// How many bytes aren't handed over yet.
    left: u64,
    next: Option<Next>,
    spare: Spare,
}

enum Next {
    There(Bytes),
    Read(JoinHandle<Result<Bytes, BlobError>>),
}

/// Buffers that were sent, to be read into again.
type Spare = Arc<Mutex<Vec<Vec<u8>>>>;

/// A block, of which a part is sent.
struct Block {
    buffer: Vec<u8>,
    part: Range<usize>,
    spare: Spare,
}

impl Outgoing {
    /// The bytes of `range`. The first block is read before it is promised: what is damaged from there is told.
    pub(crate) async fn begin(reader: BlobReader, range: Range<u64>) -> Result<Self, BlobError> {
        let mut outgoing = Self {
            reader: Arc::new(reader),
            left: range.end - range.start,
            rest: range,
            next: None,
            spare: Arc::default(),
        };
        if let Some(first) = outgoing.read() {
            let first = first.await.map_err(|e| broken(&outgoing.reader, e))??;
            outgoing.next = Some(Next::There(first));
        }
        Ok(outgoing)
    }

    /// Begins to read what comes next, if anything does.
    fn read(&mut self) -> Option<JoinHandle<Result<Bytes, BlobError>>> {
        if self.rest.is_empty() {
            return None;
        }
        let (at, end) = (self.rest.start, self.rest.end);
        let next = end.min((at / BlobReader::BLOCK + 1) * BlobReader::BLOCK);
        self.rest.start = next;
        let (reader, spare) = (Arc::clone(&self.reader), Arc::clone(&self.spare));
        Some(tokio::task::spawn_blocking(move || {
            let mut buffer = lock(&spare).pop().unwrap_or_default();
            let from = reader.block_at(at, &mut buffer)?;
            let part = from..from + (next - at) as usize;
            Ok(Bytes::from_owner(Block { buffer, part, spare }))
        }))
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BlobError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BlobError>>> {
        let bytes = match &mut self.next {
            None => return Poll::Ready(None),
            Some(Next::There(bytes)) => std::mem::take(bytes),
            Some(Next::Read(reading)) => {
                let read = ready!(Pin::new(reading).poll(cx));
                let read = read.unwrap_or_else(|e| Err(broken(&self.reader, e)));
                match read {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        self.next = None;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
        };
        self.next = self.read().map(Next::Read);
        self.left -= bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[self.part.clone()]
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        lock(&self.spare).push(std::mem::take(&mut self.buffer));
    }
}

fn lock(spare: &Spare) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
    spare.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A read that panicked or was stopped with the hub.
fn broken(reader: &BlobReader, error: tokio::task::JoinError) -> BlobError {
    BlobError::Io {
        path: reader.path(),
        why: std::io::Error::other(error),
    }
}
