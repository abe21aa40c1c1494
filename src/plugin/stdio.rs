//! A guest's standard output and error: lines of its log. They never fail: a program whose `print` fails panics, and a
//! flood is no reason for that; what the journal has no room for it counts and drops.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::journal::{Journal, LINE_LIMIT, Level, Line};
use crate::clock::Clock;

/// Bytes of the end of the stream that are kept apart: a panic's message stands there.
const TAIL: usize = 4 * 1024;
/// Bytes a guest may write in one call, as wasmtime's own streams have it.
const CHUNK: usize = 64 * 1024;

/// One stream; clones are the same stream.
#[derive(Clone)]
pub struct Stream(Arc<Shared>);

struct Shared {
    level: Level,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The line that has no end yet, cut at [`LINE_LIMIT`].
    line: Vec<u8>,
    tail: Vec<u8>,
    /// The last line that was not empty.
    last: String,
}

impl Stream {
    pub fn new(level: Level, journal: Arc<Journal>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared { level, journal, clock, kept: Mutex::default() }))
    }

    /// The last bytes written, as text.
    pub fn tail(&self) -> String {
        String::from_utf8_lossy(&self.lock().tail).into_owned()
    }

    /// Ends the line that has no end, and answers the last line that was not empty.
    pub fn close(&self) -> String {
        let mut kept = self.lock();
        self.end_line(&mut kept);
        std::mem::take(&mut kept.last)
    }

    fn take(&self, bytes: &[u8]) {
        let mut kept = self.lock();
        let all = kept.tail.len() + bytes.len();
        if bytes.len() >= TAIL {
            kept.tail.clear();
        } else if all > TAIL {
            kept.tail.drain(..all - TAIL);
        }
        kept.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = LINE_LIMIT.saturating_sub(kept.line.len());
            kept.line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.end_line(&mut kept);
            }
        }
    }

    fn end_line(&self, kept: &mut Kept) {
        let text = String::from_utf8_lossy(&kept.line).trim_end().to_owned();
        kept.line.clear();
        if text.is_empty() {
            return;
        }
        kept.last.clone_from(&text);
        self.0.journal.log(Line { at: self.0.clock.now(), level: self.0.level, message: text, fields: Vec::new() });
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // Nobody else looks: more than was offered would keep this thread busy where no deadline sees it.
        if bytes.len() > CHUNK {
            return Err(StreamError::trap("more was written than the stream offered to take"));
        }
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn lines_are_cut_at_their_ends_and_the_tail_is_kept() {
        let journal = Arc::new(Journal::default());
        let stream = Stream::new(Level::Warn, journal.clone(), Arc::new(ManualClock::default()));
        stream.take(b"one\ntw");
        stream.take(b"o\n\nthree");
        assert_eq!(stream.close(), "three");
        let lines: Vec<_> = journal.take().lines.into_iter().map(|line| line.message).collect();
        assert_eq!(lines, ["one", "two", "three"]);
        stream.take(&vec![b'x'; 100_000]);
        assert_eq!(stream.tail().len(), TAIL);
        stream.take(b"end");
        assert!(stream.tail().len() == TAIL && stream.tail().ends_with("xend"));
    }
}
