//! One derivative: frame after frame decoded, scaled and encoded, with the times and the sound that the source has.

use std::collections::BTreeMap;

use rusty_h264::{Decoder, Encoder, EncoderConfig, YuvFrame};
use windlass_plugin::Failure;

use crate::mp4::read::{Movie, Track};
use crate::mp4::samples::Sample;
use crate::mp4::spool::Spool;
use crate::mp4::write::{Head, Made, Media, rescaled};
use crate::mp4::{Edit, Kind};
use crate::nal::{Coded, Format};
use crate::picture::Scaler;
use crate::preset::Derivative;
use crate::source::Source;

/// Frames that may wait for one that is shown before them; H.264 allows 16.
const MAX_WAITING: usize = 32;
/// Seconds after which a film can be begun in the middle, at the latest.
const BEGINNINGS: f64 = 5.0;
/// The video's place among the tracks; sound follows.
const VIDEO: usize = 0;

/// Makes the derivative and answers the file, which has `most` bytes of media at most; they wait in `spool`.
/// `frame_done` is told how many frames are done, and may end it.
pub fn transcode(
    source: &mut Source,
    movie: &Movie,
    derivative: &Derivative,
    (most, spool): (usize, Spool),
    frame_done: &mut dyn FnMut(u64) -> Result<(), Failure>,
) -> Result<Made, Failure> {
    too_long(movie, derivative, most)?;
    let format = Format::parse(&movie.video.entry)?;
    let samples = &movie.video.samples;
    let mut decoder = Decoder::new();
    let mut out = Output::new(movie, derivative, most, spool)?;
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

/// Before hours of work are spent on what nobody takes.
fn too_long(movie: &Movie, derivative: &Derivative, most: usize) -> Result<(), Failure> {
    let seconds = movie.video.seconds(movie.video.duration().cast_signed());
    let sound: u64 = movie.audio.iter().flat_map(|track| &track.samples).map(|sample| u64::from(sample.size)).sum();
    let about = (f64::from(derivative.bitrate) / 8.0 * seconds) as u64 + sound;
    if about > most as u64 {
        return Err(Failure::permanent(format!("it would have about {about} bytes, and max_bytes is {most}")));
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
    /// Bytes of media.
    most: usize,
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
    fn new(movie: &'a Movie, derivative: &Derivative, most: usize, spool: Spool) -> Result<Self, Failure> {
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
            most,
            scaler: Scaler::new(width, height),
            encoder,
            media: Media::new(1 + movie.audio.len(), spool),
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
        self.media.add(VIDEO, &sample, lasts, Some(can_begin))?;
        let until = self.movie.video.seconds(pts + i64::from(lasts) - self.first_pts);
        self.sound_until(source, if next.is_some() { until } else { f64::INFINITY })?;
        if self.media.len() > self.most {
            return Err(Failure::permanent(format!("it has more bytes than max_bytes, {}, at {until:.0} s", self.most)));
        }
        Ok(())
    }

    fn sound_until(&mut self, source: &mut Source, seconds: f64) -> Result<(), Failure> {
        for (n, track) in self.movie.audio.iter().enumerate() {
            while let Some(sample) = track.samples.get(self.sound[n]).filter(|sample| track.seconds(sample.pts) < seconds) {
                let bytes = source.read(sample.offset, sample.size as usize)?;
                self.media.add(VIDEO + 1 + n, &bytes, sample.duration, None)?;
                self.sound[n] += 1;
            }
        }
        Ok(())
    }

    fn finish(mut self, source: &mut Source, format: &Format) -> Result<Made, Failure> {
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
            time => Edit { media_time: time.saturating_sub(self.first_pts).max(0), ..*edit },
        };
        video.edits.iter().map(moved).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::mp4::read::Movie;

    const FRAMES: usize = 12;
    const MOST: usize = 1 << 20;

    /// A film of its own making: a bright edge that moves, uneven times, two pieces of "sound".
    fn film() -> Vec<u8> {
        let mut config = EncoderConfig::new(96, 64);
        config.mbtree = false;
        let mut encoder = Encoder::new(config).unwrap();
        let mut media = Media::new(2, Spool::in_memory());
        let mut sets = (Vec::new(), Vec::new());
        for n in 0..FRAMES {
            let y = (0..96 * 64).map(|at| if at % 96 < n * 8 { 210 } else { 50 }).collect();
            let frame = YuvFrame { width: 96, height: 64, y, u: vec![100; 96 * 16], v: vec![150; 96 * 16] };
            let coded = Coded::parse(&encoder.try_encode(&frame).unwrap());
            if let Some(found) = coded.sps.zip(coded.pps) {
                sets = found;
            }
            media.add(VIDEO, &coded.sample, 1001 + n as u32, Some(coded.can_begin)).unwrap();
            if n % 6 == 0 {
                media.add(1, &[n as u8; 5], 3_000, None).unwrap();
            }
        }
        let format =
            Format::parse(&[&[0; 78][..], &crate::mp4::boxes::boxed(b"avcC", &[1, 0, 0, 0, 0xff, 0xe0, 0])].concat()).unwrap();
        let matrix: Vec<u8> = [0_i32, 65_536, 0, -65_536, 0, 0, 0, 0, 1 << 30].iter().flat_map(|n| n.to_be_bytes()).collect();
        let head = |kind, size, entry| Head {
            kind,
            timescale: 30_000,
            language: 21_956,
            matrix: matrix.clone(),
            size,
            entry,
            edits: Vec::new(),
        };
        let sound = crate::mp4::boxes::boxed(b"mp4a", b"what only a decoder of sound understands");
        let heads = [head(Kind::Video, (96, 64), format.entry(96, 64, &sets.0, &sets.1)), head(Kind::Audio, (0, 0), sound)];
        read(media.finish(1_000, &heads))
    }

    fn read(mut made: Made) -> Vec<u8> {
        let mut bytes = Vec::new();
        made.reader().unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, made.length());
        bytes
    }

    fn made(bytes: Vec<u8>) -> Result<(Movie, Vec<u8>), Failure> {
        let mut source = Source::whole(bytes);
        let movie = Movie::open(&mut source)?;
        let derivative = Derivative { width: 48, height: 32, bitrate: 100_000 };
        let mut done = 0;
        let made = transcode(&mut source, &movie, &derivative, (MOST, Spool::in_memory()), &mut |frames| {
            done = frames;
            Ok(())
        })?;
        assert_eq!(done, FRAMES as u64);
        Ok((movie, read(made)))
    }

    #[test]
    fn what_is_made_is_a_film_of_the_same_times_and_sound() {
        let (before, file) = made(film()).unwrap();
        let mut source = Source::whole(file);
        let after = Movie::open(&mut source).unwrap();
        let format = Format::parse(&after.video.entry).unwrap();
        assert_eq!((format.width, format.height, after.timescale), (48, 32, before.timescale));
        let times = |track: &Track| track.samples.iter().map(|sample| (sample.pts, sample.duration)).collect::<Vec<_>>();
        assert_eq!(times(&after.video), times(&before.video));
        assert_eq!((&after.video.matrix, after.video.language), (&before.video.matrix, 21_956));
        assert_eq!((times(&after.audio[0]), &after.audio[0].entry), (times(&before.audio[0]), &before.audio[0].entry));
        let sound = after.audio[0].samples[1];
        assert_eq!(source.read(sound.offset, sound.size as usize).unwrap(), [6; 5]);
        let mut decoder = Decoder::new();
        let edge = |frame: &YuvFrame| frame.y[..48].iter().filter(|light| **light > 130).count();
        for n in 0..FRAMES {
            let frame = decode(&mut decoder, &mut source, &format, &after.video, n).unwrap().unwrap();
            assert!(edge(&frame).abs_diff(n * 4) <= 1, "frame {n}: the edge is at {}", edge(&frame));
        }
    }

    /// Whatever is done to the bytes, there is an answer: a film, or a failure that says what is wrong.
    #[test]
    fn broken_films_are_refused_in_words() {
        let film = film();
        for length in (0..film.len()).step_by(7) {
            let failure = made(film[..length].to_vec()).unwrap_err();
            assert_eq!(failure.class(), windlass_plugin::Class::Permanent, "{length}: {failure}");
        }
        let index = film.windows(4).position(|name| name == b"mdat").unwrap();
        for at in 0..index {
            let mut bytes = film.clone();
            bytes[at] ^= 0xff;
            // A flip in what is only passed on may go unnoticed.
            let mut source = Source::whole(bytes);
            let _ = Movie::open(&mut source);
        }
    }

    #[test]
    fn who_says_stop_is_heard() {
        let mut source = Source::whole(film());
        let movie = Movie::open(&mut source).unwrap();
        let derivative = Derivative { width: 48, height: 32, bitrate: 100_000 };
        let stopped = transcode(&mut source, &movie, &derivative, (MOST, Spool::in_memory()), &mut |frames| {
            if frames == 3 { Err(Failure::transient("stop")) } else { Ok(()) }
        });
        assert_eq!(stopped.unwrap_err().message(), "stop");
    }

    #[test]
    fn what_cannot_be_put_is_not_begun() {
        let mut source = Source::whole(film());
        let movie = Movie::open(&mut source).unwrap();
        let derivative = Derivative { width: 48, height: 32, bitrate: 1_000_000_000 };
        let failure =
            transcode(&mut source, &movie, &derivative, (MOST, Spool::in_memory()), &mut |_| panic!("it was begun")).unwrap_err();
        assert!(failure.message().contains("max_bytes is 1048576"), "{failure}");
        // What turns out larger than it was thought ends as soon as that is seen.
        let derivative = Derivative { width: 48, height: 32, bitrate: 1 };
        let failure = transcode(&mut source, &movie, &derivative, (100, Spool::in_memory()), &mut |_| Ok(())).unwrap_err();
        assert!(failure.message().contains("more bytes than max_bytes, 100"), "{failure}");
    }
}
