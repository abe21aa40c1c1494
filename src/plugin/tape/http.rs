//! HTTP as it passes the tape: noted on both ways, or answered from it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, Response, StatusCode};
use wasmtime_wasi_http::{Error, WasiBody};

use super::Tape;
use super::data::Data;
use super::entry::{Answer, Came, End, Entry, Exchange, Failure};
use super::player::Player;
use super::recorder::Recorder;
use super::script::Script;
use crate::plugin::host::http::calls::{Calls, Entry as Listed};

pub type Sent = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;
pub type Sending = Box<dyn Future<Output = Sent> + Send>;

/// Sends a request by `live`, or answers it from the tape. `plainly` makes one of the contract's errors of the host's own.
pub fn exchange(
    tape: &Arc<Tape>,
    calls: &Arc<Calls>,
    request: Request<WasiBody>,
    plainly: impl Fn(&Error) -> Option<Error> + Send + 'static,
    live: impl FnOnce(Request<WasiBody>) -> Sending,
) -> Sending {
    let made = match &**tape {
        Tape::Live => return live(request),
        Tape::Recording(recorder) => {
            let (parts, body) = request.into_parts();
            let place = recorder.note(Entry::Http(Box::new(written(&parts, body.is_end_stream()))));
            let body = Listening { body, place, tape: Arc::clone(tape) }.boxed_unsync();
            let sent = live(Request::from_parts(parts, body));
            let tape = Arc::clone(tape);
            return Box::new(async move { noted(&tape, place, Box::into_pin(sent).await, plainly) });
        }
        Tape::Replaying(player) => {
            let (parts, body) = request.into_parts();
            (player.request(written(&parts, false)), parts, body)
        }
        Tape::Scripted(_) => {
            let (parts, body) = request.into_parts();
            (None, parts, body)
        }
    };
    let (place, parts, body) = made;
    let listed = calls.begin(parts.method.as_str(), parts.uri.to_string(), Arc::default());
    let tape = Arc::clone(tape);
    Box::new(async move {
        let answered = match &*tape {
            Tape::Replaying(player) => played(player, place, body, &listed).await,
            Tape::Scripted(script) => scripted(script, &parts, body, &listed).await?,
            Tape::Live | Tape::Recording(_) => return Err(Error::ConfigurationError),
        };
        let tape = Arc::clone(&tape);
        match answered {
            Came::Failure(failure) => {
                listed.failed(format!("as recorded: {}", failure.error));
                Err(failure.error().unwrap_or(Error::InternalError(Some(failure.error))))
            }
            Came::Response { status, headers, body, end } => {
                listed.answered(status);
                let mut response = Response::new(());
                *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Error::HttpProtocolError)?;
                *response.headers_mut() = header_map(&headers);
                let pieces = body.into_iter().map(|data| Bytes::from(data.0)).collect();
                let body = Played { pieces, end, listed, waiting: None, tape }.boxed_unsync();
                Ok((response.map(|()| body), Box::new(async { Ok(()) }) as Box<_>))
            }
        }
    })
}

fn written(parts: &Parts, whole: bool) -> Exchange {
    let (method, url, headers) = (parts.method.to_string(), parts.uri.to_string(), header_list(&parts.headers));
    Exchange { method, url, headers, body: Data::default(), whole, answer: None }
}

fn header_list(headers: &HeaderMap) -> Vec<(String, Data)> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), Data(value.as_bytes().to_vec()))).collect()
}

/// What is no header is left out: it was one when it was noted, and a script is checked when it is read.
fn header_map(list: &[(String, Data)]) -> HeaderMap {
    use hyper::header::{HeaderName, HeaderValue};
    let header =
        |(name, value): &(String, Data)| Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_bytes(&value.0).ok()?));
    list.iter().filter_map(header).fold(HeaderMap::new(), |mut map, (name, value)| {
        map.append(name, value);
        map
    })
}

fn noted(tape: &Arc<Tape>, place: Option<usize>, sent: Sent, plainly: impl Fn(&Error) -> Option<Error>) -> Sent {
    let Tape::Recording(recorder) = &**tape else { return sent };
    match sent {
        Ok((response, rest)) => {
            let headers = header_list(response.headers());
            let status = response.status().as_u16();
            recorder.answered(place, Came::Response { status, headers, body: Vec::new(), end: End::Open });
            let tape = Arc::clone(tape);
            Ok((response.map(|body| Heard { body, place, tape }.boxed_unsync()), rest))
        }
        Err(error) => {
            let failure = plainly(&error).map_or_else(|| Failure::of(&error), |error| Failure::of(&error));
            recorder.answered(place, Came::Failure(failure));
            Err(error)
        }
    }
}

/// As it came then, in its turn. Never, where the guest left the recording.
async fn played(player: &Player, place: Option<usize>, body: WasiBody, listed: &Listed) -> Came {
    let Some((place, exchange)) = place.and_then(|place| Some((place, player.exchange(place)?))) else {
        return std::future::pending().await;
    };
    let turn = exchange.answer.as_ref().map(|answer| player.turn(answer.place));
    if exchange.whole && !player.is_body(place, &whole(body, listed).await) {
        return std::future::pending().await;
    }
    match (&exchange.answer, turn) {
        (Some(Answer { came, .. }), Some(turn)) => {
            turn.comes().await;
            came.clone()
        }
        _ => player.wait_to_the_end().await,
    }
}

async fn scripted(script: &Script, parts: &Parts, body: WasiBody, listed: &Listed) -> Result<Came, Error> {
    let _under_way = script.begin();
    let body = whole(body, listed).await;
    let url = parts.uri.to_string();
    match script.answer(parts.method.as_str(), &url, &body) {
        Ok(response) => {
            let headers = response.headers.into_iter().map(|(name, value)| (name, Data(value.into_bytes()))).collect();
            let body = vec![Data(response.body)];
            Ok(Came::Response { status: response.status, headers, body, end: End::Whole })
        }
        Err(failure) => Ok(Came::Failure(failure)),
    }
}

/// What the guest writes, to its end.
async fn whole(body: WasiBody, listed: &Listed) -> Bytes {
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    listed.sent.fetch_add(body.len() as u64, Relaxed);
    body
}

/// A request's body that is noted on its way.
struct Listening {
    body: WasiBody,
    place: Option<usize>,
    tape: Arc<Tape>,
}

impl Listening {
    fn recorder(&self) -> Option<&Recorder> {
        if let Tape::Recording(recorder) = &*self.tape { Some(&**recorder) } else { None }
    }
}

impl Body for Listening {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(recorder) = self.recorder() {
            match &polled {
                Poll::Ready(Some(Ok(frame))) => {
                    let piece = frame.data_ref().map_or(&[][..], |piece| &piece[..]);
                    recorder.sent(self.place, piece, self.body.is_end_stream());
                }
                Poll::Ready(None) => recorder.sent(self.place, &[], true),
                _ => {}
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body that is noted on its way.
struct Heard {
    body: WasiBody,
    place: Option<usize>,
    tape: Arc<Tape>,
}

impl Body for Heard {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Tape::Recording(recorder) = &*self.tape {
            match &polled {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(piece) = frame.data_ref() {
                        recorder.received(self.place, piece);
                    }
                    // Nobody may ask once more.
                    if self.body.is_end_stream() {
                        recorder.ended(self.place, End::Whole);
                    }
                }
                Poll::Ready(Some(Err(wrong))) => recorder.ended(self.place, End::Broken(Failure::of(wrong))),
                Poll::Ready(None) => recorder.ended(self.place, End::Whole),
                Poll::Pending => {}
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body from the tape, piece by piece.
struct Played {
    pieces: VecDeque<Bytes>,
    end: End,
    listed: Listed,
    /// For what the recorded guest did not get either.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    tape: Arc<Tape>,
}

impl Body for Played {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(piece) = self.pieces.pop_front() {
            self.listed.received(piece.len() as u64);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match &self.end {
            End::Whole => Poll::Ready(None),
            End::Broken(failure) => Poll::Ready(Some(Err(failure.error().unwrap_or(Error::HttpResponseIncomplete)))),
            End::Open => {
                let tape = Arc::clone(&self.tape);
                let waiting = self.waiting.get_or_insert_with(|| {
                    Box::pin(async move {
                        if let Tape::Replaying(player) = &*tape {
                            player.wait_to_the_end::<()>().await;
                        }
                    })
                });
                waiting.as_mut().poll(cx).map(|()| None)
            }
        }
    }
}
