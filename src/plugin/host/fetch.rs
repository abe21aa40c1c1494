//! HTTP out in one call: the same door as `wasi:http`, for guests whose tools cannot link resources of WASI.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{Method, Uri};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::plugin::bindings::windlass::plugin::fetch::{Host, Refusal, Request, Response};
use crate::plugin::host::http::Outgoing;
use crate::plugin::instance::Guest;

/// Headers of the connection rather than of the request: the host's business.
const OURS: [&str; 8] =
    ["connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

impl Host for Guest {
    async fn fetch(&mut self, request: Request) -> Result<Response, Refusal> {
        let (what, options) = (format!("{} {}", request.method, request.url), options(&request));
        let request = made(request)?;
        let nothing_more = Box::new(async { Ok(()) });
        let sent = Box::into_pin(self.outgoing.send_request(request, Some(options), nothing_more)).await;
        let failed = |outgoing: &mut Outgoing, wrong: &Error| {
            let code = code(outgoing, wrong);
            let said = if let Error::InternalError(Some(said)) = wrong { format!(" ({said})") } else { String::new() };
            Refusal { message: format!("{what}: {code}{said}"), code }
        };
        let (response, _) = sent.map_err(|wrong| failed(&mut self.outgoing, &wrong))?;
        let (head, body) = response.into_parts();
        // It is held here before the guest's memory can refuse it.
        let context = &self.context;
        let most = context.limits.response_bytes.0.min(context.grant.memory.min(context.ceiling.memory).0);
        let body = Limited::new(body, usize::try_from(most).unwrap_or(usize::MAX)).collect().await;
        let body = body.map_err(|wrong| match wrong.downcast::<Error>() {
            Ok(wrong) => failed(&mut self.outgoing, &wrong),
            Err(_) => Refusal {
                code: "HttpResponseBodySize".into(),
                message: format!("{what}: the answer has more than {most} bytes, and the guest's memory could not hold it"),
            },
        });
        let body = body?.to_bytes();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Ok(Response { status: head.status.as_u16(), headers, body: body.into() })
    }
}

fn options(request: &Request) -> RequestOptions {
    let first_byte_timeout = request.first_byte_timeout_ms.map(Duration::from_millis);
    RequestOptions { first_byte_timeout, ..RequestOptions::default() }
}

/// The request as the door takes it; what it cannot be made of is named.
fn made(request: Request) -> Result<hyper::Request<WasiBody>, Refusal> {
    let refuse = |code: &str, message: String| Refusal { code: code.into(), message };
    let url: Uri = request.url.parse().map_err(|wrong| {
        refuse("HttpRequestUriInvalid", format!("{:?} is no URL ({wrong}): write https://host/path", request.url))
    })?;
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| refuse("HttpRequestMethodInvalid", format!("{:?} is no method: GET, POST …", request.method)))?;
    let Some(host) = url.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) else {
        return Err(refuse("HttpRequestUriInvalid", format!("{:?} names no host: write https://host/path", request.url)));
    };
    let body = Full::new(Bytes::from(request.body)).map_err(|never| match never {}).boxed_unsync();
    let mut made = hyper::Request::new(body);
    (*made.method_mut(), *made.uri_mut()) = (method, url);
    for (name, value) in request.headers {
        let wrong = |why: &str| refuse("HttpProtocolError", format!("the header {name:?} {why}"));
        let key: HeaderName = name.parse().map_err(|_| wrong("has no valid name"))?;
        if OURS.contains(&key.as_str()) {
            return Err(wrong("is set by the host: leave it out"));
        }
        let value =
            HeaderValue::from_str(&value).map_err(|_| wrong("has a value with a line end or another control character"))?;
        made.headers_mut().append(key, value);
    }
    made.headers_mut().insert(HOST, host);
    Ok(made)
}

/// The name that the guest of `wasi:http` sees, too.
fn code(outgoing: &mut Outgoing, wrong: &Error) -> String {
    let named = match wrong {
        Error::Hyper(wrong) => format!("{:?}", outgoing.p2_error_from_hyper(wrong)),
        Error::Connect(wrong) => format!("{:?}", outgoing.p2_error_from_connect(wrong)),
        Error::Tls(wrong) => format!("{:?}", outgoing.p2_error_from_tls(wrong)),
        Error::InternalError(Some(said)) if said.starts_with("circuit open: ") => "CircuitOpen".into(),
        other => format!("{other:?}"),
    };
    let name = named.strip_prefix("ErrorCode::").unwrap_or(&named);
    name.chars().take_while(char::is_ascii_alphanumeric).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> Request {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Request { method: method.into(), url: url.into(), headers, body: b"hello".into(), first_byte_timeout_ms: Some(5) }
    }

    #[test]
    fn a_request_is_made_whole_or_refused_with_the_reason() {
        let made_of = made(request("POST", "http://example.org:81/a?b#c", &[("x-a", "1"), ("x-a", "2")])).unwrap();
        assert_eq!((made_of.method().as_str(), made_of.uri().to_string().as_str()), ("POST", "http://example.org:81/a?b"));
        assert_eq!(
            (&made_of.headers()["host"], made_of.headers().get_all("x-a").iter().count()),
            (&"example.org:81".parse().unwrap(), 2)
        );
        for (method, url, header, code, says) in [
            ("GET", "http://a b/", ("x", ""), "HttpRequestUriInvalid", "is no URL"),
            ("GET", "/path", ("x", ""), "HttpRequestUriInvalid", "names no host"),
            ("G T", "http://a/", ("x", ""), "HttpRequestMethodInvalid", "is no method"),
            ("GET", "http://a/", ("Host", "b"), "HttpProtocolError", "leave it out"),
            ("GET", "http://a/", ("content-length", "9"), "HttpProtocolError", "leave it out"),
            ("GET", "http://a/", ("x y", "1"), "HttpProtocolError", "no valid name"),
            ("GET", "http://a/", ("x", "1\r\ny: 2"), "HttpProtocolError", "line end"),
        ] {
            let refusal = made(request(method, url, &[header])).unwrap_err();
            assert!(refusal.code == code && refusal.message.contains(says), "{method} {url} {header:?}: {refusal:?}");
        }
    }
}
