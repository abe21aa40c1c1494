//! Time is a parameter: nothing else reads a clock, so that every schedule, lease and retry test runs in no time.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant: Unix milliseconds, UTC. In JSON RFC 3339 with milliseconds and `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// The end of the year 9999, the last that RFC 3339 can say.
const LAST: i64 = 253_402_300_799_999;

impl Timestamp {
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    pub fn utc(self) -> DateTime<Utc> {
        Utc.timestamp_millis_opt(self.0.min(LAST)).single().unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    pub fn rfc3339(self) -> String {
        self.utc().to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    /// The minute since 1970, the unit of the counters.
    pub fn minute(self) -> i64 {
        self.0.div_euclid(60_000)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.rfc3339())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = |_| serde::de::Error::custom(format!("{text:?} is no time; write it as in \"2026-11-22T10:00:00Z\""));
        DateTime::parse_from_rfc3339(&text).map(|t| Self(t.timestamp_millis())).map_err(wrong)
    }
}

pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What time it is, and waiting for a time.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
    /// Since some moment of this process, by a clock that nobody sets: for how long something has taken, whatever time it is.
    fn uptime(&self) -> Duration;
    fn sleep(&self, span: Duration) -> Sleep;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn uptime(&self) -> Duration {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGAN.elapsed()
    }

    fn sleep(&self, span: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(span))
    }
}

/// A clock that stands still until it is moved. Sleepers wake when it has passed their time.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<Mutex<Manual>>);

#[derive(Debug, Default)]
struct Manual {
    now: Timestamp,
    uptime: Duration,
    sleepers: Vec<(Timestamp, tokio::sync::oneshot::Sender<()>)>,
}

impl ManualClock {
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Manual { now, ..Manual::default() })))
    }

    pub fn advance(&self, span: Duration) {
        let mut inner = self.lock();
        let now = inner.now.plus(span);
        inner.now = now;
        inner.uptime += span;
        let (due, rest) = std::mem::take(&mut inner.sleepers).into_iter().partition::<Vec<_>, _>(|(at, _)| *at <= now);
        inner.sleepers = rest;
        drop(inner);
        for (_, wake) in due {
            // A sleeper that has gone away does not mind.
            let _ = wake.send(());
        }
    }

    /// Sets it forward or back by so many ms, as somebody sets a clock: who sleeps sleeps as long as without that.
    pub fn step(&self, ms: i64) {
        let mut inner = self.lock();
        inner.now.0 += ms;
        inner.sleepers.iter_mut().for_each(|(at, _)| at.0 += ms);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Manual> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn uptime(&self) -> Duration {
        self.lock().uptime
    }

    fn sleep(&self, span: Duration) -> Sleep {
        let (wake, woken) = tokio::sync::oneshot::channel();
        let mut inner = self.lock();
        let at = inner.now.plus(span);
        inner.sleepers.push((at, wake));
        Box::pin(async move {
            let _ = woken.await;
        })
    }
}
