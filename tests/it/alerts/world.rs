//! Sinks of a test: a server on the loopback that keeps what it gets, and a tenant that names it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use windlass::config::AlertRule;
use windlass::domain::grant::Ceiling;

use crate::world::World;

pub const SECOND: Duration = Duration::from_secs(1);

/// One request.
#[derive(Debug, Clone)]
pub struct Got {
    pub path: String,
    pub headers: HeaderMap,
    pub text: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> String {
        self.headers[name].to_str().unwrap().to_owned()
    }

    /// "raised silent alpha/drain"
    pub fn words(&self) -> String {
        let (json, text) = (self.json(), |value: &Value| value.as_str().unwrap_or("-").to_owned());
        let data = &json["data"];
        let notice = text(&json["type"]).replace("alert.", "");
        format!("{notice} {} {}/{}", text(&data["kind"]), text(&data["tenant"]), text(&data["job"]))
    }
}

#[derive(Clone, Default)]
struct Kept {
    got: Arc<Mutex<Vec<Got>>>,
    /// Answers that come before the good ones.
    bad: Arc<Mutex<Vec<u16>>>,
}

/// A server that takes whatever comes.
pub struct Hook {
    kept: Kept,
    pub origin: String,
}

impl Hook {
    pub async fn open() -> Self {
        let kept = Kept::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(kept.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { kept, origin }
    }

    /// The next answers are these.
    pub fn refuses(&self, status: &[u16]) {
        *self.kept.bad.lock().unwrap() = status.to_vec();
    }

    pub fn got(&self) -> Vec<Got> {
        self.kept.got.lock().unwrap().clone()
    }

    pub fn words(&self) -> Vec<String> {
        self.got().iter().map(Got::words).collect()
    }

    pub fn ceiling(&self) -> Ceiling {
        Ceiling { hosts: vec![self.origin.clone()], networks: vec!["127.0.0.0/8".into()], ..Ceiling::default() }
    }
}

async fn take(State(kept): State<Kept>, _: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = String::from_utf8_lossy(&body).into_owned();
    kept.got.lock().unwrap().push(Got { path: uri.to_string(), headers, text });
    let mut bad = kept.bad.lock().unwrap();
    if bad.is_empty() { StatusCode::OK } else { StatusCode::from_u16(bad.remove(0)).unwrap() }
}

pub fn rule(fields: &Value) -> AlertRule {
    serde_json::from_value(fields.clone()).unwrap()
}

/// Tenant alpha tells the hook of these kinds.
pub async fn tells(world: &World, hook: &Hook, when: &[&str]) {
    alerts(world, hook, &[json!({ "when": when, "webhook": format!("{}/hook", hook.origin) })]).await;
}

/// Tenant alpha has these rules, and may reach the hook.
pub async fn alerts(world: &World, hook: &Hook, rules: &[Value]) {
    let mut tenant = world.tenant.clone();
    tenant.ceiling = hook.ceiling();
    tenant.alerts = rules.iter().map(rule).collect();
    let mut tx = world.store.begin().await.unwrap();
    tx.put_tenant(&tenant, world.tenant.created_at).await.unwrap();
    tx.commit().await.unwrap();
}

pub async fn secret(world: &World, name: &str, value: &[u8]) {
    let (nonce, sealed) = world.context().vault.seal(world.tenant.id, name, value).unwrap();
    let mut tx = world.store.begin().await.unwrap();
    tx.put_secret(world.tenant.id, name, nonce, sealed, world.tenant.created_at).await.unwrap();
    tx.commit().await.unwrap();
}
