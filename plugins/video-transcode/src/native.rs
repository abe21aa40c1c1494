//! `native FILM PRESET`: makes one derivative without a sandbox and prints `{"frames", "seconds", "bytes"}`, for `windlass bench --native`: what
//! the sandbox costs is measured against this.
#![allow(dead_code, reason = "what talks to a host is not called here")]

mod config;
mod mp4;
mod nal;
mod picture;
mod preset;
mod source;
mod transcode;

use std::time::Instant;

use windlass_plugin::Failure;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(film), Some(preset)) = (arguments.next(), arguments.next()) else { return Err("native FILM PRESET".into()) };
    let film = std::fs::read(film)?;
    let began = Instant::now();
    let (frames, bytes) = natively(film, &preset).map_err(|failure| failure.to_string())?;
    let seconds = began.elapsed().as_secs_f64();
    println!("{}", serde_json::json!({ "frames": frames, "seconds": seconds, "bytes": bytes }));
    Ok(())
}

/// How many frames it has, and how many bytes came of them.
fn natively(film: Vec<u8>, preset: &str) -> Result<(usize, u64), Failure> {
    let mut source = source::Source::whole(film);
    let movie = mp4::read::Movie::open(&mut source)?;
    let format = nal::Format::parse(&movie.video.entry)?;
    let fitting = preset::fitting(&[preset.to_owned()], (format.width, format.height), false, u32::MAX);
    let (_, derivative) = fitting.first().ok_or_else(|| Failure::permanent("the film does not fill it"))?;
    let into = (usize::MAX, mp4::spool::Spool::in_memory());
    let made = transcode::transcode(&mut source, &movie, derivative, into, &mut |_| Ok(()))?;
    Ok((movie.video.samples.len(), made.length()))
}
