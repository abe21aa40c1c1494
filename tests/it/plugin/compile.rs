//! Modules are compiled in a process of their own, under limits; core modules of WASI preview 1 become components there.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use windlass::domain::attempt::Outcome;
use windlass::error::Error;
use windlass::plugin::{Compiler, Executor, Sandbox, catalog};

use super::{guests, house, modules, settings, work};

/// A compiler under a shell's limits.
fn bounded(folder: &Path, limits: &str) -> PathBuf {
    let script = folder.join("compiler");
    std::fs::write(&script, format!("#!/bin/sh\n{limits}\nexec {} \"$@\"\n", crate::BINARY)).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    script
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("compiled")).unwrap().count()
}

async fn refused_by(limits: &str, module: Vec<u8>) -> String {
    let data = tempfile::tempdir().unwrap();
    let compiler = Compiler::Process(bounded(data.path(), limits));
    let sandbox = Sandbox::new(windlass::plugin::Settings { compiler, ..settings(data.path(), b"") }).unwrap();
    let Err(Error::Invalid(problems)) = sandbox.catalog().add(module).await else { panic!("not refused") };
    assert_eq!(files(data.path()), 0, "nothing of it stays");
    assert!(problems.len() == 1 && !problems[0].message.contains('\n'), "{problems:?}");
    // The server is as well as before.
    assert!(sandbox.catalog().add(modules::program("hello", None)).await.is_ok());
    problems[0].message.clone()
}

#[tokio::test]
async fn a_bomb_ends_by_the_compilers_limits_with_the_reason() {
    let bomb = modules::bomb(2_000, 60);
    assert!(bomb.len() < 2_000_000);
    let why = refused_by("ulimit -S -t 1; ulimit -H -t 3", bomb.clone()).await;
    assert!(why.contains("s of processor time: build it from smaller functions"), "{why}");
    let why = refused_by("ulimit -d 80000", bomb).await;
    assert!(why.contains("of memory: build it from smaller functions"), "{why}");
}

#[tokio::test]
async fn without_a_compiler_nothing_is_refused_but_put_off() {
    let data = tempfile::tempdir().unwrap();
    for (compiler, says) in
        [(data.path().join("nobody"), "cannot be started"), (bounded(data.path(), "kill -9 $$"), "killed from outside")]
    {
        let compiler = Compiler::Process(compiler);
        let sandbox = Sandbox::new(windlass::plugin::Settings { compiler, ..settings(data.path(), b"") }).unwrap();
        let wrong = sandbox.catalog().add(guests::command().to_vec()).await.unwrap_err();
        assert!(matches!(&wrong, Error::Unavailable(why) if why.contains(says)), "{wrong}");
    }
}

#[tokio::test]
async fn a_core_module_is_a_job_under_the_digest_of_what_was_pushed() {
    let house = house().await;
    for (exit, outcome) in [(None, "succeeded"), (Some(0), "succeeded"), (Some(3), "transient")] {
        let module = modules::program("hello from a core module", exit);
        let described = house.sandbox.catalog().add(module.clone()).await.unwrap();
        assert_eq!((&described.digest, described.bytes), (&catalog::digest(&module), module.len() as u64));
        assert!(described.is_command, "{described:?}");
        let ran = house.sandbox.execute(work(&described.digest, &json!({}))).await;
        assert_eq!(ran.word(), outcome, "{ran:?}");
        if let Outcome::Succeeded { summary, .. } = ran {
            assert_eq!(summary, "hello from a core module");
        }
    }
}

#[tokio::test]
async fn a_core_module_that_is_no_program_is_refused_with_the_way_out() {
    let catalog = house().await.sandbox.catalog();
    for (module, says) in [
        (modules::stranger(), "secret_door"),
        (b"\0asm\x01\0\0\0".to_vec(), "exports neither"),
        ([&b"\0asm\x01\0\0\0"[..], &[1, 200]].concat(), "cut off or damaged"),
    ] {
        let Err(Error::Invalid(problems)) = catalog.add(module).await else { panic!("{says}") };
        assert!(problems[0].message.contains(says) && !problems[0].message.contains('\n'), "{problems:?}");
    }
}

#[tokio::test]
async fn what_is_refused_after_it_was_compiled_leaves_no_code() {
    let data = tempfile::tempdir().unwrap();
    let sandbox = super::sandbox(data.path());
    assert!(sandbox.catalog().add(guests::no_job().to_vec()).await.is_err());
    assert_eq!(files(data.path()), 0);
    let kept = sandbox.catalog().add(guests::command().to_vec()).await.unwrap().digest;
    assert!(files(data.path()) == 1 && sandbox.has(&kept));
    sandbox.catalog().discard(&kept);
    assert!(files(data.path()) == 0 && !sandbox.has(&kept));
}
