//! A tenant's target answers with markup: every page shows it as text.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;

use crate::chrome::Chrome;
use crate::harness::{Server, wait};
use crate::looks;

const WORDS: &str = "<script>window.caught=1</script><img src=x onerror=window.caught=1>\"'><b>bold</b>";

pub async fn shows_words_as_words(chrome: &Chrome, server: &Server) {
    chrome.go("/").await;
    chrome.reads("h1", "No tenants yet").await;
    let run = die(server);
    // The page of the first steps becomes the overview by itself.
    chrome.reads("h1", "Overview").await;
    let href = format!("/t/mallow/runs/{run}");
    for page in ["/", "/failures", "/runs", "/t/mallow", "/t/mallow/jobs/drain-jobs", &href] {
        chrome.go(page).await;
        // The page of a tenant has no messages of its runs.
        if page != "/t/mallow" {
            chrome.reads("main", "<script>window.caught=1</script>").await;
        }
        looks::looks(chrome).await;
        assert_eq!(chrome.count("main script, main img").await, 0, "{page}");
        assert_eq!(chrome.js("return typeof window.caught").await, json!("undefined"), "{page}");
    }
    chrome.go("/failures").await;
    chrome.click("#causes h2 a").await;
    chrome.reads("main pre", WORDS).await;
    looks::looks(chrome).await;
}

/// A run that died of the words; answers its id.
fn die(server: &Server) -> String {
    let origin = answer_with_markup();
    let tenant = format!("tenant = \"mallow\"\n\n[ceiling]\nhosts = [\"{origin}\"]\nnetworks = [\"127.0.0.0/8\"]\n");
    let job = format!(
        r#"
[[job]]
name = "drain-jobs"
plugin = "mediawiki-jobs"
config = {{ api = "{origin}/w/api.php", index = "{origin}/w/index.php" }}
triggers = [{{ backlog = {{ probe = "plugin", every = "2s", per_run = 500 }} }}]

[job.grant]
http = [{{ host = "{origin}", methods = ["GET", "POST"] }}]
secrets = [{{ name = "wiki-key", use = "sign", algorithm = "hmac-sha1", begins_with = "async=0&maxjobs=" }}]
"#
    );
    let file = server.dir().join("mallow.toml");
    for text in [tenant.clone(), tenant + &job] {
        std::fs::write(&file, text).unwrap();
        server.json(&["apply", file.to_str().unwrap()]);
        let set = server.cli_with(&["secret", "set", "mallow/wiki-key"], b"only for this test");
        assert_eq!(set.code, 0, "{set:?}");
    }
    wait("a run died", Duration::from_secs(30), || {
        let runs = server.json(&["run", "list", "--tenant", "mallow"]);
        let dead = runs["items"].as_array().unwrap().iter().find(|run| run["state"] == "dead")?;
        Some(dead["id"].as_str().unwrap().to_owned())
    })
}

/// A wiki whose queue is never empty and that refuses to run it, with markup for a reason; until the test ends.
fn answer_with_markup() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut asked = [0; 4096];
            let Ok(length) = stream.read(&mut asked) else { continue };
            let (status, kind, body) = if asked[..length].starts_with(b"GET") {
                ("200 OK", "application/json", json!({ "query": { "statistics": { "jobs": 3 } } }).to_string())
            } else {
                ("400 Bad Request", "text/html", WORDS.to_owned())
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    origin
}
