//! H.264 in, smaller H.264 out, in pure Rust: one item a derivative, the smallest first. README.md has the configuration and
//! what each source comes to.
//!
//! `source` and `run` talk to the world; `mp4` and `nal` read and write containers, `picture` scales, `transcode` puts them
//! together, one frame at a time.

mod config;
mod mp4;
mod nal;
mod picture;
mod preset;
mod run;
mod source;
mod transcode;

use serde_json::{Value, json};

windlass_plugin::job!(run::run);
windlass_plugin::config_check!(config::check);
windlass_plugin::describe!(describe);

fn describe() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "summary": env!("CARGO_PKG_DESCRIPTION"),
        "config": config::schema(),
        "wants": ["control", "items", "log", "progress"],
    })
}

/// Makes one derivative of a film without a host, and answers how many frames it has and how many bytes came of them: what the
/// sandbox costs is measured against this.
pub fn natively(film: Vec<u8>, preset: &str) -> Result<(usize, u64), windlass_plugin::Failure> {
    let mut source = source::Source::whole(film);
    let movie = mp4::read::Movie::open(&mut source)?;
    let format = nal::Format::parse(&movie.video.entry)?;
    let fitting = preset::fitting(&[preset.to_owned()], (format.width, format.height), false, u32::MAX);
    let (_, derivative) = fitting.first().ok_or_else(|| windlass_plugin::Failure::permanent("the film does not fill it"))?;
    let into = (usize::MAX, mp4::spool::Spool::in_memory());
    let made = transcode::transcode(&mut source, &movie, derivative, into, &mut |_| Ok(()))?;
    Ok((movie.video.samples.len(), made.length()))
}
