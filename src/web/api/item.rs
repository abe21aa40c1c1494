//! Items: listed with their run; taken, kept and ended by workers outside.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;

use super::extract::{Asked, At, Body, Caller};
use super::read;
use super::shape::{
    ClaimJson, Count, ItemJson, List, RenewJson, RenewedJson, ResultJson, ResultsJson, Status, TakenJson, ToldJson, nothing,
};
use crate::app::App;
use crate::domain::item::{Ending, Item, ItemState, MESSAGE_LIMIT};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::item_list::ItemQuery;
use crate::store::outside::Reported;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    state: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    limit: Option<u32>,
}

pub async fn list(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, run)): At<(String, Id)>,
    Asked(which): Asked<Which>,
) -> Result<Json<List<ItemJson>>> {
    let mut tx = app.store.read().await?;
    let tenant = read::scope(&mut tx, &who, &tenant).await?;
    let limit = super::limit(which.limit)?;
    let state = which.state.as_deref().map(state_filter).transpose()?;
    let place = |text: &str| {
        text.parse().map_err(|_| Error::invalid("after", format!("{text:?} is no place in a list of items; take `next`")))
    };
    let after = which.after.as_deref().map(place).transpose()?;
    let run = read::known(&mut tx, &tenant, run).await?;
    let counts = tx.item_counts(&[(tenant.id, run.id)]).await?.remove(&run.id).unwrap_or_default();
    let mut found = tx.items_of(tenant.id, run.id, ItemQuery { state, after, limit: limit + 1 }).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|item| item.position.to_string());
    let count = Count { value: state.map_or(counts.total(), |state| counts.of(state)), capped: false };
    Ok(Json(List { items: found.into_iter().map(shape).collect(), next, count }))
}

fn state_filter(word: &str) -> Result<ItemState> {
    ItemState::parse(word).ok_or_else(|| {
        let words = ItemState::ALL.map(ItemState::word).join(", ");
        Error::invalid("state", format!("{word:?} is no state of an item; there are {words}"))
    })
}

fn shape(item: Item) -> ItemJson {
    ItemJson {
        name: item.name,
        position: item.position,
        state: item.state,
        input: json(item.input, nothing()),
        message: item.message,
        output: json(item.output, Value::Null),
        attempt: item.attempt,
        deliveries: item.deliveries,
        worker: item.worker,
        leased_until: item.leased_until,
        ended_at: item.ended_at,
    }
}

/// It was checked when it came.
fn json(text: Option<String>, absent: Value) -> Value {
    text.map_or(absent, |text| serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub async fn claim(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, job)): At<(String, String)>,
    Body(claim): Body<ClaimJson>,
) -> Result<Json<List<TakenJson>>> {
    read::within(&app, &who, &tenant).await?;
    let taken = app.claim_items(&tenant, &job, &claim.worker, claim.max, &who).await?;
    let one = |item: Item| TakenJson {
        run: item.run,
        name: item.name,
        input: json(item.input, nothing()),
        delivery: item.deliveries,
        leased_until: item.leased_until,
    };
    Ok(Json(List::whole(taken.into_iter().map(one).collect())))
}

pub async fn renew(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, job)): At<(String, String)>,
    Body(renew): Body<RenewJson>,
) -> Result<Json<RenewedJson>> {
    read::within(&app, &who, &tenant).await?;
    let (renewed, lease) = app.renew_items(&tenant, &job, &renew.worker, &who).await?;
    Ok(Json(RenewedJson { renewed, lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX) }))
}

/// 200 whatever came of each: who reports late has done nothing wrong.
pub async fn finish(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, job)): At<(String, String)>,
    Body(results): Body<ResultsJson>,
) -> Result<Json<List<ToldJson>>> {
    read::within(&app, &who, &tenant).await?;
    let ends: Vec<(Id, Ending)> = results.items.into_iter().map(ending).collect();
    let told = app.end_items(&tenant, &job, &results.worker, &ends, &who).await?;
    let told = ends.into_iter().zip(told);
    let told = told.map(|((run, ending), told)| ToldJson { run, name: ending.name, recorded: told == Reported::Recorded });
    Ok(Json(List::whole(told.collect())))
}

fn ending(result: ResultJson) -> (Id, Ending) {
    let state = match result.status {
        Status::Done => ItemState::Done,
        Status::Failed => ItemState::Failed,
        Status::Skipped => ItemState::Skipped,
    };
    let message = match result.message.char_indices().nth(MESSAGE_LIMIT) {
        Some((end, _)) => format!("{}…", &result.message[..end]),
        None => result.message,
    };
    (result.run, Ending { name: result.name, state, message, output: result.output.map(|output| output.to_string()) })
}
