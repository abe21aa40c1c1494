//! What the built components ask for and offer: a guest exports only what it names, and imports only what it uses.
//! Builds the workspace for wasm32-wasip2, so it needs that target.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use wit_component::DecodedWasm;

static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--locked", "--target", "wasm32-wasip2", "--target-dir"])
        .arg(target_dir)
        .current_dir(workspace)
        .status();
    assert!(status.unwrap().success(), "the plugins could not be built");
    target_dir.join("wasm32-wasip2/release")
});

/// Names of imports and exports, without `windlass:plugin/` and versions.
fn interfaces(component: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let bytes = std::fs::read(BUILT.join(component)).unwrap();
    let DecodedWasm::Component(resolve, world) = wit_component::decode(&bytes).unwrap() else {
        panic!("{component} is not a component");
    };
    let short = |name: String| {
        let name = name.split('@').next().unwrap().to_owned();
        name.strip_prefix("windlass:plugin/").map(str::to_owned).unwrap_or(name)
    };
    let world = &resolve.worlds[world];
    let imports = world.imports.keys().map(|key| short(resolve.name_world_key(key))).collect();
    let exports = world.exports.keys().map(|key| short(resolve.name_world_key(key))).collect();
    (imports, exports)
}

fn own(imports: &BTreeSet<String>) -> Vec<&str> {
    imports.iter().map(String::as_str).filter(|name| !name.starts_with("wasi:")).collect()
}

#[test]
fn a_small_guest_asks_for_little() {
    let (imports, exports) = interfaces("noop.wasm");
    assert_eq!(exports.iter().collect::<Vec<_>>(), ["describe", "job"]);
    assert_eq!(own(&imports), ["control", "types"]);
    for package in ["wasi:http", "wasi:sockets", "wasi:filesystem"] {
        assert!(!imports.iter().any(|name| name.starts_with(package)), "noop imports {package}");
    }
}

#[test]
fn mediawiki_jobs_asks_for_what_it_describes() {
    let (imports, exports) = interfaces("mediawiki_jobs.wasm");
    assert_eq!(exports.iter().collect::<Vec<_>>(), ["backlog", "config", "describe", "job"]);
    assert_eq!(own(&imports), ["control", "log", "progress", "sign", "state", "types"]);
    assert!(imports.contains("wasi:http/outgoing-handler"));
    for package in ["wasi:sockets", "wasi:filesystem"] {
        assert!(!imports.iter().any(|name| name.starts_with(package)), "mediawiki-jobs imports {package}");
    }
}
