//! Bodies of requests: counted, limited, watched for what must not go out, and drained where wasi:http needs it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::egress::scrub::contains;

/// A request's body. When nobody wants it any more it is read to its end all the same: a guest that is still flushing
/// it would get "connection reset" instead of the answer, or of the reason of a refusal (seen with wstd 0.6).
pub struct Drain {
    body: Option<WasiBody>,
    /// Bytes so far.
    pub sent: Arc<AtomicU64>,
    limit: u64,
    watch: Option<Watch>,
}

/// Words that must not go out, cut by pieces or not.
struct Watch {
    words: Vec<Vec<u8>>,
    /// The end of what went out: a word may have begun there.
    tail: Vec<u8>,
    /// Told which word was found.
    found: Box<dyn Fn(usize) + Send>,
}

impl Watch {
    fn has_word(&mut self, piece: &[u8]) -> bool {
        self.tail.extend_from_slice(piece);
        let found = self.words.iter().position(|word| contains(&self.tail, word));
        if let Some(word) = found {
            (self.found)(word);
        }
        let kept = self.words.iter().map(Vec::len).max().unwrap_or(1) - 1;
        self.tail.drain(..self.tail.len().saturating_sub(kept));
        found.is_some()
    }
}

impl Drain {
    pub fn new(body: WasiBody, sent: Arc<AtomicU64>, limit: u64) -> Self {
        Self { body: Some(body), sent, limit, watch: None }
    }

    /// Of a request that has none.
    pub fn empty() -> Self {
        Self::new(Empty::new().map_err(|never| match never {}).boxed_unsync(), Arc::default(), 0)
    }

    /// Breaks off where one of the words comes, and tells which.
    pub fn watched(mut self, words: Vec<Vec<u8>>, found: Box<dyn Fn(usize) + Send>) -> Self {
        self.watch = Some(Watch { words, tail: Vec::new(), found });
        self
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
            let caught = self.watch.as_mut().is_some_and(|watch| match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => watch.has_word(data),
                (None, Some(trailers)) => trailers.values().any(|value| watch.has_word(value.as_bytes())),
                (None, None) => false,
            });
            if caught {
                return Poll::Ready(Some(Err(Error::HttpRequestDenied)));
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
        if body.is_end_stream() {
            return;
        }
        // It ends with the guest at the latest, which holds the other end.
        runtime.spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{Full, StreamBody};

    use super::*;

    #[tokio::test]
    async fn a_request_is_cut_off_when_it_is_too_large() {
        let body = Full::from("0123456789").map_err(|never: Infallible| match never {}).boxed_unsync();
        let wrong = Drain::new(body, Arc::default(), 9).collect().await.unwrap_err();
        assert!(matches!(wrong, Error::HttpRequestBodySize(Some(9))));
    }

    #[tokio::test]
    async fn a_word_that_must_not_go_out_stops_the_body_also_when_it_is_cut() {
        for (pieces, stops) in [(["a stan", "d-in b"], true), (["a stand", " -in b"], false)] {
            let frames = pieces.map(|piece| Ok::<_, Error>(Frame::data(Bytes::from(piece))));
            let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
            let (tell, told) = std::sync::mpsc::channel();
            let words = vec![b"other".to_vec(), b"stand-in".to_vec()];
            let drain = Drain::new(body, Arc::default(), 100).watched(words, Box::new(move |n| tell.send(n).unwrap()));
            let ended = drain.collect().await;
            assert_eq!((ended.is_err(), told.try_recv().ok()), (stops, stops.then_some(1)), "{pieces:?}");
        }
    }
}
