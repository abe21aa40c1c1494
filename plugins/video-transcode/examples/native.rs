//! `native FILM PRESET`: makes one derivative without a sandbox and prints `{"frames", "seconds", "bytes"}`, for `windlass bench --native`.

use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(film), Some(preset)) = (arguments.next(), arguments.next()) else { return Err("native FILM PRESET".into()) };
    let film = std::fs::read(film)?;
    let began = Instant::now();
    let (frames, bytes) = video_transcode::natively(film, &preset).map_err(|failure| failure.to_string())?;
    let seconds = began.elapsed().as_secs_f64();
    println!("{}", serde_json::json!({ "frames": frames, "seconds": seconds, "bytes": bytes }));
    Ok(())
}
