//! Carries messages of alerts to their sinks. One that does not take them is tried again for a day, and shown.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Mutex;

use super::{Context, alarm};
use crate::clock::Timestamp;
use crate::config::{AlertRule, secrets_in};
use crate::domain::alert::{Alert, AlertKind, again_in};
use crate::domain::grant::Ceiling;
use crate::error::Result;
use crate::id::Id;
use crate::sink::{Letter, Sinks, To};
use crate::store::alert::Delivery;

const EVERY: Duration = Duration::from_secs(3);
/// Without a commit of this node, what was found is believed so long: another node may lead no more.
const BELIEVED: Duration = Duration::from_secs(30);
/// Messages under way at a time: those that hang hold up the others for no longer than one may take.
const AT_A_TIME: u32 = 64;

/// What was found last, when there was nothing to carry: while nobody commits, nothing is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Idle {
    /// On the clock that nobody sets.
    at: Duration,
    commits: u64,
    next: Option<Timestamp>,
}

pub(super) async fn tick(context: Arc<Context>, sinks: Arc<Sinks>, idle: Arc<Mutex<Option<Idle>>>) -> Result<Duration> {
    let mut idle = idle.lock().await;
    let (now, uptime, commits) = (context.clock.now(), context.clock.uptime(), *context.store.signals().changes().borrow());
    let still = |idle: &Idle| {
        idle.commits == commits && uptime.saturating_sub(idle.at) < BELIEVED && idle.next.is_none_or(|next| next > now)
    };
    if idle.as_ref().is_some_and(still) {
        return Ok(EVERY);
    }
    let mut tx = context.store.read().await?;
    let due = tx.due_deliveries(now, AT_A_TIME).await?;
    if due.is_empty() {
        *idle = Some(Idle { at: uptime, commits, next: tx.next_delivery().await? });
        return Ok(EVERY);
    }
    drop(tx);
    let full = due.len() == AT_A_TIME as usize;
    let tried = join_all(due.into_iter().map(|delivery| carry(&context, &sinks, delivery))).await;
    let mut tx = context.store.begin().await?;
    for delivery in tried {
        tx.delivery_tried(&delivery).await?;
    }
    tx.commit().await?;
    Ok(if full { Duration::ZERO } else { EVERY })
}

/// One try; answers the delivery as it is then.
async fn carry(context: &Context, sinks: &Sinks, mut delivery: Delivery) -> Delivery {
    let outcome = match rule(context, &delivery).await {
        Ok(Some(rule)) => sent(context, sinks, &delivery, &rule).await,
        // Nobody waits for it any more: it is no failure, and not shown as one.
        Ok(None) => {
            tracing::info!(alert.id = %delivery.alert, sink = delivery.sink, "not told: its [[alert]] is not there any more");
            delivery.ended_at = Some(context.clock.now());
            return delivery;
        }
        Err(wrong) => Err(wrong.to_string()),
    };
    let now = context.clock.now();
    delivery.tries += 1;
    match outcome {
        Ok(()) => {
            tracing::info!(alert.id = %delivery.alert, sink = delivery.sink, tries = delivery.tries, "told: {}", delivery.notice.word());
            (delivery.error, delivery.ended_at) = (None, Some(now));
        }
        Err(why) => {
            if delivery.tries == 1 {
                tracing::warn!(alert.id = %delivery.alert, sink = delivery.sink, error = why, "a sink does not take an alert; it is tried again");
            }
            delivery.error = Some(why);
            match again_in(delivery.tries) {
                Some(pause) => delivery.due_at = now.plus(pause),
                None => delivery.ended_at = Some(now),
            }
        }
    }
    delivery
}

/// The rule that names its sink. What this node remembers of a tenant may be older than the message: the store says.
async fn rule(context: &Context, delivery: &Delivery) -> Result<Option<AlertRule>> {
    let named = |rule: &AlertRule| rule.name() == delivery.sink;
    let mut rules = alarm::rules(context, delivery.owner).into_iter();
    if let Some((_, rule)) = rules.find(|(owner, rule)| *owner == delivery.owner && named(rule)) {
        return Ok(Some(rule));
    }
    if delivery.owner == Id(0) {
        return Ok(None);
    }
    let tenants = context.store.read().await?.tenants().await?;
    Ok(tenants.into_iter().find(|tenant| tenant.id == delivery.owner).and_then(|tenant| tenant.alerts.into_iter().find(named)))
}

async fn sent(context: &Context, sinks: &Sinks, delivery: &Delivery, rule: &AlertRule) -> std::result::Result<(), String> {
    let away = |wrong: crate::error::Error| wrong.to_string();
    let Some(sink) = rule.sink() else { return Err("its [[alert]] names no sink".into()) };
    let alert = context.store.read().await.map_err(away)?.alert(delivery.alert).await.map_err(away)?;
    let alert = alert.ok_or("the alert is not there any more")?;
    let tenant = context.definitions.tenant(delivery.owner);
    let (owner, ceiling): (Arc<str>, Option<&Ceiling>) = match &tenant {
        Some(tenant) => (tenant.name.as_str().into(), Some(&tenant.ceiling)),
        None => ("windlass".into(), None),
    };
    let secrets = secrets(context, delivery.owner, rule).await.map_err(away)?;
    let letter = letter(context, delivery, alert).await.map_err(away)?;
    sinks.send(&letter, &To { sink, owner, ceiling, secrets, signs: rule.secret.as_deref() }).await
}

/// Those of the tenant that the rule names.
async fn secrets(context: &Context, owner: Id, rule: &AlertRule) -> Result<HashMap<String, Vec<u8>>> {
    let in_url = rule.sink().and_then(|sink| sink.url()).into_iter().flat_map(secrets_in);
    let named: Vec<&str> = in_url.chain(rule.secret.as_deref()).collect();
    let mut found = HashMap::new();
    if owner == Id(0) || named.is_empty() {
        return Ok(found);
    }
    for sealed in context.store.read().await?.secrets(owner).await? {
        if named.contains(&sealed.name.as_str()) {
            let value = context.vault.unseal(owner, &sealed.name, &sealed.nonce, &sealed.sealed)?;
            found.insert(sealed.name, value);
        }
    }
    Ok(found)
}

async fn letter(context: &Context, delivery: &Delivery, alert: Alert) -> Result<Letter> {
    let of = alert.subject;
    let tenant = context.definitions.tenant(of.tenant).map(|tenant| tenant.name.clone());
    let job = match context.definitions.job(of.job) {
        Some(known) => Some(known.job.spec.name.clone()),
        None if of.job == Id(0) => None,
        None => context.store.read().await?.job_names().await?.into_iter().find(|(id, ..)| *id == of.job).map(|(.., job)| job),
    };
    let path = match (&tenant, &job, of.kind) {
        (Some(tenant), _, AlertKind::Dead) => format!("/failures?tenant={tenant}"),
        (Some(tenant), Some(job), _) => format!("/t/{tenant}/jobs/{job}"),
        _ => "/nodes".into(),
    };
    Ok(Letter {
        id: delivery.id,
        at: context.clock.now(),
        alert: alert.id,
        notice: delivery.notice,
        kind: of.kind,
        tenant,
        job,
        node: Some(of.node).filter(|node| *node != 0),
        message: alert.message,
        since: alert.opened_at,
        ended_at: alert.closed_at,
        url: context.settings.public_url.as_ref().map(|origin| format!("{origin}{path}")),
    })
}
