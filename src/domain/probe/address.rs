//! The URL of what is measured, taken apart; a password in it is refused.

use super::{ProbeKind, Wrong};
use crate::domain::origin::Origin;

/// A URL without a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// As it was written.
    pub url: String,
    pub origin: Origin,
    pub user: Option<String>,
    /// What stands behind the host's `/`, decoded.
    pub path: String,
    /// TLS where the protocol begins without it.
    pub ssl: Ssl,
}

/// `?sslmode=` of a database's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ssl {
    /// When the server has it.
    Prefer,
    Disable,
    Require,
    /// And the certificate must be the host's.
    VerifyFull,
}

impl Address {
    /// # Errors
    /// What is wrong with `url`, for a person.
    pub(super) fn parse(kind: ProbeKind, url: &str) -> Result<Self, Wrong> {
        let wrong = |message: String| ("url", message);
        let schemes: Vec<String> = kind.schemes().iter().map(|scheme| format!("{}://", scheme.word())).collect();
        let right = format!("write one that begins with {}", schemes.join(" or "));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong(format!("{url:?} is no URL; {right}")))?;
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        if user.is_some_and(|user| user.contains(':')) {
            return Err(wrong(
                "has a password in it, and those do not stand in a file: set it as a secret (windlass secret set), and write secret = \"its-name\""
                    .into(),
            ));
        }
        let origin =
            Origin::parse(&format!("{scheme}://{host}")).map_err(|_| wrong(format!("{url:?} names no host; {right}")))?;
        if !kind.schemes().contains(&origin.scheme) || origin.host.starts_with("*.") {
            return Err(wrong(format!("{url:?} is nothing that probe = {:?} can ask; {right}", kind.word())));
        }
        if origin.scheme.is_http() {
            if user.is_some() {
                return Err(wrong(
                    "has a user in it: write secret = \"its-name\", whose value is the Authorization header".into(),
                ));
            }
            // The rest is the server's to understand.
            return Ok(Self { url: url.to_owned(), origin, user: None, path: rest.to_owned(), ssl: Ssl::Prefer });
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let ssl = match (query, kind) {
            ("", _) => Ssl::Prefer,
            ("sslmode=disable", ProbeKind::Sql) => Ssl::Disable,
            ("sslmode=require", ProbeKind::Sql) => Ssl::Require,
            ("sslmode=verify-full", ProbeKind::Sql) => Ssl::VerifyFull,
            (_, ProbeKind::Sql) => {
                return Err(wrong(format!(
                    "?{query} is not possible; write ?sslmode=disable, require or verify-full, or nothing"
                )));
            }
            _ => return Err(wrong(format!("?{query} is not possible here; leave it out"))),
        };
        let decoded = |text: &str| decoded(text).ok_or_else(|| wrong(format!("{text:?} is not percent-encoded as it should be")));
        let user = user.map(decoded).transpose()?;
        let path = decoded(path.trim_start_matches('/'))?;
        if kind == ProbeKind::Sql && (user.is_none() || path.is_empty()) {
            return Err(wrong(format!(
                "{url:?} lacks user or database; write it as in \"{}://reader@host/database\"",
                origin.scheme.word()
            )));
        }
        Ok(Self { url: url.to_owned(), origin, user, path, ssl })
    }
}

/// Without its percent signs.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let of = |kind, url| Address::parse(kind, url).unwrap();
        let at = of(ProbeKind::Rabbitmq, "amqps://an%40n@mq.test/%2Fv");
        assert_eq!((at.user.as_deref(), at.path.as_str()), (Some("an@n"), "/v"));
        assert_eq!(at.origin.to_string(), "amqps://mq.test");
        let at = of(ProbeKind::Sql, "postgresql://me@[::1]:5433/shop?sslmode=verify-full");
        assert_eq!(
            (at.origin.to_string().as_str(), at.path.as_str(), at.ssl),
            ("postgres://[::1]:5433", "shop", Ssl::VerifyFull)
        );
        assert!(Address::parse(ProbeKind::Redis, "redis://a.test/%4").is_err());
    }
}
