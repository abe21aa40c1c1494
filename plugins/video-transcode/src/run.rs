//! The job: the source's index, an item for each derivative that fits, and each of them made and put where it belongs.

use std::cell::Cell;
use std::io::Read;
use std::time::Duration;

use serde_json::json;
use windlass_plugin::items::{self, Item};
use windlass_plugin::{Failure, Output, Work, artifacts, control, http, log, progress};

use crate::config::Wanted;
use crate::mp4::read::Movie;
use crate::mp4::spool::{self, Spool};
use crate::mp4::write::Made;
use crate::nal::Format;
use crate::preset::{Derivative, fitting};
use crate::source::{Source, refused};
use crate::transcode::transcode;

/// Frames between two looks at the clock and two reports.
const FRAMES: u64 = 8;
/// Bytes of an artifact that are handed over at a time.
const PIECE: usize = 1024 * 1024;
/// How long a store may take to take a derivative.
const STORE: Duration = Duration::from_secs(60);

pub fn run(work: &Work) -> Result<Output, Failure> {
    let wanted = Wanted::of(work)?;
    let mut source = Source::open(&wanted.source)?;
    let movie = Movie::open(&mut source)?;
    let format = Format::parse(&movie.video.entry)?;
    for codec in &movie.left_out {
        log::warn!("a track is left out: {codec}");
    }
    let seconds = movie.video.seconds(movie.video.duration().cast_signed()).max(0.001);
    let bytes: u64 = movie.video.samples.iter().map(|sample| u64::from(sample.size)).sum();
    let bitrate = (bytes as f64 * 8.0 / seconds).min(f64::from(u32::MAX)) as u32;
    let fitting = fitting(&wanted.presets, (format.width, format.height), is_turned(&movie.video.matrix), bitrate);
    let size = format!("{}×{}", format.width, format.height);
    if fitting.is_empty() {
        return Ok(Output::new(format!("nothing to make: every preset is larger than the source, {size}")));
    }
    let declared: Vec<_> = fitting.iter().map(|(key, derivative)| Item::new(*key, derivative)).collect();
    let open = items::declare(&declared)?;
    let frames = movie.video.samples.len() as u64;
    log::info!("{frames} frames of {size}, {seconds:.1} s, {} sound tracks; {open} derivatives to make", movie.audio.len());

    let before = (fitting.len() as u64).saturating_sub(open);
    let ended = Cell::new(0);
    let tally = items::each(|key, derivative: Derivative| {
        let report = |done: u64| {
            if done.is_multiple_of(FRAMES) && control::should_stop() {
                return Err(stopped(ended.get(), &format!("in {key}, at frame {done} of {frames}")));
            }
            if done.is_multiple_of(FRAMES) || done == frames {
                let all = (before + ended.get()) * frames + done;
                progress::report(all, fitting.len() as u64 * frames, &format!("{key}: frame {done} of {frames}"));
            }
            Ok(())
        };
        let made =
            make(&mut source, &movie, &wanted, key, derivative, report).map_err(|failure| unless_first(failure, ended.get()));
        if !made.as_ref().is_err_and(|failure| failure.class() != windlass_plugin::Class::Permanent) {
            ended.set(ended.get() + 1);
        }
        made
    })?;
    if tally.done + tally.failed < open && control::should_stop() {
        return Err(stopped(ended.get(), "between two derivatives"));
    }
    let names: Vec<_> = fitting.iter().map(|(key, _)| *key).collect();
    let facts =
        json!({ "width": format.width, "height": format.height, "frames": frames, "seconds": seconds, "derivatives": names });
    Ok(Output::new(format!("{} of {open} made of {size}, {frames} frames", tally.done)).data(facts))
}

/// The time is over: what is done stays done. Who got on is called again at no cost; who did not has failed.
fn stopped(ended: u64, place: &str) -> Failure {
    let message = format!("stopped {place}; the next attempt begins with it");
    if ended > 0 { Failure::snooze(0, message) } else { Failure::transient(format!("{message}: give it more time_limit")) }
}

fn make(
    source: &mut Source,
    movie: &Movie,
    wanted: &Wanted,
    key: &str,
    derivative: Derivative,
    report: impl Fn(u64) -> Result<(), Failure>,
) -> Result<String, Failure> {
    let mut made = transcode(source, movie, &derivative, (wanted.max_bytes, Spool::open()?), &mut |done| report(done))?;
    let (size, mut places) = (made.length(), Vec::new());
    if let Some(name) = wanted.artifact(key) {
        leave(&name, &mut made)?;
        places.push(format!("as the artifact {name}"));
    }
    if let Some(url) = wanted.address(key) {
        let request = http::request("PUT", &url).header("content-type", "video/mp4").first_byte_timeout(STORE);
        let answered = request.send_from(size, &mut made.reader()?)?;
        if !(200..300).contains(&answered.status) {
            return Err(refused(answered, &format!("putting {url}")));
        }
        places.push(format!("at {url}"));
    }
    Ok(format!("{}×{}, {size} bytes {}", derivative.width, derivative.height, places.join(" and ")))
}

/// A derivative that is made again takes the place of the one before.
fn leave(name: &str, made: &mut Made) -> Result<(), Failure> {
    let artifact = artifacts::create(name, "video/mp4")?;
    let (mut reader, mut piece) = (made.reader()?, Vec::with_capacity(PIECE));
    while reader.by_ref().take(PIECE as u64).read_to_end(&mut piece)? > 0 {
        artifact.write(&piece)?;
        piece.clear();
    }
    artifact.finish()?;
    Ok(())
}

/// A scratch folder that earlier derivatives have filled is empty in the next attempt, which has ended some by then.
fn unless_first(failure: Failure, ended: u64) -> Failure {
    if ended > 0 && failure.message().starts_with(spool::FULL) { Failure::snooze(0, failure.message()) } else { failure }
}

/// Whether it is shown a quarter turned, by the matrix of its track: then its sides change places.
fn is_turned(matrix: &[u8]) -> bool {
    let number = |n: usize| matrix.get(n * 4..n * 4 + 4).is_some_and(|bytes| bytes != [0; 4]);
    !number(0) && number(1) && number(3) && !number(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn_is_seen() {
        let matrix = |numbers: [i32; 9]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>();
        let one = 0x0001_0000;
        assert!(!is_turned(&matrix([one, 0, 0, 0, one, 0, 0, 0, 0x4000_0000])));
        assert!(is_turned(&matrix([0, one, 0, -one, 0, 0, 0, 0, 0x4000_0000])));
        assert!(!is_turned(&matrix([-one, 0, 0, 0, -one, 0, 0, 0, 0x4000_0000])));
        assert!(!is_turned(&[]));
    }
}
