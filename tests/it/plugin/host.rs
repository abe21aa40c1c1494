//! What the host offers: signing, state, backlog, checks of a configuration.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windlass::domain::attempt::Outcome;
use windlass::domain::grant::{Grant, SecretGrant, SecretUse};
use windlass::plugin::{Executor, Refusal, Secret, StateAnswer, StateAsk, StateCall, StatePort};

use super::{attack_with, data, house, work};

fn sign_grant() -> Arc<Grant> {
    let secret = SecretGrant {
        name: "wiki-key".into(),
        usage: SecretUse::Sign,
        algorithm: Some("hmac-sha1".into()),
        begins_with: Some("async=0&".into()),
        header: None,
        parameter: None,
        hosts: Vec::new(),
    };
    Arc::new(Grant { secrets: vec![secret], ..Grant::default() })
}

async fn signed(secret: &str, algorithm: &str, text: &str) -> (Value, Vec<String>) {
    let input = json!({ "attack": "sign", "secret": secret, "algorithm": algorithm, "text": text });
    let (outcome, journal) = attack_with(input, |work| {
        work.grant = sign_grant();
        work.secrets = Arc::new(HashMap::from([("wiki-key".to_owned(), Secret(Arc::from(&b"key"[..])))]));
    })
    .await;
    (data(&outcome), journal.take().lines.into_iter().map(|line| line.message).collect())
}

#[tokio::test]
async fn the_host_signs_what_is_granted() {
    let (found, lines) = signed("wiki-key", "hmac-sha1", "async=0&maxjobs=1").await;
    // printf 'async=0&maxjobs=1' | openssl sha1 -hmac key
    assert_eq!(found["signature"], SIGNATURE);
    assert_eq!(lines, ["signed 17 bytes with the secret \"wiki-key\" (hmac-sha1)"]);
}

const SIGNATURE: &str = "a3a1c8002dd3ec7f61b19d4887ea739421d51c93";

#[tokio::test]
async fn the_host_refuses_to_sign_the_rest_and_says_what_would_allow_it() {
    for (secret, algorithm, text, code) in [
        ("other", "hmac-sha1", "async=0&", "not-granted"),
        ("wiki-key", "hmac-sha256", "async=0&", "wrong-algorithm"),
        ("wiki-key", "hmac-sha1", "async=1&", "wrong-beginning"),
    ] {
        let (found, lines) = signed(secret, algorithm, text).await;
        assert_eq!(found["code"], code);
        let line = format!(
            "grant.secrets = [{{ name = {secret:?}, use = \"sign\", algorithm = {algorithm:?}, begins_with = {text:?} }}]"
        );
        assert!(found["message"].as_str().unwrap().contains(&line), "{found}");
        assert!(lines[0].contains(&line), "{lines:?}");
    }
    let (found, _) = signed("wiki-key", "md5", "async=0&").await;
    assert_eq!(found["code"], "unknown-algorithm");
}

/// A state in memory for so many values; the first write of each `rival` key finds that somebody was faster.
fn state(quota: usize, rival: Option<&'static str>) -> StatePort {
    let (port, mut calls) = tokio::sync::mpsc::channel::<StateCall>(8);
    tokio::spawn(async move {
        let mut values: BTreeMap<String, (Vec<u8>, u64)> = BTreeMap::new();
        let mut rival = rival;
        while let Some(StateCall { ask, answer }) = calls.recv().await {
            let told = match ask {
                StateAsk::Get(key) => Ok(StateAnswer::Entry(values.get(&key).cloned())),
                StateAsk::Set { key, .. } if !values.contains_key(&key) && values.len() >= quota => {
                    Err(Refusal { code: "quota", message: format!("{quota} values are the limit") })
                }
                StateAsk::Set { key, value, expected } => {
                    if rival.take().is_some_and(|rival| rival == key) {
                        values.insert(key.clone(), (b"41".to_vec(), 9));
                    }
                    let version = values.get(&key).map_or(0, |(_, version)| *version);
                    if expected.is_some_and(|expected| expected != version) {
                        Err(Refusal { code: "conflict", message: format!("the version is {version}") })
                    } else {
                        values.insert(key, (value, version + 1));
                        Ok(StateAnswer::Version(version + 1))
                    }
                }
                StateAsk::Delete { key, .. } => {
                    values.remove(&key);
                    Ok(StateAnswer::Done)
                }
                StateAsk::Keys { prefix } => {
                    Ok(StateAnswer::Keys(values.keys().filter(|key| key.starts_with(&prefix)).cloned().collect()))
                }
            };
            let _ = answer.send(told);
        }
    });
    port
}

#[tokio::test]
async fn a_conflict_is_seen_and_tried_again() {
    let (outcome, _) = attack_with(json!({ "attack": "state_count" }), |work| work.state = state(10, Some("count"))).await;
    assert_eq!(data(&outcome), 42);
}

#[tokio::test]
async fn a_full_state_is_a_refusal_that_the_guest_sees() {
    let input = json!({ "attack": "state_flood", "n": 100, "bytes": 10 });
    let (outcome, _) = attack_with(input, |work| work.state = state(3, None)).await;
    assert_eq!(data(&outcome), json!({ "kept": 3, "code": "quota", "message": "3 values are the limit" }));
}

#[tokio::test]
async fn a_state_that_does_not_answer_is_a_refusal_too() {
    let (outcome, _) = attack_with(json!({ "attack": "state_flood" }), |_| {}).await;
    assert_eq!(data(&outcome)["code"], "unavailable");
}

#[tokio::test]
async fn a_backlog_is_measured_or_its_reason_told() {
    let house = house().await;
    let measure = async |config: Value| {
        let mut work = work(&house.hostile, &json!(null));
        (work.config, work.time_limit) = (config.to_string(), Duration::from_millis(500));
        house.sandbox.measure(work).await
    };
    assert_eq!(measure(json!({ "backlog": 12 })).await.map(|found| found.size), Ok(12));
    assert_eq!(measure(json!({ "backlog": "the wiki is read-only" })).await.unwrap_err(), "the wiki is read-only");
    assert!(measure(json!({ "backlog": "panic" })).await.unwrap_err().contains("a hostile probe panics"));
    assert!(measure(json!({ "backlog": "loop" })).await.unwrap_err().contains("time limit of 500ms"));
    let none = house.sandbox.measure(work(&house.command, &json!(null))).await.unwrap_err();
    assert!(none.contains("no backlog export"), "{none}");
}

#[tokio::test]
async fn a_configuration_is_checked_by_its_plugin() {
    let house = house().await;
    assert_eq!(house.sandbox.check(&house.hostile, "{}".into()).await, Ok(()));
    let problems = house.sandbox.check(&house.hostile, r#"{"bad": 1}"#.into()).await.unwrap_err();
    assert_eq!((problems[0].field.as_str(), problems[0].message.as_str()), ("bad", "1 is not good; leave it out"));
    assert_eq!(house.sandbox.check(&house.command, "{}".into()).await, Ok(()));
}

#[tokio::test]
async fn outcomes_count_what_the_guest_counted() {
    let (outcome, _) = attack_with(json!({ "attack": "fail_first", "n": 3 }), |work| work.attempt = 3).await;
    assert!(matches!(&outcome, Outcome::Succeeded { summary, counts: None, .. } if summary == "attempt 3"), "{outcome:?}");
}
