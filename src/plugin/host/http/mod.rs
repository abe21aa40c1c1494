//! HTTP out: deny by default, one look-up, every address checked, the checked address connected to. Redirects are not
//! followed here; a guest that follows one passes the same gate again.

mod answer;
pub mod calls;
mod drain;
mod error;
mod gate;
mod pool;
mod secret;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use self::answer::{Answer, Held, Limits, scrub_headers};
pub use self::calls::Calls;
use self::calls::{Entry, SoFar};
use self::drain::Drain;
use self::error::{of_connect, of_hyper, of_tls, plainly};
pub use self::gate::Gate;
use self::gate::Refused;
use self::pool::{Connection, Driver, Key};
use self::secret::Secrets;
use crate::domain::grant::Origin;
use crate::egress::scrub::Scrubber;
use crate::egress::{self, PATIENCE, Pass, Seen, chain, words};
use crate::plugin::instance::Context;
use crate::plugin::journal::{Level, Line};
use crate::plugin::tape;

/// Unless the guest asks for less; all are capped by what the run has left.
const CONNECT: Duration = Duration::from_secs(10);
const FIRST_BYTE: Duration = Duration::from_secs(60);
const BETWEEN_BYTES: Duration = Duration::from_secs(30);
/// The guest may leave what came unread for so long, while more of it would come.
const UNREAD: Duration = Duration::from_secs(30);
/// Bytes of one piece of an answer at most; its headers have to fit in.
const PIECE: usize = 80 * 1024;

/// One run's way out.
pub struct Outgoing {
    context: Arc<Context>,
    gate: Arc<Gate>,
    pub calls: Arc<Calls>,
    pub secrets: Arc<Secrets>,
}

impl Outgoing {
    pub fn new(context: &Arc<Context>, gate: &Arc<Gate>) -> Self {
        let calls = Calls::new(Arc::clone(&context.journal), Arc::clone(&context.clock));
        Self { context: Arc::clone(context), gate: Arc::clone(gate), calls, secrets: Arc::default() }
    }
}

impl WasiHttpHooks for Outgoing {
    /// A body that is written and never sent is held here, two chunks of it: small ones, for a guest may open many.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        32 * 1024
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> tape::Sending {
        let (tape, calls) = (Arc::clone(&self.context.tape), Arc::clone(&self.calls));
        tape::exchange(&tape, &calls, request, plainly, |request| self.send(request, options))
    }

    fn p2_error_from_hyper(&mut self, wrong: &hyper::Error) -> ErrorCode {
        of_hyper(wrong)
    }

    fn p2_error_from_connect(&mut self, wrong: &std::io::Error) -> ErrorCode {
        of_connect(wrong)
    }

    fn p2_error_from_tls(&mut self, wrong: &std::io::Error) -> ErrorCode {
        of_tls(wrong)
    }
}

impl Outgoing {
    fn send(&self, request: Request<WasiBody>, options: Option<RequestOptions>) -> tape::Sending {
        let sent = Arc::new(AtomicU64::new(0));
        let before = self.calls.so_far();
        // A guest never has a secret's value; but a job's configuration may hold the same.
        let url = self.secrets.scrubber(&self.context).scrub_text(&self.secrets.named(&request.uri().to_string()));
        let entry = self.calls.begin(request.method().as_str(), url, Arc::clone(&sent));
        // Before anything can fail: see `Drain`.
        let request = request.map(|body| Drain::new(body, sent, self.context.limits.request_bytes.0));
        let (context, gate, secrets) = (Arc::clone(&self.context), Arc::clone(&self.gate), Arc::clone(&self.secrets));
        Box::new(async move {
            let exchange = Exchange { options: options.unwrap_or_default(), context, gate, secrets };
            match exchange.made(request, before, &entry).await {
                Ok(answered) => Ok((
                    answered.into_response(entry, exchange.context.limits.response_bytes.0),
                    Box::new(async { Ok(()) }) as Box<_>,
                )),
                Err(refused) => Err(report(refused, &entry, &exchange.context)),
            }
        })
    }
}

/// An answer whose body has not been read yet.
struct Answered {
    response: Response<hyper::body::Incoming>,
    between: Duration,
    held: Held,
    scrubber: Arc<Scrubber>,
}

impl Answered {
    fn into_response(mut self, entry: Entry, size: u64) -> Response<WasiBody> {
        entry.answered(self.response.status().as_u16());
        scrub_headers(self.response.headers_mut(), &self.scrubber);
        let limits = Limits { size, between: self.between, unread: UNREAD };
        self.response.map(|incoming| Answer::new(incoming, entry, limits, &self.scrubber, Some(self.held)).boxed_unsync())
    }
}

/// Lists the call with its reason; a denied one also leaves a line in the log, for there stands what would allow it.
fn report(refused: Refused, entry: &Entry, context: &Context) -> Error {
    if refused.denied {
        let message = format!("request denied: {}", refused.why);
        context.journal.log(Line { at: context.clock.now(), level: Level::Warn, message, fields: Vec::new() });
    }
    entry.failed(if refused.denied { format!("denied: {}", refused.why) } else { refused.why });
    refused.error
}

/// One request on its way.
struct Exchange {
    options: RequestOptions,
    context: Arc<Context>,
    gate: Arc<Gate>,
    secrets: Arc<Secrets>,
}

impl Exchange {
    /// What the guest asks for, at most `most`, within what the run has left.
    fn cap(&self, asked: Option<Duration>, most: Duration) -> Duration {
        asked.map_or(most, |asked| asked.min(most)).min(self.context.remaining())
    }

    async fn made(&self, request: Request<Drain>, before: SoFar, entry: &Entry) -> Result<Answered, Refused> {
        let (context, gate) = (&self.context, &self.gate);
        if context.is_cut_off() {
            return Err(Refused::failed(Error::HttpRequestDenied, "the run is being stopped"));
        }
        let limits = &context.limits;
        for (so_far, most, key, what) in [
            (before.under_way, limits.open_requests, "open_requests", "are under way already"),
            (before.begun, limits.requests, "requests", "were made already"),
        ] {
            if so_far >= most {
                let why =
                    format!("{so_far} requests {what}, the limit of an attempt; to raise it: grant.limits = {{ {key} = … }}");
                return Err(Refused::failed(Error::ConnectionLimitReached, why));
            }
        }
        context.journal.took("open_requests", before.under_way + 1);
        let origin = gate::origin(request.uri())?;
        gate::granted(&origin, request.method(), &context.grant, &context.ceiling)?;
        let put = secret::put(request, &origin, context, &self.secrets).await;
        let (mut request, carried) = put.map_err(|refused| self.cut_off(refused, entry))?;
        let scrubber = Arc::clone(self.secrets.scrubber(context));
        if !scrubber.is_empty() {
            // What comes back packed cannot be searched for secrets, also not what an earlier request has left at the target.
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(parent) = context.journal.traceparent(entry.number()).and_then(|text| HeaderValue::from_str(&text).ok()) {
            // A guest that carries on a trace of its own knows better.
            request.headers_mut().entry("traceparent").or_insert(parent);
        }
        let mut pass = gate.egress.targets.enter(&context.tenant, &origin, context.remaining()).await?;
        entry.waited(pass.waited);
        if context.is_cut_off() {
            return Err(Refused::failed(Error::HttpRequestDenied, "the run is being stopped"));
        }
        entry.carries(carried);
        let sent = self.sent(request, &origin, entry, &mut pass).await.map_err(|refused| self.cut_off(refused, entry));
        let seen = match &sent {
            Ok((response, _)) => egress::said(response),
            Err(refused) => refused.seen.clone(),
        };
        gate.egress.targets.seen(&mut pass, &seen);
        let (response, connection) = sent?;
        let encoding = response.headers().get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity");
        if let Some(encoding) = encoding.filter(|_| !scrubber.is_empty()) {
            let why = format!(
                "the answer is packed ({encoding:?}), unasked: a job with secrets gets only what can be searched for them"
            );
            return Err(Refused::failed(Error::HttpResponseContentCoding(None), why));
        }
        let between = self.cap(self.options.between_bytes_timeout, BETWEEN_BYTES);
        Ok(Answered { response, between, held: Held { connection, pool: Arc::clone(&gate.pool), _pass: pass }, scrubber })
    }

    /// A body beyond its limit breaks off, and the connection with it: then that is the reason, whatever the connection says.
    fn cut_off(&self, refused: Refused, entry: &Entry) -> Refused {
        let most = self.context.limits.request_bytes;
        if entry.sent.load(Relaxed) <= most.0 {
            return refused;
        }
        let why = format!("the request's body is larger than {most}; to raise it: grant.limits = {{ request_bytes = … }}");
        Refused::failed(Error::HttpRequestBodySize(Some(most.0)), why)
    }

    /// Over a connection that is there, or a new one. One that turns out to be broken is no reason to fail, as long as the
    /// target cannot have acted on the request twice.
    async fn sent(
        &self,
        mut request: Request<Drain>,
        origin: &Origin,
        entry: &Entry,
        pass: &mut Pass,
    ) -> Result<(Response<hyper::body::Incoming>, Connection), Refused> {
        let connect_in = self.cap(self.options.connect_timeout, CONNECT);
        let (tenant, networks) = (&self.context.tenant, &self.context.ceiling.networks);
        let addresses = self.gate.egress.addresses(tenant, networks, origin, connect_in).await?;
        // Scheme and authority are for proxies; the Host header is set by wasmtime.
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() =
            path.parse().map_err(|_| Refused::failed(Error::HttpRequestUriInvalid, "the URL's path is not valid"))?;
        pass.begins();
        if let Some(connection) = self.gate.pool.take(&self.context.tenant, origin, &addresses).await {
            entry.reuses(true);
            let again = again(&request);
            match self.asked(connection, request).await {
                Ok(answered) => return Ok(answered),
                // Not a byte of it went out.
                Err(Broken { request: Some(whole), .. }) => request = *whole,
                Err(Broken { refused, .. }) => match again.filter(|_| matches!(refused.error, Error::Hyper(_))) {
                    Some(again) => request = again,
                    None => return Err(refused),
                },
            }
            entry.reuses(false);
        }
        let connection = timeout(connect_in, self.connected(origin, &addresses, connect_in)).await;
        let connection = connection.unwrap_or_else(|_| Err(egress::no_connection(origin, connect_in).into()))?;
        self.asked(connection, request).await.map_err(|broken| broken.refused)
    }

    async fn connected(&self, origin: &Origin, addresses: &[SocketAddr], within: Duration) -> Result<Connection, Refused> {
        let egress = &self.gate.egress;
        let (stream, address) = egress.connect(origin, addresses, within).await?;
        let stream = egress.secured(origin, stream).await?;
        let key = Key { tenant: Arc::clone(&self.context.tenant), origin: origin.clone(), address };
        let handshake = http1::Builder::new().max_buf_size(PIECE).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(lost)?;
        let driver = Driver(tokio::spawn(async move {
            // Its error is the request's, told there.
            let _ = connection.await;
        }));
        Ok(Connection { key, sender, driver })
    }

    async fn asked(
        &self,
        mut connection: Connection,
        request: Request<Drain>,
    ) -> Result<(Response<hyper::body::Incoming>, Connection), Broken> {
        let first_in = self.cap(self.options.first_byte_timeout, FIRST_BYTE);
        match timeout(first_in, connection.sender.try_send_request(request)).await {
            Ok(Ok(response)) => Ok((response, connection)),
            Ok(Err(mut wrong)) => {
                let request = wrong.take_message().map(Box::new);
                Err(Broken { refused: lost(wrong.into_error()), request })
            }
            Err(_) => {
                let why = format!("no answer within {}", words(first_in));
                let mut refused = Refused::failing(Error::ConnectionReadTimeout, why);
                if first_in < PATIENCE {
                    refused.seen = Seen::Nothing;
                }
                Err(Broken { refused, request: None })
            }
        }
    }
}

/// A request that got no answer; with the request, when it did not go out at all.
struct Broken {
    refused: Refused,
    request: Option<Box<Request<Drain>>>,
}

/// The same request once more, when the target may get it twice and it has no body.
fn again(request: &Request<Drain>) -> Option<Request<Drain>> {
    let harmless = matches!(*request.method(), Method::GET | Method::HEAD) && !request.headers().contains_key(CONTENT_LENGTH);
    harmless.then(|| {
        let mut again = Request::new(Drain::empty());
        *again.method_mut() = request.method().clone();
        *again.uri_mut() = request.uri().clone();
        again.headers_mut().clone_from(request.headers());
        again
    })
}

fn lost(wrong: hyper::Error) -> Refused {
    let why = format!("the connection failed: {}", chain(&wrong));
    // What the guest did wrong, or was kept from, says nothing about the target.
    let own = wrong.is_user();
    let mut refused = Refused::failing(Error::Hyper(wrong), why);
    if own {
        refused.seen = Seen::Nothing;
    }
    refused
}
