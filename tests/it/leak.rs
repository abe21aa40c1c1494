//! A secret's value is nowhere but at its target: not in a guest, a log at its most talkative, a page, an answer of the API,
//! a trace, an alert, a recording, nor in any file that the server leaves.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::alerts::world::Hook;
use crate::harness::{Server, files_with, wait};
use crate::plugin::guests;
use crate::runner::traces::Collector;

const OLD: &str = "sesame-0pen+now/please";
const NEW: &str = "another-w0rd+of/the-day";

/// All but what compilers say of each instruction.
const EVERYTHING: &str = "trace,cranelift_codegen=off,cranelift_frontend=off,regalloc2=off,wasmtime_internal_cranelift=off";

/// A target that says back what it was told to authorize with, in clear and in base 64; and hands it to the test.
fn target() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let key = head.iter().find_map(|line| line.split_once(": ").filter(|(name, _)| *name == "authorization"));
            let key = key.map(|(_, value)| value.to_owned()).unwrap_or_default();
            let body = format!("{key} {}", STANDARD.encode(&key));
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-echo: {key}\r\nconnection: close\r\n\r\n{body}", body.len());
            tell.send(key).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, told)
}

fn forms(value: &str) -> [String; 3] {
    let encoded = STANDARD.encode(value);
    [value.to_owned(), encoded.trim_end_matches('=').to_owned(), value.replace('+', "%2B").replace('/', "%2F")]
}

fn tenant_file(address: SocketAddr) -> String {
    let host = format!("http://{address}");
    format!(
        "tenant = \"acme\"\n[ceiling]\nhosts = [\"{host}\"]\nnetworks = [\"127.0.0.0/8\"]\n\
         [[job]]\nname = \"thief\"\nplugin = \"hostile\"\n[job.grant]\nhttp = [{{ host = \"{host}\" }}]\n\
         secrets = [{{ name = \"key\", use = \"header\", header = \"Authorization\", hosts = [\"{host}\"] }}]\n"
    )
}

fn steal(server: &Server, address: SocketAddr, value: &str) -> Value {
    let input = json!({
        "attack": "steal", "url": format!("http://{address}/"), "header": "authorization", "text": "Bearer {}",
        "reversed": value.chars().rev().collect::<String>(),
    });
    let run = server.json(&["job", "run", "acme/thief", "--wait", "--input", &input.to_string()]);
    assert_eq!((&run["state"], &run["output"]["hits"]), (&json!("succeeded"), &json!(0)), "{run}");
    run
}

#[test]
fn a_denied_request_says_the_line_that_would_allow_it_in_log_page_and_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::start(&data);
    std::fs::write(data.join("hostile.wasm"), guests::hostile()).unwrap();
    std::fs::write(data.join("acme.toml"), "tenant = \"acme\"\n[[job]]\nname = \"asks\"\nplugin = \"hostile\"\n").unwrap();
    assert_eq!(server.cli(&["plugin", "push", "hostile.wasm"]).code, 0);
    assert_eq!(server.cli(&["apply", "acme.toml"]).code, 0);
    let input = json!({ "attack": "http", "url": "http://127.0.0.1:9/x" }).to_string();
    let run = server.json(&["job", "run", "acme/asks", "--wait", "--input", &input]);
    let id = run["id"].as_str().unwrap();
    let line = r#"grant.http = [{ host = "http://127.0.0.1:9", methods = ["GET"] }]"#;
    let logs = server.cli(&["run", "logs", &format!("acme/{id}")]).stdout;
    assert!(logs.contains(line), "{logs}");
    let page = server.page(&format!("/t/acme/runs/{id}")).text.replace("&#34;", "\"").replace("&quot;", "\"");
    assert_eq!(page.matches(line).count(), 2, "in the log and in the list of calls: {page}");
    let tried = server.cli(&["plugin", "run", "hostile.wasm", "--input", &input]).stdout;
    assert!(tried.contains(line), "{tried}");
}

#[test]
fn a_secrets_value_is_nowhere_but_at_its_target() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (address, told) = target();
    let mut server = Server::start_with(&data, &[("WINDLASS_LOG", EVERYTHING)]);
    std::fs::write(folder.path().join("hostile.wasm"), guests::hostile()).unwrap();
    std::fs::write(data.join("acme.toml"), tenant_file(address)).unwrap();
    let pushed = server.cli(&["plugin", "push", folder.path().join("hostile.wasm").to_str().unwrap()]);
    assert_eq!(pushed.code, 0, "{pushed:?}");
    let applied = server.cli(&["apply", "acme.toml"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    assert_eq!(server.cli_with(&["secret", "set", "acme/key"], OLD.as_bytes()).code, 0);
    let mut shown = BTreeMap::new();
    for value in [OLD, NEW] {
        if value == NEW {
            let rotated = server.cli_with(&["secret", "rotate", "acme/key"], NEW.as_bytes());
            assert!(rotated.code == 0 && rotated.stdout.contains("is rotated (version 2)"), "{rotated:?}");
        }
        let run = steal(&server, address, value);
        assert_eq!(told.recv().unwrap(), format!("Bearer {value}"), "the target has it");
        let id = run["id"].as_str().unwrap();
        shown.insert(format!("run {id}"), run.to_string());
        shown.insert(format!("logs {id}"), server.cli(&["run", "logs", &format!("acme/{id}")]).stdout);
        let page = server.page(&format!("/t/acme/runs/{id}")).text;
        assert!(page.contains("with secret key"), "the use is on the page: {page}");
        shown.insert(format!("page {id}"), page);
    }
    shown.insert("secrets".into(), server.api_get("tenants/acme/secrets").to_string());
    shown.insert("the job's page".into(), server.page("/t/acme/jobs/thief").text);
    assert!(server.terminate().success());
    assert!(server.log().contains("TRACE"), "the log says all that it can");
    let forms: Vec<String> = [OLD, NEW].into_iter().flat_map(forms).collect();
    let forms: Vec<&str> = forms.iter().map(String::as_str).collect();
    for (what, text) in &shown {
        assert!(!forms.iter().any(|form| text.contains(form)), "{what}: {text}");
    }
    assert!(!files_with(&data, &["thief"]).is_empty(), "there is something to look through");
    assert_eq!(files_with(&data, &forms), [""; 0]);
}

#[test]
fn a_secrets_value_is_in_no_trace_no_alert_and_no_recording() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (address, told) = target();
    let (runtime, collector) = (tokio::runtime::Runtime::new().unwrap(), Collector::default());
    let (hook, endpoint) = runtime.block_on(async { (Hook::open().await, collector.open().await) });
    let mut server = Server::start_with(&data, &[("WINDLASS_OTEL__ENDPOINT", &endpoint)]);
    std::fs::write(data.join("hostile.wasm"), guests::hostile()).unwrap();
    let origin = &hook.origin;
    let file = tenant_file(address).replacen("hosts = [\"http", &format!("hosts = [\"{origin}\", \"http"), 1).replacen(
        "[[job]]",
        &format!(
            "[[alert]]\nwhen = [\"failing\"]\nwebhook = \"{origin}/hook\"\n[[alert]]\nwhen = [\"failing\"]\nslack = \"{origin}/chat\"\n[[job]]"
        ),
        1,
    );
    std::fs::write(data.join("acme.toml"), file).unwrap();
    assert_eq!(server.cli(&["plugin", "push", "hostile.wasm"]).code, 0);
    let applied = server.cli(&["apply", "acme.toml"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    assert_eq!(server.cli_with(&["secret", "set", "acme/key"], OLD.as_bytes()).code, 0);
    // What came back is what it fails with: the message goes wherever messages go.
    let input = json!({ "attack": "steal", "url": format!("http://{address}/"), "header": "authorization", "text": "Bearer {}", "fail": 1 });
    let run = server.cli(&["job", "run", "acme/thief", "--wait", "--json", "--input", &input.to_string()]);
    let run: Value = serde_json::from_str(&run.stdout).unwrap();
    let (id, message) = (run["id"].as_str().unwrap(), run["error"].as_str().unwrap());
    assert!(run["state"] == "dead" && message.contains("Bearer ****"), "{run}");
    assert_eq!(told.recv().unwrap(), format!("Bearer {OLD}"), "the target has it");
    let paths = || hook.got().iter().map(|got| got.path.clone()).collect::<std::collections::BTreeSet<_>>();
    wait("both sinks are told", Duration::from_secs(60), || (paths().len() == 2).then_some(()));
    let alerts: Vec<String> = hook.got().iter().map(|got| got.text.clone()).collect();
    assert!(alerts.iter().all(|text| text.contains("the last run is dead") && text.contains("Bearer ****")), "{alerts:?}");
    let recorded = server.cli(&["run", "recording", &format!("acme/{id}"), "--output", "run.recording"]);
    assert_eq!(recorded.code, 0, "{recorded:?}");
    let (packed, mut recording) = (std::fs::File::open(data.join("run.recording")).unwrap(), String::new());
    flate2::read::GzDecoder::new(packed).read_to_string(&mut recording).unwrap();
    assert!(recording.contains("Bearer ****"), "its answer is in the recording: {recording}");
    assert!(server.terminate().success());
    let spans = format!("{:?}", collector.spans());
    assert!(
        spans.contains(&format!("http://{address}/")) && spans.contains("Bearer ****"),
        "the call and its end are in the trace: {spans}"
    );
    let forms = forms(OLD);
    for (what, text) in
        [("trace", &spans), ("recording", &recording)].into_iter().chain(alerts.iter().map(|text| ("alert", text)))
    {
        assert!(!forms.iter().any(|form| text.contains(form.as_str())), "{what}: {text}");
    }
}
