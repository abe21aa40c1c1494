//! One error type with the few kinds a caller can act on. A failed run is data ([`crate::domain::attempt::Outcome`]), not an error.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about it decides the kind; the message says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be carried out as it stands: which fields are wrong, and what would be right.
    #[error("{}", Listed(.0))]
    Invalid(Vec<Problem>),
    /// Nothing of that name here, or in another tenant: both look the same on purpose.
    #[error("{0}")]
    NotFound(String),
    /// It clashes with what is there (another body under the same key, a name taken, a final run).
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Unauthorized(String),
    #[error("{0}")]
    Forbidden(String),
    /// A limit of the tenant is reached: later there may be room.
    #[error("{0}")]
    TooMany(String),
    /// Not now: try again later (shutting down, a statement's time limit, the database is away).
    #[error("{0}")]
    Unavailable(String),
    /// Our fault: logged with its cause, shown with the request's id only.
    #[error("{0:#}")]
    Internal(anyhow::Error),
}

/// One thing that is wrong with what somebody gave us.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// The file, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// 1-based.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<usize>,
    /// Dotted path, as in `job[0].retry.attempts`; empty for the whole.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { file: None, line: None, field: field.into(), message: message.into() }
    }
}

/// ` (did you mean "x"?)` when one of the words is near to what was written, else nothing.
pub fn did_you_mean<'a>(written: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    let near = |word: &str| strsim::damerau_levenshtein(&written.to_lowercase(), &word.to_lowercase());
    let nearest = words.into_iter().min_by_key(|word| near(word));
    match nearest.filter(|word| near(word) <= (written.len() / 3).clamp(1, 3)) {
        Some(word) => format!(" (did you mean {word:?}?)"),
        None => String::new(),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        if self.field.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.field, self.message) }
    }
}

struct Listed<'a>(&'a [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl Error {
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Problem::new(field, message)])
    }

    /// `what` as in "run 01KASV7Q2M4T9".
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::NotFound(format!("{what} is not here"))
    }
}

impl From<anyhow::Error> for Error {
    fn from(cause: anyhow::Error) -> Self {
        Self::Internal(cause)
    }
}

impl From<std::io::Error> for Error {
    fn from(cause: std::io::Error) -> Self {
        Self::Internal(cause.into())
    }
}

impl From<serde_json::Error> for Error {
    fn from(cause: serde_json::Error) -> Self {
        Self::Internal(cause.into())
    }
}
