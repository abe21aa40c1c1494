//! The film that is read: over HTTP, piece by piece where its server can do that, else as a whole; or what another run left.

use std::time::Duration;

use windlass_plugin::artifacts;
use windlass_plugin::http::{self, Response};
use windlass_plugin::text::{cut, quote};
use windlass_plugin::{Class, Failure, now_ms};

use crate::config::Place;

/// Bytes of one request, and of one reading of an artifact.
const PIECE: u64 = 2 * 1024 * 1024;
const READ: u32 = 1024 * 1024;
/// Pieces that are kept: picture and sound lie beside each other, but not always in order.
const KEPT: usize = 3;
/// Bytes of a film whose server only gives it as a whole.
const MAX_WHOLE: usize = 15 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(30);

pub struct Source {
    origin: Origin,
    length: u64,
    /// Number and bytes, the last one used last; one piece with everything where the server cannot give pieces.
    pieces: Vec<(u64, Vec<u8>)>,
    piece: u64,
}

enum Origin {
    /// `tag`: which film it was when the first piece came.
    Http {
        url: String,
        tag: Option<String>,
    },
    Artifact(artifacts::Source),
    /// All of it is there.
    Whole,
}

impl Source {
    pub fn open(place: &Place) -> Result<Self, Failure> {
        match place {
            Place::Url(url) => Self::over_http(url),
            Place::Artifact { run, name } => {
                let left = artifacts::open(run, name)?;
                let length = left.length();
                if length == 0 {
                    return Err(Failure::permanent(format!("the artifact {name:?} of the run {run} is empty")));
                }
                Ok(Self { origin: Origin::Artifact(left), length, pieces: Vec::new(), piece: READ.into() })
            }
        }
    }

    fn over_http(url: &str) -> Result<Self, Failure> {
        let response = ask(url, 0)?;
        let doing = format!("reading {}", cut(url, 300));
        if response.status == 200 {
            let bytes = response.bytes(MAX_WHOLE).map_err(|error| {
                if error.code == "HttpResponseBodySize" {
                    let more = format!("{doing}: its server gives no ranges, and the whole has more than {MAX_WHOLE} bytes");
                    return Failure::permanent(more);
                }
                Failure::from(error)
            })?;
            return Ok(Self::whole(bytes));
        }
        let length = response.header("content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        let Some(length) = length else {
            return Err(Failure::permanent(format!("{doing}: its server does not say how long it is (Content-Range)")));
        };
        let tag = tag(&response);
        let first = response.bytes(PIECE as usize)?;
        Ok(Self { origin: Origin::Http { url: url.to_owned(), tag }, length, pieces: vec![(0, first)], piece: PIECE })
    }

    pub fn whole(bytes: Vec<u8>) -> Self {
        let length = bytes.len() as u64;
        Self { origin: Origin::Whole, length, pieces: vec![(0, bytes)], piece: length.max(1) }
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// So many bytes from there on; less than there are is a permanent failure.
    pub fn read(&mut self, offset: u64, length: usize) -> Result<Vec<u8>, Failure> {
        let end = offset.saturating_add(length as u64);
        if end > self.length {
            let ends = self.length;
            return Err(Failure::permanent(format!("the source is truncated: byte {end} is wanted, and it ends at byte {ends}")));
        }
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = offset + bytes.len() as u64;
            let from = (at % self.piece) as usize;
            let wanted = length - bytes.len();
            let piece = self.piece(at / self.piece)?;
            let part = &piece[from.min(piece.len())..(from + wanted).min(piece.len())];
            if part.is_empty() {
                return Err(Failure::transient(format!("the source was given without byte {at}, which it is said to have")));
            }
            bytes.extend_from_slice(part);
        }
        Ok(bytes)
    }

    fn piece(&mut self, number: u64) -> Result<&[u8], Failure> {
        if let Some(at) = self.pieces.iter().position(|(kept, _)| *kept == number) {
            let piece = self.pieces.remove(at);
            self.pieces.push(piece);
        } else {
            let bytes = self.fetch(number)?;
            if self.pieces.len() >= KEPT {
                self.pieces.remove(0);
            }
            self.pieces.push((number, bytes));
        }
        Ok(self.pieces.last().map_or(&[], |(_, bytes)| bytes))
    }

    fn fetch(&self, number: u64) -> Result<Vec<u8>, Failure> {
        match &self.origin {
            Origin::Http { url, tag: before } => {
                let response = ask(url, number * PIECE)?;
                if response.status != 206 || tag(&response) != *before {
                    // The next attempt begins with what there is then.
                    return Err(Failure::transient(format!("the source has changed while it was read: {}", cut(url, 300))));
                }
                Ok(response.bytes(PIECE as usize)?)
            }
            Origin::Artifact(left) => Ok(left.read_at(number * self.piece, READ)?),
            Origin::Whole => Ok(Vec::new()),
        }
    }
}

fn tag(response: &Response) -> Option<String> {
    response.header("etag").or_else(|| response.header("last-modified")).map(str::to_owned)
}

/// Asks for a piece; any answer but 200 and 206 is a failure.
fn ask(url: &str, offset: u64) -> Result<Response, Failure> {
    let response = http::get(url)
        .header("range", format!("bytes={offset}-{}", offset + PIECE - 1))
        .first_byte_timeout(TIMEOUT)
        .between_bytes_timeout(TIMEOUT)
        .send()?;
    match response.status {
        200 | 206 => Ok(response),
        416 => Err(Failure::permanent(format!("reading {}: it is empty", cut(url, 300)))),
        _ => Err(refused(response, &format!("reading {}", cut(url, 300)))),
    }
}

/// The failure that an answer is which nobody hoped for.
pub fn refused(response: Response, doing: &str) -> Failure {
    let status = response.status;
    let class = if matches!(status, 408 | 425 | 429 | 500..) { Class::Transient } else { Class::Permanent };
    let delay = response.retry_after_ms(now_ms()).filter(|_| class == Class::Transient);
    let said = quote(&response.beginning(16 * 1024), 500);
    let failure = Failure::new(class, format!("{doing}: HTTP {status}: {said}")).extra("status", status.to_string());
    match delay {
        Some(delay_ms) => failure.after(delay_ms),
        None => failure,
    }
}
