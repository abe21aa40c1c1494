//! `/nodes`: who takes part, and what each node takes.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono_tz::Tz;

use super::shell::{Place, Shell};
use crate::app::node::Seen;
use crate::domain::member::Role;
use crate::error::Result;
use crate::web::Web;
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::number::Num;
use crate::web::show::pill::Pill;

#[derive(Template)]
#[template(path = "node/index.html", blocks = ["nodes"])]
struct Nodes {
    shell: Shell,
    nodes: Vec<Seen>,
    may_see_settings: bool,
}

fragment::fragments!(Nodes: nodes => as_nodes);

pub async fn index(State(web): State<Web>, session: Session, headers: HeaderMap) -> Result<Response> {
    let board = web.glance(None).await?;
    let nodes = web.app.nodes(&session.who).await?;
    let shell = web.shell_with(&session, &board, Tz::UTC, None).at(Place::Nodes, &[], "Nodes");
    fragment::answer(&Nodes { shell, nodes, may_see_settings: session.who.may_all(Role::Admin, "").is_ok() }, &headers)
}
