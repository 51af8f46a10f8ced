//! An artifact's bytes on their way out.
//!
//! A block that was checked of late and that the system has in memory is read where it is sent, into a buffer that is
//! still in the processor's cache from the block before: that costs a third of a way over another thread. Whatever has
//! to wait for a disk or to be hashed is read by another thread.

use axum::body::{Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use store::{BlobError, BlobReader};
use tokio::task::JoinHandle;

/// The body of an answer: block after block, each checked. There are never more than a few in memory, however much is
/// sent.
pub(crate) struct Outgoing {
    reader: Arc<BlobReader>,
    /// What is to be read after `next`.
    rest: Range<u64>,
    next: Next,
    spare: Spare,
}

enum Next {
    Unread,
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
            rest: range,
            next: Next::Unread,
            spare: Arc::default(),
        };
        if !outgoing.rest.is_empty() {
            let first = outgoing.read();
            let first = first.await.map_err(|e| broken(&outgoing.reader, e))??;
            outgoing.next = Next::There(first);
        }
        Ok(outgoing)
    }

    /// What is read next.
    fn take(&mut self) -> Range<u64> {
        let at = self.rest.start;
        let end = self
            .rest
            .end
            .min((at / BlobReader::BLOCK + 1) * BlobReader::BLOCK);
        self.rest.start = end;
        at..end
    }

    /// What is next, or somebody who reads it.
    fn begin_next(&mut self) -> Next {
        match self.read_at_once() {
            Some(bytes) => Next::There(bytes),
            None => Next::Read(self.read()),
        }
    }

    /// Has another thread read what is next.
    fn read(&mut self) -> JoinHandle<Result<Bytes, BlobError>> {
        let next = self.take();
        let (reader, spare) = (Arc::clone(&self.reader), Arc::clone(&self.spare));
        tokio::task::spawn_blocking(move || {
            let mut buffer = lock(&spare).pop().unwrap_or_default();
            let before = reader.block_at(next.start, &mut buffer)?;
            Ok(block(buffer, before, &next, spare))
        })
    }

    /// Reads what is next, if that takes no waiting.
    fn read_at_once(&mut self) -> Option<Bytes> {
        let mut buffer = lock(&self.spare).pop().unwrap_or_default();
        let Some(before) = self.reader.block_at_once(self.rest.start, &mut buffer) else {
            lock(&self.spare).push(buffer);
            return None;
        };
        let next = self.take();
        Some(block(buffer, before, &next, Arc::clone(&self.spare)))
    }
}

/// Of a block what is asked for.
fn block(buffer: Vec<u8>, before: usize, asked: &Range<u64>, spare: Spare) -> Bytes {
    let part = before..before + (asked.end - asked.start) as usize;
    Bytes::from_owner(Block { buffer, part, spare })
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BlobError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BlobError>>> {
        loop {
            match std::mem::replace(&mut self.next, Next::Unread) {
                Next::There(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Next::Unread if self.rest.is_empty() => return Poll::Ready(None),
                Next::Unread => {
                    self.next = self.begin_next();
                }
                Next::Read(mut reading) => match Pin::new(&mut reading).poll(cx) {
                    Poll::Pending => {
                        self.next = Next::Read(reading);
                        return Poll::Pending;
                    }
                    Poll::Ready(read) => {
                        let read = read.unwrap_or_else(|e| Err(broken(&self.reader, e)));
                        // While it is sent, the next is read.
                        if read.is_ok() && !self.rest.is_empty() {
                            self.next = self.begin_next();
                        } else if read.is_err() {
                            self.rest.start = self.rest.end;
                        }
                        return Poll::Ready(Some(read.map(Frame::data)));
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.next, Next::Unread) && self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
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
