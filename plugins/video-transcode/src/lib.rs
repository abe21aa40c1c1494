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
