//! `windlass alert`: what needs a person, silenced for a time, and sinks that fail.

use serde_json::{Value, json};
use windlass::clock::Clock;
use windlass::domain::alert::{AlertKind, Notice, Subject};
use windlass::id::Id;
use windlass::store::alert::Delivery;

use super::as_holder;
use crate::api::world::Served;

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_listed_and_silenced_and_a_sink_that_fails_ends_with_1() {
    let served = Served::new().await;
    let world = &served.world;
    let job = world.job("drain", json!({})).await;
    let now = world.clock.now();
    let mut tenant = world.tenant.clone();
    tenant.alerts = vec![serde_json::from_value(json!({ "mail": "ops@example.org" })).unwrap()];
    let mut tx = world.store.begin().await.unwrap();
    tx.put_tenant(&tenant, now).await.unwrap();
    let subject = Subject { tenant: job.tenant, job: job.id, node: 0, kind: AlertKind::Stuck };
    tx.raise_alerts(&[(subject, "5 jobs, none runnable".into())], now).await.unwrap();
    let alert = tx.open_alerts().await.unwrap().remove(0);
    let sink = (job.tenant, "mail ops@example.org".to_owned());
    tx.tell(&[(alert.id, sink, Notice::Raised)], now).await.unwrap();
    let sent = tx.due_deliveries(now, 1).await.unwrap().remove(0);
    tx.delivery_tried(&Delivery { tries: 1, error: Some("no answer".into()), ..sent }).await.unwrap();
    tx.commit().await.unwrap();

    let admin = async |args: &[&str]| as_holder(&served, &served.admin, args, "").await;
    let listed = admin(&["alert", "list"]).await;
    assert_eq!(listed.code, 0, "{}", listed.err);
    assert!(listed.out.contains("stuck") && listed.out.contains("alpha/drain") && listed.out.contains("none runnable"));
    let silenced = admin(&["alert", "silence", "alpha/drain", "--kind", "stuck", "--for", "8h"]).await;
    assert!(silenced.code == 0 && silenced.out.contains("alpha/drain: nobody is told"), "{}{}", silenced.out, silenced.err);
    let program: Value = serde_json::from_str(&admin(&["alert", "silence", "--json"]).await.out).unwrap();
    assert_eq!((&program["items"][0]["job"], &program["items"][0]["kind"]), (&json!("drain"), &json!("stuck")));
    assert!(admin(&["alert", "list"]).await.out.contains("ends in"));
    assert_eq!(admin(&["alert", "silence", "alpha/drain", "--kind", "stuck", "--end"]).await.code, 0);
    assert_eq!(admin(&["alert", "silence", "alpha/drain", "--kind", "stuck", "--end"]).await.code, 2, "there is none any more");
    let wrong = admin(&["alert", "silence", "alpha", "--kind", "silnt", "--for", "1h"]).await;
    assert!(wrong.code == 2 && wrong.err.contains("there are dead, failing, silent"), "{}", wrong.err);
    // A node's is silent for itself.
    let node = |node| Subject { tenant: Id(0), job: Id(0), node, kind: AlertKind::Node };
    let mut tx = world.store.begin().await.unwrap();
    tx.raise_alerts(&[(node(3), "node 3 has died".into()), (node(4), "node 4 has died".into())], now).await.unwrap();
    tx.commit().await.unwrap();
    let hushed = admin(&["alert", "silence", "--node", "3", "--for", "1h"]).await;
    assert!(hushed.code == 0 && hushed.out.contains("server, node 3: nobody is told"), "{}{}", hushed.out, hushed.err);
    let listed = admin(&["alert", "list"]).await.out;
    let line = |of: &str| listed.lines().find(|line| line.contains(of)).unwrap_or_default().to_owned();
    assert!(line("node 3 has died").contains("ends in") && !line("node 4 has died").contains("ends in"), "{listed}");
    assert_eq!(admin(&["alert", "silence", "--end"]).await.code, 2, "everything is not silent");
    assert_eq!(admin(&["alert", "silence", "--node", "3", "--end"]).await.code, 0);
    let wrong = admin(&["alert", "silence", "--node", "1024", "--for", "1h"]).await;
    assert!(wrong.code == 2 && wrong.err.contains("1024 is no node; they have numbers from 1 to 1023"), "{}", wrong.err);
    let sinks = admin(&["alert", "sinks"]).await;
    assert!(sinks.code == 1 && sinks.out.contains("BAD") && sinks.out.contains("no answer"), "{}", sinks.out);
}
