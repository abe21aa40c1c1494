//! The binary as a client: what it prints, and the codes it ends with.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use windlass::config::{Plugins, Settings};
use windlass::domain::item::ItemState;
use windlass::domain::member::Role;

use crate::api::world::Served;
use crate::plugin::modules;
use crate::runner::items::{Items, named};
use crate::world::{transient, well};

mod alert;
mod apply;
mod audit;
mod dead;
mod machine;
mod plugin;
mod plugin_show;
mod plugin_test;
mod replay;
mod rollout;
mod schedule;
mod secret;

struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn windlass(args: &[&str], access: Option<(&str, &str)>, stdin: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command.args(args).env_remove("WINDLASS_SERVER").env_remove("WINDLASS_TOKEN").env_remove("WINDLASS_CONFIG");
    command.env_remove("WINDLASS_TEST_DATABASE").env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
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
fn every_setting_says_where_it_is_from_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("windlass.toml");
    std::fs::write(&file, "worker = { guest_threads = 3 }\ndatabase_url = \"postgres://ann:hunter2@db.example.org/jobs\"\n")
        .unwrap();
    let path = file.to_str().unwrap();
    let shown = windlass(&["config", "show", "--config", path, "--data-dir", "elsewhere"], None, "");
    let lines: Vec<String> = shown.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let right = [
        "KEY VALUE FROM".to_owned(),
        "data_dir elsewhere --data-dir".into(),
        format!("database_url postgres://ann:…@db.example.org/jobs {path}:2"),
        format!("worker.guest_threads 3 {path}:1"),
    ];
    assert_eq!((shown.code, lines), (0, right.to_vec()), "{}", shown.err);
    let all = windlass(&["config", "show", "--effective", "--json", "--config", path], None, "");
    let all: Value = serde_json::from_str(&all.out).unwrap();
    let one = json!({ "key": "lease.lease", "value": "10s", "from": "default" });
    assert!(all.as_array().unwrap().contains(&one) && !all.to_string().contains("hunter2"), "{all}");
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
    let ended = apply(&["--json"]).await;
    let refused: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.code, &refused["errors"][1]["field"], &refused["errors"][1]["line"]), (2, &json!("colour"), &json!(3)));
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
async fn dead_runs_are_listed_discarded_brought_back_and_run_again() {
    let served = Served::new().await;
    let job = served.world.job("ill", json!({ "max_live": 0, "retry": { "attempts": 1 } })).await;
    served.world.guests.script("ill", |_| std::future::ready(transient("503 from the wiki")));
    let runner = served.world.start().await;
    let ids = [served.world.enqueue(&job).await, served.world.enqueue(&job).await, served.world.enqueue(&job).await];
    for id in ids {
        served.world.ended(id, Duration::ZERO).await;
    }
    let admin = async |args: &[&str]| as_holder(&served, &served.admin, args, "").await;
    let json = async |args: &[&str]| {
        let ended = admin(&[&["--json"], args].concat()).await;
        serde_json::from_str::<Value>(&ended.out).unwrap_or_else(|_| panic!("{args:?}: {}{}", ended.out, ended.err))
    };
    let list = json(&["dead", "list"]).await;
    assert_eq!((&list["count"]["value"], &list["expiring"], list["items"].as_array().unwrap().len()), (&json!(3), &json!(0), 3));
    let second = json(&["dead", "list", "--tenant", "alpha", "-n", "1", "--after", &ids[2].to_string()]).await;
    assert_eq!(second["items"][0]["id"], ids[1].to_string());
    assert_eq!(json(&["dead", "list", "--words", "no such words"]).await["items"], json!([]));
    let causes = json(&["dead", "list", "--causes"]).await;
    assert_eq!((&causes["items"][0]["count"], &causes["items"][0]["cause"]), (&json!(3), &json!("attempts_spent")));
    let group = format!("alpha/{}", causes["items"][0]["group"].as_str().unwrap());
    assert_eq!(list["items"][0]["group"], causes["items"][0]["group"]);

    // Without a word about which, nothing is done.
    for verb in ["rerun", "discard", "undo"] {
        assert_eq!(admin(&["dead", verb]).await.code, 2, "{verb}");
    }
    assert_eq!(json(&["dead", "discard", "--all", "--dry-run"]).await["total"], 3);
    assert_eq!(admin(&["dead", "discard", "--all", "--rate", "0"]).await.code, 2);
    let one = format!("alpha/{}", ids[0]);
    // The server's clock stands still: an operation of one batch needs it not.
    let discarded = json(&["dead", "discard", &one, "--reason", "known"]).await;
    assert_eq!((&discarded["state"], &discarded["done"], &discarded["reason"]), (&json!("done"), &json!(1), &json!("known")));
    assert_eq!(discarded["which"]["runs"], json!([one]));
    assert_eq!(json(&["dead", "list", "--state", "discarded"]).await["items"][0]["settled"]["by"], "test");
    assert!(admin(&["dead", "list"]).await.out.contains(&format!("alpha/{}", ids[1])));
    let undone = admin(&["dead", "undo", "--all"]).await;
    assert!(
        undone.code == 0 && undone.out.ends_with("done: 1 of 1 brought back, 0 left as they were\n"),
        "{}{}",
        undone.out,
        undone.err
    );
    let again = json(&["dead", "rerun", "--group", &group]).await;
    assert_eq!((&again["total"], &again["done"], &again["tenant"]), (&json!(3), &json!(3), &json!("alpha")));
    assert_eq!(admin(&["dead", "rerun", &one]).await.code, 1, "it was run again: a clash");
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_paged_and_narrowed_to_what_is_put_off() {
    let served = Served::new().await;
    let job = served.world.job("many", json!({ "max_live": 0 })).await;
    let ids = [served.world.enqueue(&job).await, served.world.enqueue(&job).await];
    let admin = async |args: &[&str]| as_holder(&served, &served.admin, args, "").await;
    let first = admin(&["run", "list", "--tenant", "alpha", "-n", "1"]).await.out;
    assert!(first.contains(&ids[1].to_string()) && first.contains(&format!("--after {}", ids[1])), "{first}");
    let next = admin(&["run", "list", "--tenant", "alpha", "-n", "1", "--after", &ids[1].to_string()]).await.out;
    assert!(next.contains(&ids[0].to_string()), "{next}");
    served.world.guests.script("many", |_| {
        std::future::ready(windlass::domain::attempt::Outcome::failed(windlass::domain::attempt::Class::Snooze, "read-only"))
    });
    let runner = served.world.start().await;
    let put_off = async || Some(served.world.run(ids[0]).await).filter(|run| run.snoozed > 0);
    served.world.until("it is put off", Duration::ZERO, put_off).await;
    let snoozed = admin(&["run", "list", "--state", "snoozed"]).await;
    assert!(snoozed.code == 0 && snoozed.out.contains("read-only"), "{}{}", snoozed.out, snoozed.err);
    assert_eq!(admin(&["run", "list", "--state", "retrying"]).await.out, "no such runs\n");
    runner.drain().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_pushed_with_what_minisign_wrote_beside_it() {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let plugins = Plugins { require_signature: true, trusted_keys: vec![pair.pk.to_base64()] };
    let served = Served::with(Settings { plugins, ..Settings::default() }).await;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let bytes = modules::program("hello", None);
    std::fs::write(file("hello.wasm"), &bytes).unwrap();
    let signature = minisign::sign(None, &pair.sk, &bytes[..], None, None).unwrap().to_string();
    std::fs::write(file("hello.wasm.minisig"), signature).unwrap();
    let bare = as_holder(&served, &served.admin, &["plugin", "push", &file("hello.wasm")], "").await;
    assert!(bare.code == 2 && bare.err.contains("--signature FILE.minisig"), "{}", bare.err);
    let args = ["plugin", "push", &file("hello.wasm"), "--signature", &file("hello.wasm.minisig")];
    let pushed = as_holder(&served, &served.admin, &args, "").await;
    assert!(pushed.code == 0 && pushed.out.starts_with("pushed  hello 0.0.0 (sha256:"), "{} {}", pushed.out, pushed.err);
}
