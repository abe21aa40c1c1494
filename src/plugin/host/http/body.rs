//! Bodies on their way: counted, limited, watched for what must not go out or come in, and drained where wasi:http needs it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use super::calls::Entry;
use super::pool::{Connection, Pool};
use super::scrub::{Scrubber, Stream, contains};
use super::target::Pass;

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

/// What an answer holds until its last byte: its turn at the target, and the connection, which another may use then.
pub struct Held {
    pub connection: Connection,
    pub pool: Arc<Pool>,
    pub _pass: Pass,
}

/// What an answer is held to.
pub struct Limits {
    /// Bytes.
    pub size: u64,
    /// The most between two pieces.
    pub between: Duration,
}

/// An answer's body: limited in size and in the time between two pieces, and without the values of secrets.
pub struct Answer<B> {
    incoming: B,
    entry: Entry,
    received: u64,
    limits: Limits,
    quiet: Pin<Box<Sleep>>,
    scrubber: Arc<Scrubber>,
    stream: Stream,
    /// They come after what the scrubber held back.
    trailers: Option<HeaderMap>,
    held: Option<Held>,
}

impl<B: Body> Answer<B> {
    pub fn new(incoming: B, entry: Entry, limits: Limits, scrubber: &Arc<Scrubber>, held: Option<Held>) -> Self {
        let quiet = Box::pin(tokio::time::sleep(limits.between));
        let (scrubber, stream) = (Arc::clone(scrubber), Stream::default());
        let mut answer = Self { incoming, entry, received: 0, limits, quiet, scrubber, stream, trailers: None, held };
        answer.end_if_read();
        answer
    }

    /// Once all is read, the connection is the next one's.
    fn end_if_read(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(held) = self.held.take()
        {
            held.pool.put(held.connection);
        }
    }

    /// A piece as it may be seen; `None` when it has to wait for the next one.
    fn piece(&mut self, data: Bytes) -> Option<Bytes> {
        if self.scrubber.is_empty() {
            return Some(data);
        }
        let mut bytes = self.stream.piece(&self.scrubber, &data);
        if self.incoming.is_end_stream() {
            bytes.extend(self.stream.end(&self.scrubber));
        }
        (!bytes.is_empty()).then(|| bytes.into())
    }

    /// What the scrubber held back, then the trailers.
    fn rest(&mut self) -> Option<Frame<Bytes>> {
        let rest = self.stream.end(&self.scrubber);
        if rest.is_empty() { self.trailers.take().map(Frame::trailers) } else { Some(Frame::data(rest.into())) }
    }
}

impl<B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.trailers.is_some() {
            return Poll::Ready(self.rest().map(Ok));
        }
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                    self.received += bytes;
                    self.entry.received(bytes);
                    if self.received > self.limits.size {
                        let most = self.limits.size;
                        self.entry.failed(format!("the answer is larger than {most} bytes"));
                        return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(most)))));
                    }
                    let until = Instant::now() + self.limits.between;
                    self.quiet.as_mut().reset(until);
                    self.end_if_read();
                    match frame.into_data() {
                        Ok(data) => {
                            if let Some(data) = self.piece(data) {
                                return Poll::Ready(Some(Ok(Frame::data(data))));
                            }
                        }
                        Err(frame) => {
                            let mut trailers = frame.into_trailers().unwrap_or_default();
                            scrub_headers(&mut trailers, &self.scrubber);
                            self.trailers = Some(trailers);
                            return Poll::Ready(self.rest().map(Ok));
                        }
                    }
                }
                Poll::Ready(Some(Err(wrong))) => {
                    self.entry.failed(format!("the answer broke off: {wrong}"));
                    return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
                }
                Poll::Ready(None) => {
                    self.end_if_read();
                    return Poll::Ready(self.rest().map(Ok));
                }
                Poll::Pending => {
                    if self.quiet.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    let quiet = humantime::format_duration(self.limits.between);
                    self.entry.failed(format!("no more of the answer came for {quiet}"));
                    return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream() && self.stream.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.scrubber.is_empty() { self.incoming.size_hint() } else { SizeHint::default() }
    }
}

/// Takes the values of secrets out of headers. A header whose very name has one goes.
pub fn scrub_headers(headers: &mut HeaderMap, scrubber: &Scrubber) {
    if scrubber.is_empty() {
        return;
    }
    let telling: Vec<_> = headers.keys().filter(|name| scrubber.scrub(&mut name.as_str().as_bytes().to_vec())).cloned().collect();
    telling.iter().for_each(|name| drop(headers.remove(name)));
    for value in headers.values_mut() {
        let mut bytes = value.as_bytes().to_vec();
        if scrubber.scrub(&mut bytes)
            && let Ok(scrubbed) = hyper::header::HeaderValue::from_bytes(&bytes)
        {
            *value = scrubbed;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{Full, StreamBody};

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
        let calls = Calls::new(journal.clone(), Arc::new(ManualClock::default()));
        let entry = calls.begin("GET", "http://a/".into(), Arc::default());
        entry.answered(200);
        let limits = Limits { size: limit, between: Duration::from_millis(20) };
        let answer = Answer::new(body, entry, limits, &Arc::default(), None);
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

    #[tokio::test]
    async fn a_value_is_taken_out_of_a_body_and_its_trailers_in_whatever_pieces_it_comes() {
        let trailers = HeaderMap::from_iter([("x-echo".parse().unwrap(), "hunter2!".parse().unwrap())]);
        let mut frames =
            ["you said hun", "ter2!", " and h"].map(|piece| Frame::data(Bytes::from(piece))).into_iter().collect::<Vec<_>>();
        frames.push(Frame::trailers(trailers));
        let frames = frames.into_iter().map(Ok::<_, Infallible>);
        let calls = Calls::new(Arc::default(), Arc::new(ManualClock::default()));
        let limits = Limits { size: 100, between: Duration::from_secs(10) };
        let scrubber = Arc::new(Scrubber::new(std::iter::once(&b"hunter2!"[..])));
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let answer = Answer::new(body, calls.begin("GET", "http://a/".into(), Arc::default()), limits, &scrubber, None);
        let read = answer.collect().await.unwrap();
        assert_eq!(read.trailers().unwrap()["x-echo"], "********");
        assert_eq!(read.to_bytes(), "you said ******** and h");
    }
}
