//! A server with one job that transcodes what its input names, set up as an operator would.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::film::{Film, looped, turn};
use crate::harness::Server;
use crate::shelf::Shelf;

pub struct Scene {
    pub server: Server,
    pub shelf: Shelf,
    folder: TempDir,
}

impl Scene {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With further jobs; `SHELF` stands for the shelf's address.
    pub fn start_with(jobs: &str) -> Self {
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
scratch = "64 MiB"
limits = {{ request_bytes = "64 MiB" }}

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
        fs::write(&file, text + &jobs.replace("SHELF", url)).unwrap();
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

    /// A film so many times one after the other.
    pub fn looped(&self, name: &str, film: &Film, times: u32) -> Film {
        looped(film, times, &self.place(name));
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
        self.run_job("transcode", &self.input(name, more))
    }

    pub fn run_job(&self, job: &str, input: &str) -> Value {
        let job = format!("video/{job}");
        let ended = self.server.cli(&["job", "run", &job, "--input", input, "--wait", "--timeout", "5m", "--json"]);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|wrong| panic!("{wrong}: {ended:?}"))
    }

    /// What a run has left under this name, saved.
    pub fn saved(&self, run: &Value, name: &str) -> Film {
        let (run, file) = (format!("video/{}", run["id"].as_str().unwrap()), self.place(&format!("saved-{name}")));
        let told = self.server.cli(&["run", "artifacts", &run, "--save", name, "--output", file.to_str().unwrap()]);
        assert_eq!(told.code, 0, "{told:?}");
        Film(file)
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

    pub fn input(&self, name: &str, more: &Value) -> String {
        let mut input = json!({ "source": format!("{}/{name}", self.shelf.url) });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input.to_string()
    }
}
