//! Once more, for what may pass by itself.

use std::time::Duration;

use super::{Error, Request, Response};
use crate::{control, log, now_ms};

/// The first pause, and the longest that is not the target's own wish.
const BASE_MS: u64 = 1_000;
const CAP_MS: u64 = 30_000;

pub fn send(request: &Request) -> Result<Response, Error> {
    let mut tried = 1;
    loop {
        let answered = request.send_once();
        let Some(pause) = pause(request.is_idempotent(), &answered, tried, now_ms()) else { return answered };
        if tried >= request.tries || pause >= control::remaining_ms() {
            return answered;
        }
        let why = match &answered {
            Ok(response) => format!("HTTP {}", response.status),
            Err(error) => error.to_string(),
        };
        log::info!(pause_ms = pause, tried = tried; "a request is tried again: {why}");
        if !control::sleep(Duration::from_millis(pause)) {
            return answered;
        }
        tried += 1;
    }
}

/// Milliseconds until it is worth another try; `None` when it is not.
fn pause(idempotent: bool, answered: &Result<Response, Error>, tried: u32, now_ms: u64) -> Option<u64> {
    let wish = match answered {
        Ok(response) if idempotent && passes(response.status) => response.retry_after_ms(now_ms),
        Err(error) if !error.is_refused() && (idempotent || !error.may_have_been_sent()) => error.retry_after_ms(),
        _ => return None,
    };
    Some(wish.unwrap_or_else(|| backoff(tried)))
}

/// Whether an answer of this status may be another one soon.
pub fn passes(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

fn backoff(tried: u32) -> u64 {
    BASE_MS.saturating_mul(1 << tried.saturating_sub(1).min(16)).min(CAP_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, detail: &str) -> Result<Response, Error> {
        Err(Error::new(code, detail, "GET", "http://a/"))
    }

    #[test]
    fn pauses_double_up_to_their_cap() {
        assert_eq!([1, 2, 3, 4, 9].map(backoff), [1_000, 2_000, 4_000, 8_000, 30_000]);
    }

    #[test]
    fn only_what_may_be_sent_twice_is() {
        assert_eq!(pause(true, &error("ConnectionReadTimeout", ""), 1, 0), Some(1_000));
        assert_eq!(pause(false, &error("ConnectionReadTimeout", ""), 1, 0), None);
        assert_eq!(pause(false, &error("ConnectionRefused", ""), 2, 0), Some(2_000));
        assert_eq!(pause(true, &error("HttpRequestDenied", ""), 1, 0), None);
    }

    #[test]
    fn a_circuit_that_is_open_says_when_it_is_worth_a_try() {
        let open = error("CircuitOpen", "circuit open: http://a failed 3 times in a row; try again in 12345 ms");
        assert_eq!(pause(false, &open, 1, 0), Some(12_345));
    }

    #[test]
    fn statuses_that_pass_are_few() {
        assert!([408, 429, 500, 502, 503, 504].into_iter().all(passes));
        assert!(![200, 301, 400, 401, 403, 404, 409, 422, 501, 505].into_iter().any(passes));
    }
}
