use wasip2::http::types::{IncomingBody, IncomingResponse, http_error_code};
use wasip2::io::streams::StreamError;

use super::{Error, parse_date};
use crate::{Failure, now_ms};

/// How much of a target's own words a failure quotes, in bytes.
const QUOTED: usize = 500;

/// Whether an answer of this status may be another one later.
fn passes(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// An answer: its head is here, its body still comes.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, Vec<u8>)>,
    // Declared before the answer it belongs to: a resource must not outlive its parent.
    body: IncomingBody,
    _answer: IncomingResponse,
    method: String,
    url: String,
}

impl Response {
    pub(super) fn new(answer: IncomingResponse, method: &str, url: &str) -> Result<Self, Error> {
        let body = answer.consume().map_err(|()| Error::new("InternalError", "the body was taken", method, url))?;
        Ok(Self {
            status: answer.status(),
            headers: answer.headers().entries(),
            body,
            _answer: answer,
            method: method.to_owned(),
            url: url.to_owned(),
        })
    }

    /// The first header of this name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(&found.1).ok()
    }

    /// `Retry-After` as milliseconds from `now_ms`, whether it was written as seconds or as a date.
    pub fn retry_after_ms(&self, now_ms: u64) -> Option<u64> {
        let value = self.header("retry-after")?.trim();
        let seconds = value.parse::<u64>().ok().map(|seconds| seconds.saturating_mul(1000));
        seconds.or_else(|| parse_date(value).map(|at| at.saturating_sub(now_ms)))
    }

    /// The answer, when its status is 200 to 299. Otherwise a failure with the beginning of what the target said: transient for
    /// what may pass by itself (408, 425, 429 and 5xx; after `Retry-After`), else permanent.
    pub fn success(self) -> Result<Self, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let (status, delay) = (self.status, self.retry_after_ms(now_ms()));
        let what = format!("{} {}: HTTP {status}", self.method, self.url);
        let said = self.beginning(QUOTED);
        let failure = if passes(status) { Failure::transient } else { Failure::permanent };
        let failure = failure(format!("{what}: {}", said.trim())).extra("status", status.to_string());
        Err(match delay {
            Some(delay) if passes(status) => failure.after(delay),
            _ => failure,
        })
    }

    /// The whole body; longer than `limit` bytes is an error (`HttpResponseBodySize`).
    pub fn bytes(self, limit: usize) -> Result<Vec<u8>, Error> {
        let bytes = self.read(limit.saturating_add(1))?;
        if bytes.len() > limit {
            let detail = format!("more than {limit} bytes");
            return Err(Error::new("HttpResponseBodySize", detail, &self.method, &self.url));
        }
        Ok(bytes)
    }

    /// The whole body as text; what is not UTF-8 is replaced.
    pub fn text(self, limit: usize) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes(limit)?).into_owned())
    }

    /// At most the first `limit` bytes as text, for messages; an error in the middle ends it.
    pub fn beginning(self, limit: usize) -> String {
        let mut bytes = self.read(limit).unwrap_or_default();
        bytes.truncate(limit);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn read(&self, limit: usize) -> Result<Vec<u8>, Error> {
        const CHUNK: usize = 64 * 1024;
        let failed = |code: &str, why: String| Error::new(code, why, &self.method, &self.url);
        let stream = self.body.stream().map_err(|()| failed("InternalError", "the body was taken".into()))?;
        let mut bytes = Vec::new();
        while bytes.len() < limit {
            let want = (limit - bytes.len()).min(CHUNK);
            match stream.blocking_read(want as u64) {
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                Err(StreamError::Closed) => break,
                Err(StreamError::LastOperationFailed(error)) => {
                    return Err(match http_error_code(&error) {
                        Some(code) => Error::from_code(&code, &self.method, &self.url),
                        None => failed("InternalError", error.to_debug_string()),
                    });
                }
            }
        }
        Ok(bytes)
    }
}
