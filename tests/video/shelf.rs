//! A server on loopback that gives out films by ranges, as the web's servers do, and takes what is put there.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub struct Shelf {
    pub url: String,
    state: Arc<State>,
}

struct State {
    folder: PathBuf,
    /// Paths in the order in which they came.
    put: Mutex<Vec<String>>,
    refused: Mutex<HashSet<String>>,
}

impl Shelf {
    pub fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        fs::create_dir_all(folder.join("made")).unwrap();
        let state = Arc::new(State { folder: folder.to_owned(), put: Mutex::default(), refused: Mutex::default() });
        let shared = Arc::clone(&state);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                // A caller that goes away in the middle is no matter of ours.
                std::thread::spawn(move || drop(shared.serve(&stream.unwrap())));
            }
        });
        Self { url, state }
    }

    /// What was taken, in its order.
    pub fn put(&self) -> Vec<String> {
        self.state.put.lock().unwrap().clone()
    }

    /// The first time that this is put it is answered with 503.
    pub fn refuse_once(&self, path: &str) {
        self.state.refused.lock().unwrap().insert(path.to_owned());
    }
}

impl State {
    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let header = |name: &str| lines.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(str::to_owned));
        let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut body = vec![0; header("content-length: ").and_then(|length| length.parse().ok()).unwrap_or(0)];
        reader.read_exact(&mut body)?;
        match method {
            "PUT" => self.take(stream, path, &body),
            _ => self.give(stream, path, &header("range: bytes=").unwrap_or_default()),
        }
    }

    fn take(&self, stream: &TcpStream, path: &str, body: &[u8]) -> std::io::Result<()> {
        if self.refused.lock().unwrap().remove(path) {
            return answer(stream, "503 Service Unavailable", "", b"not now");
        }
        fs::write(self.folder.join(path.trim_start_matches('/')), body)?;
        self.put.lock().unwrap().push(path.to_owned());
        answer(stream, "201 Created", "", b"")
    }

    fn give(&self, stream: &TcpStream, path: &str, range: &str) -> std::io::Result<()> {
        let Ok(bytes) = fs::read(self.folder.join(path.trim_start_matches('/'))) else {
            return answer(stream, "404 Not Found", "", b"no such film");
        };
        let (from, to) = range.split_once('-').unwrap();
        let from: usize = from.parse().unwrap();
        let end = (to.parse::<usize>().unwrap() + 1).min(bytes.len());
        let headers = format!("content-range: bytes {from}-{}/{}\r\netag: \"{}\"\r\n", end - 1, bytes.len(), bytes.len());
        answer(stream, "206 Partial Content", &headers, &bytes[from..end])
    }
}

fn answer(mut stream: &TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)
}
