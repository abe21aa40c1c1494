use std::io::{self, Read};
use std::time::Duration;

use serde::Serialize;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme};

use super::{Error, Response, encode_form, retry};

/// A request being put together.
#[derive(Debug, Clone)]
#[must_use]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    connect_timeout: Option<Duration>,
    first_byte_timeout: Option<Duration>,
    between_bytes_timeout: Option<Duration>,
    pub(super) tries: u32,
}

pub fn get(url: impl Into<String>) -> Request {
    request("GET", url)
}

pub fn post(url: impl Into<String>) -> Request {
    request("POST", url)
}

pub fn request(method: &str, url: impl Into<String>) -> Request {
    Request {
        method: method.to_owned(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        connect_timeout: None,
        first_byte_timeout: None,
        between_bytes_timeout: None,
        tries: 1,
    }
}

impl Request {
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body and its `Content-Type`.
    pub fn form<K: AsRef<str>, V: AsRef<str>>(self, pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        self.header("content-type", "application/x-www-form-urlencoded").body(encode_form(pairs))
    }

    /// Sets the body and its `Content-Type`.
    pub fn json(self, value: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(self.header("content-type", "application/json").body(serde_json::to_vec(value)?))
    }

    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// How long the target may take from the request to the beginning of its answer.
    pub fn first_byte_timeout(mut self, timeout: Duration) -> Self {
        self.first_byte_timeout = Some(timeout);
        self
    }

    pub fn between_bytes_timeout(mut self, timeout: Duration) -> Self {
        self.between_bytes_timeout = Some(timeout);
        self
    }

    /// Sends it up to `tries` times in all, while what comes back may pass by itself: no connection, no answer in time, 408, 425,
    /// 429, 500, 502, 503 and 504. Between two tries lie 1, 2, 4 … up to 30 s, or what `Retry-After` says; none begins that could not end
    /// before the run is to stop.
    ///
    /// Only what the target may get twice is sent twice: GET, HEAD, OPTIONS, PUT and DELETE. Of other methods only a
    /// request is tried again that certainly did not reach the target.
    pub fn retry(mut self, tries: u32) -> Self {
        self.tries = tries.max(1);
        self
    }

    /// Sends it and waits for the head of the answer. An answer of any status is `Ok`.
    pub fn send(self) -> Result<Response, Error> {
        retry::send(&self)
    }

    /// The same with a body of so many bytes that is read while it is sent, and need not fit into memory. It is sent once.
    pub fn send_from(self, length: u64, body: &mut dyn Read) -> Result<Response, Error> {
        self.exchange(length, body)
    }

    pub(super) fn is_idempotent(&self) -> bool {
        ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"].contains(&self.method.as_str())
    }

    pub(super) fn send_once(&self) -> Result<Response, Error> {
        self.exchange(self.body.len() as u64, &mut self.body.as_slice())
    }

    fn exchange(&self, length: u64, from: &mut dyn Read) -> Result<Response, Error> {
        let invalid = |what: &str| Error::new("HttpRequestUriInvalid", what, &self.method, &self.url);
        let request = self.outgoing(length, &invalid)?;
        let body = request.body().map_err(|()| invalid("no body"))?;
        let options = self.options();
        let failed = |code| Error::from_code(&code, &self.method, &self.url);
        let answer = outgoing_handler::handle(request, Some(options)).map_err(failed)?;
        write_body(body, length, from).map_err(|error| {
            Error::new("InternalError", format!("its body could not be read: {error}"), &self.method, &self.url)
        })?;
        answer.subscribe().block();
        match answer.get() {
            Some(Ok(Ok(response))) => Response::new(response, &self.method, &self.url),
            Some(Ok(Err(code))) => Err(failed(code)),
            None | Some(Err(())) => Err(Error::new("InternalError", "no answer was ready", &self.method, &self.url)),
        }
    }

    fn outgoing(&self, length: u64, invalid: &dyn Fn(&str) -> Error) -> Result<OutgoingRequest, Error> {
        let (scheme, authority, path) = split_url(&self.url).ok_or_else(|| invalid("expected http:// or https://"))?;
        let headers = Fields::new();
        for (name, value) in &self.headers {
            headers.append(name, value.as_bytes()).map_err(|error| invalid(&format!("header {name}: {error}")))?;
        }
        if length > 0 {
            let length = length.to_string().into_bytes();
            headers.append("content-length", &length).map_err(|error| invalid(&format!("content-length: {error}")))?;
        }
        let request = OutgoingRequest::new(headers);
        request.set_method(&method(&self.method)).map_err(|()| invalid("method"))?;
        request.set_scheme(Some(&scheme)).map_err(|()| invalid("scheme"))?;
        request.set_authority(Some(authority)).map_err(|()| invalid("host"))?;
        request.set_path_with_query(Some(&path)).map_err(|()| invalid("path"))?;
        Ok(request)
    }

    fn options(&self) -> RequestOptions {
        let nanos = |timeout: Option<Duration>| timeout.map(|t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
        let options = RequestOptions::new();
        // A host may not know an option; the attempt's time limit holds all the same.
        let _ = options.set_connect_timeout(nanos(self.connect_timeout));
        let _ = options.set_first_byte_timeout(nanos(self.first_byte_timeout));
        let _ = options.set_between_bytes_timeout(nanos(self.between_bytes_timeout));
        options
    }
}

/// Errors of writing are left alone: a target may answer before it has read everything, and the answer tells more than a broken
/// pipe. One of reading leaves the body unfinished, which breaks the request off.
fn write_body(body: OutgoingBody, length: u64, from: &mut dyn Read) -> io::Result<()> {
    // The most that `blocking-write-and-flush` takes at once.
    const CHUNK: usize = 4096;
    if length > 0
        && let Ok(stream) = body.write()
    {
        let mut chunk = [0; CHUNK];
        loop {
            let read = from.read(&mut chunk)?;
            if read == 0 || stream.blocking_write_and_flush(&chunk[..read]).is_err() {
                break;
            }
        }
    }
    let _ = OutgoingBody::finish(body, None);
    Ok(())
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

/// Scheme, authority, path with query; the fragment is not sent.
fn split_url(url: &str) -> Option<(Scheme, &str, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let rest = rest.split('#').next().unwrap_or(rest);
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() {
        return None;
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Some((scheme, authority, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split() {
        let parts = |url| split_url(url).map(|(_, authority, path)| (authority.to_owned(), path));
        let owned = |a: &str, p: &str| Some((a.to_owned(), p.to_owned()));
        assert_eq!(parts("http://h:81/a?b=c#d"), owned("h:81", "/a?b=c"));
        assert_eq!(parts("https://h?x"), owned("h", "/?x"));
        assert_eq!(parts("HTTP://[::1]:80"), owned("[::1]:80", "/"));
        assert_eq!(parts("ftp://h/"), None);
        assert_eq!(parts("h/a"), None);
        assert_eq!(parts("http:///a"), None);
    }
}
