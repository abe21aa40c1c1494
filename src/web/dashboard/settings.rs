//! `/nodes/settings`: what this node was told, for the admin of the server.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono_tz::Tz;

use super::shell::{Place, Shell};
use crate::config::{Origin, Setting};
use crate::domain::member::Role;
use crate::error::{Error, Result};
use crate::web::Web;
use crate::web::fragment;
use crate::web::session::Session;

#[derive(Template)]
#[template(path = "node/settings.html")]
struct Page {
    shell: Shell,
    settings: Vec<Setting>,
}

pub async fn index(State(web): State<Web>, session: Session, headers: HeaderMap) -> Result<Response> {
    session.who.may_all(Role::Admin, "looking at the server's configuration")?;
    let board = web.glance(None).await?;
    let way = [("Nodes", "/nodes".to_owned())];
    let shell = web.shell_with(&session, &board, Tz::UTC, None).at(Place::Nodes, &way, "Configuration");
    let page = Page { shell, settings: web.app.settings.effective()? };
    fragment::html(page.render().map_err(|wrong| Error::Internal(wrong.into()))?, &headers)
}
