//! What a file is, before anything of it runs: a component with our contract, a WASI command, or something else.
//! Whatever is refused is refused here, at push, with what would be right.

use wasmtime::component::types::Component as ComponentType;

/// The version of the contract that this Windlass speaks.
const CONTRACT: &str = "windlass:plugin";
const CONTRACT_VERSION: &str = "1.0.0";
/// Imports of the contract that are offered.
const OFFERED: [&str; 11] =
    ["types", "log", "progress", "control", "items", "state", "sign", "secrets", "artifacts", "artifact-source", "fetch"];
/// Packages of WASI 0.2 that are offered; sockets are linked but closed, since C libraries import them unasked.
const WASI: [&str; 7] = ["cli", "clocks", "filesystem", "http", "io", "random", "sockets"];

/// What a component is and has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub job: bool,
    pub backlog: bool,
    pub config: bool,
    pub describe: bool,
    pub finish: bool,
    /// A plain WASI program: `wasi:cli/run`.
    pub command: bool,
    /// Names with version, as they stand in the component.
    pub exports: Vec<String>,
    pub imports: Vec<String>,
}

/// Which of the two kinds of modules a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Component,
    /// Of WASI preview 1: an adapter makes a component of it.
    Core,
}

/// What the bytes may be, told by their first eight. `Err` says what they are instead.
pub fn kind(bytes: &[u8]) -> Result<Kind, String> {
    const HOW: &str = "build it for wasm32-wasip2 (cargo build --release --target wasm32-wasip2) or for wasm32-wasip1";
    match bytes {
        [] => Err("the file is empty; push a WebAssembly module".into()),
        [0, b'a', b's', b'm', rest @ ..] => match rest {
            [0x0d, 0, 1, 0, ..] => Ok(Kind::Component),
            [1, 0, 0, 0, ..] => Ok(Kind::Core),
            [_, _, _, _, ..] => Err(format!("this WebAssembly file has a version that is not known here: {HOW}")),
            _ => Err("the file ends within its first 8 bytes: it was cut off; push it again".into()),
        },
        _ if bytes.starts_with(b"(component") || bytes.starts_with(b"(module") => {
            Err("this is WebAssembly text; turn it into a binary with wasm-tools parse".into())
        }
        _ => Err(format!("this is no WebAssembly file (it does not begin with \\0asm): {HOW}")),
    }
}

/// The compiler's words on a component that it cannot read, on one line and with what to do.
pub fn unreadable(wrong: &wasmtime::Error) -> String {
    let words = one_line(&format!("{wrong:#}"));
    let hint = if words.contains("out of bounds") || words.contains("unexpected end") {
        "it was cut off or damaged on its way; push it again"
    } else if words.contains("component model async") {
        "it uses the asynchronous component model; build it for WASI 0.2"
    } else {
        "build it again for wasm32-wasip2"
    };
    format!("the module cannot be read ({words}): {hint}")
}

/// The words of a text on one line.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub fn inspect(component: &ComponentType, engine: &wasmtime::Engine) -> Found {
    let mut found = Found {
        exports: component.exports(engine).map(|(name, _)| name.to_owned()).collect(),
        imports: component.imports(engine).map(|(name, _)| name.to_owned()).collect(),
        ..Found::default()
    };
    let has = |interface: &str| found.exports.iter().any(|name| *name == format!("{CONTRACT}/{interface}@{CONTRACT_VERSION}"));
    (found.job, found.backlog, found.config) = (has("job"), has("backlog"), has("config"));
    (found.describe, found.finish) = (has("describe"), has("finish"));
    found.command = found.exports.iter().any(|name| name.starts_with("wasi:cli/run@0.2."));
    found
}

/// Everything that stands against running it, one sentence each.
pub fn objections(found: &Found) -> Vec<String> {
    let mut objections = Vec::new();
    if !found.job && !found.command {
        let other = found.exports.iter().find(|name| name.starts_with("windlass:plugin/job"));
        objections.push(match other {
            Some(name) => format!(
                "it exports {name}, but this Windlass speaks {CONTRACT}/job@{CONTRACT_VERSION}: build it with the SDK of that version"
            ),
            None => format!(
                "it exports neither {CONTRACT}/job@{CONTRACT_VERSION} nor wasi:cli/run@0.2 (it exports {}): a plugin has a job \
                 (windlass_plugin::job!(run)) or is a WASI program with a main function",
                listed(&found.exports)
            ),
        });
    }
    for name in &found.imports {
        let (package, rest) = name.split_once('/').unwrap_or((name, ""));
        let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
        if package == CONTRACT && version == CONTRACT_VERSION && OFFERED.contains(&interface) {
            continue;
        }
        let wasi = package.strip_prefix("wasi:").is_some_and(|package| WASI.contains(&package));
        if wasi && version.starts_with("0.2.") && interface != "incoming-handler" {
            continue;
        }
        objections.push(format!(
            "it imports {name}, which this Windlass does not offer: a plugin may import {CONTRACT}/{{{}}}@{CONTRACT_VERSION} and WASI 0.2 \
             ({})",
            OFFERED[1..].join(", "),
            WASI.join(", ")
        ));
    }
    objections
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_by_its_first_bytes() {
        assert_eq!(kind(b"\0asm\x0d\0\x01\0"), Ok(Kind::Component));
        assert_eq!(kind(b"\0asm\x01\0\0\0"), Ok(Kind::Core));
        for (bytes, says) in [
            (&b""[..], "empty"),
            (b"\0asm", "cut off"),
            (b"(component)", "wasm-tools parse"),
            (b"#!/bin/sh\n", "no WebAssembly file"),
        ] {
            let wrong = kind(bytes).unwrap_err();
            assert!(wrong.contains(says), "{wrong}");
        }
    }

    #[test]
    fn imports_that_are_not_offered_are_named() {
        let imports =
            ["windlass:plugin/log@1.0.0", "windlass:plugin/secrets@1.0.0", "wasi:io/poll@0.2.6", "wasi:nn/graph@0.2.0", "env"];
        let found = Found { job: true, imports: imports.map(String::from).to_vec(), ..Found::default() };
        let objections = objections(&found);
        assert_eq!(objections.len(), 2, "{objections:?}");
        assert!(objections[0].contains("wasi:nn/graph") && objections[1].contains("imports env"));
    }

    #[test]
    fn a_component_without_a_job_is_told_what_it_lacks() {
        let found = Found { exports: vec!["my:own/thing@1.0.0".into()], ..Found::default() };
        let objections = objections(&found);
        assert!(objections[0].contains("windlass:plugin/job@1.0.0") && objections[0].contains("my:own/thing"), "{objections:?}");
        let other = Found { exports: vec!["windlass:plugin/job@2.0.0".into()], ..Found::default() };
        assert!(super::objections(&other)[0].contains("speaks windlass:plugin/job@1.0.0"));
    }
}
