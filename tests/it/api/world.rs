//! A server over HTTP: two tenants, tokens of each kind, guests that follow a script.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use windlass::app::{App, Who};
use windlass::clock::Clock;
use windlass::config::Settings;
use windlass::domain::member::Role;
use windlass::plugin::{Sandbox, Settings as SandboxSettings};
use windlass::vault::Vault;
use windlass::web::{self, Options};

use crate::world::{TEN, World, tenant};

pub struct Served {
    pub world: World,
    pub app: App,
    pub admin: String,
    address: SocketAddr,
    /// Its threads are where plugins describe themselves.
    _sandbox: Sandbox,
}

/// An answer: status, headers, body.
pub struct Told {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: Value,
}

impl Told {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl Served {
    /// Tenants alpha and beta, without jobs.
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let world = World::new().await;
        let mut tx = world.store.begin().await.unwrap();
        let id = tx.new_id();
        tx.put_tenant(&tenant(id, "beta"), TEN).await.unwrap();
        tx.commit().await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
        let sandbox = Sandbox::new(SandboxSettings {
            threads: 1,
            runs: 1,
            data_dir: world.dir.path().to_owned(),
            compiler: crate::compiler(),
            egress: windlass::egress::Egress::of(&windlass::config::Settings::default(), Vec::new(), clock.clone()).unwrap(),
            clock: clock.clone(),
        })
        .unwrap();
        let app = App {
            store: world.store.clone(),
            executor: world.guests.clone(),
            catalog: sandbox.catalog().clone(),
            clock,
            settings: Arc::new(settings),
            vault: Arc::new(Vault::open(&world.dir.path().join("secret.key"), None).unwrap()),
            objects: world.objects(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = web::router(app.clone(), Options::default()).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        let admin = app.issue_token("test", Role::Admin, None, None, &Who::server()).await.unwrap().1;
        Self { world, app, admin, address, _sandbox: sandbox }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn token(&self, role: Role, tenant: Option<&str>) -> String {
        self.app.issue_token("narrow", role, tenant, None, &Who::server()).await.unwrap().1
    }

    /// As the server's admin.
    pub async fn get(&self, path: &str) -> Told {
        self.ask("GET", path, Some(&self.admin), &[], b"").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Told {
        self.ask("POST", path, Some(&self.admin), &[], body.to_string().as_bytes()).await
    }

    pub async fn ask(&self, method: &str, path: &str, token: Option<&str>, headers: &[(&str, &str)], body: &[u8]) -> Told {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}/api/v1/{path}", self.url()));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.to_vec()).unwrap();
        let (server, method, path) = (self.url(), method.to_owned(), path.to_owned());
        tokio::task::spawn_blocking(move || {
            let config = ureq::Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true);
            let agent = config.build().new_agent();
            let answer = match request.method().as_str() {
                "GET" | "DELETE" => agent.run(request.map(|_| ())),
                _ => agent.run(request),
            };
            let (parts, mut body) = answer.unwrap().into_parts();
            let text = body.read_to_string().unwrap();
            super::openapi::checked(&server, &method, &path, parts.status.as_u16(), &text);
            Told {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
            }
        })
        .await
        .unwrap()
    }
}
