//! The index of an MP4: its tracks and where their samples lie.

use windlass_plugin::Failure;

use super::boxes::{Boxes, Header, Name, Reader, find, find_path};
use super::samples::{Sample, samples};
use super::{Edit, Kind};
use crate::source::Source;

/// Bytes of an index: that of nine hours of video has 30 MB.
const MAX_INDEX: u64 = 48 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movie {
    pub timescale: u32,
    pub video: Track,
    /// Sound that can be taken over as it is.
    pub audio: Vec<Track>,
    /// What is left out: the names of its codecs.
    pub left_out: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    pub kind: Kind,
    pub timescale: u32,
    /// Three letters of five bits.
    pub language: u16,
    /// How it is turned and placed when it is shown: nine numbers of 32 bits.
    pub matrix: Vec<u8>,
    /// What its samples are: the name of the codec, and what a decoder must know, as it stands in the file.
    pub codec: Name,
    pub entry: Vec<u8>,
    pub edits: Vec<Edit>,
    pub samples: Vec<Sample>,
}

impl Movie {
    /// Reads the index. What is no MP4, is cut off, or cannot be transcoded is a permanent failure that says what it is.
    pub fn open(source: &mut Source) -> Result<Self, Failure> {
        let index = index(source)?;
        let broken = |wrong: String| Failure::permanent(format!("the source's index is broken: {wrong}"));
        if find(&index, b"mvex").is_some() {
            return Err(Failure::permanent("the source is a fragmented MP4: write it as one with a single index (moov) first"));
        }
        let timescale = find(&index, b"mvhd").and_then(times).map(|(timescale, _)| timescale);
        let timescale = timescale.ok_or_else(|| broken("its head (mvhd) is missing or cut off".into()))?;
        let (mut video, mut audio, mut left_out) = (None, Vec::new(), Vec::new());
        for (_, trak) in Boxes(&index).filter(|(name, _)| name == b"trak") {
            let Some(kind) = kind(trak) else { continue };
            let track = Track::parse(trak, kind).map_err(broken)?;
            match kind {
                Kind::Video if video.is_none() => video = Some(track),
                Kind::Audio if &track.codec == b"mp4a" => audio.push(track),
                _ => left_out.push(track.codec_name()),
            }
        }
        let video = video.ok_or_else(|| Failure::permanent("the source has no video track"))?;
        if !matches!(&video.codec, b"avc1" | b"avc3") {
            let codec = video.codec_name();
            return Err(Failure::permanent(format!("the source's video is {codec}; only H.264 (avc1) can be transcoded")));
        }
        let movie = Self { timescale, video, audio, left_out };
        movie.is_whole(source.length())?;
        Ok(movie)
    }

    /// Every sample lies within the file.
    fn is_whole(&self, length: u64) -> Result<(), Failure> {
        if self.video.samples.is_empty() {
            return Err(Failure::permanent("the source has no frame"));
        }
        for track in std::iter::once(&self.video).chain(&self.audio) {
            let beyond = track.samples.iter().position(|sample| sample.offset.saturating_add(u64::from(sample.size)) > length);
            if let Some(n) = beyond {
                let (what, seconds) = (track.kind.word(), track.seconds(track.samples[n].pts));
                return Err(Failure::permanent(format!(
                    "the source is truncated: {what} {n} of {} (at {seconds:.2} s) lies behind its end at byte {length}",
                    track.samples.len()
                )));
            }
        }
        Ok(())
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Video => "frame",
            Self::Audio => "sound",
        }
    }
}

impl Track {
    pub fn seconds(&self, time: i64) -> f64 {
        time as f64 / f64::from(self.timescale)
    }

    /// Of all its samples, in its timescale.
    pub fn duration(&self) -> u64 {
        self.samples.iter().map(|sample| u64::from(sample.duration)).sum()
    }

    fn parse(trak: &[u8], kind: Kind) -> Result<Self, String> {
        let mdia = find(trak, b"mdia").ok_or("a track has no media (mdia)")?;
        let (timescale, language) =
            find(mdia, b"mdhd").and_then(times).filter(|(timescale, _)| *timescale > 0).ok_or("a track's mdhd is cut off")?;
        let stbl = find_path(mdia, &[b"minf", b"stbl"]).ok_or("a track has no sample table (stbl)")?;
        let entries = find(stbl, b"stsd").and_then(|stsd| stsd.get(8..)).ok_or("a track has no description (stsd)")?;
        let (codec, entry) = Boxes(entries).next().ok_or("a track's description (stsd) is empty")?;
        let matrix = find(trak, b"tkhd").and_then(matrix).ok_or("a track's tkhd is cut off")?;
        let edits = find_path(trak, &[b"edts", b"elst"]).map(|elst| edits(elst).ok_or("a track's elst is cut off"));
        Ok(Self {
            kind,
            timescale,
            language,
            matrix,
            codec,
            entry: entry.to_vec(),
            edits: edits.transpose()?.unwrap_or_default(),
            samples: samples(stbl)?,
        })
    }

    fn codec_name(&self) -> String {
        let known = match &self.codec {
            b"hvc1" | b"hev1" => "HEVC",
            b"vp08" | b"vp09" => "VP8 or VP9",
            b"av01" => "AV1",
            b"mp4v" => "MPEG-4 Visual",
            b"encv" | b"enca" => "encrypted",
            _ => return String::from_utf8_lossy(&self.codec).into_owned(),
        };
        format!("{known} ({})", String::from_utf8_lossy(&self.codec))
    }
}

/// The payload of `moov`.
fn index(source: &mut Source) -> Result<Vec<u8>, Failure> {
    let length = source.length();
    let beginning = source.read(0, length.min(16) as usize)?;
    if let Some(other) = other_format(&beginning) {
        return Err(Failure::permanent(format!("the source is no MP4: {other}")));
    }
    let mut at = 0;
    let mut last = None;
    while at < length {
        let head = source.read(at, (length - at).min(16) as usize)?;
        let Some(header) = Header::parse(&head, length - at) else {
            return Err(Failure::permanent(format!("the source is broken: no box begins at byte {at}")));
        };
        let name = String::from_utf8_lossy(&header.name).into_owned();
        let end = at.saturating_add(header.size);
        if end > length {
            return Err(Failure::permanent(format!(
                "the source is truncated: its box {name:?} at byte {at} ends at byte {end}, and the source at byte {length}"
            )));
        }
        if &header.name == b"moov" {
            if header.size > MAX_INDEX {
                return Err(Failure::permanent(format!(
                    "the source's index has {} bytes; at most {MAX_INDEX} are read",
                    header.size
                )));
            }
            return source.read(at + header.length as u64, (header.size - header.length as u64) as usize);
        }
        if &header.name == b"moof" {
            return Err(Failure::permanent("the source is a fragmented MP4: write it as one with a single index (moov) first"));
        }
        last = Some(name);
        at = end;
    }
    let last = last.unwrap_or_default();
    Err(Failure::permanent(format!(
        "the source has no index (moov): it ends at byte {length} behind its box {last:?}; it may be truncated"
    )))
}

/// What it is instead, by its first bytes.
fn other_format(beginning: &[u8]) -> Option<String> {
    const FIRST: [&[u8; 4]; 7] = [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp"];
    match beginning.get(4..8) {
        Some(name) if FIRST.iter().any(|first| *first == name) => return None,
        None => return Some(format!("it has {} bytes", beginning.len())),
        Some(_) => {}
    }
    Some(match beginning {
        [0x1a, 0x45, 0xdf, 0xa3, ..] => "it is WebM or Matroska".to_owned(),
        [b'O', b'g', b'g', b'S', ..] => "it is Ogg".to_owned(),
        [b'R', b'I', b'F', b'F', ..] => "it is RIFF (AVI or WAV)".to_owned(),
        [b'F', b'L', b'V', ..] => "it is Flash video".to_owned(),
        [0x47, ..] => "it may be an MPEG transport stream".to_owned(),
        [b'<', ..] => "it is a page".to_owned(),
        other => format!("it begins with the bytes {:02x?}", &other[..8.min(other.len())]),
    })
}

fn kind(trak: &[u8]) -> Option<Kind> {
    let handler = find_path(trak, &[b"mdia", b"hdlr"])?.get(8..12)?;
    match handler {
        b"vide" => Some(Kind::Video),
        b"soun" => Some(Kind::Audio),
        _ => None,
    }
}

/// Timescale and language of mdhd; of mvhd the second has no meaning.
fn times(bytes: &[u8]) -> Option<(u32, u16)> {
    let mut reader = Reader(bytes);
    let version = reader.version()?;
    reader.wide(version)?;
    reader.wide(version)?;
    let timescale = reader.u32()?;
    reader.wide(version)?;
    Some((timescale, reader.u16()?))
}

fn matrix(tkhd: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(tkhd);
    let version = reader.version()?;
    // Times, track, duration; then what is for layers and loudness.
    reader.take(if version == 1 { 32 } else { 20 })?;
    reader.take(16)?;
    reader.take(36).map(<[u8]>::to_vec)
}

fn edits(elst: &[u8]) -> Option<Vec<Edit>> {
    let mut reader = Reader(elst);
    let version = reader.version()?;
    let count = reader.u32()?;
    let mut edits = Vec::new();
    for _ in 0..count {
        let duration = reader.wide(version)?;
        let media_time = if version == 1 { reader.u64()?.cast_signed() } else { i64::from(reader.u32()?.cast_signed()) };
        edits.push(Edit { duration, media_time, rate: reader.u32()? });
    }
    Some(edits)
}
