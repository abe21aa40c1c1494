//! The binary as a client: what it prints, and the codes it ends with.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use windlass::domain::item::ItemState;
use windlass::domain::member::Role;

use crate::api::world::Served;
use crate::runner::items::{Items, named};
use crate::world::{transient, well};

struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn windlass(args: &[&str], access: Option<(&str, &str)>, stdin: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command.args(args).env_remove("WINDLASS_SERVER").env_remove("WINDLASS_TOKEN").env_remove("WINDLASS_CONFIG");
    if let Some((server, token)) = access {
        command.env("WINDLASS_SERVER", server).env("WINDLASS_TOKEN", token);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// The command as the holder of `token`.
async fn as_holder(served: &Served, token: &str, args: &[&str], stdin: &str) -> Ended {
    let (server, token, stdin) = (served.url(), token.to_owned(), stdin.to_owned());
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let run = move || windlass(&args.iter().map(String::as_str).collect::<Vec<_>>(), Some((&server, &token)), &stdin);
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[test]
fn cron_lines_need_no_server() {
    let ended = windlass(
        &["cron", "next", "30 2 * * *", "--zone", "Europe/Berlin", "--from", "2026-10-24T12:00:00+02:00", "-n", "2"],
        None,
        "",
    );
    assert_eq!((ended.code, ended.out.as_str()), (0, "2026-10-25T02:30:00+02:00\n2026-10-26T02:30:00+01:00\n"));
    for wrong in [["30 2 * *", "UTC"], ["30 2 * * *", "Berlin"]] {
        let ended = windlass(&["cron", "next", wrong[0], "--zone", wrong[1]], None, "");
        assert_eq!((ended.code, ended.err.lines().count()), (2, 1), "{wrong:?}: {}", ended.err);
    }
}

#[test]
fn no_server_is_3_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let ended = windlass(&["--data-dir", dir.path().to_str().unwrap(), "job", "list"], None, "");
    assert_eq!(ended.code, 3);
    assert!(ended.err.contains("windlass serve"), "{}", ended.err);
    std::fs::write(dir.path().join("admin.json"), r#"{"server": "http://127.0.0.1:1", "token": "wl_x"}"#).unwrap();
    assert_eq!(windlass(&["--data-dir", dir.path().to_str().unwrap(), "backlog"], None, "").code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_tell_wrong_use_from_no_permission_from_a_dead_run_from_waiting_too_long() {
    let served = Served::new().await;
    served.world.job("well", json!({})).await;
    served.world.job("ill", json!({ "retry": { "attempts": 1 } })).await;
    served.world.guests.script("ill", |_| std::future::ready(transient("the wiki is down")));
    let viewer = served.token(Role::Viewer, None).await;
    let admin = async |args: &[&str]| as_holder(&served, &served.admin, args, "").await;
    assert_eq!(admin(&["job", "run", "alpha/well", "--wait", "--timeout", "10ms"]).await.code, 4);
    let runner = served.world.start().await;
    let ended = admin(&["job", "run", "alpha/well", "--wait", "--json"]).await;
    assert_eq!(
        (ended.code, serde_json::from_str::<Value>(&ended.out).unwrap()["state"].as_str()),
        (0, Some("succeeded")),
        "{}",
        ended.err
    );
    let ended = admin(&["job", "run", "ill", "--tenant", "alpha", "--wait"]).await;
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(ended.out.contains("dead (attempts_spent): the wiki is down"), "{}", ended.out);
    assert_eq!(admin(&["job", "run", "alpha/none"]).await.code, 2);
    assert_eq!(admin(&["job", "run", "well"]).await.code, 2);
    assert_eq!(admin(&["run", "list", "--state", "sleeping"]).await.code, 2);
    assert_eq!(as_holder(&served, &viewer, &["job", "run", "alpha/well"], "").await.code, 3);
    assert_eq!(as_holder(&served, "wl_wrong", &["tenant", "list"], "").await.code, 3);
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_tables_for_people_and_json_for_programs() {
    let served = Served::new().await;
    let job = served.world.job("drain", json!({})).await;
    let run = served.world.enqueue(&job).await;
    let admin = async |args: &[&str]| as_holder(&served, &served.admin, args, "").await;
    for args in [
        &["job", "list"][..],
        &["job", "show", "alpha/drain"],
        &["run", "list"],
        &["tenant", "list"],
        &["token", "list"],
        &["plugin", "list"],
        &["backlog"],
    ] {
        let (people, program) = (admin(args).await, admin(&[args, &["--json"][..]].concat()).await);
        assert_eq!((people.code, program.code), (0, 0), "{args:?}: {}{}", people.err, program.err);
        assert!(serde_json::from_str::<Value>(&program.out).is_ok() && !people.out.is_empty(), "{args:?}");
    }
    assert!(admin(&["run", "list", "--job", "alpha/drain"]).await.out.contains(&format!("alpha/{run}")));
    assert_eq!(admin(&["run", "logs", &format!("alpha/{run}")]).await.code, 0);
    let ended = admin(&["run", "cancel", &format!("alpha/{run}")]).await;
    assert_eq!(ended.out, format!("alpha/{run} is cancelled\n"));
    assert_eq!(admin(&["run", "cancel", &format!("alpha/{run}")]).await.code, 1, "a conflict is a bad answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_comes_from_stdin_and_a_token_goes_to_stdout() {
    let served = Served::new().await;
    let set = as_holder(&served, &served.admin, &["secret", "set", "alpha/wiki-key"], "hunter2\n").await;
    assert_eq!(set.code, 0, "{}", set.err);
    let secret = served.world.store.read().await.unwrap().secrets(served.world.tenant.id).await.unwrap().remove(0);
    let value = served.app.vault.unseal(served.world.tenant.id, "wiki-key", &secret.nonce, &secret.sealed).unwrap();
    assert_eq!(value, b"hunter2", "without the line end");
    assert_eq!(as_holder(&served, &served.admin, &["secret", "list", "alpha"], "").await.code, 0);
    let issued = as_holder(&served, &served.admin, &["token", "issue", "ci", "--role", "viewer", "--lasts", "1h"], "").await;
    assert!(issued.out.starts_with("wl_") && issued.out.lines().count() == 1, "{}", issued.out);
    assert_eq!(as_holder(&served, issued.out.trim(), &["tenant", "list"], "").await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_reads_folders_and_names_what_is_wrong() {
    let served = Served::new().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("gamma.toml"), "tenant = \"gamma\"\n").unwrap();
    let folder = dir.path().to_str().unwrap();
    let apply = async |args: &[&str]| as_holder(&served, &served.admin, &[&["apply", folder], args].concat(), "").await;
    assert!(apply(&["--dry-run"]).await.out.starts_with("created             tenant gamma\n"));
    assert_eq!(apply(&[]).await.out, "created             tenant gamma\n");
    assert_eq!(apply(&[]).await.out, "already up to date  tenant gamma\n");
    std::fs::write(dir.path().join("delta.toml"), "tenant = \"delta\"\nzone = \"Mars/Olympus\"\ncolour = 1\n").unwrap();
    let ended = apply(&[]).await;
    assert_eq!(ended.code, 2);
    assert!(ended.err.lines().all(|line| line.contains("delta.toml:")), "{}", ended.err);
    assert!(ended.err.contains("delta.toml:3: colour: "), "{}", ended.err);
    let mut child = Command::new(env!("CARGO_BIN_EXE_windlass"))
        .args(["cron", "next", "* * * * *", "-n", "1000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.len()), (Some(0), 0), "a closed pipe is no error");
    tokio::time::sleep(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_listed_and_what_is_not_done_is_run_again() {
    let served = Served::new().await;
    served.world.job("deploy", json!({"items": {"order": "strict"}})).await;
    served.world.guests.script("deploy", |work| {
        let (items, mended) = (Items::of(work), work.trigger == "rerun");
        async move {
            items.declare(&named(4)).await;
            while let Some(name) = items.next(1).await.pop() {
                let broken = name == "item-02" && !mended;
                let (state, said) = if broken { (ItemState::Failed, "read timed out") } else { (ItemState::Done, "up") };
                items.finish(&name, state, said).await.unwrap();
            }
            well(None)
        }
    });
    let runner = served.world.start().await;
    let admin = served.admin.clone();
    let call = async |args: &[&str]| as_holder(&served, &admin, args, "").await;
    let ended = call(&["job", "run", "alpha/deploy", "--wait", "--json"]).await;
    let run: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.code, run["state"].as_str()), (1, Some("dead")), "{}", ended.err);
    let id = format!("alpha/{}", run["id"].as_str().unwrap());
    let shown = call(&["run", "items", &id]).await;
    let lines: Vec<&str> = shown.out.lines().map(str::trim).collect();
    assert_eq!(lines.len(), 5, "{}", shown.out);
    assert!(lines[3].contains("item-02") && lines[3].contains("failed") && lines[3].ends_with("read timed out"), "{}", shown.out);
    assert!(lines[4].ends_with("previous failure (step 3)"), "{}", shown.out);
    let skipped = call(&["run", "items", &id, "--state", "skipped", "--json"]).await;
    let skipped: Value = serde_json::from_str(&skipped.out).unwrap();
    assert_eq!((skipped["items"].as_array().unwrap().len(), &skipped["items"][0]["name"]), (1, &json!("item-03")));
    assert_eq!(call(&["run", "items", &id, "--state", "lost"]).await.code, 2);

    let again = call(&["run", "rerun", &id, "--items", "open", "--json"]).await;
    let again: Value = serde_json::from_str(&again.out).unwrap();
    served.world.ended(again["id"].as_str().unwrap().parse().unwrap(), Duration::ZERO).await;
    let shown = call(&["run", "show", &format!("alpha/{}", again["id"].as_str().unwrap())]).await;
    assert!(shown.out.contains("items     4 items: 4 done"), "{}", shown.out);
    runner.drain().await;
}
