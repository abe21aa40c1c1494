//! Too much of everything that leaves the sandbox.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use serde_json::json;
use windlass_plugin::items::Item;
use windlass_plugin::{Output, http, items, log, state};

use crate::Input;

fn lines(input: &Input) -> u64 {
    input.n.unwrap_or(100_000)
}

fn line() -> String {
    "x".repeat(1_000)
}

pub fn log(input: &Input) -> Output {
    let line = line();
    for _ in 0..lines(input) {
        log::write(log::Level::Info, &line, &[]);
    }
    Output::new("flooded")
}

pub fn stdout(input: &Input) -> Output {
    pour(&mut std::io::stdout(), lines(input))
}

pub fn stderr(input: &Input) -> Output {
    pour(&mut std::io::stderr(), lines(input))
}

fn pour(to: &mut impl Write, lines: u64) -> Output {
    let line = line();
    let refused = (0..lines).filter(|_| writeln!(to, "{line}").is_err()).count();
    Output::new(format!("flooded, {refused} writes refused"))
}

pub fn big_output(input: &Input) -> Output {
    let bytes = usize::try_from(input.bytes.unwrap_or(32_000_000)).unwrap_or(usize::MAX);
    Output::new("x".repeat(bytes))
}

pub fn state(input: &Input) -> Output {
    let value = vec![b'x'; usize::try_from(input.bytes.unwrap_or(64 * 1024)).unwrap_or(usize::MAX)];
    let mut kept = 0u64;
    let mut refused = None;
    for n in 0..input.n.unwrap_or(10_000) {
        match state::set(&format!("flood/{n}"), &value, None) {
            Ok(_) => kept += 1,
            Err(refusal) => {
                refused = Some(refusal);
                break;
            }
        }
    }
    let (code, message) = refused.map(|refusal| (refusal.code, refusal.message)).unzip();
    Output::new(format!("{kept} values kept")).data(json!({ "kept": kept, "code": code, "message": message }))
}

pub fn http(input: &Input) -> Output {
    let mut answered = 0u64;
    let mut codes = BTreeMap::<String, u64>::new();
    for _ in 0..input.n.unwrap_or(100) {
        match http::get(&input.url).send() {
            Ok(_) => answered += 1,
            Err(error) => *codes.entry(error.code).or_default() += 1,
        }
    }
    Output::new(format!("{answered} answered")).data(json!({ "answered": answered, "codes": codes }))
}

/// Asks, and leaves the answers unread.
pub fn unread(input: &Input) -> Output {
    let answers: Vec<_> = (0..input.n.unwrap_or(16)).filter_map(|_| http::get(&input.url).send().ok()).collect();
    std::thread::sleep(Duration::from_millis(input.ms.unwrap_or(600_000)));
    Output::new(format!("{} answers unread", answers.len()))
}

pub fn items(input: &Input) -> Output {
    let name = "x".repeat(usize::try_from(input.bytes.unwrap_or(1)).unwrap_or(usize::MAX));
    let items: Vec<_> = (0..input.n.unwrap_or(20_000)).map(|at| Item::new(format!("item-{at}"), &name)).collect();
    match items::declare(&items) {
        Ok(open) => Output::new(format!("{open} open")).data(json!({ "open": open })),
        Err(refusal) => Output::new("refused").data(json!({ "code": refusal.code, "message": refusal.message })),
    }
}
