//! How a command ends when it does not end well: what to say, and the exit code (docs/cli.md).

use std::fmt::Display;
use std::process::ExitCode;

use super::show::{harmless, say_json};
use crate::error::{Error, Problem};

/// It ran, and the answer is bad: a run dead, a check failed.
pub const BAD: u8 = 1;
/// Wrong use or bad input.
pub const WRONG: u8 = 2;
/// No server, or no permission.
pub const NO_SERVER: u8 = 3;
/// The time for waiting was over.
pub const TIMED_OUT: u8 = 4;

pub type Done<T = ()> = Result<T, Stop>;

/// Why a command stops.
#[derive(Debug)]
pub struct Stop {
    code: u8,
    lines: Vec<String>,
    problems: Vec<Problem>,
    /// What was named is not there.
    missing: bool,
}

impl Stop {
    pub fn new(code: u8, line: impl Display) -> Self {
        Self { lines: vec![line.to_string()], ..Self::silent(code) }
    }

    /// Said already, on stdout.
    pub fn silent(code: u8) -> Self {
        Self { code, lines: Vec::new(), problems: Vec::new(), missing: false }
    }

    pub fn problems(problems: &[Problem]) -> Self {
        let lines = problems.iter().map(ToString::to_string).collect();
        Self { lines, problems: problems.to_vec(), ..Self::silent(WRONG) }
    }

    /// The server knows nothing of that name.
    pub fn missing(line: impl Display) -> Self {
        Self { missing: true, ..Self::new(WRONG, line) }
    }

    pub fn is_missing(&self) -> bool {
        self.missing
    }

    pub fn code(&self) -> u8 {
        self.code
    }

    /// What there is to say, one problem a line.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// Says it, one problem a line; `json`: also on stdout, for programs.
    pub fn exit(&self, json: bool) -> ExitCode {
        if json && !self.lines.is_empty() {
            // Nobody is left to tell when this fails.
            let _ = say_json(&serde_json::json!({ "detail": self.lines.join("\n"), "errors": self.problems }));
        }
        for line in &self.lines {
            eprintln!("{}", harmless(line));
        }
        ExitCode::from(self.code)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(problems) => Self::problems(&problems),
            Error::NotFound(text) => Self::new(WRONG, text),
            Error::Unauthorized(text) | Error::Forbidden(text) | Error::Unavailable(text) => Self::new(NO_SERVER, text),
            Error::Conflict(text) | Error::TooMany(text) => Self::new(BAD, text),
            Error::Internal(cause) => Self::new(BAD, format!("{cause:#}")),
        }
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        // `windlass run list | head`: whoever reads has enough.
        if error.kind() == std::io::ErrorKind::BrokenPipe { Self::silent(0) } else { Self::new(BAD, error) }
    }
}

impl From<serde_json::Error> for Stop {
    fn from(error: serde_json::Error) -> Self {
        Self::new(BAD, format!("the server's answer is not what this version expects: {error}"))
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => error.into(),
            Err(error) => Self::new(BAD, format!("{error:#}")),
        }
    }
}
