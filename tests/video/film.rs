//! Films, as ffprobe and ffmpeg see them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

pub struct Film(pub PathBuf);

impl Film {
    /// Moving pictures of this size and rate, with a tone where there is a codec for it; `options` are ffmpeg's for what comes out.
    pub fn make(path: PathBuf, options: &[&str], size: &str, rate: &str) -> Self {
        let picture = format!("testsrc2=size={size}:rate={rate}");
        let mut command = vec!["-f", "lavfi", "-i", &picture];
        if options.contains(&"-c:a") {
            command.extend(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"]);
        }
        command.extend(options);
        if !options.contains(&"-pix_fmt") {
            command.extend(["-pix_fmt", "yuv420p"]);
        }
        command.push(path.to_str().unwrap());
        ffmpeg(&command);
        Self(path)
    }

    pub fn name(&self) -> &str {
        self.0.file_name().unwrap().to_str().unwrap()
    }

    pub fn bytes(&self) -> u64 {
        self.0.metadata().unwrap().len()
    }

    pub fn video(&self) -> Value {
        self.probe(&["-select_streams", "v", "-show_streams"])["streams"][0].clone()
    }

    /// When each frame is shown, in the order in which they are.
    pub fn frames(&self) -> Vec<String> {
        let probed = self.probe(&["-select_streams", "v", "-show_entries", "frame=pts_time"]);
        let frames = probed["frames"].as_array().unwrap();
        assert!(!frames.is_empty(), "{}", self.name());
        frames.iter().map(|frame| frame["pts_time"].as_str().unwrap().to_owned()).collect()
    }

    /// Time, duration and hash of each packet of sound.
    pub fn sound(&self) -> Vec<Value> {
        let entries = "packet=pts_time,duration_time,data_hash";
        let probed = self.probe(&["-select_streams", "a", "-show_data_hash", "md5", "-show_entries", entries]);
        probed["packets"].as_array().cloned().unwrap_or_default()
    }

    /// How it is turned when it is shown.
    pub fn turned(&self) -> Option<i64> {
        let video = self.video();
        video["side_data_list"].as_array()?.iter().find_map(|data| data["rotation"].as_i64())
    }

    /// How much it looks like the source at this size, in dB.
    pub fn psnr(&self, source: &Self, (width, height): (u64, u64)) -> f64 {
        let compared = format!("[1:v]scale={width}:{height}:flags=bicubic[small];[0:v][small]psnr");
        let inputs = ["-noautorotate", "-i", self.path(), "-noautorotate", "-i", source.path()];
        let said = ffmpeg(&[&inputs[..], &["-lavfi", &compared, "-f", "null", "-"]].concat());
        let average = said.rsplit_once("average:").unwrap_or_else(|| panic!("no PSNR: {said}")).1;
        average.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn probe(&self, what: &[&str]) -> Value {
        let output = Command::new("ffprobe").args(["-v", "error", "-of", "json"]).args(what).arg(&self.0).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", self.name());
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Turns a film by a quarter, in its index alone.
pub fn turn(from: &Film, to: &Path) {
    ffmpeg(&["-i", from.path(), "-c", "copy", "-metadata:s:v:0", "rotate=90", to.to_str().unwrap()]);
}

/// So many times one after the other, nothing coded anew.
pub fn looped(from: &Film, times: u32, to: &Path) {
    let more = (times - 1).to_string();
    ffmpeg(&["-stream_loop", &more, "-i", from.path(), "-c", "copy", to.to_str().unwrap()]);
}

/// Answers what it said.
fn ffmpeg(arguments: &[&str]) -> String {
    let output = Command::new("ffmpeg").args(["-hide_banner", "-nostdin", "-y"]).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ffmpeg {arguments:?}: {said}");
    said
}
