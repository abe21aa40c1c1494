//! A run's log: the last lines on its page, new ones as they come, and the whole as text.

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::clock::Timestamp;
use crate::domain::log::Level;
use crate::error::Result;
use crate::id::Id;
use crate::store::log::Numbered;
use crate::web::Web;
use crate::web::dashboard::tenant::need;
use crate::web::session::Session;

/// Lines on the page.
pub const LINES: usize = 500;

pub struct LineRow {
    pub attempt: u32,
    pub number: u64,
    pub at: Timestamp,
    pub level: &'static str,
    pub text: String,
    pub fields: Vec<(String, String)>,
}

impl LineRow {
    pub fn class(&self) -> &'static str {
        match self.level {
            "error" => "e",
            "warn" => "w",
            "debug" | "trace" => "d",
            _ => "",
        }
    }
}

impl From<Numbered> for LineRow {
    fn from(Numbered { attempt, number, line }: Numbered) -> Self {
        Self { attempt, number, at: line.at, level: word(line.level), text: line.message, fields: line.fields }
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// `2.418`: after line 418 of attempt 2.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct After {
    pub after: Option<String>,
    pub done: Option<String>,
    /// Which items are shown.
    pub items: Option<String>,
    /// Those behind this place.
    pub item: Option<u64>,
}

impl After {
    pub fn place(&self) -> (u32, u64) {
        let parsed = self.after.as_deref().and_then(|after| after.split_once('.'));
        parsed.and_then(|(attempt, line)| Some((attempt.parse().ok()?, line.parse().ok()?))).unwrap_or((0, 0))
    }
}

/// The whole log as plain text, never as a page.
pub async fn text(State(web): State<Web>, session: Session, Path((tenant, run)): Path<(String, String)>) -> Result<Response> {
    let run: Id = run.parse()?;
    let mut tx = web.app.store.read().await?;
    let owner = need(&mut tx, &session, &tenant).await?;
    let run = tx.need_run(owner.id, run).await?;
    let (lines, dropped) = tx.log_of(owner.id, run.id, 0, 0).await?;
    let mut text = String::new();
    for Numbered { attempt, number, line } in lines {
        text.push_str(&format!("{attempt}.{number} {} {:5} {}", line.at.rfc3339(), word(line.level), line.message));
        for (key, value) in line.fields {
            text.push_str(&format!(" {key}={value}"));
        }
        text.push('\n');
    }
    if dropped > 0 {
        text.push_str(&format!("({dropped} lines of the last attempt were dropped)\n"));
    }
    let name =
        HeaderValue::from_str(&format!("inline; filename=\"{}.log\"", run.id)).unwrap_or(HeaderValue::from_static("inline"));
    let mut response = (StatusCode::OK, text).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_DISPOSITION, name);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_log_is_an_attempt_and_a_line() {
        let at = |after: &str| After { after: Some(after.into()), ..After::default() }.place();
        assert_eq!([at("2.418"), at(""), at("x.1"), at("1")], [(2, 418), (0, 0), (0, 0), (0, 0)]);
    }
}
