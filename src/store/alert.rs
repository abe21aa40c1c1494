//! Alerts: what needs a person, who wants to hear nothing of it, and what was told to whom.

use std::collections::HashMap;
use std::time::Duration;

use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::domain::alert::{Alert, AlertKind, Notice, Silence, Subject};
use crate::error::{Error, Result};
use crate::id::Id;

/// How long it is known what was told.
pub(super) const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// A message to one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub id: Id,
    pub alert: Id,
    /// The tenant whose file names the sink; zero for windlass.toml.
    pub owner: Id,
    /// What its rule is called.
    pub sink: String,
    pub notice: Notice,
    pub due_at: Timestamp,
    /// In vain, so far.
    pub tries: u32,
    /// Of the last try.
    pub error: Option<String>,
    /// It arrived; with an error, it was given up.
    pub ended_at: Option<Timestamp>,
}

/// A sink, of whom it is.
pub type SinkKey = (Id, String);

/// What a sink was told of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// When a message to it was written down last.
    pub at: Timestamp,
    /// One is still on its way.
    pub is_unsent: bool,
}

static OPEN: Sql = Sql::new(
    "SELECT id, tenant, job, node, kind, message, opened_at, closed_at FROM alert WHERE closed_at IS NULL ORDER BY id LIMIT 10000",
);
static OPEN_PAGE: Sql = Sql::new(
    "SELECT id, tenant, job, node, kind, message, opened_at, closed_at FROM alert WHERE closed_at IS NULL \
     AND ($1 = 0 OR tenant = $1) AND id < $2 ORDER BY id DESC LIMIT $3",
);
static ENDED_PAGE: Sql = Sql::new(
    "SELECT id, tenant, job, node, kind, message, opened_at, closed_at FROM alert WHERE closed_at >= $1 \
     AND ($2 = 0 OR tenant = $2) AND id < $3 ORDER BY id DESC LIMIT $4",
);
static COUNT: Sql = Sql::new(
    "SELECT count(*) AS n FROM (SELECT 1 FROM alert WHERE (closed_at IS NULL OR closed_at >= $1) AND ($2 = 0 OR tenant = $2) LIMIT 10001) x",
);
static ONE: Sql = Sql::new("SELECT id, tenant, job, node, kind, message, opened_at, closed_at FROM alert WHERE id = $1");
static RAISE: Sql = Sql::new(
    "INSERT INTO alert (id, tenant, job, node, kind, message, opened_at) VALUES {7} \
     ON CONFLICT (tenant, job, node, kind) WHERE closed_at IS NULL DO NOTHING",
);
static SAY: Sql = Sql::new("UPDATE alert SET message = $1 WHERE id = $2");
static CLOSE: Sql = Sql::new("UPDATE alert SET closed_at = $1 WHERE id = $2 AND closed_at IS NULL");
static SICK: Sql = Sql::new("SELECT job, tenant, health, why, since FROM health WHERE health NOT IN ('ok', 'paused')");
static LATE_SCHEDULES: Sql = Sql::new(
    "SELECT tenant, job, next_due_at AS at FROM schedule WHERE enabled = 1 AND next_due_at < $1 ORDER BY next_due_at LIMIT 1000",
);
static LATE_PROBES: Sql = Sql::new("SELECT tenant, job, next_at AS at FROM probe WHERE next_at < $1 ORDER BY next_at LIMIT 1000");
static SILENCES: Sql =
    Sql::new("SELECT tenant, job, node, kind, until, by, made_at FROM silence WHERE until > $1 ORDER BY until");
static SILENCE: Sql = Sql::new(
    "INSERT INTO silence (tenant, job, node, kind, until, by, made_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
     ON CONFLICT (tenant, job, node, kind) DO UPDATE SET until = excluded.until, by = excluded.by, made_at = excluded.made_at",
);
static SPEAK: Sql = Sql::new("DELETE FROM silence WHERE tenant = $1 AND job = $2 AND node = $3 AND kind = $4");
/// What ended without a try was told to nobody: its sink was not named any more.
static TOLD: Sql = Sql::new(
    "SELECT alert, owner, sink, max(id) AS last, CAST(sum(CASE WHEN ended_at IS NULL THEN 1 ELSE 0 END) AS BIGINT) AS unsent \
     FROM delivery WHERE (alert) IN (VALUES {1}) AND (ended_at IS NULL OR tries > 0) GROUP BY alert, owner, sink",
);
/// What is over has no need of being told that it lasts.
static REPLACE: Sql = Sql::new("DELETE FROM delivery WHERE ended_at IS NULL AND notice = 'repeated' AND (alert) IN (VALUES {1})");
/// Old ones of alerts that are open still, but for the last to each sink, which says when it was told.
static STALE: Sql = Sql::new(
    "SELECT d.id FROM delivery d WHERE d.id < $1 AND d.ended_at IS NOT NULL AND EXISTS \
     (SELECT 1 FROM delivery n WHERE n.alert = d.alert AND n.owner = d.owner AND n.sink = d.sink AND n.id > d.id) ORDER BY d.id LIMIT 1000",
);
static CUT_STALE: Sql = Sql::new("DELETE FROM delivery WHERE (id) IN (VALUES {1})");
static TELL: Sql = Sql::new("INSERT INTO delivery (id, alert, owner, sink, notice, due_at, tries) VALUES {7}");
static DUE: Sql = Sql::new(
    "SELECT d.id, d.alert, d.owner, d.sink, d.notice, d.due_at, d.tries, d.error, d.ended_at FROM delivery d WHERE d.ended_at IS NULL AND d.due_at <= $1 \
     AND NOT EXISTS (SELECT 1 FROM delivery e WHERE e.alert = d.alert AND e.owner = d.owner AND e.sink = d.sink AND e.id < d.id AND e.ended_at IS NULL) \
     ORDER BY d.due_at, d.id LIMIT $2",
);
static NEXT: Sql = Sql::new("SELECT min(due_at) AS at FROM delivery WHERE ended_at IS NULL");
static LAST: Sql = Sql::new(
    "SELECT d.id, d.alert, d.owner, d.sink, d.notice, d.due_at, d.tries, d.error, d.ended_at FROM delivery d WHERE d.id IN \
     (SELECT max(x.id) FROM delivery x WHERE x.id >= $1 AND x.tries > 0 GROUP BY x.owner, x.sink) ORDER BY d.owner, d.sink",
);
static TRIED: Sql = Sql::new("UPDATE delivery SET due_at = $1, tries = $2, error = $3, ended_at = $4 WHERE id = $5");
static OLD: Sql = Sql::new("SELECT id FROM alert WHERE closed_at < $1 ORDER BY closed_at LIMIT 1000");
static CUT_DELIVERIES: Sql = Sql::new("DELETE FROM delivery WHERE (alert) IN (VALUES {1})");
static CUT_ALERTS: Sql = Sql::new("DELETE FROM alert WHERE (id) IN (VALUES {1})");
static CUT_SILENCES: Sql = Sql::new("DELETE FROM silence WHERE until < $1");

impl Tx {
    /// At most 10,000.
    pub async fn open_alerts(&mut self) -> Result<Vec<Alert>> {
        self.rows(&OPEN, args![]).await?.iter().map(alert).collect()
    }

    /// Open ones, the newest first; of one tenant, or of all. `before` is the last of the page before.
    pub async fn open_alerts_page(&mut self, of: Option<Id>, before: Option<Id>, limit: u32) -> Result<Vec<Alert>> {
        let args = args![of.unwrap_or(Id(0)), before.unwrap_or(Id(i64::MAX)), limit];
        self.rows(&OPEN_PAGE, args).await?.iter().map(alert).collect()
    }

    /// Those that have ended since then, in the same way.
    pub async fn ended_alerts_page(
        &mut self,
        since: Timestamp,
        of: Option<Id>,
        before: Option<Id>,
        limit: u32,
    ) -> Result<Vec<Alert>> {
        let args = args![since, of.unwrap_or(Id(0)), before.unwrap_or(Id(i64::MAX)), limit];
        self.rows(&ENDED_PAGE, args).await?.iter().map(alert).collect()
    }

    /// How many are open or have ended since then, 10,001 at most.
    pub async fn count_alerts(&mut self, since: Timestamp, of: Option<Id>) -> Result<u64> {
        self.row(&COUNT, args![since, of.unwrap_or(Id(0))]).await?.map_or(Ok(0), |row| row.count("n"))
    }

    pub async fn alert(&mut self, id: Id) -> Result<Option<Alert>> {
        self.row(&ONE, args![id]).await?.as_ref().map(alert).transpose()
    }

    /// Opens alerts; one that is open already stays as it is.
    pub async fn raise_alerts(&mut self, raised: &[(Subject, String)], now: Timestamp) -> Result<()> {
        let mut rows = Vec::with_capacity(raised.len());
        for (of, message) in raised {
            rows.push(args![self.new_id(), of.tenant, of.job, of.node, of.kind.word(), message, now]);
        }
        self.exec_rows(&RAISE, rows).await?;
        Ok(())
    }

    pub async fn say_alert(&mut self, id: Id, message: &str) -> Result<()> {
        self.exec(&SAY, args![message, id]).await?;
        Ok(())
    }

    /// Answers whether it was open.
    pub async fn close_alert(&mut self, id: Id, now: Timestamp) -> Result<bool> {
        Ok(self.exec(&CLOSE, args![now, id]).await? == 1)
    }

    /// What the watchdog said of jobs that are neither ok nor paused.
    pub async fn sick_jobs(&mut self) -> Result<Vec<super::health::JobHealth>> {
        self.rows(&SICK, args![]).await?.iter().map(super::health::health).collect()
    }

    /// Schedules whose time has passed before `at`: (tenant, job, when).
    pub async fn late_schedules(&mut self, at: Timestamp) -> Result<Vec<(Id, Id, Timestamp)>> {
        let rows = self.rows(&LATE_SCHEDULES, args![at]).await?;
        rows.iter().map(|row| Ok((row.id("tenant")?, row.id("job")?, row.time("at")?))).collect()
    }

    /// The same of measurements.
    pub async fn late_probes(&mut self, at: Timestamp) -> Result<Vec<(Id, Id, Timestamp)>> {
        let rows = self.rows(&LATE_PROBES, args![at]).await?;
        rows.iter().map(|row| Ok((row.id("tenant")?, row.id("job")?, row.time("at")?))).collect()
    }

    pub async fn silences(&mut self, now: Timestamp) -> Result<Vec<Silence>> {
        self.rows(&SILENCES, args![now]).await?.iter().map(silence).collect()
    }

    pub async fn put_silence(&mut self, s: &Silence) -> Result<()> {
        let kind = s.kind.map_or("", AlertKind::word);
        self.exec(&SILENCE, args![s.tenant, s.job, s.node, kind, s.until, &s.by, s.made_at]).await?;
        Ok(())
    }

    /// Answers whether there was one.
    pub async fn end_silence(&mut self, tenant: Id, job: Id, node: i64, kind: Option<AlertKind>) -> Result<bool> {
        Ok(self.exec(&SPEAK, args![tenant, job, node, kind.map_or("", AlertKind::word)]).await? == 1)
    }

    /// Who was told of these alerts.
    pub async fn told_of(&mut self, alerts: &[Id]) -> Result<HashMap<Id, HashMap<SinkKey, Told>>> {
        let mut told: HashMap<Id, HashMap<SinkKey, Told>> = HashMap::new();
        let keys: Vec<_> = alerts.iter().map(|id| args![*id]).collect();
        for row in self.rows_for(&TOLD, &keys).await? {
            let key = (row.id("owner")?, row.text("sink")?);
            let last = Told { at: row.id("last")?.created_at(), is_unsent: row.count("unsent")? > 0 };
            told.entry(row.id("alert")?).or_default().insert(key, last);
        }
        Ok(told)
    }

    /// Takes back what was to be told again of these alerts, and has not been.
    pub async fn untell_repeats(&mut self, alerts: &[Id]) -> Result<()> {
        self.exec_keys(&REPLACE, &alerts.iter().map(|id| args![*id]).collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// Messages that are to go out now.
    pub async fn tell(&mut self, messages: &[(Id, SinkKey, Notice)], now: Timestamp) -> Result<()> {
        let mut rows = Vec::with_capacity(messages.len());
        for (alert, (owner, sink), notice) in messages {
            rows.push(args![self.new_id(), *alert, *owner, sink, notice.word(), now, 0_i64]);
        }
        self.exec_rows(&TELL, rows).await?;
        Ok(())
    }

    /// Messages whose time has come, the oldest first; none before an earlier one of the same alert to the same sink.
    pub async fn due_deliveries(&mut self, now: Timestamp, limit: u32) -> Result<Vec<Delivery>> {
        self.rows(&DUE, args![now, limit]).await?.iter().map(delivery).collect()
    }

    /// When the next message is due.
    pub async fn next_delivery(&mut self) -> Result<Option<Timestamp>> {
        self.row(&NEXT, args![]).await?.map_or(Ok(None), |row| row.opt_time("at"))
    }

    /// The last message of each sink that was tried, of the last week.
    pub async fn last_deliveries(&mut self, now: Timestamp) -> Result<Vec<Delivery>> {
        const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
        self.rows(&LAST, args![Id::first_at(now.minus(WEEK))]).await?.iter().map(delivery).collect()
    }

    /// Notes what a try came to.
    pub async fn delivery_tried(&mut self, d: &Delivery) -> Result<()> {
        self.exec(&TRIED, args![d.due_at, d.tries, d.error.clone(), d.ended_at, d.id]).await?;
        Ok(())
    }

    /// Cuts alerts that ended long ago, with what was told of them, what was told long ago of those that last, and silences that
    /// are over; at most 1,000 of each.
    pub(super) async fn prune_alerts(&mut self, now: Timestamp) -> Result<()> {
        let stale = self.rows(&STALE, args![Id::first_at(now.minus(KEPT))]).await?;
        let stale = stale.iter().map(|row| Ok(args![row.id("id")?])).collect::<Result<Vec<_>>>()?;
        self.exec_keys(&CUT_STALE, &stale).await?;
        let old = self.rows(&OLD, args![now.minus(KEPT)]).await?;
        let keys = old.iter().map(|row| Ok(args![row.id("id")?])).collect::<Result<Vec<_>>>()?;
        self.exec_keys(&CUT_DELIVERIES, &keys).await?;
        self.exec_keys(&CUT_ALERTS, &keys).await?;
        self.exec(&CUT_SILENCES, args![now]).await?;
        Ok(())
    }
}

fn known<T>(word: &str, found: Option<T>) -> Result<T> {
    found.ok_or_else(|| Error::Internal(anyhow::anyhow!("a word of alerts: {word:?}")))
}

fn alert(row: &Row) -> Result<Alert> {
    let kind = row.text("kind")?;
    Ok(Alert {
        id: row.id("id")?,
        subject: Subject {
            tenant: row.id("tenant")?,
            job: row.id("job")?,
            node: row.int("node")?,
            kind: known(&kind, AlertKind::parse(&kind))?,
        },
        message: row.text("message")?,
        opened_at: row.time("opened_at")?,
        closed_at: row.opt_time("closed_at")?,
    })
}

fn silence(row: &Row) -> Result<Silence> {
    let kind = row.text("kind")?;
    Ok(Silence {
        tenant: row.id("tenant")?,
        job: row.id("job")?,
        node: row.int("node")?,
        kind: if kind.is_empty() { None } else { Some(known(&kind, AlertKind::parse(&kind))?) },
        until: row.time("until")?,
        by: row.text("by")?,
        made_at: row.time("made_at")?,
    })
}

fn delivery(row: &Row) -> Result<Delivery> {
    let notice = row.text("notice")?;
    Ok(Delivery {
        id: row.id("id")?,
        alert: row.id("alert")?,
        owner: row.id("owner")?,
        sink: row.text("sink")?,
        notice: known(&notice, Notice::parse(&notice))?,
        due_at: row.time("due_at")?,
        tries: row.small("tries")?,
        error: row.opt_text("error")?,
        ended_at: row.opt_time("ended_at")?,
    })
}
