//! Where a connection goes, as grants, ceilings and probes name it.

use std::fmt;

/// What is spoken there, and whether inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
    Postgres,
    Mysql,
    Redis,
    Rediss,
    Amqp,
    Amqps,
    Nats,
    /// NATS inside TLS, as its own tools write it.
    Tls,
}

/// Each with its word and its usual port.
const SCHEMES: [(Scheme, &str, u16); 10] = [
    (Scheme::Http, "http", 80),
    (Scheme::Https, "https", 443),
    (Scheme::Postgres, "postgres", 5432),
    (Scheme::Mysql, "mysql", 3306),
    (Scheme::Redis, "redis", 6379),
    (Scheme::Rediss, "rediss", 6379),
    (Scheme::Amqp, "amqp", 5672),
    (Scheme::Amqps, "amqps", 5671),
    (Scheme::Nats, "nats", 4222),
    (Scheme::Tls, "tls", 4222),
];

impl Scheme {
    fn parse(word: &str) -> Option<Self> {
        let word = match word {
            "postgresql" => "postgres",
            "mariadb" => "mysql",
            word => word,
        };
        SCHEMES.iter().find(|(_, known, _)| *known == word).map(|(scheme, ..)| *scheme)
    }

    pub fn word(self) -> &'static str {
        SCHEMES.iter().find(|(scheme, ..)| *scheme == self).map_or("", |(_, word, _)| word)
    }

    fn port(self) -> u16 {
        SCHEMES.iter().find(|(scheme, ..)| *scheme == self).map_or(0, |(_, _, port)| *port)
    }

    /// From the first byte on.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Rediss | Self::Amqps | Self::Tls)
    }

    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// Scheme, host (exact, or `*.x` for any name below x) and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    pub scheme: Scheme,
    pub host: String,
    pub port: u16,
}

/// As it stands in a tenant file; the port only where it is not the scheme's own.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.word(), self.host)?;
        if self.port == self.scheme.port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Origin {
    /// `scheme://host[:port]` and nothing behind it.
    ///
    /// # Errors
    /// What would be right, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let right = "write scheme and host, as in \"https://api.example.org\" or \"http://127.0.0.1:8091\"";
        let (scheme, rest) = text
            .split_once("://")
            .and_then(|(word, rest)| Some((Scheme::parse(word)?, rest)))
            .ok_or_else(|| format!("{text:?} is no origin: {right}"))?;
        if rest.is_empty() || rest.contains(['/', '?', '#', '@']) {
            return Err(format!("{text:?} is no origin: no path, query or user in it; {right}"));
        }
        let name = rest.strip_prefix("*.").unwrap_or(rest);
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
            || name.is_empty()
            || name.starts_with(['.', ':'])
        {
            return Err(format!(
                "{text:?} is no origin: a \"*.\" may stand before a name, and nothing else in its place; {right}"
            ));
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let number = port.parse().ok().filter(|port| *port > 0);
                (host, number.ok_or_else(|| format!("{port:?} in {text:?} is no port; write 1 to 65535"))?)
            }
            _ => (rest, scheme.port()),
        };
        Ok(Self { scheme, host: host.trim_end_matches('.').to_ascii_lowercase(), port })
    }

    /// Whether `other` (which may have `*.` itself) lies inside this one.
    pub fn covers(&self, other: &Self) -> bool {
        let host =
            match self.host.strip_prefix("*.") {
                Some(parent) => other.host.trim_start_matches("*.").strip_suffix(parent).is_some_and(|below| {
                    below.ends_with('.') && below.len() > 1 || other.host.starts_with("*.") && below.is_empty()
                }),
                None => self.host == other.host,
            };
        host && self.scheme == other.scheme && self.port == other.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_covers_itself_and_a_star_what_is_below() {
        let covers = |a: &str, b: &str| Origin::parse(a).unwrap().covers(&Origin::parse(b).unwrap());
        assert!(covers("http://127.0.0.1:8091", "http://127.0.0.1:8091"));
        assert!(covers("https://*.example.org", "https://a.b.example.org"));
        assert!(covers("https://*.example.org", "https://*.example.org"));
        assert!(covers("https://*.example.org", "https://*.x.example.org"));
        assert!(covers("postgres://db.test", "postgresql://db.test:5432"));
        assert!(!covers("https://*.example.org", "https://example.org"));
        assert!(!covers("https://*.example.org", "https://badexample.org"));
        assert!(!covers("https://*.example.org", "http://a.example.org"));
        assert!(!covers("http://127.0.0.1:8091", "http://127.0.0.1:8092"));
        assert!(!covers("https://a.example.org", "https://*.example.org"));
        assert!(!covers("redis://a.test", "rediss://a.test"));
    }

    #[test]
    fn an_origin_is_written_as_it_is_read() {
        for text in ["https://a.test", "http://a.test:8080", "redis://[::1]", "mysql://127.0.0.1:3307"] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_origin_has_no_path_and_no_user() {
        for wrong in [
            "",
            "127.0.0.1",
            "ftp://x",
            "http://a/b",
            "http://good@evil",
            "http://x:99999",
            "http://x:0",
            "http://*",
            "http://a.*.b",
            "http://*.",
            "http://a b",
        ] {
            assert!(Origin::parse(wrong).is_err(), "{wrong}");
        }
    }
}
