//! A server with one job that transcodes what its input names, set up as an operator would.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::film::{Film, turn};
use crate::harness::Server;
use crate::shelf::Shelf;

pub struct Scene {
    pub server: Server,
    pub shelf: Shelf,
    folder: TempDir,
}

impl Scene {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::start(&folder.path().join("films"));
        let server = Server::start(&folder.path().join("data"));
        let url = &shelf.url;
        let file = folder.path().join("video.toml");
        let text = format!(
            r#"tenant = "video"
[ceiling]
hosts = ["{url}"]
networks = ["127.0.0.0/8"]

[[job]]
name = "transcode"
plugin = "video-transcode@1"
time_limit = "5m"
retry = {{ attempts = 3, base = "100ms" }}
config = {{ target = "{url}/made/{{{{name}}}}.{{{{preset}}}}" }}

[job.grant]
http = [{{ host = "{url}", methods = ["GET", "PUT"] }}]
"#
        );
        fs::write(&file, text).unwrap();
        server.json(&["apply", file.to_str().unwrap()]);
        Self { server, shelf, folder }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join("films").join(name)
    }

    pub fn film(&self, name: &str, options: &[&str], size: &str, rate: &str) -> Film {
        Film::make(self.place(name), options, size, rate)
    }

    /// The first two thirds of a film.
    pub fn cut(&self, name: &str, film: &Film) -> Film {
        let bytes = fs::read(&film.0).unwrap();
        fs::write(self.place(name), &bytes[..bytes.len() * 2 / 3]).unwrap();
        Film(self.place(name))
    }

    pub fn turned(&self, name: &str, film: &Film) -> Film {
        turn(film, &self.place(name));
        Film(self.place(name))
    }

    /// What was made of a film.
    pub fn made(&self, film: &Film, key: &str) -> Film {
        Film(self.place(&format!("made/{}.{key}", film.name().trim_end_matches(".mp4"))))
    }

    /// Transcodes and answers the run, at its end.
    pub fn run(&self, film: &Film, more: &Value) -> Value {
        self.run_named(film.name(), more)
    }

    pub fn run_named(&self, name: &str, more: &Value) -> Value {
        let input = self.input(name, more);
        let ended = self.server.cli(&["job", "run", "video/transcode", "--input", &input, "--wait", "--timeout", "5m", "--json"]);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|wrong| panic!("{wrong}: {ended:?}"))
    }

    /// Starts it and answers its address, `video/…`.
    pub fn begin(&self, name: &str, more: &Value) -> String {
        let run = self.server.json(&["job", "run", "video/transcode", "--input", &self.input(name, more)]);
        format!("video/{}", run["id"].as_str().unwrap())
    }

    pub fn told(&self, run: &str) -> Value {
        self.server.api_get(&format!("tenants/{}", run.replace('/', "/runs/")))
    }

    pub fn items(&self, run: &Value) -> Vec<Value> {
        let list = self.server.api_get(&format!("tenants/video/runs/{}/items", run["id"].as_str().unwrap()));
        list["items"].as_array().unwrap().clone()
    }

    fn input(&self, name: &str, more: &Value) -> String {
        let mut input = json!({ "source": format!("{}/{name}", self.shelf.url) });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input.to_string()
    }
}
