//! Measures backlogs that are not a plugin's to measure: one file a kind. Each connects through the egress, within the
//! tenant's ceiling and one time limit; what is no number of pieces is a failure, never zero.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::domain::backlog::Measurement;
use crate::domain::grant::Ceiling;
use crate::domain::probe::{Away, What};
use crate::egress::scrub::Scrubber;
use crate::egress::{Egress, Refused, Seen};

mod http;
mod nats;
mod number;
mod prometheus;
mod rabbitmq;
mod redis;
mod sql;
mod sqlite;

pub use sqlite::measure as measure_file;

/// Time one measurement may take.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);
/// A server that keeps a statement's time itself gives up before we do, and says so.
const STATEMENT: Duration = Duration::from_secs(9);
/// Bytes of an answer.
const MOST: usize = 1024 * 1024;
/// Characters of what a target said that an error keeps.
const QUOTED: usize = 200;

/// For whom something is measured.
pub struct Asker<'a> {
    pub tenant: Arc<str>,
    pub ceiling: &'a Ceiling,
    /// Value of the secret that the trigger names.
    pub secret: Option<String>,
}

impl Asker<'_> {
    /// What a target says, without the secret, nor what follows its first blank ("Bearer …").
    fn without_secret(&self, said: &str) -> String {
        let secret = self.secret.as_deref().map(str::trim).unwrap_or_default();
        let bare = secret.split_once(' ').map_or("", |(_, bare)| bare.trim());
        Scrubber::new([secret, bare].into_iter().map(str::as_bytes)).masked(said, "(secret)")
    }

    /// The beginning of what a target said, in one line.
    fn quoted(&self, said: &str) -> String {
        let said = self.without_secret(said);
        let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.chars().count() <= QUOTED { line } else { line.chars().take(QUOTED).chain(['…']).collect() }
    }

    /// Why there is no number, no longer than a person reads.
    fn told(&self, why: &str) -> String {
        let why = self.without_secret(why);
        if why.chars().count() > SHOWN { why.chars().take(SHOWN).chain(['…']).collect() } else { why }
    }
}

/// Why nothing was measured, and what that says about the target.
#[derive(Debug)]
struct Fault {
    why: String,
    seen: Seen,
}

impl Fault {
    /// No connection: the next address may have one.
    fn unreachable(wrong: impl ToString) -> Self {
        let why = wrong.to_string();
        Self { seen: Seen::Unreachable(why.clone()), why }
    }

    /// Connected, and the connection broke or was not answered.
    fn failing(wrong: impl ToString) -> Self {
        let why = wrong.to_string();
        Self { seen: Seen::Failing(why.clone()), why }
    }

    /// Connected or not, nobody knows: it took too long.
    fn late(why: impl ToString) -> Self {
        let why = why.to_string();
        Self { seen: Seen::Late(why.clone()), why }
    }

    /// It did not come to asking: the target is not to blame.
    fn unasked(why: impl ToString) -> Self {
        Self { why: why.to_string(), seen: Seen::Nothing }
    }

    /// The target answered, only not with a number.
    fn answered(why: impl ToString) -> Self {
        Self { why: why.to_string(), seen: Seen::Well }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        Self { why: refused.why, seen: refused.seen }
    }
}

/// Characters of an error that are kept: it stands in every sample.
const SHOWN: usize = 500;

/// Measures over the network.
///
/// # Errors
/// Why there is no number, for a person; without the secret, whoever said it.
pub async fn measure(egress: &Egress, asker: &Asker<'_>, away: &Away) -> Result<Measurement, String> {
    let found = match &away.what {
        What::Http { path, age, head } => http::measure(egress, asker, away, path, age.as_deref(), head).await,
        What::Prometheus { query, head } => prometheus::measure(egress, asker, away, query, head).await,
        _ => connected(egress, asker, away).await,
    };
    found.map_err(|why| asker.told(&why))
}

/// One of the addresses that the egress has checked, the first that takes a connection.
async fn connected(egress: &Egress, asker: &Asker<'_>, away: &Away) -> Result<Measurement, String> {
    let (origin, until) = (&away.at.origin, Instant::now() + TIME_LIMIT);
    let admitted = egress.admit(&asker.tenant, asker.ceiling, origin, TIME_LIMIT).await;
    let (mut pass, addresses) = admitted.map_err(|refused| refused.why)?;
    pass.begins();
    let asked = async {
        let mut last = Fault::unreachable("it has no address");
        for address in addresses {
            match ask(egress, asker, away, address).await {
                Err(fault) if matches!(fault.seen, Seen::Unreachable(_)) => last = fault,
                found => return found,
            }
        }
        Err(last)
    };
    let found = timeout_at(until, asked).await;
    let found = found.unwrap_or_else(|_| Err(Fault::late(format!("no answer within {} s", TIME_LIMIT.as_secs()))));
    let seen = found.as_ref().err().map_or(Seen::Well, |fault| fault.seen.clone());
    egress.targets.seen(&mut pass, &seen);
    found.map_err(|fault| if fault.why.contains(&origin.host) { fault.why } else { format!("{origin}: {}", fault.why) })
}

async fn ask(egress: &Egress, asker: &Asker<'_>, away: &Away, address: SocketAddr) -> Result<Measurement, Fault> {
    let (at, secret) = (&away.at, asker.secret.as_deref());
    match &away.what {
        What::Sql { query } => sql::measure(egress, at, secret, query, address).await,
        What::List { key } => redis::list(egress, at, secret, key, address).await,
        What::Stream { stream, group } => redis::stream(egress, at, secret, stream, group.as_deref(), address).await,
        What::Rabbitmq { queue } => rabbitmq::measure(egress, at, secret, queue, address).await,
        What::Nats { stream, consumer } => nats::measure(egress, at, secret, stream, consumer, address).await,
        What::Http { .. } | What::Prometheus { .. } => Err(Fault::answered("HTTP is asked in another way")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(secret: &str, ask: impl Fn(&Asker<'_>) -> T) -> T {
        ask(&Asker { tenant: "alpha".into(), ceiling: &Ceiling::default(), secret: Some(secret.to_owned()) })
    }

    #[test]
    fn a_reason_has_neither_the_secret_nor_more_than_a_person_reads() {
        let told =
            with("Bearer tok-1", |asker| asker.told("401: invalid token tok-1 of Bearer tok-1, in base 64 dG9rLTE=, tok%2D1"));
        assert_eq!(told, "401: invalid token (secret) of (secret), in base 64 (secret)E=, (secret)");
        assert_eq!(with("", |asker| asker.told("as it is")), "as it is");
        assert_eq!(with("", |asker| asker.told(&"x".repeat(10_000)).chars().count()), SHOWN + 1);
    }

    #[test]
    fn of_a_secret_that_the_cut_goes_through_nothing_is_left() {
        for before in QUOTED - 11..=QUOTED {
            let said = format!("{} Bearer hunter2-hunter2", "x".repeat(before - 1));
            let quoted = with("Bearer hunter2-hunter2", |asker| asker.quoted(&said));
            assert!(!quoted.contains("Bear") && !quoted.contains("hunt"), "{before}: {quoted}");
            // Also when the reason is cut again.
            let why = format!("{}{said}", "x".repeat(SHOWN - QUOTED));
            let told = with("Bearer hunter2-hunter2", |asker| asker.told(&why));
            assert!(!told.contains("Bear") && !told.contains("hunt"), "{before}: {told}");
        }
    }
}
