//! Writes an MP4 whose index stands in front, so that it can be shown while it still comes.

use std::io::Read;

use windlass_plugin::Failure;

use super::boxes::boxed;
use super::spool::Spool;
use super::{Edit, Kind};

/// What a track is, beside its samples.
#[derive(Debug, Clone)]
pub struct Head {
    pub kind: Kind,
    pub timescale: u32,
    pub language: u16,
    pub matrix: Vec<u8>,
    /// Width and height in pixels.
    pub size: (u16, u16),
    /// A whole box.
    pub entry: Vec<u8>,
    pub edits: Vec<Edit>,
}

#[derive(Debug, Default)]
struct Samples {
    sizes: Vec<u32>,
    durations: Vec<u32>,
    /// Numbers of those that can be begun with, from 1 on; all of them when `None`.
    sync: Option<Vec<u32>>,
    /// Offset in the media data, and how many samples.
    chunks: Vec<(usize, u32)>,
}

/// The media of a file that is being made, in the order in which it will be read.
#[derive(Debug)]
pub struct Media {
    spool: Spool,
    tracks: Vec<Samples>,
    last: Option<usize>,
}

impl Media {
    pub fn new(tracks: usize, spool: Spool) -> Self {
        Self { spool, tracks: std::iter::repeat_with(Samples::default).take(tracks).collect(), last: None }
    }

    pub fn len(&self) -> usize {
        self.spool.len()
    }

    /// `can_begin`: whether it can be shown without what came before; `None` where all can.
    pub fn add(&mut self, track: usize, sample: &[u8], duration: u32, can_begin: Option<bool>) -> Result<(), Failure> {
        let samples = &mut self.tracks[track];
        if self.last != Some(track) {
            samples.chunks.push((self.spool.len(), 0));
            self.last = Some(track);
        }
        if let Some((_, count)) = samples.chunks.last_mut() {
            *count += 1;
        }
        samples.sizes.push(u32::try_from(sample.len()).unwrap_or(u32::MAX));
        samples.durations.push(duration);
        if let Some(can_begin) = can_begin {
            let sync = samples.sync.get_or_insert_default();
            if can_begin {
                sync.push(u32::try_from(samples.sizes.len()).unwrap_or(u32::MAX));
            }
        }
        self.spool.add(sample)
    }

    /// The whole file. `timescale` is the movie's, of which the edits speak.
    pub fn finish(self, timescale: u32, heads: &[Head]) -> Made {
        let ftyp = boxed(b"ftyp", b"isom\0\0\x02\0isomiso2avc1mp41");
        // Where the media begins depends on the index's size, and that not on where the media begins.
        let size = self.index(timescale, heads, 0).len();
        let mut head = ftyp;
        let begin = head.len() + size + 8;
        head.extend(self.index(timescale, heads, begin));
        head.extend(u32::try_from(self.spool.len() + 8).unwrap_or(u32::MAX).to_be_bytes());
        head.extend(b"mdat");
        Made { head, media: self.spool }
    }

    fn index(&self, timescale: u32, heads: &[Head], begin: usize) -> Vec<u8> {
        let tracks: Vec<_> = heads.iter().zip(&self.tracks).collect();
        let longest = tracks.iter().map(|(head, samples)| shown(head, samples, timescale)).max().unwrap_or(0);
        let mut mvhd = Writer::full(1);
        mvhd.u64(0).u64(0).u32(timescale).u64(longest).u32(0x0001_0000).u16(0x0100).zeros(10);
        for number in [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000] {
            mvhd.u32(number);
        }
        mvhd.zeros(24).u32(u32::try_from(tracks.len() + 1).unwrap_or(u32::MAX));
        let mut inside = boxed(b"mvhd", &mvhd.0);
        for (n, (head, samples)) in tracks.into_iter().enumerate() {
            inside.extend(track(n, head, samples, timescale, begin));
        }
        boxed(b"moov", &inside)
    }
}

/// A file that is made.
#[derive(Debug)]
pub struct Made {
    /// All that stands before the media.
    head: Vec<u8>,
    media: Spool,
}

impl Made {
    /// In bytes.
    pub fn length(&self) -> u64 {
        (self.head.len() + self.media.len()) as u64
    }

    /// From its beginning.
    pub fn reader(&mut self) -> Result<impl Read + '_, Failure> {
        Ok(self.head.as_slice().chain(self.media.reader()?))
    }
}

/// How long a track is shown, in the movie's timescale.
fn shown(head: &Head, samples: &Samples, timescale: u32) -> u64 {
    if head.edits.is_empty() {
        let media: u64 = samples.durations.iter().map(|duration| u64::from(*duration)).sum();
        return rescaled(media, head.timescale, timescale);
    }
    head.edits.iter().fold(0, |all, edit| all.saturating_add(edit.duration))
}

pub fn rescaled(time: u64, from: u32, to: u32) -> u64 {
    let scaled = u128::from(time) * u128::from(to) / u128::from(from.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn track(n: usize, head: &Head, samples: &Samples, timescale: u32, begin: usize) -> Vec<u8> {
    let is_audio = head.kind == Kind::Audio;
    let mut tkhd = Writer::flagged(1, 3);
    tkhd.u64(0).u64(0).u32(u32::try_from(n + 1).unwrap_or(u32::MAX)).u32(0).u64(shown(head, samples, timescale)).zeros(8);
    tkhd.u16(0).u16(u16::from(is_audio)).u16(if is_audio { 0x0100 } else { 0 }).u16(0);
    tkhd.bytes(&head.matrix).u32(u32::from(head.size.0) << 16).u32(u32::from(head.size.1) << 16);
    let mut inside = boxed(b"tkhd", &tkhd.0);
    if !head.edits.is_empty() {
        let mut elst = Writer::full(1);
        elst.count(head.edits.len());
        for edit in &head.edits {
            elst.u64(edit.duration).u64(edit.media_time.cast_unsigned()).u32(edit.rate);
        }
        inside.extend(boxed(b"edts", &boxed(b"elst", &elst.0)));
    }
    inside.extend(media(head, samples, begin));
    boxed(b"trak", &inside)
}

fn media(head: &Head, samples: &Samples, begin: usize) -> Vec<u8> {
    let total: u64 = samples.durations.iter().map(|duration| u64::from(*duration)).sum();
    let mut mdhd = Writer::full(1);
    mdhd.u64(0).u64(0).u32(head.timescale).u64(total).u16(head.language).u16(0);
    let (handler, name, header): (_, &[u8], _) = match head.kind {
        Kind::Video => (b"vide", b"video\0", boxed(b"vmhd", &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
        Kind::Audio => (b"soun", b"audio\0", boxed(b"smhd", &[0; 8])),
    };
    let mut hdlr = Writer::full(0);
    hdlr.u32(0).bytes(handler).zeros(12).bytes(name);
    // The media is in this very file.
    let dref = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &boxed(b"url ", &[0, 0, 0, 1])].concat();
    let minf = [header, boxed(b"dinf", &boxed(b"dref", &dref)), boxed(b"stbl", &tables(head, samples, begin))].concat();
    let mdia = [boxed(b"mdhd", &mdhd.0), boxed(b"hdlr", &hdlr.0), boxed(b"minf", &minf)].concat();
    boxed(b"mdia", &mdia)
}

fn tables(head: &Head, samples: &Samples, begin: usize) -> Vec<u8> {
    let mut stsd = Writer::full(0);
    stsd.u32(1).bytes(&head.entry);
    let mut stts = Writer::full(0);
    runs(&mut stts, &samples.durations);
    let mut stsz = Writer::full(0);
    stsz.u32(0).count(samples.sizes.len());
    samples.sizes.iter().for_each(|size| {
        stsz.u32(*size);
    });
    let mut stsc = Writer::full(0);
    stsc.count(samples.chunks.len());
    let mut stco = Writer::full(0);
    stco.count(samples.chunks.len());
    for (n, (offset, count)) in samples.chunks.iter().enumerate() {
        stsc.count(n + 1).u32(*count).u32(1);
        stco.count(begin + offset);
    }
    let mut tables = [
        boxed(b"stsd", &stsd.0),
        boxed(b"stts", &stts.0),
        boxed(b"stsz", &stsz.0),
        boxed(b"stsc", &stsc.0),
        boxed(b"stco", &stco.0),
    ]
    .concat();
    if let Some(sync) = &samples.sync {
        let mut stss = Writer::full(0);
        stss.count(sync.len());
        sync.iter().for_each(|number| {
            stss.u32(*number);
        });
        tables.extend(boxed(b"stss", &stss.0));
    }
    tables
}

/// Equal values that follow each other, as (how many, value).
fn runs(table: &mut Writer, values: &[u32]) {
    let runs: Vec<_> = values.chunk_by(|a, b| a == b).collect();
    table.count(runs.len());
    for run in runs {
        table.count(run.len()).u32(run[0]);
    }
}

/// Numbers in network order.
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    fn full(version: u8) -> Self {
        Self::flagged(version, 0)
    }

    fn flagged(version: u8, flags: u8) -> Self {
        Self(vec![version, 0, 0, flags])
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn zeros(&mut self, n: usize) -> &mut Self {
        self.0.resize(self.0.len() + n, 0);
        self
    }

    pub fn u16(&mut self, number: u16) -> &mut Self {
        self.bytes(&number.to_be_bytes())
    }

    pub fn u32(&mut self, number: u32) -> &mut Self {
        self.bytes(&number.to_be_bytes())
    }

    pub fn u64(&mut self, number: u64) -> &mut Self {
        self.bytes(&number.to_be_bytes())
    }

    fn count(&mut self, number: usize) -> &mut Self {
        self.u32(u32::try_from(number).unwrap_or(u32::MAX))
    }
}
