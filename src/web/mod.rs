//! Pages and the API. The only room with axum and askama; it reads the store, and changes things only through `app`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rand::RngCore;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::domain::duty::Duties;
use crate::domain::hook::BODY_LIMIT;
use crate::error::{Error, Result};

pub mod address;
pub mod api;
pub(crate) mod assets;
mod board;
mod dashboard;
pub mod demo_wiki;
mod download;
pub mod error;
mod events;
mod fragment;
mod hook;
mod layers;
pub mod metrics;
mod session;
mod show;
mod throttle;

/// What every handler of a page has.
#[derive(Clone)]
pub struct Web {
    app: App,
    stop: CancellationToken,
    https: bool,
    /// Lets the first operator in, while there is none.
    setup_code: Option<Arc<str>>,
    throttle: Arc<throttle::Throttle>,
    duties: Duties,
    board: Arc<board::Cache>,
}

/// What the server tells its pages.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Lets the first operator in; see [`setup_code`]. Whoever starts the server prints it.
    pub setup_code: Option<String>,
    /// The public address is https: cookies go over nothing else.
    pub https: bool,
    /// Ends event streams, which have no end of their own.
    pub stop: CancellationToken,
    /// Whether the loops of this process come round, for `/healthz`.
    pub duties: Duties,
}

/// Pages, API, static files, health, events. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, so that
/// wrong passwords are counted by address.
pub fn router(app: App, options: Options) -> Router {
    let api = layers::limited(api::router(app.clone()), api::BODY_LIMIT);
    let web = Web::new(app, options);
    let guard = || from_fn_with_state(web.clone(), session::guard);
    let pages =
        layers::limited(dashboard::routes().layer(guard()).merge(open_routes()).with_state(web.clone()), session::FORM_LIMIT);
    let hooks = layers::limited(hook::routes().with_state(web.clone()), BODY_LIMIT);
    let streams = Router::new().route("/events", get(events::events)).layer(guard()).with_state(web.clone());
    let lost = Router::new().fallback(nowhere).with_state(web.clone());
    layers::around(pages.merge(hooks).merge(streams).merge(api).merge(lost), &web)
}

/// What a node without the role `web` answers: whether it lives.
pub fn health_only(app: App, options: Options) -> Router {
    let web = Web::new(app, options);
    let lost =
        Router::new().fallback(|| async { Error::NotFound("This node shows no pages: its roles have no \"web\".".into()) });
    layers::around(health_routes().with_state(web.clone()).merge(lost), &web)
}

/// Answers requests until `stop`; those under way are answered to their end.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// For who is not logged in.
fn open_routes() -> Router<Web> {
    Router::new().merge(dashboard::gate::routes()).route("/static/{hash}/{name}", get(assets::serve)).merge(health_routes())
}

fn health_routes() -> Router<Web> {
    Router::new().route("/healthz", get(healthy)).route("/readyz", get(ready))
}

/// Who is logged in keeps the way back.
async fn nowhere(State(web): State<Web>, headers: HeaderMap) -> Response {
    let mut response = Error::NotFound("There is no such page.".into()).into_response();
    if let Ok(Some(session)) = session::of(&web, &headers).await {
        response.extensions_mut().insert(session);
    }
    response
}

/// Whether every loop that matters comes round: a process that lives and does nothing is ill. Asks no database.
async fn healthy(State(web): State<Web>) -> Result<&'static str> {
    let hanging = web.duties.hanging(web.app.clock.uptime());
    if hanging.is_empty() { Ok("ok\n") } else { Err(Error::Unavailable(hanging.join("; "))) }
}

/// Whether the database answers, and what is written is kept.
async fn ready(State(web): State<Web>) -> Result<&'static str> {
    web.app.store.stands()?;
    web.app.is_first_start().await?;
    Ok("ready\n")
}

/// Twelve letters in three groups, for the first start.
pub fn setup_code() -> String {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut bytes = [0; 12];
    rand::rng().fill_bytes(&mut bytes);
    let letters: Vec<char> = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    letters.chunks(4).map(String::from_iter).collect::<Vec<_>>().join("-")
}

impl Web {
    fn new(app: App, Options { setup_code, https, stop, duties }: Options) -> Self {
        let (setup_code, throttle, board) = (setup_code.map(Into::into), Arc::default(), Arc::default());
        Self { app, stop, https, setup_code, throttle, duties, board }
    }

    fn is_https(&self) -> bool {
        self.https
    }

    /// `__Host-`: no other host may set it. Browsers take that name over https only.
    fn cookie_name(&self) -> &'static str {
        if self.is_https() { "__Host-windlass" } else { "windlass" }
    }
}
