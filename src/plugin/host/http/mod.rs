//! HTTP out: deny by default, one look-up, every address checked, the checked address connected to. Redirects are not
//! followed here; a guest that follows one passes the same gate again.

mod address;
mod body;
mod calls;
mod gate;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use self::body::{Answer, Drain, Driver};
use self::calls::{Calls, Entry, SoFar};
pub use self::gate::Gate;
use self::gate::Refused;
use crate::domain::grant::Origin;
use crate::plugin::instance::Context;
use crate::plugin::journal::{Level, Line};

/// Unless the guest asks for less; all are capped by what the run has left.
const CONNECT: Duration = Duration::from_secs(10);
const FIRST_BYTE: Duration = Duration::from_secs(60);
const BETWEEN_BYTES: Duration = Duration::from_secs(30);

type Sent = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One run's way out.
pub struct Outgoing {
    context: Arc<Context>,
    gate: Arc<Gate>,
    pub calls: Arc<Calls>,
}

impl Outgoing {
    pub fn new(context: &Arc<Context>, gate: &Arc<Gate>) -> Self {
        let calls = Calls::new(Arc::clone(&context.journal), Arc::clone(&context.clock), Arc::clone(&context.secrets));
        Self { context: Arc::clone(context), gate: Arc::clone(gate), calls }
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
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let sent = Arc::new(AtomicU64::new(0));
        let before = self.calls.so_far();
        let entry = self.calls.begin(request.method().as_str(), &request.uri().to_string(), Arc::clone(&sent));
        // Before anything can fail: see `Drain`.
        let request = request.map(|body| Drain::new(body, sent, self.context.limits.request_bytes.0));
        let (context, gate) = (Arc::clone(&self.context), Arc::clone(&self.gate));
        Box::new(async move {
            let options = options.unwrap_or_default();
            match exchange(request, options, before, &context, &gate).await {
                Ok(answered) => {
                    Ok((answered.into_response(entry, context.limits.response_bytes.0), Box::new(async { Ok(()) }) as Box<_>))
                }
                Err(refused) => Err(report(refused, &entry, &context)),
            }
        })
    }

    fn p2_error_from_hyper(&mut self, wrong: &hyper::Error) -> ErrorCode {
        if wrong.is_timeout() {
            ErrorCode::ConnectionReadTimeout
        } else if wrong.is_incomplete_message() || wrong.is_closed() || wrong.is_canceled() {
            ErrorCode::ConnectionTerminated
        } else {
            ErrorCode::HttpProtocolError
        }
    }

    fn p2_error_from_connect(&mut self, wrong: &std::io::Error) -> ErrorCode {
        match wrong.kind() {
            std::io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
            std::io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
            _ => ErrorCode::DestinationUnavailable,
        }
    }

    fn p2_error_from_tls(&mut self, wrong: &std::io::Error) -> ErrorCode {
        if wrong.to_string().contains("certificate") { ErrorCode::TlsCertificateError } else { ErrorCode::TlsProtocolError }
    }
}

/// An answer whose body has not been read yet.
struct Answered {
    response: Response<hyper::body::Incoming>,
    driver: Driver,
    between: Duration,
}

impl Answered {
    fn into_response(self, entry: Entry, limit: u64) -> Response<WasiBody> {
        entry.answered(self.response.status().as_u16());
        let (driver, between) = (self.driver, self.between);
        self.response.map(|incoming| Answer::new(incoming, entry, driver, limit, between).boxed_unsync())
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

async fn exchange(
    mut request: Request<Drain>,
    options: RequestOptions,
    before: SoFar,
    context: &Context,
    gate: &Gate,
) -> Result<Answered, Refused> {
    if context.is_cut_off() {
        return Err(Refused::failed(Error::HttpRequestDenied, "the run is being stopped"));
    }
    let limits = &context.limits;
    for (so_far, most, key, what) in [
        (before.under_way, limits.open_requests, "open_requests", "are under way already"),
        (before.begun, limits.requests, "requests", "were made already"),
    ] {
        if so_far >= most {
            let why = format!("{so_far} requests {what}, the limit of an attempt; to raise it: grant.limits = {{ {key} = … }}");
            return Err(Refused::failed(Error::ConnectionLimitReached, why));
        }
    }
    let origin = gate::origin(request.uri())?;
    gate::granted(&origin, request.method(), &context.grant, &context.ceiling)?;
    let cap = |asked: Option<Duration>, most: Duration| asked.map_or(most, |asked| asked.min(most)).min(context.remaining());
    let connect_in = cap(options.connect_timeout, CONNECT);
    let addresses = gate.addresses(&origin, &context.ceiling, connect_in).await?;
    let stream = tokio::time::timeout(connect_in, connect(&origin, &addresses, gate))
        .await
        .map_err(|_| Refused::failed(Error::ConnectionTimeout, format!("no connection within {}", words(connect_in))))??;
    let lost = |wrong: hyper::Error| {
        let why = format!("the connection failed: {}", chain(&wrong));
        Refused::failed(Error::Hyper(wrong), why)
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    let driver = Driver(tokio::spawn(async move {
        // Its error is the request's, told there.
        let _ = connection.await;
    }));
    // Scheme and authority are for proxies; the Host header is set by wasmtime.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() =
        path.parse().map_err(|_| Refused::failed(Error::HttpRequestUriInvalid, "the URL's path is not valid"))?;
    let first_in = cap(options.first_byte_timeout, FIRST_BYTE);
    let response = tokio::time::timeout(first_in, sender.send_request(request))
        .await
        .map_err(|_| Refused::failed(Error::ConnectionReadTimeout, format!("no answer within {}", words(first_in))))?
        .map_err(lost)?;
    Ok(Answered { response, driver, between: cap(options.between_bytes_timeout, BETWEEN_BYTES) })
}

/// To one of the addresses that were checked: no second look-up, so nothing can change in between.
async fn connect(origin: &Origin, addresses: &[std::net::SocketAddr], gate: &Gate) -> Result<Box<dyn Stream>, Refused> {
    let stream = TcpStream::connect(addresses).await.map_err(|wrong| {
        let why = format!("{}:{} cannot be reached: {wrong}", origin.host, origin.port);
        Refused::failed(Error::Connect(wrong), why)
    })?;
    // Small requests go at once; where that cannot be set they go a little later.
    let _ = stream.set_nodelay(true);
    if !origin.tls {
        return Ok(Box::new(stream));
    }
    let host = origin.host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name =
        ServerName::try_from(host).map_err(|_| Refused::failed(Error::HttpRequestUriInvalid, "the host is no name for TLS"))?;
    let stream = gate.tls.connect(name, stream).await.map_err(|wrong| {
        let why = format!("TLS with {} failed: {wrong}", origin.host);
        Refused::failed(Error::Tls(wrong), why)
    })?;
    Ok(Box::new(stream))
}

fn words(span: Duration) -> String {
    humantime::format_duration(Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))).to_string()
}

/// An error with its causes: hyper keeps the telling part below.
fn chain(wrong: &dyn std::error::Error) -> String {
    let mut text = wrong.to_string();
    let mut cause = wrong.source();
    while let Some(below) = cause {
        text = format!("{text}: {below}");
        cause = below.source();
    }
    text
}
