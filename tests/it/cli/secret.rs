//! A secret's value on its way out: the shipped `http-request` in the real program, against a target of its own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::{Server, files_with};

const VALUE: &str = "hunter2-of-the-real-program";

/// Says back what it was told, as JSON, and remembers it.
struct Target {
    url: String,
    came: Arc<Mutex<Vec<String>>>,
}

impl Target {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let came: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = came.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap_or(0) == 0 {
                        break;
                    }
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                let body = json!({ "saw": head }).to_string();
                noted.lock().unwrap().push(head);
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { url, came }
    }

    fn came(&self) -> Vec<String> {
        std::mem::take(&mut *self.came.lock().unwrap())
    }
}

/// A job that names its secret where the grant has it, and one that names it elsewhere.
fn apply(server: &Server, url: &str, dir: &Path) {
    let job = |name: &str, header: &str| {
        format!(
            r#"
[[job]]
name = "{name}"
plugin = "http-request@1"
retry = {{ attempts = 1 }}
[job.config]
url = "{url}/tools/{{{{input.tool}}}}/deploy"
headers = {{ {header} = "Bearer {{{{secret.api-token}}}}" }}
[job.grant]
http = [{{ host = "{url}", methods = ["GET"] }}]
secrets = [{{ name = "api-token", use = "header", header = "Authorization", hosts = ["{url}"] }}]
"#
        )
    };
    let head = format!("tenant = \"acme\"\n[ceiling]\nhosts = [\"{url}\"]\nnetworks = [\"127.0.0.0/8\"]\n");
    let file = dir.join("acme.toml");
    std::fs::write(&file, [head, job("right", "Authorization"), job("wrong", "X-Other")].concat()).unwrap();
    let told = server.cli(&["apply", file.to_str().unwrap()]);
    assert_eq!(told.code, 0, "{told:?}");
}

fn run(server: &Server, job: &str, tool: &str) -> Value {
    let input = json!({ "tool": tool }).to_string();
    let told = server.cli(&["job", "run", &format!("acme/{job}"), "--input", &input, "--wait", "--timeout", "60s", "--json"]);
    serde_json::from_str(&told.stdout).unwrap_or_else(|wrong| panic!("{wrong}: {told:?}"))
}

#[test]
fn a_secret_in_a_template_reaches_its_target_in_its_place_and_nobody_else() {
    let (dir, target) = (tempfile::tempdir().unwrap(), Target::start());
    let data = dir.path().join("data");
    let mut server = Server::start(&data);
    apply(&server, &target.url, dir.path());
    assert_eq!(server.cli_with(&["secret", "set", "acme/api-token"], VALUE.as_bytes()).code, 0);

    let done = run(&server, "right", "web");
    assert_eq!(done["state"], "succeeded", "{done}");
    let came = target.came();
    assert!(came.len() == 1 && came[0].starts_with("GET /tools/web/deploy HTTP/1.1\r\n"), "{came:?}");
    assert!(came[0].to_lowercase().contains(&format!("authorization: bearer {VALUE}\r\n")), "{came:?}");
    // The target has said it back: nobody here has heard it.
    let id = format!("acme/{}", done["id"].as_str().unwrap());
    assert!(done["output"]["saw"].as_str().unwrap().to_lowercase().contains("authorization: bearer *"), "{done}");
    for what in [vec!["run", "show", &id, "--json"], vec!["run", "logs", &id]] {
        let told = server.cli(&what);
        assert!(told.code == 0 && !told.stdout.contains(VALUE), "{told:?}");
    }

    let refused = run(&server, "wrong", "web");
    assert_eq!((&refused["state"], target.came().len()), (&json!("dead"), 0), "{refused}");

    for tool in ["..", "../../admin", ".", "a/../..", "..\\admin"] {
        let refused = run(&server, "right", tool);
        assert!(refused["error"].as_str().unwrap().contains("leads to another path"), "{tool}: {refused}");
    }
    assert!(target.came().is_empty(), "none of them was sent");
    let done = run(&server, "right", "a/b ?#%2e");
    assert_eq!(done["state"], "succeeded", "{done}");
    assert!(target.came()[0].starts_with("GET /tools/a%2Fb%20%3F%23%252e/deploy HTTP/1.1"), "a value stays in its part");
    server.terminate();
    assert!(files_with(&data, &[VALUE]).is_empty(), "{:?}", files_with(&data, &[VALUE]));
}
