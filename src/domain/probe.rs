//! The ways to measure a backlog: which keys of a backlog trigger belong to each, and what they say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json_path::JsonPath;

use super::origin::Scheme;
use super::plugin::is_name;
use super::trigger::BacklogSpec;

mod address;

pub use address::{Address, Ssl};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// The plugin's own `backlog` export.
    Plugin,
    /// A number in a JSON answer.
    Http,
    Sql,
    Redis,
    Rabbitmq,
    Nats,
    Prometheus,
    /// Waiting runs of another job of the tenant.
    Queue,
}

impl ProbeKind {
    pub const ALL: [Self; 8] =
        [Self::Plugin, Self::Http, Self::Sql, Self::Redis, Self::Rabbitmq, Self::Nats, Self::Prometheus, Self::Queue];

    /// As in a tenant file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Http => "http",
            Self::Sql => "sql",
            Self::Redis => "redis",
            Self::Rabbitmq => "rabbitmq",
            Self::Nats => "nats",
            Self::Prometheus => "prometheus",
            Self::Queue => "queue",
        }
    }

    /// Keys that it needs, each with an example, and keys that it may have.
    fn keys(self) -> (&'static [(&'static str, &'static str)], &'static [&'static str]) {
        match self {
            Self::Plugin => (&[], &[]),
            Self::Http => {
                (&[("url", "https://api.example.org/queue"), ("path", "$.queue.length")], &["age", "headers", "header", "secret"])
            }
            Self::Sql => {
                (&[("url", "postgres://reader@db.example.org/shop"), ("query", "SELECT count(*) FROM task")], &["secret"])
            }
            Self::Redis => (&[("url", "redis://queue.example.org/0")], &["key", "stream", "group", "secret"]),
            Self::Rabbitmq => (&[("url", "amqp://reader@queue.example.org"), ("queue", "tasks")], &["secret"]),
            Self::Nats => {
                (&[("url", "nats://reader@queue.example.org"), ("stream", "TASKS"), ("consumer", "worker")], &["secret"])
            }
            Self::Prometheus => {
                (&[("url", "https://prometheus.example.org"), ("query", "sum(queue_length)")], &["headers", "header", "secret"])
            }
            Self::Queue => (&[("job", "import")], &[]),
        }
    }

    fn has(self, key: &str) -> bool {
        let (needs, may) = self.keys();
        needs.iter().any(|(needed, _)| *needed == key) || may.contains(&key)
    }

    fn schemes(self) -> &'static [Scheme] {
        match self {
            Self::Plugin | Self::Queue => &[],
            Self::Http | Self::Prometheus => &[Scheme::Https, Scheme::Http],
            Self::Sql => &[Scheme::Postgres, Scheme::Mysql],
            Self::Redis => &[Scheme::Redis, Scheme::Rediss],
            Self::Rabbitmq => &[Scheme::Amqp, Scheme::Amqps],
            Self::Nats => &[Scheme::Nats, Scheme::Tls],
        }
    }
}

/// What a backlog trigger measures: the keys of its kind, checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Plugin,
    Queue {
        job: String,
    },
    Away(Away),
    /// A file of this machine that windlass.toml names.
    Sqlite {
        file: String,
        query: String,
    },
}

/// A measurement over the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Away {
    pub kind: ProbeKind,
    pub at: Address,
    /// Of the tenant's secrets: the password, or the value of `header`.
    pub secret: Option<String>,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Http { path: String, age: Option<String>, head: Head },
    Prometheus { query: String, head: Head },
    Sql { query: String },
    List { key: String },
    Stream { stream: String, group: Option<String> },
    Rabbitmq { queue: String },
    Nats { stream: String, consumer: String },
}

/// Headers of a request; `secret` has the value of the one that is no public matter.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub headers: BTreeMap<String, String>,
    pub header: String,
}

/// A key, and what is wrong with it.
type Wrong = (&'static str, String);

impl Source {
    /// # Errors
    /// All that is wrong, each with its key.
    pub fn of(spec: &BacklogSpec) -> Result<Self, Vec<Wrong>> {
        let kind = spec.probe;
        let mut wrong: Vec<Wrong> = given(spec).into_iter().filter(|key| !kind.has(key)).map(|key| foreign(kind, key)).collect();
        let (needs, _) = kind.keys();
        let present = given(spec);
        for (key, example) in needs.iter().filter(|(key, _)| !present.contains(key)) {
            wrong.push((*key, format!("is missing, and probe = {:?} needs it, as in {key} = {example:?}", kind.word())));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Self::made(spec).map_err(|wrong| vec![wrong])
    }

    /// All keys that the kind needs are there.
    fn made(spec: &BacklogSpec) -> Result<Self, Wrong> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (kind, url, query) = (spec.probe, text(&spec.url), text(&spec.query));
        if kind == ProbeKind::Queue {
            let job = text(&spec.job);
            let wrong = || ("job", format!("{job:?} is no name of a job; write a-z, 0-9 and -, beginning with a letter"));
            return if is_name(&job) { Ok(Self::Queue { job }) } else { Err(wrong()) };
        }
        if kind == ProbeKind::Plugin {
            return Ok(Self::Plugin);
        }
        if let Some(name) = spec.secret.as_ref().filter(|name| !is_name(name)) {
            return Err(("secret", format!("{name:?} is no name of a secret; write a-z, 0-9 and -, beginning with a letter")));
        }
        if let Some(file) = sqlite_file(&url).filter(|_| kind == ProbeKind::Sql) {
            if spec.secret.is_some() {
                return Err(("secret", "a file has no password; leave it out".into()));
            }
            return Ok(Self::Sqlite { file: file.to_owned(), query: one_select(query)? });
        }
        let at = Address::parse(kind, &url)?;
        let what = match kind {
            ProbeKind::Http => What::Http {
                path: json_path("path", text(&spec.path))?,
                age: spec.age.clone().map(|age| json_path("age", age)).transpose()?,
                head: Head::of(spec)?,
            },
            ProbeKind::Prometheus => What::Prometheus { query, head: Head::of(spec)? },
            ProbeKind::Sql => What::Sql { query: one_select(query)? },
            ProbeKind::Redis => in_redis(spec, &at)?,
            ProbeKind::Rabbitmq => What::Rabbitmq { queue: text(&spec.queue) },
            _ => What::Nats {
                stream: subject("stream", text(&spec.stream))?,
                consumer: subject("consumer", text(&spec.consumer))?,
            },
        };
        Ok(Self::Away(Away { kind, at, secret: spec.secret.clone(), what }))
    }
}

/// The file that `sqlite:/srv/shop.db` names, in a probe's URL and in a ceiling.
pub fn sqlite_file(url: &str) -> Option<&str> {
    url.strip_prefix("sqlite:").map(|file| file.strip_prefix("//").unwrap_or(file))
}

/// The keys of this trigger that belong to a kind of probe.
fn given(spec: &BacklogSpec) -> Vec<&'static str> {
    let keys = [
        ("url", spec.url.is_some()),
        ("path", spec.path.is_some()),
        ("age", spec.age.is_some()),
        ("headers", spec.headers.is_some()),
        ("header", spec.header.is_some()),
        ("secret", spec.secret.is_some()),
        ("query", spec.query.is_some()),
        ("key", spec.key.is_some()),
        ("stream", spec.stream.is_some()),
        ("group", spec.group.is_some()),
        ("queue", spec.queue.is_some()),
        ("consumer", spec.consumer.is_some()),
        ("job", spec.job.is_some()),
    ];
    keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
}

fn foreign(kind: ProbeKind, key: &'static str) -> Wrong {
    let owners: Vec<String> =
        ProbeKind::ALL.into_iter().filter(|other| other.has(key)).map(|other| format!("{:?}", other.word())).collect();
    (key, format!("belongs to probe = {}, not to {:?}; leave it out", owners.join(" or "), kind.word()))
}

fn in_redis(spec: &BacklogSpec, at: &Address) -> Result<What, Wrong> {
    if !at.path.is_empty() && at.path.parse::<u32>().is_err() {
        return Err(("url", format!("{:?} is no number of a database; write it as in \"redis://host/0\"", at.path)));
    }
    match (&spec.key, &spec.stream, &spec.group) {
        (Some(key), None, None) => Ok(What::List { key: key.clone() }),
        (None, Some(stream), group) => Ok(What::Stream { stream: stream.clone(), group: group.clone() }),
        (Some(_), Some(_), _) => Err(("key", "key (a list) and stream are two backlogs; write one of them".into())),
        (Some(_), None, Some(_)) => Err(("group", "a list has no consumer groups; write stream instead of key".into())),
        (None, None, _) => {
            Err(("key", "is missing: write key = \"…\" for a list, or stream = \"…\" and group = \"…\" for a stream".into()))
        }
    }
}

/// Bytes of a JSON path.
const PATH_LIMIT: usize = 256;

/// Bounded in what it may ask for: brackets in brackets take stack, filters below `..` and lists of names take time without end.
fn json_path(key: &'static str, path: String) -> Result<String, Wrong> {
    let count = |what: &str| path.matches(what).count();
    if path.len() > PATH_LIMIT || count("(") > 8 || count(",") > 2 || count("..") + count("?") > 1 {
        let begins: String = path.chars().take(40).collect();
        let right = "write at most 256 bytes with one filter or one \"..\", 2 commas and 8 brackets, as in \"$.queue.length\"";
        return Err((key, format!("\"{begins}…\" asks for too much; {right}")));
    }
    match JsonPath::parse(&path) {
        Ok(_) => Ok(path),
        Err(wrong) => Err((key, format!("{path:?} is no JSON path ({wrong}); write it as in \"$.queue.length\""))),
    }
}

/// Names of NATS stand in subjects, where these have a meaning.
fn subject(key: &'static str, name: String) -> Result<String, Wrong> {
    if name.is_empty() || name.contains(['.', '*', '>', '/', '\\', ' ', '\t', '\n', '\r']) {
        return Err((key, format!("{name:?} is no name in NATS; write it without dots, blanks, slashes, * and >")));
    }
    Ok(name)
}

/// One statement that only reads. The session is one for reading besides; this tells the mistake before it runs.
fn one_select(query: String) -> Result<String, Wrong> {
    let query = query.trim().trim_end_matches(';').trim_end().to_owned();
    let first = query.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default().to_ascii_lowercase();
    if !["select", "with"].contains(&first.as_str()) {
        return Err(("query", "must begin with SELECT or WITH: a probe only reads".into()));
    }
    if query.contains(';') {
        return Err(("query", "has a ; inside: a probe is one statement".into()));
    }
    Ok(query)
}

impl Head {
    fn of(spec: &BacklogSpec) -> Result<Self, Wrong> {
        let headers = spec.headers.clone().unwrap_or_default();
        let is_token = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        for (name, value) in &headers {
            if !is_token(name) || !value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
                return Err((
                    "headers",
                    format!("{name} = {value:?} is no header; write a name of letters and -, and a value in ASCII"),
                ));
            }
            if ["authorization", "cookie", "proxy-authorization"].contains(&name.to_ascii_lowercase().as_str()) {
                return Err((
                    "headers",
                    format!(
                        "{name} is for secrets, which do not stand in a file: set one (windlass secret set), and write secret = \"its-name\" and header = {name:?}"
                    ),
                ));
            }
        }
        let header = spec.header.clone().unwrap_or_else(|| "Authorization".into());
        if !is_token(&header) {
            return Err(("header", format!("{header:?} is no name of a header")));
        }
        if spec.header.is_some() && spec.secret.is_none() {
            return Err((
                "header",
                "is for the value of a secret: write secret = \"its-name\" as well, or headers = { … }".into(),
            ));
        }
        Ok(Self { headers, header })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(toml: &str) -> Result<Source, Vec<String>> {
        let spec: BacklogSpec = toml::from_str(toml).unwrap_or_else(|wrong| panic!("{toml}: {wrong}"));
        Source::of(&spec).map_err(|all| all.into_iter().map(|(key, message)| format!("{key}: {message}")).collect())
    }

    #[test]
    fn each_kind_has_its_keys() {
        for good in [
            "probe = 'plugin'",
            "probe = 'http'\nurl = 'https://a.test/q?x=1'\npath = '$.queue.length'\nage = '$.oldest'\nsecret = 'token'\nheader = 'X-Token'",
            "probe = 'http'\nurl = 'https://a.test/q'\npath = '$[0]'\nheaders = { Accept = 'application/json' }",
            "probe = 'prometheus'\nurl = 'http://127.0.0.1:9090'\nquery = 'up'",
            "probe = 'sql'\nurl = 'postgresql://reader@db.test/shop?sslmode=verify-full'\nquery = 'SELECT 1;'\nsecret = 'pw'",
            "probe = 'sql'\nurl = 'mariadb://reader@db.test:3307/shop'\nquery = 'WITH a AS (SELECT 1) SELECT * FROM a'",
            "probe = 'sql'\nurl = 'sqlite:/srv/x.db'\nquery = 'select 1'",
            "probe = 'redis'\nurl = 'rediss://cache.test/3'\nkey = 'jobs'",
            "probe = 'redis'\nurl = 'redis://cache.test'\nstream = 'jobs'\ngroup = 'workers'",
            "probe = 'rabbitmq'\nurl = 'amqp://me@mq.test/%2f'\nqueue = 'tasks'",
            "probe = 'nats'\nurl = 'nats://n.test'\nstream = 'TASKS'\nconsumer = 'worker'",
            "probe = 'queue'\njob = 'import'",
        ] {
            assert!(source(good).is_ok(), "{good}: {:?}", source(good));
        }
    }

    #[test]
    fn a_path_that_asks_for_too_much_is_refused_before_it_is_read() {
        for path in ["$[?".to_owned() + &"(".repeat(100_000), "$..*..*".into(), "$['a','a']['a','a']['a','a']".into()] {
            let wrong = source(&format!("probe = 'http'\nurl = 'http://a.test'\npath = \"{path}\"")).unwrap_err();
            assert!(wrong[0].contains("asks for too much"), "{wrong:?}");
        }
        assert!(source("probe = 'http'\nurl = 'http://a.test'\npath = \"$.queues[?@.name == 'a'].length\"").is_ok());
    }

    #[test]
    fn what_belongs_elsewhere_or_lacks_or_contradicts_is_refused_by_name() {
        for (bad, says) in [
            (
                "probe = 'redis'\nurl = 'redis://a.test'\nkey = 'x'\npath = '$'",
                r#"path: belongs to probe = "http", not to "redis""#,
            ),
            ("probe = 'plugin'\nurl = 'http://a.test'", r#"url: belongs to probe = "http" or "sql" or "redis""#),
            ("probe = 'http'\npath = '$'", r#"url: is missing, and probe = "http" needs it, as in url = "#),
            ("probe = 'http'\nurl = 'http://a.test'\npath = 'queue'", r#"path: "queue" is no JSON path"#),
            (
                "probe = 'http'\nurl = 'ftp://a.test'\npath = '$'",
                r#"url: "ftp://a.test" names no host; write one that begins with https:// or http://"#,
            ),
            ("probe = 'http'\nurl = 'redis://a.test'\npath = '$'", r#"nothing that probe = "http" can ask"#),
            ("probe = 'http'\nurl = 'http://me:pw@a.test'\npath = '$'", "url: has a password in it"),
            ("probe = 'http'\nurl = 'http://me@a.test'\npath = '$'", "url: has a user in it"),
            (
                "probe = 'http'\nurl = 'http://a.test'\npath = '$'\nheaders = { Authorization = 'x' }",
                "headers: Authorization is for secrets",
            ),
            ("probe = 'http'\nurl = 'http://a.test'\npath = '$'\nheader = 'X-Token'", "header: is for the value of a secret"),
            ("probe = 'sql'\nurl = 'postgres://me:pw@a.test/x'\nquery = 'select 1'", "url: has a password in it"),
            ("probe = 'sql'\nurl = 'postgres://a.test/x'\nquery = 'select 1'", "lacks user or database"),
            ("probe = 'sql'\nurl = 'postgres://me@a.test/x?options=-c'\nquery = 'select 1'", "?options=-c is not possible"),
            ("probe = 'sql'\nurl = 'postgres://me@a.test/x'\nquery = 'DELETE FROM task'", "query: must begin with SELECT"),
            ("probe = 'sql'\nurl = 'sqlite:/x'\nquery = \"SELECT 1; ATTACH 'y' AS y\"", "query: has a ; inside"),
            ("probe = 'sql'\nurl = 'sqlite:/x'\nquery = 'SELECT 1'\nsecret = 'pw'", "secret: a file has no password"),
            ("probe = 'redis'\nurl = 'redis://a.test'", "key: is missing: write key"),
            ("probe = 'redis'\nurl = 'redis://a.test'\nkey = 'a'\nstream = 'b'", "key: key (a list) and stream are two backlogs"),
            ("probe = 'redis'\nurl = 'redis://a.test'\nkey = 'a'\ngroup = 'b'", "group: a list has no consumer groups"),
            ("probe = 'redis'\nurl = 'redis://a.test/zero'\nkey = 'a'", r#"url: "zero" is no number of a database"#),
            ("probe = 'nats'\nurl = 'nats://a.test'\nstream = 'a.b'\nconsumer = 'c'", "stream: \"a.b\" is no name in NATS"),
            ("probe = 'queue'\njob = 'Import'", "job: \"Import\" is no name"),
            ("probe = 'rabbitmq'\nurl = 'amqp://a.test'\nqueue = 'q'\nsecret = 'No name'", "secret: \"No name\" is no name"),
        ] {
            let wrong = source(bad).expect_err(bad);
            assert!(wrong.iter().any(|wrong| wrong.contains(says)), "{bad}: {wrong:?}");
        }
    }
}
