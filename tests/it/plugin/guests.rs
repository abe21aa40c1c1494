//! The guests of tests/guests, built once a test run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

struct Built {
    hostile: Vec<u8>,
    hostile_later: Vec<u8>,
    command: Vec<u8>,
    gather: Vec<u8>,
    no_job: Vec<u8>,
}

/// Does what its input's `attack` names.
pub fn hostile() -> &'static [u8] {
    &built().hostile
}

/// The same with imports that this version does not offer.
pub fn hostile_later() -> &'static [u8] {
    &built().hostile_later
}

/// A program that knows nothing of Windlass.
pub fn command() -> &'static [u8] {
    &built().command
}

/// Works on items, and has a `finish`.
pub fn gather() -> &'static [u8] {
    &built().gather
}

pub fn no_job() -> &'static [u8] {
    &built().no_job
}

fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let later = build(&["--package", "hostile", "--features", "later"]);
        let hostile_later = read(&later, "hostile");
        let all = build(&[]);
        Built {
            hostile: read(&all, "hostile"),
            hostile_later,
            command: read(&all, "command"),
            gather: read(&all, "gather"),
            no_job: read(&all, "no_job"),
        }
    })
}

/// Builds with these arguments and answers the folder of the components.
fn build(arguments: &[&str]) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
    // Beside the host's own: a second cargo in the same folder would wait for the first one's lock.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("hostile-guests");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(sources).args(["build", "--release", "--locked", "--target", "wasm32-wasip2", "--target-dir"]).arg(&target);
    // What the outer cargo is told about the host's code is not meant for the guests.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_TARGET_DIR"] {
        cargo.env_remove(name);
    }
    let output = cargo.args(arguments).output().unwrap();
    assert!(output.status.success(), "the guests could not be built: {}", String::from_utf8_lossy(&output.stderr));
    target.join("wasm32-wasip2/release")
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(format!("{name}.wasm"))).unwrap()
}
