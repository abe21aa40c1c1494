//! Does nothing at all; with the input `{"sleep_ms": n}` it sleeps, and ends early when it is told to stop.

use std::time::Duration;

use windlass_plugin::{Failure, Work, control};

fn run(work: &Work) -> Result<&'static str, Failure> {
    let slept = sleep_ms(&work.input).is_none_or(|ms| control::sleep(Duration::from_millis(ms)));
    Ok(if slept { "done" } else { "stopped" })
}

/// Without a JSON parser on purpose: benchmarks measure what a fresh sandbox costs, and the parser would be most of it.
fn sleep_ms(input: &str) -> Option<u64> {
    let (_, rest) = input.split_once("\"sleep_ms\"")?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    value[..end].parse().ok()
}

fn describe() -> &'static str {
    concat!(
        r#"{"version":""#,
        env!("CARGO_PKG_VERSION"),
        r#"","summary":"Does nothing, or sleeps for the input's sleep_ms","#,
        r#""config":{"type":"object","additionalProperties":false,"properties":{}},"wants":[]}"#
    )
}

windlass_plugin::job!(run);
windlass_plugin::describe!(describe);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_only_when_asked() {
        assert_eq!(sleep_ms(r#"{"sleep_ms": 250, "x": 1}"#), Some(250));
        assert_eq!(sleep_ms(r#"{"sleep_ms":0}"#), Some(0));
        for input in ["", "{}", "null", r#"{"sleep_ms":"long"}"#] {
            assert_eq!(sleep_ms(input), None, "{input}");
        }
    }

    #[test]
    fn the_description_is_json() {
        let json: windlass_plugin::serde_json::Value = windlass_plugin::serde_json::from_str(describe()).unwrap();
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    }
}
