//! Bodies of answers: read ahead, limited in size and time, and without the values of secrets.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;
use tokio::time::timeout;
use wasmtime_wasi_http::Error;

use super::calls::Entry;
use super::pool::{Connection, Driver, Pool};
use crate::egress::Pass;
use crate::egress::scrub::{Scrubber, Stream};

/// What an answer holds until its last byte has come: its place at the target, and the connection, which another may use then.
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
    /// The most that the guest may leave a piece unread while there is more to come.
    pub unread: Duration,
}

/// An answer's body: limited in size and in time, and without the values of secrets.
pub struct Answer {
    pieces: mpsc::Receiver<Piece>,
    /// `None`: there is nothing to read any more.
    reader: Option<Driver<Result<(), Broke>>>,
    entry: Entry,
    received: u64,
    limits: Limits,
    scrubber: Arc<Scrubber>,
    stream: Stream,
    /// They come after what the scrubber held back.
    trailers: Option<HeaderMap>,
    is_read: bool,
}

struct Piece {
    frame: Frame<Bytes>,
    is_last: bool,
}

/// Why no more comes.
enum Broke {
    Off(String),
    Quiet,
    Unread,
}

/// Reads an answer, a piece ahead of the guest: one that is slow, or does not read at all, keeps its place at the target until
/// the answer has come or its time is over, and no longer.
async fn read_ahead<B: Body<Data = Bytes, Error: Display> + Unpin>(
    mut incoming: B,
    mut held: Option<Held>,
    between: Duration,
    unread: Duration,
    pieces: mpsc::Sender<Piece>,
) -> Result<(), Broke> {
    loop {
        let frame = timeout(between, incoming.frame()).await.map_err(|_| Broke::Quiet)?;
        let frame = frame.transpose().map_err(|wrong| Broke::Off(wrong.to_string()))?;
        let is_last = frame.is_none() || incoming.is_end_stream();
        if is_last && let Some(held) = held.take() {
            held.pool.put(held.connection);
        }
        let Some(frame) = frame else { return Ok(()) };
        let sending = pieces.send(Piece { frame, is_last });
        // Nobody waits for what holds nothing.
        let sent = if is_last { Ok(sending.await) } else { timeout(unread, sending).await };
        if sent.map_err(|_| Broke::Unread)?.is_err() || is_last {
            return Ok(());
        }
    }
}

impl Answer {
    pub fn new<B>(incoming: B, entry: Entry, limits: Limits, scrubber: &Arc<Scrubber>, held: Option<Held>) -> Self
    where
        B: Body<Data = Bytes, Error: Display> + Unpin + Send + 'static,
    {
        let (sender, pieces) = mpsc::channel(1);
        let is_read = incoming.is_end_stream();
        let reader = if is_read {
            if let Some(held) = held {
                held.pool.put(held.connection);
            }
            None
        } else {
            Some(Driver(tokio::spawn(read_ahead(incoming, held, limits.between, limits.unread, sender))))
        };
        let (scrubber, stream) = (Arc::clone(scrubber), Stream::default());
        Self { pieces, reader, entry, received: 0, limits, scrubber, stream, trailers: None, is_read }
    }

    /// A piece as it may be seen; `None` when it has to wait for the next one.
    fn piece(&mut self, data: Bytes) -> Option<Bytes> {
        if self.scrubber.is_empty() {
            return Some(data);
        }
        let mut bytes = self.stream.piece(&self.scrubber, &data);
        if self.is_read {
            bytes.extend(self.stream.end(&self.scrubber));
        }
        (!bytes.is_empty()).then(|| bytes.into())
    }

    /// What the scrubber held back, then the trailers.
    fn rest(&mut self) -> Option<Frame<Bytes>> {
        let rest = self.stream.end(&self.scrubber);
        if rest.is_empty() { self.trailers.take().map(Frame::trailers) } else { Some(Frame::data(rest.into())) }
    }

    /// No more comes: why not, when that was not all.
    fn broke(&mut self, broke: Broke) -> Error {
        let (why, error) = match broke {
            Broke::Off(wrong) => (format!("the answer broke off: {wrong}"), Error::HttpResponseIncomplete),
            Broke::Quiet => {
                let quiet = humantime::format_duration(self.limits.between);
                (format!("no more of the answer came for {quiet}"), Error::ConnectionReadTimeout)
            }
            Broke::Unread => {
                let unread = humantime::format_duration(self.limits.unread);
                let why = format!("the plugin did not read on for {unread}, and others wait for the target: read it at once");
                (why, Error::ConnectionReadTimeout)
            }
        };
        self.entry.failed(why);
        error
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.trailers.is_some() {
            return Poll::Ready(self.rest().map(Ok));
        }
        loop {
            let Some(Piece { frame, is_last }) = ready!(self.pieces.poll_recv(cx)) else {
                let ended = match &mut self.reader {
                    Some(reader) => ready!(Pin::new(&mut reader.0).poll(cx)),
                    None => Ok(Ok(())),
                };
                self.reader = None;
                let ended = ended.unwrap_or_else(|wrong| Err(Broke::Off(wrong.to_string())));
                return Poll::Ready(match ended {
                    Ok(()) => self.rest().map(Ok),
                    Err(broke) => Some(Err(self.broke(broke))),
                });
            };
            self.is_read = is_last;
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.received += bytes;
            self.entry.received(bytes);
            if self.received > self.limits.size {
                let most = self.limits.size;
                let why = format!("the answer is larger than {most} bytes; to raise it: grant.limits = {{ response_bytes = … }}");
                self.entry.failed(why);
                self.reader = None;
                return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(most)))));
            }
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
    }

    fn is_end_stream(&self) -> bool {
        self.is_read && self.stream.is_empty() && self.trailers.is_none()
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

    const WITHIN: Duration = Duration::from_secs(10);

    /// Never sends anything.
    struct Silent;

    impl Body for Silent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    async fn read<B>(body: B, limit: u64) -> (Option<Error>, Option<String>)
    where
        B: Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static,
    {
        let journal = Arc::new(Journal::default());
        let calls = Calls::new(journal.clone(), Arc::new(ManualClock::default()));
        let entry = calls.begin("GET", "http://a/".into(), Arc::default());
        entry.answered(200);
        let limits = Limits { size: limit, between: Duration::from_millis(20), unread: WITHIN };
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

    /// Without end, or as many as there are.
    fn pieces(n: usize) -> impl Body<Data = Bytes, Error = Infallible> + Unpin + Send {
        let frames = std::iter::repeat_n("piece", n).map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
        StreamBody::new(futures_util::stream::iter(frames))
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_let_go_once_it_has_come_or_its_time_is_over() {
        for (n, came) in [(2, Ok(2)), (usize::MAX, Err("did not read on for 20ms"))] {
            let journal = Arc::new(Journal::default());
            let calls = Calls::new(journal.clone(), Arc::new(ManualClock::default()));
            let limits = Limits { size: 1_000, between: WITHIN, unread: Duration::from_millis(20) };
            let entry = calls.begin("GET", "http://a/".into(), Arc::default());
            let mut answer = Answer::new(pieces(n), entry, limits, &Arc::default(), None);
            // What it holds ends with its reader.
            let reader = answer.reader.as_ref().unwrap();
            while n > 2 && !reader.0.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let mut read = 0;
            let wrong = loop {
                match answer.frame().await {
                    Some(Ok(_)) => read += 1,
                    Some(Err(wrong)) => break Some(wrong),
                    None => break None,
                }
            };
            assert!(answer.frame().await.is_none(), "nothing comes after its end");
            drop(answer);
            let listed = journal.take().calls.remove(0).error;
            match came {
                Ok(n) => assert!(read == n && wrong.is_none(), "{read} {wrong:?}"),
                Err(why) => assert!(
                    matches!(wrong, Some(Error::ConnectionReadTimeout)) && listed.is_some_and(|listed| listed.contains(why))
                ),
            }
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
        let limits = Limits { size: 100, between: WITHIN, unread: WITHIN };
        let scrubber = Arc::new(Scrubber::new(std::iter::once(&b"hunter2!"[..])));
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let answer = Answer::new(body, calls.begin("GET", "http://a/".into(), Arc::default()), limits, &scrubber, None);
        let read = answer.collect().await.unwrap();
        assert_eq!(read.trailers().unwrap()["x-echo"], "********");
        assert_eq!(read.to_bytes(), "you said ******** and h");
    }
}
