//! Uses every function of the interfaces that were offered after the first day of the contract, without the SDK: what is
//! built of it once is kept in tests/data and must run for ever (docs/adr/0015).

wit_bindgen::generate!({
    path: "../../../plugins/wit",
    inline: "
        package windlass:fixture@1.0.0;
        world later {
            import windlass:plugin/secrets@1.0.0;
            import windlass:plugin/artifacts@1.0.0;
            import windlass:plugin/fetch@1.0.0;
            export windlass:plugin/job@1.0.0;
            export windlass:plugin/describe@1.0.0;
        }
    ",
    world: "windlass:fixture/later",
    generate_all,
});

use exports::windlass::plugin::{describe, job};
use windlass::plugin::types::{Class, Failure, Output, Work};
use windlass::plugin::{artifacts, fetch, secrets};

struct Later;

fn failed(code: String, message: String) -> Failure {
    let extras = vec![("code".to_owned(), code)];
    Failure { class: Class::Permanent, message, delay_ms: None, counts: None, extras }
}

fn request(url: &str, stand_in: &str) -> fetch::Request {
    fetch::Request {
        method: "POST".into(),
        url: url.into(),
        headers: vec![("authorization".into(), format!("Bearer {stand_in}")), ("content-type".into(), "text/plain".into())],
        body: b"hello".to_vec(),
        first_byte_timeout_ms: Some(20_000),
    }
}

/// The input is the URL, as JSON: what answers there becomes an artifact.
impl job::Guest for Later {
    fn run(work: Work) -> Result<Output, Failure> {
        let url = work.input.trim_matches('"');
        let stand_in = secrets::stand_in("key").map_err(|wrong| failed(wrong.code, wrong.message))?;
        let unknown = secrets::stand_in("nobody").map_or_else(|wrong| wrong.code, |_| "given".into());
        let answer = fetch::fetch(&request(url, &stand_in)).map_err(|wrong| failed(wrong.code, wrong.message))?;
        let denied =
            fetch::fetch(&request("https://nowhere.example.org/", "")).map_or_else(|wrong| wrong.code, |_| "let through".into());
        let refused = |wrong: artifacts::Refusal| failed(wrong.code, wrong.message);
        let kept = artifacts::create("answer.txt", "text/plain").map_err(refused)?;
        kept.write(&answer.body).map_err(refused)?;
        let bytes = kept.finish().map_err(refused)?;
        let twice = kept.finish().map_or_else(|wrong| wrong.code, |_| "twice".into());
        // Dropped before it is finished.
        artifacts::create("half.txt", "text/plain").map_err(refused)?.write(b"half").map_err(refused)?;
        let of_type = answer.headers.iter().find(|(name, _)| name == "content-type").map_or("none", |(_, value)| value);
        let summary = format!("{} {of_type}, {bytes} bytes kept, {unknown}, {denied}, {twice}", answer.status);
        Ok(Output { summary, data: None, counts: None, extras: Vec::new() })
    }
}

impl describe::Guest for Later {
    fn describe() -> String {
        r#"{"version":"1.0.0","summary":"Has what came to the contract 1.0.0 later","config":{},"wants":[]}"#.into()
    }
}

#[cfg(target_family = "wasm")]
export!(Later);
