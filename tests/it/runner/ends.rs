//! What a run's page says once it is over.

use std::time::Duration;

use serde_json::json;
use windlass::domain::attempt::{Class, Counts, Outcome};
use windlass::domain::log::{Level, Line};
use windlass::domain::plugin::Plugin;
use windlass::id::Id;
use windlass::plugin::Work;

use crate::api::world::Served;
use crate::world::{TEN, well};

/// A page, as somebody who has logged in sees it.
async fn page(served: &Served, path: &str) -> String {
    if served.app.is_first_start().await.unwrap() {
        served.app.set_first_password("ann", "correct horse battery").await.unwrap();
    }
    let cookie = format!("windlass={}", served.app.log_in("ann", "correct horse battery").await.unwrap());
    let url = format!("{}{path}", served.url());
    let get = move || ureq::get(url).header("cookie", cookie).call().unwrap().body_mut().read_to_string().unwrap();
    tokio::task::spawn_blocking(get).await.unwrap()
}

fn says(work: &Work, text: String) {
    work.journal.log(Line { at: TEN, level: Level::Warn, message: text, fields: Vec::new() });
}

/// All of it is one commit with the end, so whoever sees the end sees the rest.
#[tokio::test(flavor = "multi_thread")]
async fn v4_a_run_that_is_over_shows_its_end_its_counts_its_node_its_version_and_its_log() {
    let served = Served::new().await;
    let plugin = Plugin {
        name: "noop".into(),
        version: "1.4.2".into(),
        digest: "sha256:none".into(),
        tenant: Id(0),
        bytes: 1,
        exports: Vec::new(),
        imports: Vec::new(),
        description: json!({}),
        pushed_at: TEN,
        pushed_by: "test".into(),
        signature: None,
    };
    let mut tx = served.world.store.begin().await.unwrap();
    tx.put_plugin(&plugin, vec![0]).await.unwrap();
    tx.commit().await.unwrap();
    let job = served.world.job("drain", json!({})).await;
    served.world.guests.script("drain", |work| {
        says(work, "the last thing that it said".into());
        let bad = work.input.contains("bad");
        let end = if bad {
            Outcome::failed(Class::Permanent, "400 Bad Request")
        } else {
            well(Some(Counts { taken: 544, done: 528, failed: 16, left: Some(0) }))
        };
        std::future::ready(end)
    });
    let runner = served.world.start().await;
    let good = served.world.enqueue(&job).await;
    served.world.ended(good, Duration::ZERO).await;
    let mut bad = crate::world::new_run(&job);
    bad.input = Some(json!("bad"));
    let bad = served.world.store.enqueue(vec![bad]).await.unwrap().remove(0).unwrap().id();
    served.world.ended(bad, Duration::ZERO).await;
    let node = served.world.store.read().await.unwrap().nodes().await.unwrap().remove(0);
    let both =
        ["<dt>Began</dt>", "<dt>Took</dt>", "noop 1.4.2", "the last thing that it said", &format!("{}, {}", node.id, node.name)];
    for (run, own) in [
        (good, ["<dt>Ended</dt>", "<dt>Ended as</dt><dd>succeeded", "528 of 544 done, 16 failed"]),
        (bad, ["<dt>Died</dt>", "<dt>Ended as</dt><dd>permanent", "400 Bad Request"]),
    ] {
        let html = page(&served, &format!("/t/alpha/runs/{run}")).await;
        for words in both.into_iter().chain(own) {
            assert!(html.contains(words), "{words}: {html}");
        }
    }
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v10_a_megabyte_of_output_is_a_short_summary_and_a_capped_log() {
    let served = Served::new().await;
    let job = served.world.job("loud", json!({})).await;
    served.world.guests.script("loud", |work| {
        // 2 MB in lines of 10 kB, and the same as its error.
        for n in 0..200 {
            says(work, format!("{n} {}", "ä".repeat(5_000)));
        }
        std::future::ready(Outcome::failed(Class::Permanent, "é".repeat(1_000_000)))
    });
    let runner = served.world.start().await;
    let run = served.world.enqueue(&job).await;
    let ended = served.world.ended(run, Duration::ZERO).await;
    let message = ended.message.unwrap();
    assert!(message.chars().count() <= 4_096, "{}", message.chars().count());
    assert!(message.ends_with("iB)") && message.contains("é… truncated, full log (1"), "{}", &message[message.len() - 60..]);
    let path = format!("/t/alpha/runs/{run}");
    let html = page(&served, &path).await;
    assert!(html.contains(&format!("<a href=\"{path}/log\">The full log</a>")), "one click away");
    let log = page(&served, &format!("{path}/log")).await;
    assert!(log.contains("lines of the last attempt were dropped"), "{}", log.len());
    assert!((900_000..1_300_000).contains(&log.len()), "{}", log.len());
    runner.drain().await;
}
