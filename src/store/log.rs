//! What runs leave behind while they run: log lines in deflated chunks, the last progress, HTTP calls.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::sql::{Arg, Sql, args};
use super::tx::Tx;
use crate::domain::log::{Call, Line};
use crate::domain::run::Progress;
use crate::error::Result;
use crate::id::Id;

/// Lines of one attempt, in order; stored as they were taken from the running guest.
#[derive(Debug, Clone)]
pub struct LogChunk {
    pub tenant: Id,
    pub run: Id,
    pub attempt: u32,
    pub seq: u32,
    /// 1-based number of the first line in its attempt.
    pub first_line: u64,
    pub lines: Vec<Line>,
    /// Lines dropped so far, over the whole attempt.
    pub dropped: u64,
    pub calls: Vec<Call>,
}

/// A line with where it stands.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Numbered {
    pub attempt: u32,
    pub number: u64,
    #[serde(flatten)]
    pub line: Line,
}

static APPEND: Sql = Sql::new("INSERT INTO log (tenant, run, attempt, seq, first_line, lines, dropped, chunk) VALUES {8}");
static OF_RUN: Sql = Sql::new(
    "SELECT attempt, first_line, dropped, chunk FROM log WHERE tenant = $1 AND run = $2 AND (attempt > $3 OR (attempt = $3 AND first_line + lines > $4)) ORDER BY attempt, seq",
);
static END: Sql = Sql::new(
    "SELECT CAST(coalesce(max(seq) + 1, 0) AS BIGINT) AS seq, CAST(coalesce(max(first_line + lines), 1) AS BIGINT) AS line FROM log \
     WHERE tenant = $1 AND run = $2 AND attempt = $3",
);
static CALLS: Sql = Sql::new(
    "INSERT INTO http_call (tenant, run, attempt, seq, at, method, url, status, sent_bytes, received_bytes, duration_ms, error, waited_ms, reused, secrets) \
     VALUES {15}",
);
static CALLS_OF: Sql = Sql::new(
    "SELECT attempt, at, method, url, status, sent_bytes, received_bytes, duration_ms, error, waited_ms, reused, secrets FROM http_call \
     WHERE tenant = $1 AND run = $2 ORDER BY attempt DESC, seq DESC LIMIT 200",
);
static PROGRESS: Sql = Sql::new(
    "INSERT INTO progress (tenant, run, done, total, message, at) VALUES {6} ON CONFLICT (tenant, run) DO UPDATE SET done = excluded.done, \
     total = excluded.total, message = excluded.message, at = excluded.at",
);
static PROGRESS_OF: Sql =
    Sql::new("SELECT tenant, run, done, total, message, at FROM progress WHERE (tenant, run) IN (VALUES {2})");

/// Rows of `http_call` are numbered by chunk and place in it, so that no two chunks share a number.
const CALLS_PER_CHUNK: usize = 10_000;

impl Tx {
    /// Appends what gathered in running guests.
    pub async fn append_logs(&mut self, chunks: &[LogChunk]) -> Result<()> {
        let (mut rows, mut calls) = (Vec::new(), Vec::new());
        for chunk in chunks {
            if !chunk.lines.is_empty() || chunk.dropped > 0 {
                rows.push(args![
                    chunk.tenant,
                    chunk.run,
                    chunk.attempt,
                    chunk.seq,
                    chunk.first_line,
                    chunk.lines.len(),
                    chunk.dropped,
                    deflate(&chunk.lines)?
                ]);
            }
            calls.extend(chunk.calls.iter().enumerate().map(|(n, call)| call_row(chunk, n, call)));
        }
        self.exec_rows(&APPEND, rows).await?;
        self.exec_rows(&CALLS, calls).await?;
        Ok(())
    }

    /// Where the log of an attempt goes on: the next chunk, and the number of its first line.
    pub async fn log_end(&mut self, tenant: Id, run: Id, attempt: u32) -> Result<(u32, u64)> {
        self.row(&END, args![tenant, run, attempt]).await?.map_or(Ok((0, 1)), |row| Ok((row.small("seq")?, row.count("line")?)))
    }

    /// Lines of a run from attempt and line on, oldest first, and how many were dropped in its last attempt.
    pub async fn log_of(&mut self, tenant: Id, run: Id, attempt: u32, after_line: u64) -> Result<(Vec<Numbered>, u64)> {
        let (mut lines, mut dropped) = (Vec::new(), 0);
        for row in self.rows(&OF_RUN, args![tenant, run, attempt, after_line]).await? {
            let (of_attempt, first) = (row.small("attempt")?, row.count("first_line")?);
            dropped = row.count("dropped")?;
            for (n, line) in inflate(&row.bytes("chunk")?)?.into_iter().enumerate() {
                let number = first + n as u64;
                if of_attempt > attempt || number > after_line {
                    lines.push(Numbered { attempt: of_attempt, number, line });
                }
            }
        }
        Ok((lines, dropped))
    }

    /// The last 200 requests of a run, newest first, each with its attempt.
    pub async fn calls_of(&mut self, tenant: Id, run: Id) -> Result<Vec<(u32, Call)>> {
        let rows = self.rows(&CALLS_OF, args![tenant, run]).await?;
        rows.iter()
            .map(|row| {
                let call = Call {
                    number: 0,
                    at: row.time("at")?,
                    method: row.text("method")?,
                    url: row.text("url")?,
                    status: row.opt_int("status")?.and_then(|status| u16::try_from(status).ok()),
                    sent_bytes: row.count("sent_bytes")?,
                    received_bytes: row.count("received_bytes")?,
                    duration_ms: row.count("duration_ms")?,
                    error: row.opt_text("error")?,
                    waited_ms: row.count("waited_ms")?,
                    reused: row.count("reused")? != 0,
                    secrets: row.opt_text("secrets")?.iter().flat_map(|names| names.split(' ')).map(str::to_owned).collect(),
                };
                Ok((row.small("attempt")?, call))
            })
            .collect()
    }

    /// The last report of each run: (tenant, run, progress).
    pub async fn put_progress(&mut self, reports: &[(Id, Id, Progress)]) -> Result<()> {
        let rows = reports.iter().map(|(tenant, run, p)| args![*tenant, *run, p.done, p.total, &p.message, p.at]).collect();
        self.exec_rows(&PROGRESS, rows).await?;
        Ok(())
    }

    /// Progress of runs of one tenant, where there is any.
    pub async fn progress_of(&mut self, tenant: Id, runs: &[Id]) -> Result<Vec<(Id, Progress)>> {
        let rows = self.rows_for(&PROGRESS_OF, &runs.iter().map(|run| args![tenant, *run]).collect::<Vec<_>>()).await?;
        rows.iter()
            .map(|row| {
                let total = row.opt_int("total")?.map(i64::cast_unsigned);
                Ok((
                    row.id("run")?,
                    Progress { done: row.count("done")?, total, message: row.text("message")?, at: row.time("at")? },
                ))
            })
            .collect()
    }
}

fn call_row(chunk: &LogChunk, n: usize, call: &Call) -> Vec<Arg> {
    let seq = chunk.seq as usize * CALLS_PER_CHUNK + n;
    args![
        chunk.tenant,
        chunk.run,
        chunk.attempt,
        seq,
        call.at,
        &call.method,
        &call.url,
        call.status.map(i64::from),
        call.sent_bytes,
        call.received_bytes,
        call.duration_ms,
        call.error.clone(),
        call.waited_ms,
        call.reused,
        Some(call.secrets.join(" ")).filter(|names| !names.is_empty())
    ]
}

fn deflate(lines: &[Line]) -> Result<Vec<u8>> {
    let mut out = DeflateEncoder::new(Vec::new(), Compression::fast());
    for line in lines {
        out.write_all(serde_json::to_string(line)?.as_bytes())?;
        out.write_all(b"\n")?;
    }
    Ok(out.finish()?)
}

fn inflate(chunk: &[u8]) -> Result<Vec<Line>> {
    let mut text = String::new();
    DeflateDecoder::new(chunk).read_to_string(&mut text)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
