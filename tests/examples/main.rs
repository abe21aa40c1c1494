//! Plugins as their authors make them, in every language: built with the tools of the language, inspected, run without a server and on
//! one. The tools are fetched by `plugins/examples/toolchains`, which `tests/run examples` calls.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "../harness/mod.rs"]
mod harness;
mod languages;
mod tutorial;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// A site with one page; `/busy` is 503. Ends with the test.
fn site() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 4096];
            let read = stream.read(&mut asked).unwrap();
            let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
            let path = asked.split(' ').nth(1).unwrap_or_default();
            let status = if path == "/busy" { "503 Service Unavailable" } else { "200 OK" };
            let page = "<html><title>Grüße,\n world</title><a href=\"/\">home</a><a>no link</a></html>";
            let body = if asked.starts_with("HEAD") { "" } else { page };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            // A guest that was denied in between may be gone.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        }
    });
    url
}

/// A folder under the target directory, which stays for whoever wants to look.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
