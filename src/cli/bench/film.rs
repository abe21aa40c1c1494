//! How fast a film is transcoded in the sandbox, all of it: read over HTTP, decoded, scaled, encoded, left behind; and by the same
//! code without one, a program of its own (plugins/video-transcode/src/native.rs), for its crates are no dependencies of the host.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::guests::{bytes, open, work};
use super::{Measure, step};
use crate::cli::local;
use crate::cli::local::items::Desk;
use crate::cli::local::shelf::Shelf;
use crate::domain::attempt::Outcome;
use crate::domain::grant::{Ceiling, Grant, HttpGrant};
use crate::domain::limits::Limits;
use crate::error::{Error, Result};
use crate::plugin::Executor;
use crate::span::Size;

/// Smaller than any film that is worth a measure.
const PRESET: &str = "240p.mp4";
const LIMIT: Duration = Duration::from_secs(600);
const MEMORY: Size = Size::mib(256);

pub(super) async fn measure(folder: &Path, film: &Path, native: Option<&Path>) -> Result<Vec<Measure>> {
    step("a film, transcoded in the sandbox");
    let guest = in_a_sandbox(folder, film).await?;
    let mut measures =
        vec![Measure { name: "a film to 240p in the guest, 1 thread", value: guest, unit: "frames/s", target: "" }];
    if let Some(program) = native {
        step("the same film without a sandbox");
        let native = without_one(program, film)?;
        measures.push(Measure { name: "the same film natively, 1 thread", value: native, unit: "frames/s", target: "" });
        measures.push(Measure { name: "the guest's share of native", value: guest / native, unit: "ratio", target: "" });
    }
    Ok(measures)
}

/// Frames a second.
fn without_one(program: &Path, film: &Path) -> Result<f64> {
    let done = std::process::Command::new(program).arg(film).arg(PRESET).output()?;
    let told: Option<Value> = serde_json::from_slice(&done.stdout).ok();
    let number = |key: &str| told.as_ref().and_then(|told| told[key].as_f64());
    let said = || format!("{}: {}", program.display(), String::from_utf8_lossy(&done.stderr).trim());
    number("frames").zip(number("seconds")).map(|(frames, seconds)| frames / seconds).ok_or_else(|| Error::Unavailable(said()))
}

/// Frames a second.
async fn in_a_sandbox(folder: &Path, film: &Path) -> Result<f64> {
    let url = format!("http://{}", serve(std::fs::read(film)?)?);
    let sandbox = open(&folder.join("film"), 1, 1)?;
    let digest = sandbox.catalog().add(bytes("video-transcode")).await?.digest;
    let (state, state_calls) = mpsc::channel(1);
    let (items, item_calls) = mpsc::channel(1);
    let (files, artifact_calls) = mpsc::channel(1);
    let mut work = work(&digest, LIMIT);
    (work.state, work.items, work.artifacts) = (state, Some(items), Some(files));
    work.input = json!({ "source": format!("{url}/film.mp4"), "artifacts": true, "presets": [PRESET] }).to_string();
    let http = vec![HttpGrant { host: url.clone(), methods: vec!["GET".into()] }];
    work.grant = Arc::new(Grant { http, memory: MEMORY, ..Grant::default() });
    let networks = vec!["127.0.0.0/8".into()];
    work.ceiling = Arc::new(Ceiling { hosts: vec![url], networks, memory: MEMORY, ..Ceiling::default() });
    let (mut desk, mut shelf) = (Desk::default(), Shelf::new(Some(folder.join("derivatives")), Limits::default())?);
    let began = Instant::now();
    let outcome = tokio::select! {
        outcome = sandbox.execute(work) => outcome,
        never = local::keep_state(state_calls) => match never {},
        never = desk.serve(item_calls) => match never {},
        never = shelf.serve(artifact_calls) => match never {},
    };
    let took = began.elapsed().as_secs_f64();
    let made = shelf.end().await;
    let data: Value = match &outcome {
        Outcome::Succeeded { data: Some(data), .. } if !made.is_empty() => serde_json::from_str(data)?,
        other => return Err(Error::Unavailable(format!("{}: {}", film.display(), other.message()))),
    };
    Ok(data["frames"].as_f64().unwrap_or(f64::NAN) / took)
}

/// Gives the whole film to whoever asks, until the process ends.
fn serve(film: Vec<u8>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A caller that goes away in the middle is no matter of ours.
            let _ = give(&stream, &film);
        }
    });
    Ok(address)
}

fn give(mut stream: &TcpStream, film: &[u8]) -> std::io::Result<()> {
    let mut head = BufReader::new(stream).lines();
    while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let length = film.len();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: video/mp4\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n")?;
    stream.write_all(film)
}
