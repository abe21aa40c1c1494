//! Builds guests of tests/guests.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds with these arguments and answers the folder of the components.
pub fn build(arguments: &[&str]) -> PathBuf {
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
