//! One folder a page: its template, its plain data, its handler. Every button is a resource of its own.

use axum::Router;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use chrono_tz::Tz;

use super::board::Board;

use super::Web;
use super::session::Session;
use super::show::moment::Lens;
use crate::error::Result;
use shell::{Member, Notice, Place, Shell};

pub mod alert;
pub mod audit;
pub mod failure;
pub mod find;
pub mod gate;
pub mod job;
pub mod node;
pub mod operation;
pub mod overview;
pub mod plugin;
pub mod run;
pub mod schedule;
pub mod settings;
pub mod shell;
pub mod tenant;

/// Pages for who is logged in.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/", get(overview::index))
        .route("/t/{tenant}", get(tenant::show))
        .route("/t/{tenant}/jobs/{job}", get(job::show))
        .route("/t/{tenant}/jobs/{job}/runs", post(job::run_now))
        .route("/t/{tenant}/jobs/{job}/rollout/{step}", post(job::rollout::step))
        .route("/t/{tenant}/jobs/{job}/backfill", get(job::backfill::ask).post(job::backfill::begin))
        .route("/t/{tenant}/jobs/{job}/pause", post(job::pause))
        .route("/t/{tenant}/jobs/{job}/resume", post(job::resume))
        .route("/schedule", get(schedule::index))
        .route("/runs", get(run::index::everywhere))
        .route("/t/{tenant}/runs", get(run::index::of_tenant))
        .route("/t/{tenant}/runs/{run}", get(run::show::show))
        .route("/t/{tenant}/runs/{run}/log", get(run::log::text))
        .route("/t/{tenant}/runs/{run}/artifacts/{name}", get(run::artifacts::download))
        .route("/t/{tenant}/runs/{run}/recording/{attempt}", get(run::recording::file))
        .route("/t/{tenant}/runs/{run}/rerun", post(run::rerun))
        .route("/t/{tenant}/runs/{run}/cancel", post(run::cancel))
        .route("/t/{tenant}/runs/{run}/discard", post(run::discard))
        .route("/t/{tenant}/runs/{run}/undo", post(run::undo))
        .route("/failures", get(failure::index))
        .route("/failures/count", get(failure::count))
        .route("/t/{tenant}/failures/{cause}", get(failure::cause::show))
        .route("/operations/new", get(operation::new))
        .route("/operations", post(operation::begin))
        .route("/operations/{id}", get(operation::show::show))
        .route("/operations/{id}/cancel", post(operation::cancel))
        .route("/operations/{id}/undo", post(operation::undo))
        .route("/alerts", get(alert::index))
        .route("/alerts/silence", post(alert::silence))
        .route("/alerts/speak", post(alert::speak))
        .route("/audit", get(audit::index))
        .route("/nodes", get(node::index))
        .route("/nodes/settings", get(settings::index))
        .route("/plugins", get(plugin::index))
        .route("/plugins/{name}", get(plugin::show::show))
        .route("/find", get(find::find))
        .route("/logout", post(gate::log_out))
}

impl Web {
    /// The shell of a page, without asking the database.
    pub(super) fn shell(&self, session: Option<&Session>) -> Shell {
        let own = session.and_then(|session| session.who.tenant);
        Shell {
            lens: Lens { now: self.app.now(), zone: Tz::UTC },
            place: Place::Elsewhere,
            crumbs: Vec::new(),
            member: session.map(|session| Member {
                name: session.who.name.clone(),
                role: session.who.role.word().to_owned(),
                whole: own.is_none(),
            }),
            csrf: session.map(|session| session.csrf.clone()).unwrap_or_default(),
            dead: self.board.last_dead(own),
            notice: None,
        }
    }

    fn shell_with(&self, session: &Session, board: &Board, zone: Tz, done: Option<&str>) -> Shell {
        let mut shell = self.shell(Some(session));
        shell.lens.zone = zone;
        shell.dead = board.dead(session.who.tenant);
        shell.notice = done.and_then(Notice::parse);
        shell
    }

    /// The glance; as of now for a page that shows what has just been done.
    async fn glance(&self, done: Option<&str>) -> Result<std::sync::Arc<Board>> {
        self.board.get(&self.app, done.is_some()).await
    }
}

/// After a button: the page again, with what came of it.
fn see_other(to: impl std::fmt::Display) -> Response {
    Redirect::to(&to.to_string()).into_response()
}
