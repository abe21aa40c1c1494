//! What a call came to, as the domain has it: texts cut, sizes checked, classes kept.

use std::time::Duration;

use super::bindings::exports::windlass::plugin::job::{Failure, Output};
use super::bindings::windlass::plugin::types::{Class as GuestClass, Counts as GuestCounts};
use super::trap::Broken;
use crate::domain::attempt::{Class, Counts, Outcome};
use crate::domain::span::Size;

/// Characters of a success's summary.
pub const SUMMARY: usize = 4_096;
/// Characters of a failure's message.
pub const MESSAGE: usize = 8_192;
/// Facts of a failure, and characters of one of them.
const DETAILS: usize = 64;
const DETAIL: usize = 1_024;

/// At most so many characters; what is missing is said.
pub fn cut(mut text: String, most: usize) -> String {
    // As many bytes as characters at the least: the usual text is not counted.
    if text.len() > most
        && let Some((end, _)) = text.char_indices().nth(most)
    {
        let missing = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("… ({missing} more bytes)"));
    }
    text
}

/// `most`: of the output's data.
pub fn succeeded(output: Output, most: Size) -> Outcome {
    let counts = output.counts.map(counts);
    let permanent =
        |message: String| Outcome::Failed { class: Class::Permanent, message, delay: None, counts, details: Vec::new() };
    if let Some(data) = &output.data {
        if data.len() as u64 > most.0 {
            return permanent(format!(
                "the output's data has {} bytes, the limit is {}: return a summary and keep the rest elsewhere, or raise it: \
                 grant.limits = {{ output_bytes = … }}",
                data.len(),
                most.0
            ));
        }
        if let Err(wrong) = serde_json::from_str::<serde::de::IgnoredAny>(data) {
            return permanent(format!("the output's data is no JSON: {wrong}"));
        }
    }
    Outcome::Succeeded { summary: cut(output.summary, SUMMARY), data: output.data, counts }
}

pub fn failed(failure: Failure) -> Outcome {
    let class = match failure.class {
        GuestClass::Transient => Class::Transient,
        GuestClass::Permanent => Class::Permanent,
        GuestClass::Snooze => Class::Snooze,
    };
    let details = failure.extras.into_iter().take(DETAILS).map(|(name, value)| (cut(name, DETAIL), cut(value, DETAIL))).collect();
    Outcome::Failed {
        class,
        message: cut(failure.message, MESSAGE),
        delay: failure.delay_ms.map(Duration::from_millis),
        counts: failure.counts.map(counts),
        details,
    }
}

pub fn broken(broken: Broken) -> Outcome {
    match broken {
        Broken::TimedOut { message } => Outcome::TimedOut { message: cut(message, MESSAGE) },
        Broken::Cancelled => Outcome::Cancelled,
        Broken::OutOfMemory { wanted, limit } => Outcome::OutOfMemory { wanted, limit },
        Broken::Trapped { message } => Outcome::Trapped { message: cut(message, MESSAGE) },
        // A plugin with a `job` has no business ending the process.
        Broken::Exit(code) => {
            Outcome::Trapped { message: format!("the guest ended itself with exit code {code} instead of returning") }
        }
        Broken::Host { message } => Outcome::failed(Class::Transient, cut(message, MESSAGE)),
    }
}

/// A WASI program's end: its exit code, and the last lines that it wrote. A last line that is a JSON object or list is its data.
pub fn exited(code: i32, stdout: String, stderr: &str) -> Outcome {
    if code == 0 {
        let summary = if stdout.is_empty() { "exit code 0".to_owned() } else { cut(stdout.clone(), SUMMARY) };
        let data = Some(stdout).filter(|line| line.starts_with(['{', '[']));
        let data = data.filter(|line| serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok());
        return Outcome::Succeeded { summary, data, counts: None };
    }
    let message = if stderr.is_empty() { format!("exit code {code}") } else { format!("exit code {code}: {stderr}") };
    Outcome::failed(Class::Transient, cut(message, MESSAGE))
}

fn counts(counts: GuestCounts) -> Counts {
    Counts {
        taken: counts.taken.min(MOST),
        done: counts.done.min(MOST),
        failed: counts.failed.min(MOST),
        left: counts.left.map(|left| left.min(MOST)),
    }
}

/// The largest number taken from a guest: sums of a million of them still fit the database's integers.
pub const MOST: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn output(summary: &str, data: Option<String>) -> Output {
        Output { summary: summary.into(), data, counts: None, extras: Vec::new() }
    }

    #[test]
    fn texts_are_cut_at_a_character() {
        assert_eq!(cut("äöü".into(), 3), "äöü");
        assert_eq!(cut("äöüß".into(), 3), "äöü… (2 more bytes)");
    }

    #[test]
    fn data_must_be_json_of_a_decent_size() {
        let most = Size::kib(1);
        assert!(matches!(succeeded(output("ok", Some("[1]".into())), most), Outcome::Succeeded { .. }));
        for (data, says) in [("nope".to_owned(), "no JSON"), ("1".repeat(1_025), "1025 bytes, the limit is 1024")] {
            let Outcome::Failed { class: Class::Permanent, message, .. } = succeeded(output("", Some(data)), most) else {
                panic!("{says}")
            };
            assert!(message.contains(says), "{message}");
        }
    }

    #[test]
    fn an_exit_code_is_an_outcome() {
        assert!(matches!(exited(0, "3 rows".into(), ""), Outcome::Succeeded { summary, .. } if summary == "3 rows"));
        assert!(
            matches!(exited(0, "{\"rows\":3}".into(), ""), Outcome::Succeeded { data: Some(data), .. } if data == "{\"rows\":3}")
        );
        assert!(matches!(exited(0, "{3 rows}".into(), ""), Outcome::Succeeded { data: None, .. }));
        assert_eq!(exited(1, String::new(), "no such table"), Outcome::failed(Class::Transient, "exit code 1: no such table"));
    }
}
