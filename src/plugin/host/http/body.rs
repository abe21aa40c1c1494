//! Bodies on their way: counted, limited, and drained where wasi:http needs it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use super::calls::Entry;

/// A request's body. When nobody wants it any more it is read to its end all the same: a guest that is still flushing
/// it would get "connection reset" instead of the answer, or of the reason of a refusal (seen with wstd 0.6).
pub struct Drain {
    body: Option<WasiBody>,
    sent: Arc<AtomicU64>,
    limit: u64,
}

impl Drain {
    pub fn new(body: WasiBody, sent: Arc<AtomicU64>, limit: u64) -> Self {
        Self { body: Some(body), sent, limit }
    }
}

impl Body for Drain {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            if self.sent.fetch_add(bytes, Relaxed) + bytes > self.limit {
                return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(self.limit)))));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        let (Some(mut body), Ok(runtime)) = (self.body.take(), tokio::runtime::Handle::try_current()) else { return };
        // It ends with the guest at the latest, which holds the other end.
        runtime.spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
    }
}

/// The connection's own task; it ends with the answer's body.
pub struct Driver(pub JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer's body: limited in size and in the time between two pieces.
pub struct Answer<B> {
    incoming: B,
    entry: Entry,
    received: u64,
    limit: u64,
    between: Duration,
    quiet: Pin<Box<Sleep>>,
    _driver: Driver,
}

impl<B> Answer<B> {
    pub fn new(incoming: B, entry: Entry, driver: Driver, limit: u64, between: Duration) -> Self {
        let quiet = Box::pin(tokio::time::sleep(between));
        Self { incoming, entry, received: 0, limit, between, quiet, _driver: driver }
    }
}

impl<B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.received += bytes;
                self.entry.received(bytes);
                if self.received > self.limit {
                    self.entry.failed(format!("the answer is larger than {} bytes", self.limit));
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(self.limit)))));
                }
                let until = Instant::now() + self.between;
                self.quiet.as_mut().reset(until);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(wrong))) => {
                self.entry.failed(format!("the answer broke off: {wrong}"));
                Poll::Ready(Some(Err(Error::HttpResponseIncomplete)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                if self.quiet.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.entry.failed(format!("no more of the answer came for {}", humantime::format_duration(self.between)));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Full;

    use super::super::calls::Calls;
    use super::*;
    use crate::clock::ManualClock;
    use crate::plugin::Journal;

    /// Never sends anything.
    struct Silent;

    impl Body for Silent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    async fn read<B: Body<Data = Bytes, Error = Infallible> + Unpin>(body: B, limit: u64) -> (Option<Error>, Option<String>) {
        let journal = Arc::new(Journal::default());
        let calls = Calls::new(journal.clone(), Arc::new(ManualClock::default()), Arc::default());
        let entry = calls.begin("GET", "http://a/", Arc::default());
        entry.answered(200);
        let answer = Answer::new(body, entry, Driver(tokio::spawn(async {})), limit, Duration::from_millis(20));
        let wrong = answer.collect().await.err();
        (wrong, journal.take().calls.remove(0).error)
    }

    #[tokio::test]
    async fn an_answer_is_cut_off_when_it_is_too_large_or_too_slow() {
        assert!(matches!(read(Full::from("0123456789"), 10).await, (None, None)));
        let (wrong, listed) = read(Full::from("0123456789"), 9).await;
        assert!(matches!(wrong, Some(Error::HttpResponseBodySize(Some(9)))) && listed.unwrap().contains("larger than 9 bytes"));
        let (wrong, listed) = read(Silent, 9).await;
        assert!(matches!(wrong, Some(Error::ConnectionReadTimeout)) && listed.unwrap().contains("20ms"));
    }

    #[tokio::test]
    async fn a_request_is_cut_off_when_it_is_too_large() {
        let body = Full::from("0123456789").map_err(|never: Infallible| match never {}).boxed_unsync();
        let wrong = Drain::new(body, Arc::default(), 9).collect().await.unwrap_err();
        assert!(matches!(wrong, Error::HttpRequestBodySize(Some(9))));
    }
}
