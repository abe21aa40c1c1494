//! `/operations/{id}`: how far it is, and what came of it.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono_tz::Tz;

use super::{dead_word, verb};
use crate::clock::Timestamp;
use crate::domain::dead::{Action, Operation, OperationState};
use crate::error::Result;
use crate::id::Id;
use crate::store::operation::{Done, OperationRun};
use crate::web::Web;
use crate::web::dashboard::shell::{Place, Shell};
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::chart::Parts;
use crate::web::show::number::{Commas, commas, plural};
use crate::web::show::pill::Pill;

/// Runs listed.
const ROWS: u32 = 50;

#[derive(Template)]
#[template(path = "operation/show.html", blocks = ["operation"])]
struct OperationPage {
    shell: Shell,
    here: String,
    operation: Operation,
    rows: Vec<Row>,
}

fragment::fragments!(OperationPage: operation => as_operation);

struct Row {
    tenant: String,
    run: Id,
    rerun: Option<Id>,
    pill: Option<Pill>,
    words: &'static str,
}

impl OperationPage {
    fn title(&self) -> String {
        let o = &self.operation;
        format!("{} {} {} {}", verb(o.action), commas(o.total), dead_word(o.action), plural(o.total, "run", "runs"))
    }

    fn is_backfill(&self) -> bool {
        self.operation.action == Action::Backfill
    }

    /// The instant that a row of a backfill is for.
    fn instant(&self, row: &Row) -> String {
        self.shell.lens.day_and_minute(&Timestamp(row.run.0))
    }

    fn begun(&self) -> u64 {
        self.operation.done + self.operation.left
    }

    fn begun_word(&self) -> Commas {
        Commas(self.begun())
    }

    fn is_running(&self) -> bool {
        self.operation.state == OperationState::Running
    }

    fn waits(&self) -> Option<&String> {
        self.operation.waits.as_ref().filter(|_| self.is_running())
    }

    fn can_be_undone(&self) -> bool {
        self.operation.action == Action::Discard && !self.is_running() && self.operation.done > 0
    }

    fn pill(&self) -> Pill {
        Pill::operation(self.operation.state.word())
    }

    fn bar(&self) -> Parts {
        let o = &self.operation;
        let to_go = o.total.saturating_sub(self.begun());
        let parts = vec![("done", "f-done", o.done), ("left as they were", "f-retry", o.left), ("to go", "f-none", to_go)];
        Parts { parts, of: plural(o.total, "run", "runs") }
    }
}

pub async fn show(State(web): State<Web>, session: Session, headers: HeaderMap, Path(id): Path<String>) -> Result<Response> {
    let operation = web.app.operation(id.parse()?, &session.who).await?;
    let mut tx = web.app.store.read().await?;
    let names: HashMap<Id, String> = tx.tenants().await?.into_iter().map(|tenant| (tenant.id, tenant.name)).collect();
    let runs = tx.operation_runs(operation.id, None, ROWS).await?;
    let new: Vec<(Id, Id)> = runs.iter().filter_map(|run| Some((run.tenant, run.rerun?))).collect();
    let states = tx.states_of(&new).await?;
    let row = |run: OperationRun| Row {
        tenant: names.get(&run.tenant).cloned().unwrap_or_else(|| run.tenant.to_string()),
        pill: run.rerun.and_then(|new| states.get(&new)).map(|state| Pill::run(state)),
        words: words(operation.action, &run),
        run: run.run,
        rerun: run.rerun,
    };
    let rows = runs.into_iter().map(row).collect();
    let board = web.glance(None).await?;
    let shell = web.shell_with(&session, &board, Tz::UTC, None);
    let shell = shell.at(Place::Failures, &[("Failures", "/failures".into())], format!("Operation {}", operation.id.short()));
    let page = OperationPage { shell, here: format!("/operations/{id}"), operation, rows };
    fragment::answer(&page, &headers)
}

fn words(action: Action, run: &OperationRun) -> &'static str {
    match (run.result, action, run.rerun) {
        (Done::Done, Action::Rerun, _) => "run again",
        (Done::Done, Action::Discard, _) => "discarded",
        (Done::Done, Action::Undo, _) => "brought back",
        (Done::Done, Action::Backfill, _) => "made a run",
        (Done::Left, Action::Backfill, _) => "left: it had its run meanwhile, or its schedule was removed",
        (Done::Merged, ..) => "joined an unfinished run of its job",
        (Done::Left, _, Some(_)) => "left: its job had as many unfinished runs as it may have",
        (Done::Left, ..) => "left: settled before, or its job was removed",
    }
}
