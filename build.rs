//! Builds the guests of `plugins/` and writes `$OUT_DIR/embedded.rs`, so that one binary brings its plugins along; and
//! `$OUT_DIR/texts.rs` with what authors of others get from it: templates, the SDK, the contract.
//!
//! The guests are built by the cargo that runs this, into a target directory of their own that all profiles share: a second
//! cargo must not wait for the lock of the first, and a release of the guests does not depend on the host's profile.

#![allow(clippy::disallowed_methods, reason = "cargo tells a build script everything through the environment")]

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";
/// The plugins to embed; each is a member of the workspace in `plugins/`.
const PLUGINS: &[&str] = &["http-request", "mediawiki-jobs", "noop", "toolforge-deploy", "video-transcode"];

/// What authors get, below `plugins/`: files, and folders with all that is in them. The lock file is the one that the SDK was tried with.
const TEXTS: &[&str] =
    &["Cargo.lock", "sdk-rust/Cargo.toml", "sdk-rust/README.md", "sdk-rust/src", "templates", "wit/windlass.wit"];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() {
    if let Err(error) = embed() {
        // One line for people; what a compiler said stands above it.
        println!("cargo::error={error}");
        std::process::exit(1);
    }
}

fn embed() -> Result<()> {
    let root = path("CARGO_MANIFEST_DIR")?;
    let out = path("OUT_DIR")?;
    let plugins = root.join("plugins");
    watch(&plugins)?;
    require_target()?;
    let built = build(&plugins, &shared_dir(&out))?;

    let mut code = String::from("pub const EMBEDDED: &[Embedded] = &[\n");
    for name in PLUGINS {
        let file = format!("{name}.wasm");
        let bytes = fs::read(built.join(file.replace('-', "_")))?;
        // A copy, because the shared directory is rewritten by whatever build comes next.
        write_if_changed(&out.join(&file), &bytes)?;
        writeln!(code, "    Embedded {{ name: {name:?}, bytes: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\")) }},")?;
    }
    code.push_str("];\n");
    write_if_changed(&out.join("embedded.rs"), code.as_bytes())?;
    texts(&plugins, &out.join("texts.rs"))
}

/// Path below `plugins/` and text of each file, sorted.
fn texts(plugins: &Path, file: &Path) -> Result<()> {
    let mut found = Vec::new();
    for name in TEXTS {
        collect(&plugins.join(name), &mut found)?;
    }
    found.sort();
    let mut code = String::from("const TEXTS: &[(&str, &str)] = &[\n");
    for path in found {
        writeln!(code, "    ({:?}, include_str!({path:?})),", path.strip_prefix(plugins)?)?;
    }
    code.push_str("];\n");
    write_if_changed(file, code.as_bytes())
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        found.push(path.to_path_buf());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        collect(&entry?.path(), found)?;
    }
    Ok(())
}

fn path(variable: &str) -> Result<PathBuf> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("{variable} is not set: run this through cargo").into())
}

/// Everything in `plugins/` but what building there by hand leaves behind.
fn watch(plugins: &Path) -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    for entry in fs::read_dir(plugins)? {
        let entry = entry?.path();
        if entry.file_name().is_some_and(|name| name != "target") {
            println!("cargo::rerun-if-changed={}", entry.display());
        }
    }
    Ok(())
}

/// `<target>/plugins`, found from `<target>[/<triple>]/<profile>/build/<package>/out`.
fn shared_dir(out: &Path) -> PathBuf {
    let build = out.ancestors().skip(1).find(|dir| dir.file_name().is_some_and(|name| name == "build"));
    let above_profile = build.and_then(Path::parent).and_then(Path::parent);
    match above_profile {
        Some(dir) if dir.file_name().is_some_and(|name| env::var_os("TARGET").is_some_and(|triple| triple == name)) => {
            dir.parent().unwrap_or(dir).join("plugins")
        }
        Some(dir) => dir.join("plugins"),
        None => out.join("plugins"),
    }
}

fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

fn has_target() -> bool {
    let found = rustc().args(["--print", "target-libdir", "--target", TARGET]).output();
    found.is_ok_and(|found| found.status.success() && Path::new(String::from_utf8_lossy(&found.stdout).trim()).is_dir())
}

fn require_target() -> Result<()> {
    if has_target() {
        return Ok(());
    }
    let added = Command::new("rustup").args(["target", "add", TARGET]).output();
    if added.is_ok_and(|added| added.status.success()) && has_target() {
        return Ok(());
    }
    Err(format!("the plugins need the Rust target {TARGET}, which could not be added: run `rustup target add {TARGET}`").into())
}

/// Builds the workspace and answers the folder of its components.
fn build(plugins: &Path, target_dir: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_the_outer_build) {
            cargo.env_remove(&name);
        }
    }
    cargo.current_dir(plugins).args(["build", "--release", "--locked", "--target", TARGET, "--target-dir"]).arg(target_dir);
    for name in PLUGINS {
        cargo.args(["--package", name]);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(plugins));
    let output = cargo.output().map_err(|error| format!("cargo could not be started to build the plugins: {error}"))?;
    if output.status.success() {
        return Ok(target_dir.join(TARGET).join("release"));
    }
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Err("the plugins could not be built; the compiler's words stand above".into())
}

/// What the outer cargo (or clippy, or a coverage tool) sets for the host's code and must not reach the guests'. How to reach
/// registries, how to report, and how many jobs to run stay.
fn is_of_the_outer_build(variable: &str) -> bool {
    const KEPT: [&str; 7] =
        ["CARGO_HOME", "CARGO_HTTP_", "CARGO_MAKEFLAGS", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"];
    const RUSTC: [&str; 6] =
        ["RUSTFLAGS", "RUSTDOCFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_LINKER", "LLVM_PROFILE_FILE"];
    let cargo = variable.starts_with("CARGO_") && !KEPT.iter().any(|kept| variable.starts_with(kept));
    cargo || variable.starts_with("CLIPPY_") || RUSTC.contains(&variable)
}

/// Vectors of 128 bits, which the engine has. And: a component holds the paths of its sources (panics name them), and the same
/// sources must give the same digest on any machine.
fn flags(plugins: &Path) -> String {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let mut flags = vec!["-Ctarget-feature=+simd128".to_owned(), format!("--remap-path-prefix={}=plugins", plugins.display())];
    flags.extend(cargo_home.map(|home| format!("--remap-path-prefix={}=cargo", home.display())));
    flags.join("\x1f")
}

/// Leaves an equal file alone: its time would otherwise compile the host again.
fn write_if_changed(file: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(file, bytes).map_err(|error| format!("{} could not be written: {error}", file.display()).into())
}
