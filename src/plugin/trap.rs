//! How a guest broke, in words: from wasmtime's error, the guest's backtrace and the end of its standard error.

use wasmtime::{FrameInfo, PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::inspect::one_line;
use super::instance::Halt;
use crate::domain::limits::Limits;
use crate::domain::span::Size;

/// Functions named behind a message.
const FRAMES: usize = 10;
/// wasmtime records so many frames; a full list of few functions is a recursion.
const RECORDED: usize = 20;

/// Why a call did not return.
#[derive(Debug, Clone, PartialEq)]
pub enum Broken {
    TimedOut {
        message: String,
    },
    Cancelled,
    OutOfMemory {
        wanted: Size,
        limit: Size,
    },
    /// The program ended itself, with this code; 0 is a success.
    Exit(i32),
    Trapped {
        message: String,
    },
    /// Not the guest's doing; says what the operator can do.
    Host {
        message: String,
    },
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimedOut { message } | Self::Trapped { message } | Self::Host { message } => f.write_str(message),
            Self::Cancelled => f.write_str("stopped from outside"),
            Self::OutOfMemory { wanted, limit } => write!(f, "out of memory: wanted {wanted}, the limit is {limit}"),
            Self::Exit(code) => write!(f, "exit code {code}"),
        }
    }
}

/// What of wasmtime's words on a limit stands in them, what it was, and the limit's key.
const FULL: [(&str, &str, &str); 3] = [
    ("instance count too high", "the component is made of more modules than it may be", "instances"),
    ("no free keys", "it holds more streams, requests, headers and files than it may", "handles"),
    ("fuel", "one call hands over more than the guest may have of memory", "memory"),
];

/// `tail`: the end of the guest's standard error. `limit` and `limits`: what it may take, for the message.
pub fn explain(error: &wasmtime::Error, tail: &str, limit: std::time::Duration, limits: &Limits) -> Broken {
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    if let Some(halt) = error.downcast_ref::<Halt>() {
        return match *halt {
            Halt::TimedOut => Broken::TimedOut { message: over_time(limit) + &place(frames) },
            Halt::Cancelled => Broken::Cancelled,
            Halt::OutOfMemory { wanted, limit } => Broken::OutOfMemory { wanted, limit },
            Halt::Tables { .. } => Broken::Trapped { message: halt.to_string() + &place(frames) },
        };
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return Broken::Exit(exit.0);
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Broken::Host { message: "this node has no room for another guest of this size now".to_owned() };
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        let cause = error.root_cause().to_string();
        if let Some((_, what, key)) = FULL.iter().find(|(word, _, _)| cause.contains(word)) {
            let (most, way) = match limits.amounts().iter().find(|(known, _)| known == key) {
                Some((_, most)) => (format!("; the limit is {most}"), format!("grant.limits = {{ {key} = … }}")),
                None => (String::new(), format!("grant.{key} = …")),
            };
            return Broken::Trapped { message: format!("{what} ({cause}{most}); to raise it: {way}{}", place(frames)) };
        }
        return Broken::Trapped { message: format!("the guest broke: {}{}", one_line(&cause), place(frames)) };
    };
    let message = match trap {
        Trap::StackOverflow => "stack overflow".to_owned(),
        // Rust's own stack lies below its data and ends at address 0, before wasmtime's stack does.
        Trap::MemoryOutOfBounds if is_recursion(frames) => "stack overflow".to_owned(),
        Trap::MemoryOutOfBounds => "memory access out of bounds".to_owned(),
        Trap::UnreachableCodeReached => panicked(tail).unwrap_or_else(|| match last_line(tail) {
            Some(line) => format!("the guest gave up (unreachable): {line}"),
            None => "the guest reached a place that it holds for unreachable".to_owned(),
        }),
        Trap::IntegerDivisionByZero => "division by zero".to_owned(),
        Trap::IntegerOverflow => "a division whose result is too large for its integer".to_owned(),
        Trap::BadConversionToInteger => "a number that fits no integer".to_owned(),
        Trap::IndirectCallToNull | Trap::TableOutOfBounds => "called a function that is not there".to_owned(),
        Trap::BadSignature => "called a function by another type than its own".to_owned(),
        other => format!("the guest trapped: {other}"),
    };
    Broken::Trapped { message: message + &place(frames) }
}

pub fn over_time(limit: std::time::Duration) -> String {
    format!("still running at its time limit of {}", humantime::format_duration(limit))
}

/// Rust's panic as one line, from `thread 'x' panicked at src/lib.rs:11:46:` and what follows.
fn panicked(tail: &str) -> Option<String> {
    let (_, rest) = tail.rsplit_once("panicked at ")?;
    let (place, text) = rest.split_once('\n').unwrap_or((rest, ""));
    let text = text.split("\nnote: run with").next().unwrap_or_default();
    let text = text.split("\nstack backtrace:").next().unwrap_or_default();
    Some(format!("panicked at {}: {}", place.trim_end_matches(':'), one_line(text)))
}

fn last_line(tail: &str) -> Option<&str> {
    tail.lines().rev().map(str::trim).find(|line| !line.is_empty())
}

/// A full backtrace in which few functions repeat (one calls itself, or two each other).
fn is_recursion(frames: &[FrameInfo]) -> bool {
    let mut functions: Vec<u32> = frames.iter().map(FrameInfo::func_index).collect();
    functions.sort_unstable();
    functions.dedup();
    frames.len() >= RECORDED && functions.len() <= 4
}

/// ` (in a ← b ← c)`; empty when the guest has no names. The machinery of panics is left out.
fn place(frames: &[FrameInfo]) -> String {
    let mut names: Vec<String> = Vec::new();
    for frame in frames {
        let name = frame.func_name().map(|name| format!("{:#}", rustc_demangle::demangle(name)));
        let Some(name) = name.filter(|name| !is_machinery(name)) else { continue };
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    names.truncate(FRAMES);
    if names.is_empty() { String::new() } else { format!(" (in {})", names.join(" ← ")) }
}

fn is_machinery(name: &str) -> bool {
    ["std::", "core::", "alloc::", "__rust", "rust_", "_R", "abort", "__wasi", "exit"].iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_read_from_standard_error() {
        let tail = "some line\n\nthread '<unnamed>' (1) panicked at src/lib.rs:11:46:\ncalled `Option::unwrap()`\non a `None` \
                    value\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        assert_eq!(panicked(tail).unwrap(), "panicked at src/lib.rs:11:46: called `Option::unwrap()` on a `None` value");
        assert_eq!(panicked("nothing of the kind"), None);
    }

    #[test]
    fn an_exit_is_a_code_and_a_halt_keeps_its_numbers() {
        let second = std::time::Duration::from_secs(1);
        assert_eq!(explain(&I32Exit(0).into(), "", second, &Limits::default()), Broken::Exit(0));
        let halt = Halt::OutOfMemory { wanted: Size(2), limit: Size(1) };
        assert_eq!(
            explain(&halt.into(), "", second, &Limits::default()),
            Broken::OutOfMemory { wanted: Size(2), limit: Size(1) }
        );
        assert_eq!(
            explain(&Halt::TimedOut.into(), "", second, &Limits::default()),
            Broken::TimedOut { message: "still running at its time limit of 1s".into() }
        );
    }
}
