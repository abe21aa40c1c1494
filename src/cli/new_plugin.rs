//! `windlass plugin new`: a folder to begin with. Everything that is written comes out of this binary, so that a project needs
//! nothing but the tools of its language, and matches the contract that this Windlass speaks.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::Global;
use super::show::{say, say_json};
use super::stop::{Done, Stop, WRONG};
use crate::domain::plugin::is_name;

include!(concat!(env!("OUT_DIR"), "/texts.rs"));

/// Names that a tool of some language keeps for itself: a crate `std`, a Python module beside ours.
const TAKEN: [&str; 9] = ["alloc", "core", "json", "plugin", "proc-macro", "std", "test", "windlass", "windlass-plugin"];

#[derive(Args)]
pub struct New {
    /// a-z, 0-9 and -, beginning with a letter; a folder of this name is made
    name: String,
    #[arg(long, value_enum, default_value = "rust")]
    lang: Lang,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    Rust,
    C,
    Js,
    Python,
    Go,
}

impl Lang {
    pub const ALL: [Self; 5] = [Self::Rust, Self::C, Self::Js, Self::Python, Self::Go];

    pub fn word(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::C => "C",
            Self::Js => "JavaScript",
            Self::Python => "Python",
            Self::Go => "Go",
        }
    }

    /// The file that a folder in this language has.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::C => "plugin.c",
            Self::Js => "plugin.js",
            Self::Python => "plugin.py",
            Self::Go => "go.mod",
        }
    }

    /// What a project gets: a place below `plugins/`, and where in the project it goes.
    fn parts(self) -> &'static [(&'static str, &'static str)] {
        const WIT: (&str, &str) = ("wit/windlass.wit", "wit/deps/windlass.wit");
        const WORLD: (&str, &str) = ("templates/wit/", "wit/");
        match self {
            // The SDK reads the contract beside its folder.
            Self::Rust => &[
                ("templates/rust/", ""),
                ("sdk-rust/", "windlass-plugin/"),
                ("wit/windlass.wit", "wit/windlass.wit"),
                ("Cargo.lock", "Cargo.lock"),
            ],
            Self::C => &[("templates/c/", "")],
            Self::Js => &[("templates/js/", ""), WORLD, WIT],
            Self::Python => &[("templates/python/", ""), WORLD, WIT],
            Self::Go => &[("templates/go/", "")],
        }
    }

    /// One command that a project wants before its first build.
    fn prepared_by(self) -> Option<&'static str> {
        match self {
            Self::Js => Some("npm install"),
            Self::Python => Some("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"),
            Self::Rust | Self::C | Self::Go => None,
        }
    }
}

/// The text of `plugins/wit`.
pub fn contract() -> &'static str {
    TEXTS.iter().find(|(path, _)| *path == "wit/windlass.wit").map_or("", |(_, text)| text)
}

/// Path in the project, and text, of each of its files.
fn files(name: &str, lang: Lang) -> Vec<(String, String)> {
    let parts = [&[("templates/shared/", "")], lang.parts()].concat();
    let placed = |path: &str| parts.iter().find_map(|(from, to)| Some(format!("{to}{}", path.strip_prefix(from)?)));
    let filled = |path: &str, text: &str| {
        if path.starts_with("templates/") { text.replace("{{name}}", name) } else { text.to_owned() }
    };
    TEXTS.iter().filter_map(|(path, text)| Some((placed(path)?, filled(path, text)))).collect()
}

pub fn run(New { name, lang }: &New, global: &Global) -> Done {
    if !is_name(name) {
        let why = format!("{name:?} is no name of a plugin: a-z, 0-9 and -, beginning with a letter, at most 63 characters");
        return Err(Stop::new(WRONG, why));
    }
    if TAKEN.contains(&name.as_str()) {
        return Err(Stop::new(WRONG, format!("{name:?} is a word of the tools: take another, such as my-{name}")));
    }
    let folder = Path::new(name);
    write(folder, &files(name, *lang))?;
    if global.json {
        return say_json(&json!({ "folder": folder, "lang": lang.word(), "next": next(name, *lang) }));
    }
    say(format_args!("{name}/ is a plugin in {}; its README.md says more. Next:\n", lang.word()))?;
    next(name, *lang).iter().try_for_each(|line| say(format_args!("  {line}")))
}

/// All of it, or nothing: what was begun and cannot be ended is removed.
fn write(folder: &Path, files: &[(String, String)]) -> Done {
    let wrong = |path: &Path, wrong: std::io::Error| Stop::new(WRONG, format!("{}: {wrong}", path.display()));
    fs::create_dir(folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Stop::new(WRONG, format!("{} is there already: take another name, or remove it first", folder.display()))
        }
        _ => wrong(folder, error),
    })?;
    let one = |path: PathBuf, text: &str| {
        fs::create_dir_all(path.parent().unwrap_or(folder)).and_then(|()| fs::write(&path, text)).map_err(|e| wrong(&path, e))
    };
    let written = files.iter().try_for_each(|(path, text)| one(folder.join(path), text));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_dir_all(folder);
    }
    written
}

fn next(name: &str, lang: Lang) -> [String; 3] {
    let prepared = lang.prepared_by().map(|command| format!(" && {command}")).unwrap_or_default();
    [
        format!("cd {name}{prepared}"),
        "windlass plugin build".into(),
        format!("windlass plugin run {name}.wasm --input '{{\"name\": \"world\"}}'"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_project_is_complete_and_has_its_name() {
        for lang in Lang::ALL {
            let files = files("my-own", lang);
            let has = |name: &str| files.iter().any(|(path, text)| path == name && !text.is_empty());
            for name in ["README.md", "job.toml", "cases.toml", ".gitignore", lang.mark()] {
                assert!(has(name), "{lang:?}: {name} is missing");
            }
            let left: Vec<_> = files.iter().filter(|(_, text)| text.contains("{{name}}")).collect();
            assert!(left.is_empty(), "{lang:?}: {left:?}");
            let (_, readme) = files.iter().find(|(path, _)| path == "README.md").unwrap();
            assert!(readme.starts_with("# my-own\n"), "{lang:?}");
        }
        let rust = files("my-own", Lang::Rust);
        assert!(rust.iter().any(|(path, _)| path == "windlass-plugin/src/http/request.rs"));
        assert!(rust.iter().any(|(path, text)| path == "wit/windlass.wit" && text == contract()));
    }
}
