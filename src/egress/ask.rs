//! One HTTP request that the host itself makes on behalf of a tenant.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT_ENCODING, HOST, HeaderValue};
use hyper::{HeaderMap, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use super::{Cause, Egress, Refused, Seen, chain, origin, said, words};
use crate::domain::grant::Ceiling;

/// A whole answer.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Egress {
    /// Asks within the tenant's ceiling and waits for the whole answer, `most` bytes at the most, over a connection of its
    /// own. Redirects are not followed. Status codes are answers, also those of errors.
    ///
    /// # Errors
    /// When it is not allowed, or no whole answer came in time.
    pub async fn ask(
        &self,
        tenant: &Arc<str>,
        ceiling: &Ceiling,
        request: Request<Full<Bytes>>,
        within: Duration,
        most: usize,
    ) -> Result<Said, Refused> {
        let origin = origin(request.uri())?;
        let request = of_origin(request)?;
        let until = Instant::now() + within;
        let (mut pass, addresses) = self.admit(tenant, ceiling, &origin, within).await?;
        pass.begins();
        let late = || Refused::late(Cause::Broken, format!("no answer from {origin} within {}", words(within)));
        let asked = async {
            let (stream, _) = self.connect(&origin, &addresses, within).await?;
            let stream = self.secured(&origin, stream).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|wrong| broken(&wrong))?;
            // It ends with the answer, or with this future.
            let exchange = async {
                let response = sender.send_request(request).await.map_err(|wrong| broken(&wrong))?;
                let seen = said(&response);
                let (head, body) = response.into_parts();
                let body = Limited::new(body, most).collect().await.map_err(|wrong| {
                    Refused::failed(Cause::Broken, format!("the answer broke off, or has more than {most} bytes: {wrong}"))
                })?;
                Ok((seen, Said { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() }))
            };
            tokio::pin!(exchange, connection);
            tokio::select! {
                answered = &mut exchange => answered,
                // The connection's error is the request's, told there.
                _ = &mut connection => exchange.await,
            }
        };
        let answered = timeout_at(until, asked).await.unwrap_or_else(|_| Err(late()));
        let seen = match &answered {
            Ok((seen, _)) => seen.clone(),
            Err(refused) => refused.seen.clone(),
        };
        self.targets.seen(&mut pass, &seen);
        answered.map(|(_, said)| said)
    }
}

/// As a server wants it, which is no proxy: path and query, and the host in its header. Nothing packed comes back.
fn of_origin(mut request: Request<Full<Bytes>>) -> Result<Request<Full<Bytes>>, Refused> {
    let invalid = || Refused::failed(Cause::Uri, "the URL is not valid");
    let host = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path: Uri = path.parse().map_err(|_| invalid())?;
    *request.uri_mut() = path;
    request.headers_mut().insert(HOST, host.ok_or_else(invalid)?);
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(request)
}

fn broken(wrong: &hyper::Error) -> Refused {
    let mut refused = Refused::failing(Cause::Broken, format!("the connection failed: {}", chain(wrong)));
    if wrong.is_user() {
        refused.seen = Seen::Nothing;
    }
    refused
}
