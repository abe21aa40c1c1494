//! Who did what, and who may read it.

use serde_json::{Value, json};
use windlass::domain::member::Role;

use super::world::Served;

#[tokio::test(flavor = "multi_thread")]
async fn admins_read_the_audit_of_what_is_theirs() {
    let served = Served::new().await;
    served.world.job("j", json!({})).await;
    for verb in ["pause", "resume"] {
        assert_eq!(served.post(&format!("tenants/alpha/jobs/j/{verb}"), &json!({})).await.status, 200);
    }
    let [viewer, operator] = [served.token(Role::Viewer, Some("alpha")).await, served.token(Role::Operator, None).await];
    let [alpha, beta] = [served.token(Role::Admin, Some("alpha")).await, served.token(Role::Admin, Some("beta")).await];
    let ask = async |token: &str, path: &str| served.ask("GET", path, Some(token), &[], b"").await;
    for token in [&viewer, &operator] {
        assert_eq!(ask(token, "audit").await.status, 403);
    }
    let whats = |body: &Value| -> Vec<String> {
        body["items"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap().to_owned()).collect()
    };
    let own = ask(&alpha, "audit").await.body;
    assert_eq!(whats(&own), ["token.issue", "token.issue", "job.resume", "job.pause"], "its own tokens too: {own}");
    let (entry, keys) = (&own["items"][3], ["who", "what", "tenant", "object", "detail"]);
    assert_eq!(keys.map(|key| entry[key].clone()), [json!("test"), json!("job.pause"), json!("alpha"), json!("j"), Value::Null]);
    assert_eq!(whats(&ask(&beta, "audit").await.body), ["token.issue"], "another's is not there");
    for asked in ["audit?tenant=alpha", "audit?tenant=nobody"] {
        assert_eq!(ask(&beta, asked).await.status, 404, "{asked}");
    }
    let all = served.get("audit?what=token").await.body;
    assert_eq!((whats(&all).len(), &all["items"].as_array().unwrap().last().unwrap()["tenant"]), (5, &Value::Null), "{all}");
    assert_eq!(whats(&served.get("audit?tenant=alpha&what=job.pause").await.body), ["job.pause"]);
    assert_eq!(whats(&served.get("audit?what=jo").await.body), [""; 0], "no part of a word");
    let (mut path, mut seen) = ("audit?limit=2&tenant=alpha".to_owned(), Vec::new());
    for _ in 0..3 {
        let page = served.get(&path).await.body;
        seen.extend(whats(&page));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("audit?limit=2&tenant=alpha&after={next}");
    }
    assert_eq!(seen, whats(&own), "page by page");
    assert_eq!(served.get("audit?until=now").await.status, 422);
}
