//! One derivative: frame after frame decoded, scaled and encoded, with the times and the sound that the source has.

use std::collections::BTreeMap;

use rusty_h264::{Decoder, Encoder, EncoderConfig, YuvFrame};
use windlass_plugin::Failure;

use crate::mp4::read::{Movie, Track};
use crate::mp4::samples::Sample;
use crate::mp4::write::{Head, Media, rescaled};
use crate::mp4::{Edit, Kind};
use crate::nal::{Coded, Format};
use crate::picture::Scaler;
use crate::preset::Derivative;
use crate::source::Source;

/// Frames that may wait for one that is shown before them; H.264 allows 16.
const MAX_WAITING: usize = 32;
/// Seconds after which a film can be begun in the middle, at the latest.
const BEGINNINGS: f64 = 5.0;
/// Bytes of a derivative: it is put with one request, and a request may not have more.
const MAX_BYTES: usize = 15 * 1024 * 1024;
/// The video's place among the tracks; sound follows.
const VIDEO: usize = 0;

/// Makes the derivative and answers the file. `frame_done` is told how many frames are done, and may end it.
pub fn transcode(
    source: &mut Source,
    movie: &Movie,
    derivative: &Derivative,
    frame_done: &mut dyn FnMut(u64) -> Result<(), Failure>,
) -> Result<Vec<u8>, Failure> {
    too_long(movie, derivative)?;
    let format = Format::parse(&movie.video.entry)?;
    let samples = &movie.video.samples;
    let mut decoder = Decoder::new();
    let mut out = Output::new(movie, derivative)?;
    // Frames that are decoded, by when they are shown, and the earliest that is still to be decoded.
    let mut waiting: BTreeMap<(i64, usize), YuvFrame> = BTreeMap::new();
    let to_come = earliest_from(samples);
    for (n, sample) in samples.iter().enumerate() {
        let frame = decode(&mut decoder, source, &format, &movie.video, n)?;
        waiting.extend(frame.map(|frame| ((sample.pts, n), frame)));
        while let Some(entry) = waiting.first_entry().filter(|entry| entry.key().0 < to_come[n + 1]) {
            let ((pts, n), frame) = entry.remove_entry();
            out.frame(source, frame, pts, samples[n].duration)?;
        }
        if waiting.len() > MAX_WAITING {
            return Err(Failure::permanent(format!(
                "the source's frames are out of order: {MAX_WAITING} wait for one before them"
            )));
        }
        frame_done(n as u64 + 1)?;
    }
    out.finish(source, &format)
}

/// Before hours of work are spent on what cannot be put anywhere.
fn too_long(movie: &Movie, derivative: &Derivative) -> Result<(), Failure> {
    let seconds = movie.video.seconds(movie.video.duration().cast_signed());
    let sound: u64 = movie.audio.iter().flat_map(|track| &track.samples).map(|sample| u64::from(sample.size)).sum();
    let about = (f64::from(derivative.bitrate) / 8.0 * seconds) as u64 + sound;
    if about > MAX_BYTES as u64 {
        return Err(Failure::permanent(format!(
            "it would have about {about} bytes, and at most {MAX_BYTES} can be put with one request"
        )));
    }
    Ok(())
}

/// For each sample: when the earliest of it and those behind it is shown.
fn earliest_from(samples: &[Sample]) -> Vec<i64> {
    let mut earliest = vec![i64::MAX; samples.len() + 1];
    for (n, sample) in samples.iter().enumerate().rev() {
        earliest[n] = sample.pts.min(earliest[n + 1]);
    }
    earliest
}

/// What sample `n` shows; nothing where it only has words for decoders.
fn decode(
    decoder: &mut Decoder,
    source: &mut Source,
    format: &Format,
    track: &Track,
    n: usize,
) -> Result<Option<YuvFrame>, Failure> {
    let sample = &track.samples[n];
    let place =
        || format!("frame {n} of {} (at {:.2} s, byte {})", track.samples.len(), track.seconds(sample.pts), sample.offset);
    let bytes = source.read(sample.offset, sample.size as usize)?;
    let broken = || Failure::permanent(format!("the source is broken: {} is cut off", place()));
    let mut units = format.with_start_codes(&bytes).ok_or_else(broken)?;
    if n == 0 {
        units.splice(0..0, format.parameters.iter().copied());
    }
    decoder.decode(&units).map_err(|error| Failure::permanent(format!("{} cannot be decoded: {error}", place())))
}

/// A derivative that is being made.
struct Output<'a> {
    movie: &'a Movie,
    derivative: Derivative,
    scaler: Scaler,
    encoder: Encoder,
    media: Media,
    /// Parameter sets of the encoder.
    sets: Option<(Vec<u8>, Vec<u8>)>,
    /// A frame whose duration is known when the next one comes: bytes, whether it can begin, when, how long if it is the last.
    last: Option<(Vec<u8>, bool, i64, u32)>,
    first_pts: i64,
    /// How much of each sound is written.
    sound: Vec<usize>,
}

impl<'a> Output<'a> {
    fn new(movie: &'a Movie, derivative: &Derivative) -> Result<Self, Failure> {
        let (width, height) = (derivative.width, derivative.height);
        let seconds = movie.video.seconds(movie.video.duration().cast_signed()).max(0.001);
        let rate = (movie.video.samples.len() as f64 / seconds).clamp(1.0, 240.0);
        let mut config = EncoderConfig::new(width as usize, height as usize);
        config.bitrate = derivative.bitrate;
        config.framerate = rate as f32;
        config.gop_size = (rate * BEGINNINGS).ceil() as u32;
        let encoder =
            Encoder::new(config).map_err(|error| Failure::permanent(format!("the encoder refuses {width}×{height}: {error}")))?;
        Ok(Self {
            movie,
            derivative: *derivative,
            scaler: Scaler::new(width, height),
            encoder,
            media: Media::new(1 + movie.audio.len()),
            sets: None,
            last: None,
            first_pts: movie.video.samples.iter().map(|sample| sample.pts).min().unwrap_or_default(),
            sound: vec![0; movie.audio.len()],
        })
    }

    fn frame(&mut self, source: &mut Source, frame: YuvFrame, pts: i64, duration: u32) -> Result<(), Failure> {
        let small = self.scaler.scale(frame)?;
        let coded = self.encoder.try_encode(&small).map_err(|error| Failure::permanent(format!("encoding: {error}")))?;
        let coded = Coded::parse(&coded);
        if self.sets.is_none() {
            self.sets = coded.sps.zip(coded.pps);
        }
        let before = self.last.replace((coded.sample, coded.can_begin, pts, duration));
        self.write(source, before, Some(pts))
    }

    /// Writes a frame which lasts until the next one, and what sounds until then.
    fn write(&mut self, source: &mut Source, frame: Option<(Vec<u8>, bool, i64, u32)>, next: Option<i64>) -> Result<(), Failure> {
        let Some((sample, can_begin, pts, duration)) = frame else { return Ok(()) };
        let lasts = next.map_or(duration, |next| u32::try_from(next - pts).unwrap_or(duration));
        self.media.add(VIDEO, &sample, lasts, Some(can_begin));
        let until = self.movie.video.seconds(pts + i64::from(lasts) - self.first_pts);
        self.sound_until(source, if next.is_some() { until } else { f64::INFINITY })?;
        if self.media.len() > MAX_BYTES {
            return Err(Failure::permanent(format!(
                "it has more than {MAX_BYTES} bytes at {until:.0} s, and no more can be put with one request"
            )));
        }
        Ok(())
    }

    fn sound_until(&mut self, source: &mut Source, seconds: f64) -> Result<(), Failure> {
        for (n, track) in self.movie.audio.iter().enumerate() {
            while let Some(sample) = track.samples.get(self.sound[n]).filter(|sample| track.seconds(sample.pts) < seconds) {
                let bytes = source.read(sample.offset, sample.size as usize)?;
                self.media.add(VIDEO + 1 + n, &bytes, sample.duration, None);
                self.sound[n] += 1;
            }
        }
        Ok(())
    }

    fn finish(mut self, source: &mut Source, format: &Format) -> Result<Vec<u8>, Failure> {
        let last = self.last.take();
        self.write(source, last, None)?;
        let (sps, pps) = self.sets.as_ref().ok_or_else(|| Failure::permanent("the source has no frame that can be shown"))?;
        let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
        let size = (side(self.derivative.width), side(self.derivative.height));
        let head = |track: &Track, size, entry, edits| Head {
            kind: track.kind,
            timescale: track.timescale,
            language: track.language,
            matrix: track.matrix.clone(),
            size,
            entry,
            edits,
        };
        let video = &self.movie.video;
        let mut heads = vec![head(video, size, format.entry(size.0, size.1, sps, pps), self.edits())];
        for track in &self.movie.audio {
            debug_assert_eq!(track.kind, Kind::Audio);
            let entry = crate::mp4::boxes::boxed(&track.codec, &track.entry);
            heads.push(head(track, (0, 0), entry, track.edits.clone()));
        }
        Ok(self.media.finish(self.movie.timescale, &heads))
    }

    /// The source's edits for media that begins at 0, as what is written does: the first frame is shown when it was.
    fn edits(&self) -> Vec<Edit> {
        let video = &self.movie.video;
        if video.edits.is_empty() && self.first_pts > 0 {
            let scaled = |time: u64| rescaled(time, video.timescale, self.movie.timescale);
            let nothing = Edit { duration: scaled(self.first_pts.unsigned_abs()), media_time: -1, rate: 0x0001_0000 };
            return vec![nothing, Edit { duration: scaled(video.duration()), media_time: 0, rate: 0x0001_0000 }];
        }
        let moved = |edit: &Edit| match edit.media_time {
            -1 => *edit,
            time => Edit { media_time: (time - self.first_pts).max(0), ..*edit },
        };
        video.edits.iter().map(moved).collect()
    }
}
