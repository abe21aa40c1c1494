//! A recording as a file: JSON lines in gzip. A line with `header` begins a call of an export, one with `end` ends it; an
//! attempt has one or two (`run`, and `finish` after the last item).

use std::collections::HashMap;
use std::io::{Read, Write};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::entry::{Came as Arrived, Entry};
use super::mask::Mask;
use super::script::{Response, Scripted};
use crate::clock::Timestamp;
use crate::domain::attempt::Outcome;
use crate::domain::grant::{Ceiling, Grant};
use crate::domain::item::ItemCounts;
use crate::domain::trigger::Cause;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::plugin::{Secret, Work};

/// Of the format. A recording with another one is refused.
pub const FORMAT: u32 = 1;
/// Bytes of a recording that is read, unpacked.
const READ_LIMIT: u64 = 64 * 1024 * 1024;

/// All calls of one attempt, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Recordings(pub Vec<Recording>);

/// One call of one export.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    pub header: Header,
    pub entries: Vec<Entry>,
    pub end: End,
}

/// What was called, with all that it was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub format: u32,
    pub tenant: String,
    pub job: String,
    pub run: Id,
    pub attempt: u32,
    /// [`Cause::word`].
    pub trigger: String,
    /// JSON object.
    pub config: String,
    /// JSON.
    pub input: String,
    /// `sha256:…` of the plugin.
    pub digest: String,
    /// Set when `finish` was called instead of `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<ItemCounts>,
    pub time_limit_ms: u64,
    pub grace_ms: u64,
    pub grant: Grant,
    pub ceiling: Ceiling,
    /// Whether it was a run, which has items.
    pub has_items: bool,
    pub began_at: Timestamp,
    /// What its random numbers were made of.
    pub seed: [u8; 32],
}

/// What the call came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    #[serde(flatten)]
    pub outcome: Came,
    /// The recording was over its limit: the last entries are missing.
    #[serde(default)]
    pub cut: bool,
}

/// An [`Outcome`], as far as two are compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Came {
    /// [`Outcome::word`].
    pub outcome: String,
    /// [`Outcome::message`].
    pub message: String,
    /// JSON of a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

impl Came {
    /// It was ended from outside, at an instant that is chance.
    pub fn was_stopped(&self) -> bool {
        matches!(self.outcome.as_str(), "timed_out" | "cancelled" | "drained")
    }
}

impl From<&Outcome> for Came {
    fn from(outcome: &Outcome) -> Self {
        let output = match outcome {
            Outcome::Succeeded { data, .. } => data.clone(),
            _ => None,
        };
        Self { outcome: outcome.word().to_owned(), message: outcome.message(), output }
    }
}

impl Recording {
    /// Its answers of HTTP, each for the request that got it; one that did not come whole is none.
    pub fn answers(&self) -> Vec<Scripted> {
        let answered = |entry: &Entry| {
            let Entry::Http(exchange) = entry else { return None };
            let answer = match &exchange.answer.as_ref()?.came {
                Arrived::Response { status, headers, body, .. } => {
                    let text = |(name, value): &(String, super::data::Data)| {
                        (name.clone(), String::from_utf8_lossy(&value.0).into_owned())
                    };
                    let headers = headers.iter().map(text).collect();
                    Ok(Response { status: *status, headers, body: body.iter().flat_map(|piece| piece.0.clone()).collect() })
                }
                Arrived::Failure(failure) => Err(failure.clone()),
            };
            let (method, url) = (exchange.method.clone(), exchange.url.clone());
            Some(Scripted { method, url, body_contains: None, times: 1, after: Duration::ZERO, answer })
        };
        self.entries.iter().filter_map(answered).collect()
    }
}

impl Header {
    /// Of a call that began then with that seed: `finish` with what its items came to, else `run`.
    pub fn new(work: &Work, finish: Option<ItemCounts>, began_at: Timestamp, seed: [u8; 32]) -> Self {
        Self {
            format: FORMAT,
            tenant: work.tenant.clone(),
            job: work.job.clone(),
            run: work.run,
            attempt: work.attempt,
            trigger: work.trigger.to_owned(),
            config: work.config.clone(),
            input: work.input.clone(),
            digest: work.digest.clone(),
            finish,
            time_limit_ms: ms(work.time_limit),
            grace_ms: ms(work.grace),
            grant: work.grant.as_ref().clone(),
            ceiling: work.ceiling.as_ref().clone(),
            has_items: work.items.is_some(),
            began_at,
            seed,
        }
    }

    /// The word as the rest of the program has it; `manual` for one that is not known here.
    pub fn cause(&self) -> &'static str {
        Cause::ALL.into_iter().map(Cause::word).find(|word| *word == self.trigger).unwrap_or("manual")
    }

    pub fn time_limit(&self) -> Duration {
        Duration::from_millis(self.time_limit_ms)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Header(Box<Header>),
    End(End),
    #[serde(untagged)]
    Entry(Entry),
}

impl Recordings {
    /// As a file. Values of secrets become `{{secret NAME}}`: a guest has none, but a configuration may hold the same text.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub fn write(&self, secrets: &HashMap<String, Secret>) -> Result<Vec<u8>> {
        let mask = Mask::new(secrets);
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        let mut line = |line: Line| -> Result<()> {
            serde_json::to_writer(&mut out, &line)?;
            Ok(out.write_all(b"\n")?)
        };
        for recording in &self.0 {
            let mut recording = recording.clone();
            mask.over(&mut recording);
            line(Line::Header(Box::new(recording.header)))?;
            for entry in recording.entries {
                line(Line::Entry(entry))?;
            }
            line(Line::End(recording.end))?;
        }
        Ok(out.finish()?)
    }

    /// # Errors
    /// [`Error::Invalid`]: it is no recording, it is damaged, or a newer Windlass wrote it.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let mut text = String::new();
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            return refused("it is no recording: windlass run recording TENANT/ID -o FILE writes one");
        }
        if let Err(wrong) = GzDecoder::new(bytes).take(READ_LIMIT).read_to_string(&mut text) {
            return refused(format!("the recording is damaged ({wrong}): get it again"));
        }
        let (mut whole, mut open): (Vec<Recording>, Option<(Header, Vec<Entry>)>) = (Vec::new(), None);
        for (n, line) in text.lines().enumerate() {
            match (serde_json::from_str(line), &mut open) {
                (Ok(Line::Header(header)), None) if header.format == FORMAT => open = Some((*header, Vec::new())),
                (Ok(Line::Header(header)), None) => {
                    return refused(format!("it has the format {}, and this Windlass reads {FORMAT}", header.format));
                }
                (Ok(Line::Entry(entry)), Some((_, entries))) => entries.push(entry),
                (Ok(Line::End(end)), standing @ Some(_)) => {
                    let (header, entries) = standing.take().unwrap_or_else(|| unreachable!("it was there"));
                    whole.push(Recording { header, entries, end });
                }
                (Ok(_), _) => return refused(format!("line {} is out of place: the recording is damaged", n + 1)),
                (Err(wrong), _) => return refused(format!("line {} cannot be read ({wrong}): the recording is damaged", n + 1)),
            }
        }
        if open.is_some() || whole.is_empty() {
            return refused("it ends in the middle: the recording is damaged, get it again");
        }
        Ok(Self(whole))
    }

    /// Bytes that it takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|recording| 1_000 + recording.entries.iter().map(Entry::bytes).sum::<usize>()).sum()
    }

    pub fn is_cut(&self) -> bool {
        self.0.iter().any(|recording| recording.end.cut)
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::invalid("recording", why))
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn header() -> Header {
        Header {
            format: FORMAT,
            tenant: "acme".into(),
            job: "haul".into(),
            run: Id(7),
            attempt: 1,
            trigger: "manual".into(),
            config: r#"{"key":"pass\"word"}"#.into(),
            input: "{}".into(),
            digest: "sha256:00".into(),
            finish: None,
            time_limit_ms: 1_000,
            grace_ms: 100,
            grant: Grant::default(),
            ceiling: Ceiling::default(),
            has_items: true,
            began_at: Timestamp(0),
            seed: [7; 32],
        }
    }

    pub fn recordings() -> Recordings {
        let end = End { outcome: Came { outcome: "succeeded".into(), message: String::new(), output: None }, cut: false };
        Recordings(vec![Recording { header: header(), entries: vec![Entry::WallClock { ns: 5 }], end }])
    }

    #[test]
    fn a_recording_comes_back_as_it_was_written() {
        let written = recordings().write(&HashMap::new()).unwrap();
        assert_eq!(Recordings::read(&written).unwrap(), recordings());
        for (bytes, says) in
            [(&b"nothing"[..], "no recording"), (&written[..written.len() / 2], "damaged"), (&written[..12], "damaged")]
        {
            let wrong = Recordings::read(bytes).unwrap_err().to_string();
            assert!(wrong.contains(says), "{wrong}");
        }
    }
}
