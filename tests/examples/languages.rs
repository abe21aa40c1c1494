//! Every template and every example of `plugins/examples`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Output, Server, command, wait};
use super::{folder, site};

/// Twenty times what it takes on an idle machine.
const PUSHED: Duration = Duration::from_secs(600);
/// What a module in this language is.
const PROGRAM: &str = "WASI program";
const JOB: &str = "job";

/// `windlass ARGS…` in this folder, without a server.
fn windlass(dir: &Path, args: &[&str]) -> Output {
    let done = command(dir).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Output { code: done.status.code().unwrap_or(-1), stdout: text(done.stdout), stderr: text(done.stderr) }
}

fn well(dir: &Path, args: &[&str]) -> String {
    let done = windlass(dir, args);
    assert_eq!(done.code, 0, "windlass {args:?}: {done:?}");
    done.stdout
}

/// One attempt without a server: the exit code, and the object that was printed.
fn attempt(dir: &Path, file: &str, input: &Value, more: &[&str]) -> (i32, Value) {
    let input = input.to_string();
    let done = windlass(dir, &[&["plugin", "run", file, "--input", &input, "--json"], more].concat());
    (done.code, serde_json::from_str(&done.stdout).unwrap_or_else(|wrong| panic!("{file}: {wrong}: {done:?}")))
}

/// Pushes, applies and runs it on a real server; the run as it ended.
fn on_a_server(dir: &Path, name: &str, input: &Value) -> Value {
    let server = Server::start(&dir.join("data"));
    let path = |file: &str| dir.join(name).join(file).to_str().unwrap().to_owned();
    let (component, job, input) = (path(&format!("{name}.wasm")), path("job.toml"), input.to_string());
    // Compiling a large one may take longer than one request may; what was begun goes on, and the next asks for its end.
    wait("the plugin is pushed", PUSHED, || {
        let done = server.cli(&["plugin", "push", &component, "--version", "0.1.0"]);
        assert!(done.code == 0 || done.stderr.contains("try again"), "{done:?}");
        (done.code == 0).then_some(())
    });
    for args in [&["apply", &job][..], &["job", "run", &format!("{name}/{name}"), "--input", &input, "--wait"]] {
        let done = server.cli(args);
        assert_eq!(done.code, 0, "windlass {args:?}: {done:?}");
    }
    let id = server.json(&["run", "list", "--job", &format!("{name}/{name}")])["items"][0]["id"].as_str().unwrap().to_owned();
    server.json(&["run", "show", &format!("{name}/{id}")])
}

/// A project from the template, built: it greets, refuses who has no name, and says what it is.
fn template(lang: &str, kind: &str) {
    let dir = folder(&format!("template-{lang}"));
    let name = format!("greet-{lang}");
    well(&dir, &["plugin", "new", &name, "--lang", lang]);
    let told = well(&dir, &["plugin", "build", &name]);
    assert!(told.starts_with(&format!("{name}/{name}.wasm  ")) && told.contains(kind), "{told}");
    passes(&dir, &name);
    let file = format!("{name}/{name}.wasm");
    let (code, ran) = attempt(&dir, &file, &json!({ "name": "world" }), &["--job-config", r#"{"greeting": "good day"}"#]);
    assert_eq!((code, &ran["message"]), (0, &json!("good day, world")), "{ran}");
    assert!(ran["log"].to_string().contains("attempt 1 greets world"), "{ran}");
    let (code, ran) = attempt(&dir, &file, &json!({ "name": "" }), &[]);
    assert_eq!((code, &ran["outcome"]), (1, &json!("failed")), "{ran}");
    assert!(ran["message"].as_str().unwrap().contains("input.name is empty"), "{ran}");
    assert_eq!(ran["class"], if kind == JOB { "permanent" } else { "transient" }, "{ran}");
}

/// The example's own files over a project from the template, built.
fn example(lang: &str, name: &str) -> PathBuf {
    let dir = folder(name);
    well(&dir, &["plugin", "new", name, "--lang", lang]);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/examples").join(lang).join(name);
    for file in fs::read_dir(own).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.join(name).join(file.file_name())).unwrap();
    }
    well(&dir, &["plugin", "build", name]);
    passes(&dir, name);
    dir
}

/// The cases that stand in its folder, of which there is one at least.
fn passes(dir: &Path, name: &str) {
    let told = well(dir, &["plugin", "test", name]);
    assert!(told.starts_with("ok ") && told.ends_with(" passed, 0 failed\n"), "{told}");
}

fn told(dir: &Path, name: &str) -> Value {
    serde_json::from_str(&well(dir, &["plugin", "inspect", &format!("{name}/{name}.wasm"), "--json"])).unwrap()
}

/// The job may ask this site, where the file says `www.example.org`.
fn grant(dir: &Path, name: &str, site: &str) {
    let file = dir.join(name).join("job.toml");
    let text = fs::read_to_string(&file).unwrap().replace("https://www.example.org", site);
    fs::write(file, text.replace("[ceiling]\n", "[ceiling]\nnetworks = [\"127.0.0.0/8\"]\n")).unwrap();
}

#[test]
fn c() {
    template("c", PROGRAM);
    let dir = example("c", "checksum");
    assert_eq!(told(&dir, "checksum")["kind"], PROGRAM);
    // The check value of this CRC is of these nine digits; JSON puts quotes around them, so a number is given.
    let (code, ran) = attempt(&dir, "checksum/checksum.wasm", &json!(123_456_789), &[]);
    assert_eq!((code, &ran["output"]), (0, &json!({ "bytes": 9, "crc32": "cbf43926" })), "{ran}");
    let run = on_a_server(&dir, "checksum", &json!(123_456_789));
    assert_eq!((&run["state"], &run["output"]["crc32"]), (&json!("succeeded"), &json!("cbf43926")), "{run}");
}

#[test]
fn go() {
    template("go", PROGRAM);
    let dir = example("go", "sum-rows");
    assert_eq!(told(&dir, "sum-rows")["kind"], PROGRAM);
    let rows = json!({ "rows": [{ "name": "a", "amount": 1.5 }, { "name": "b", "amount": 4 }, { "name": "a", "amount": 2 }] });
    let (code, ran) = attempt(&dir, "sum-rows/sum-rows.wasm", &rows, &[]);
    assert_eq!((code, &ran["output"]), (0, &json!({ "totals": { "a": 3.5, "b": 4 } })), "{ran}");
    let (code, ran) = attempt(&dir, "sum-rows/sum-rows.wasm", &json!({ "row": [] }), &[]);
    assert!(code == 1 && ran["message"].as_str().unwrap().contains("unknown field"), "{ran}");
    let run = on_a_server(&dir, "sum-rows", &rows);
    assert_eq!((&run["state"], &run["output"]["totals"]["a"]), (&json!("succeeded"), &json!(3.5)), "{run}");
}

#[test]
fn javascript() {
    template("js", JOB);
    let (dir, site) = (example("js", "url-status"), site());
    let told = told(&dir, "url-status");
    assert_eq!((&told["kind"], &told["version"]), (&json!(JOB), &json!("0.1.0")));
    assert!(told["imports"].as_array().unwrap().contains(&json!("windlass:plugin/fetch@1.0.0")), "{told}");
    let urls = json!({ "urls": [format!("{site}/"), format!("{site}/other")] });
    let file = "url-status/url-status.wasm";
    let (code, ran) = attempt(&dir, file, &urls, &["--allow", &site]);
    assert_eq!((code, &ran["message"]), (0, &json!("2 addresses, 0 of them wrong")), "{ran}");
    assert_eq!(ran["calls"].as_array().unwrap().len(), 2, "{ran}");
    let (_, ran) = attempt(&dir, file, &urls, &[]);
    assert_eq!((&ran["outcome"], &ran["class"]), (&json!("failed"), &json!("permanent")), "what is denied stays denied: {ran}");
    assert!(ran["message"].as_str().unwrap().ends_with("HttpRequestDenied"), "{ran}");
    let (_, ran) = attempt(&dir, file, &json!({ "urls": [format!("{site}/busy")] }), &["--allow", &site]);
    assert_eq!((&ran["outcome"], &ran["class"]), (&json!("failed"), &json!("transient")), "{ran}");
    grant(&dir, "url-status", &site);
    let run = on_a_server(&dir, "url-status", &urls);
    assert_eq!((&run["state"], &run["output"][format!("{site}/")]), (&json!("succeeded"), &json!(200)), "{run}");
}

#[test]
fn python() {
    template("python", JOB);
    let (dir, site) = (example("python", "page-title"), site());
    assert_eq!(told(&dir, "page-title")["version"], "0.1.0");
    let url = json!({ "url": format!("{site}/") });
    let file = "page-title/page-title.wasm";
    let (code, ran) = attempt(&dir, file, &url, &["--allow", &site]);
    assert_eq!((code, &ran["output"]), (0, &json!({ "title": "Grüße, world", "links": 1 })), "{ran}");
    // An exception that nobody caught is a failure with its name, not a trap.
    let (_, ran) = attempt(&dir, file, &json!([]), &[]);
    assert_eq!((&ran["outcome"], &ran["class"]), (&json!("failed"), &json!("transient")), "{ran}");
    assert!(ran["message"].as_str().unwrap().starts_with("AttributeError: "), "{ran}");
    grant(&dir, "page-title", &site);
    let run = on_a_server(&dir, "page-title", &url);
    assert_eq!((&run["state"], &run["output"]["links"]), (&json!("succeeded"), &json!(1)), "{run}");
}
