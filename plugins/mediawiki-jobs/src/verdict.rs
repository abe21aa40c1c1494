//! What an answer that is not the one hoped for comes to. README.md shows this as a table.

use windlass_plugin::Failure;
use windlass_plugin::http::{Response, parse_date};
use windlass_plugin::text::quote;

use crate::plan::REST_MS;

/// How much of a target's own words a message quotes.
pub const QUOTED: usize = 500;
/// An answer of 503 that took so long comes from a proxy that gave up waiting for the wiki.
const GAVE_UP_MS: u64 = 5_000;
/// Clocks further apart than this are worth a word when a signature is refused.
const SKEW_MS: u64 = 30_000;

/// What the head of an answer says beside its status.
#[derive(Debug, Clone, Default)]
pub struct Head {
    pub status: u16,
    pub content_type: String,
    pub location: Option<String>,
    pub api_error: Option<String>,
    pub retry_after_ms: Option<u64>,
    /// How far the wiki's clock is ahead of ours.
    pub clock_ahead_ms: Option<i64>,
}

impl Head {
    pub fn of(response: &Response, now_ms: u64) -> Self {
        let header = |name: &str| response.header(name).map(str::to_owned);
        let date = response.header("date").and_then(parse_date);
        Self {
            status: response.status,
            content_type: header("content-type").unwrap_or_else(|| "no content type".to_owned()),
            location: header("location"),
            api_error: header("mediawiki-api-error"),
            retry_after_ms: response.retry_after_ms(now_ms),
            clock_ahead_ms: date.and_then(|date| i64::try_from(i128::from(date) - i128::from(now_ms)).ok()),
        }
    }
}

/// The failure of a request that was answered with anything but 200.
pub fn of_status(head: &Head, body: &str, doing: &str) -> Failure {
    let said = quote(body, QUOTED);
    let failure = match head.status {
        423 => Failure::snooze(REST_MS, format!("{doing}: the wiki is read-only (423): {said}")),
        408 | 425 | 429 | 500..=599 => Failure::transient(format!("{doing}: HTTP {}: {said}", head.status)),
        300..=399 => {
            let to = head.location.as_deref().unwrap_or("an address it does not give");
            Failure::permanent(format!("{doing}: HTTP {} redirects to {to}: give the final address in the config", head.status))
        }
        // Asked for with async=0; whoever answers 202 works on without telling how it ends.
        202 => Failure::permanent(format!("{doing}: HTTP 202: the work was accepted but its result is not told: {said}")),
        status => Failure::permanent(format!("{doing}: HTTP {status}: {said}")),
    };
    let failure = failure.extra("status", head.status.to_string());
    match head.retry_after_ms {
        Some(delay_ms) => failure.after(delay_ms),
        None => failure,
    }
}

/// The same for a signed request, which can fail for the secret or for the clock.
pub fn of_signed_status(head: &Head, body: &str, doing: &str, secret: &str) -> Failure {
    if head.status != 400 || !body.to_lowercase().contains("signature") {
        return of_status(head, body, doing);
    }
    let clock = match head.clock_ahead_ms {
        Some(ahead) if ahead.unsigned_abs() > SKEW_MS => {
            let way = if ahead > 0 { "ahead of" } else { "behind" };
            format!("its clock is {} s {way} ours", ahead.unsigned_abs() / 1000)
        }
        Some(_) => "the clocks agree".to_owned(),
        None => "compare the clocks of both machines".to_owned(),
    };
    let message = format!(
        "{doing}: the wiki refuses the signature: secret \"{secret}\" must be its $wgSecretKey; {clock}. HTTP 400: {}",
        quote(body, QUOTED)
    );
    Failure::permanent(message).extra("status", "400").extra("secret", secret)
}

/// The wiki itself has answered, so nothing of this request runs there any more. A proxy's answer does not tell that.
pub fn ends_the_drain(status: u16, took_ms: u64) -> bool {
    match status {
        202 | 502 | 504 => false,
        503 => took_ms < GAVE_UP_MS,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use windlass_plugin::Class;

    use super::*;

    fn head(status: u16) -> Head {
        Head { status, content_type: "text/html".into(), ..Head::default() }
    }

    #[test]
    fn classes_by_status() {
        let class = |status| of_status(&head(status), "x", "draining").class();
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(class(status), Class::Transient, "{status}");
        }
        for status in [202, 204, 301, 400, 401, 403, 404, 405, 422] {
            assert_eq!(class(status), Class::Permanent, "{status}");
        }
        assert_eq!(class(423), Class::Snooze);
    }

    #[test]
    fn retry_after_is_honoured() {
        let head = Head { retry_after_ms: Some(5_000), ..head(503) };
        assert_eq!(of_status(&head, "", "draining").delay_ms(), Some(5_000));
        let rest = Head { retry_after_ms: Some(90_000), ..Head { status: 423, ..head.clone() } };
        assert_eq!(of_status(&rest, "", "draining").delay_ms(), Some(90_000));
        assert_eq!(of_status(&Head { status: 423, ..Head::default() }, "", "draining").delay_ms(), Some(30_000));
    }

    #[test]
    fn a_refused_signature_names_the_secret_and_the_clock() {
        let body = "<h1>Invalid or stale signature</h1>";
        let ahead = Head { clock_ahead_ms: Some(95_000), ..head(400) };
        let failure = of_signed_status(&ahead, body, "draining", "wiki-key");
        assert_eq!(failure.class(), Class::Permanent);
        for words in ["\"wiki-key\"", "$wgSecretKey", "95 s ahead of ours", "Invalid or stale signature"] {
            assert!(failure.message().contains(words), "{failure}");
        }
        let other = of_signed_status(&ahead, "Invalid parameters", "draining", "wiki-key");
        assert!(!other.message().contains("wiki-key"), "{other}");
    }

    #[test]
    fn messages_quote_five_hundred_characters() {
        let failure = of_status(&head(404), &"ä".repeat(2_000), "draining");
        assert_eq!(failure.message().matches('ä').count(), 500);
    }

    #[test]
    fn a_redirect_says_where_to() {
        let head = Head { location: Some("https://wiki/w/index.php".into()), ..head(301) };
        assert!(of_status(&head, "", "draining").message().contains("https://wiki/w/index.php"));
    }

    #[test]
    fn only_the_wiki_itself_can_say_that_it_stopped() {
        for (status, took_ms, ended) in [(200, 1, true), (400, 1, true), (500, 9_000, true), (503, 10, true)] {
            assert_eq!(ends_the_drain(status, took_ms), ended, "{status}");
        }
        for (status, took_ms) in [(202, 1), (502, 1), (504, 1), (503, 5_000)] {
            assert!(!ends_the_drain(status, took_ms), "{status}");
        }
    }
}
