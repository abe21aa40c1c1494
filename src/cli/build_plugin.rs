//! `windlass plugin build`: the one line that makes a component in each language, and clear words where a tool is missing.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::Value;

use super::new_plugin::Lang;
use super::show::say;
use super::stop::{BAD, Done, Stop, WRONG};
use super::{Global, try_plugin, variable};
use crate::domain::plugin::is_name;
use crate::span::Size;

const TARGET: &str = "wasm32-wasip2";
/// Where Debian's package keeps the headers of WASI, for its own clang.
const DEBIAN_WASI: &str = "/usr/include/wasm32-wasi";

#[derive(Args)]
pub struct Build {
    /// The plugin's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// One build: the folder, where its component goes, and where tools are looked for.
struct Project {
    dir: PathBuf,
    component: PathBuf,
    places: Vec<PathBuf>,
}

pub fn run(Build { dir }: &Build, global: &Global) -> Done {
    let wrong = |why: String| Stop::new(WRONG, format!("{}: {why}", dir.display()));
    let whole = fs::canonicalize(dir).map_err(|error| wrong(error.to_string()))?;
    let Some(lang) = Lang::ALL.into_iter().find(|lang| whole.join(lang.mark()).exists()) else {
        let marks = Lang::ALL.map(|lang| format!("{} ({})", lang.mark(), lang.word())).join(", ");
        return Err(wrong(format!("there is no plugin, which would have one of {marks}; windlass plugin new NAME makes one")));
    };
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = if is_name(&name) { name } else { "plugin".into() };
    let project = Project { component: whole.join(format!("{name}.wasm")), places: places(&whole), dir: whole };
    match lang {
        Lang::Rust => project.rust(),
        Lang::C => project.c(),
        Lang::Js => project.js(),
        Lang::Python => project.python(),
        Lang::Go => project.go(),
    }?;
    let file = dir.join(format!("{name}.wasm"));
    if !global.json {
        let size = fs::metadata(&file)?.len();
        say(format_args!("{}  {}", file.display(), Size(size)))?;
    }
    try_plugin::inspect(&try_plugin::Inspect { file }, global)
}

/// What a project has for itself comes first: two projects may want two versions.
fn places(dir: &Path) -> Vec<PathBuf> {
    let mut places = vec![dir.join("node_modules/.bin"), dir.join(".venv/bin")];
    places.extend(std::env::split_paths(&OsString::from(variable("PATH").unwrap_or_default())));
    places
}

impl Project {
    fn tool(&self, name: &str) -> Option<PathBuf> {
        self.places.iter().map(|place| place.join(name)).find(|file| file.is_file())
    }

    /// The tool, or what to install.
    fn need(&self, name: &str, how: &str) -> Done<PathBuf> {
        self.tool(name)
            .ok_or_else(|| Stop::new(WRONG, format!("{name} is not here (neither in the project nor on the PATH): {how}")))
    }

    fn command(&self, tool: &Path) -> Command {
        let mut command = Command::new(tool);
        command.current_dir(&self.dir).stdin(Stdio::null());
        // Scripts of these tools look for their interpreters there.
        if let Ok(path) = std::env::join_paths(&self.places) {
            command.env("PATH", path);
        }
        command
    }

    fn rust(&self) -> Done {
        let cargo = self.need("cargo", "install Rust from https://rustup.rs")?;
        let rustc = self.need("rustc", "install Rust from https://rustup.rs")?;
        let found = self.command(&rustc).args(["--print", "target-libdir", "--target", TARGET]).output()?;
        if !Path::new(String::from_utf8_lossy(&found.stdout).trim()).is_dir() {
            return Err(Stop::new(WRONG, format!("Rust has no target {TARGET} here: run `rustup target add {TARGET}`")));
        }
        let mut build = self.command(&cargo);
        build.args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]);
        let told = build.stderr(Stdio::inherit()).output()?;
        if !told.status.success() {
            return Err(Stop::new(BAD, "cargo could not build it; its words stand above"));
        }
        // Cargo says where it went: a workspace or the environment may have another target folder.
        let made = String::from_utf8_lossy(&told.stdout);
        let Some(made) = made.lines().rev().find_map(|line| component(line, &self.dir)) else {
            let why = "cargo made no component of it: a plugin has `crate-type = [\"cdylib\"]` under [lib], or a main function";
            return Err(Stop::new(WRONG, why));
        };
        fs::copy(made, &self.component)?;
        Ok(())
    }

    fn c(&self) -> Done {
        let zig = self.tool("zig").or_else(|| self.tool("python-zig"));
        let clang = || self.tool("clang").filter(|_| Path::new(DEBIAN_WASI).is_dir());
        let mut cc = if let Some(zig) = zig {
            let mut cc = self.command(&zig);
            cc.args(["cc", "-target", "wasm32-wasi"]);
            cc
        } else if let Some(clang) = clang() {
            let mut cc = self.command(&clang);
            cc.args(["--target=wasm32-wasi", "--sysroot=/usr"]);
            cc
        } else {
            let why = "neither zig nor a clang with WASI is here: pip install ziglang, or https://ziglang.org/download, or \
                       apt-get install clang lld wasi-libc libclang-rt-dev-wasm32";
            return Err(Stop::new(WRONG, why));
        };
        // Without a word about it zig gives a guest 16 MiB of stack, and each run pays for them.
        cc.args(["-Os", "-s", "-Wl,-z,stack-size=1048576", Lang::C.mark(), "-o"]).arg(&self.component);
        ended_well(cc)
    }

    fn js(&self) -> Done {
        let tool = self.need(
            "componentize-qjs",
            "run `npm install` in the plugin's folder, or `npm install --global componentize-qjs@0.4.5`",
        )?;
        let mut build = self.command(&tool);
        // Without --sync it would ask for the asynchronous component model, which no stable host has.
        build.args(["--wit", "wit", "--world", "plugin", "--js", Lang::Js.mark(), "--sync", "-o"]).arg(&self.component);
        ended_well(build)
    }

    fn python(&self) -> Done {
        let how = "run `python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1` in the plugin's folder";
        let mut build = self.command(&self.need("componentize-py", how)?);
        build.args(["--quiet", "--wit-path", "wit", "--world", "plugin", "componentize", "plugin", "-o"]).arg(&self.component);
        ended_well(build)
    }

    fn go(&self) -> Done {
        let mut build = self.command(&self.need("go", "install Go 1.21 or newer from https://go.dev/dl")?);
        build.env("GOOS", "wasip1").env("GOARCH", "wasm").args(["build", "-ldflags=-s", "-o"]).arg(&self.component).arg(".");
        ended_well(build)
    }
}

/// Runs it; whatever it says goes to stderr, for stdout is ours.
fn ended_well(mut command: Command) -> Done {
    let tool = command.get_program().to_string_lossy().into_owned();
    let said = command.stdout(std::io::stderr()).status().map_err(|wrong| Stop::new(BAD, format!("{tool}: {wrong}")))?;
    if said.success() { Ok(()) } else { Err(Stop::new(BAD, format!("{tool} could not build it; its words stand above"))) }
}

/// The component that a line of cargo's messages says was made of this folder.
fn component(line: &str, dir: &Path) -> Option<PathBuf> {
    let line: Value = serde_json::from_str(line).ok()?;
    let ours = line["reason"] == "compiler-artifact" && Path::new(line["manifest_path"].as_str()?).parent() == Some(dir);
    let mut files = line["filenames"].as_array()?.iter().filter_map(Value::as_str);
    files.find(|file| ours && file.ends_with(".wasm")).map(PathBuf::from)
}
