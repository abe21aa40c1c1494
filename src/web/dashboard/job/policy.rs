//! The policy of a job in words, each value with where it comes from, and its grant.

use chrono_tz::Tz;

use super::view::PolicyLine;
use crate::config::Retention;
use crate::domain::grant::{Grant, SecretUse};
use crate::domain::health::words;
use crate::domain::job::{ItemsSpec, JobSpec, Order, Record, SuccessDue};
use crate::domain::plugin::PluginRef;
use crate::domain::retry::{Jitter, RetrySpec};
use crate::domain::span::Span;
use crate::domain::tenant::{Tenant, TenantLimits};

const JOB: &str = "job";
const TENANT: &str = "tenant";
const DEFAULT: &str = "server default";

pub fn lines(spec: &JobSpec, tenant: &Tenant, node: &Retention) -> Vec<PolicyLine> {
    let plain = plain(&spec.plugin, &spec.name);
    let mut lines = of_runs(spec, &plain);
    lines.extend(of_retries(&spec.retry));
    lines.extend(of_items(&spec.items));
    lines.extend(of_tenant(tenant, node));
    lines
}

fn from(own: bool) -> &'static str {
    if own { JOB } else { DEFAULT }
}

fn line(what: &'static str, value: impl Into<String>, from: &'static str) -> PolicyLine {
    PolicyLine { what, value: value.into(), from }
}

fn of_runs(spec: &JobSpec, plain: &JobSpec) -> Vec<PolicyLine> {
    let optional = |what, span: Option<Span>| line(what, span.map_or("none".into(), |span| words(span.0)), from(span.is_some()));
    let at_once = match spec.max_live {
        0 => "no limit".to_owned(),
        1 => "1 run".to_owned(),
        n => format!("{n} runs"),
    };
    vec![
        line("At once", at_once, from(spec.max_live != plain.max_live)),
        line("Running", spec.running.map_or("no limit".into(), |n| format!("{n} at a time")), from(spec.running.is_some())),
        line("Time limit", format!("{} an attempt", words(spec.time_limit.0)), from(spec.time_limit != plain.time_limit)),
        line("Grace", words(spec.grace().0), from(spec.grace.is_some())),
        optional("In all", spec.total_limit),
        optional("Start within", spec.start_deadline),
        optional("Stall limit", spec.stall_limit),
        match spec.success_due {
            SuccessDue::Auto => line("Success due", "by its triggers", DEFAULT),
            SuccessDue::Within(span) => line("Success due", format!("every {}", words(span.0)), JOB),
        },
        line("Recorded", recorded(spec.record), from(spec.record != plain.record)),
        line("Class", &*spec.class, from(spec.class != plain.class)),
        line("Priority", spec.priority.to_string(), from(spec.priority != plain.priority)),
    ]
}

fn of_retries(retry: &RetrySpec) -> Vec<PolicyLine> {
    let plain = RetrySpec::default();
    let jitter = match retry.jitter {
        Jitter::Share(share) => format!("± {}", percent(share)),
        Jitter::Word(_) => "full".into(),
    };
    let backoff = format!("{} to {}, times {}", words(retry.base.0), words(retry.cap.0), retry.factor);
    let own = (retry.base, retry.cap, retry.factor) != (plain.base, plain.cap, plain.factor);
    vec![
        line("Attempts", retry.attempts.to_string(), from(retry.attempts != plain.attempts)),
        line("Backoff", backoff, from(own)),
        line("Jitter", jitter, from(retry.jitter != plain.jitter)),
    ]
}

fn of_items(items: &ItemsSpec) -> Vec<PolicyLine> {
    let plain = ItemsSpec::default();
    let order = match items.order {
        Order::Any => "any",
        Order::Strict => "strict: a failure skips what follows",
    };
    let by = match (items.outside, items.parallel) {
        (true, _) => format!("programs outside, at most {} times each", items.max_deliver),
        (false, 1) => "one guest".into(),
        (false, n) => format!("{n} guests, {} items each", items.chunk),
    };
    let own = (items.outside, items.parallel, items.chunk, items.max_deliver)
        != (plain.outside, plain.parallel, plain.chunk, plain.max_deliver);
    // An order that was chosen brings a threshold along.
    let threshold = items.failure_threshold.is_some() || items.order != plain.order;
    vec![
        line("Dead when", format!("more than {} of its pieces failed", percent(items.threshold())), from(threshold)),
        line("Order of items", order, from(items.order != plain.order)),
        line("Items worked on by", by, from(own)),
    ]
}

/// What the job has from its tenant.
fn of_tenant(tenant: &Tenant, node: &Retention) -> Vec<PolicyLine> {
    let from = |own: bool| if own { TENANT } else { DEFAULT };
    let (limits, kept, over) = (TenantLimits::default(), &tenant.retention, tenant.retention.over(node));
    vec![
        line("Of the tenant", shared(&tenant.limits), from(tenant.limits != limits)),
        line("Weight", tenant.weight.to_string(), from(tenant.weight != 1)),
        line("Zone", tenant.zone.name(), from(tenant.zone != Tz::UTC)),
        line("Successes kept", words(over.succeeded.0), from(kept.succeeded.is_some())),
        line("Dead kept", words(over.dead.0), from(kept.dead.is_some())),
        line("Logs kept", words(over.logs.0), from(kept.logs.is_some())),
    ]
}

/// "16 runs, 60 starts a minute, 1000 waiting"
fn shared(limits: &TenantLimits) -> String {
    let starts = limits.starts_per_minute.map(|n| format!(", {n} starts a minute"));
    let waiting = limits.waiting.map(|n| format!(", {n} waiting"));
    format!("{} runs{}{}", limits.running, starts.unwrap_or_default(), waiting.unwrap_or_default())
}

fn recorded(record: Record) -> &'static str {
    match record {
        Record::Never => "no attempt",
        Record::OnFailure => "failed attempts",
        Record::Always => "every attempt",
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A job that says nothing: what differs from it was said by the job.
fn plain(plugin: &PluginRef, name: &str) -> JobSpec {
    JobSpec {
        canary: None,
        name: name.to_owned(),
        plugin: plugin.clone(),
        class: "default".into(),
        priority: 0,
        running: None,
        max_live: 1,
        config: serde_json::Map::new(),
        time_limit: Span::secs(60),
        grace: None,
        total_limit: None,
        start_deadline: None,
        stall_limit: None,
        retry: RetrySpec::default(),
        items: ItemsSpec::default(),
        record: Record::default(),
        success_due: SuccessDue::Auto,
        triggers: Vec::new(),
        grant: Grant::default(),
    }
}

pub fn grant(grant: &Grant) -> Vec<(&'static str, String)> {
    let mut lines: Vec<(&'static str, String)> =
        grant.http.iter().map(|http| ("HTTP", format!("{} to {}", http.methods.join(", "), http.host))).collect();
    if grant.http.is_empty() {
        lines.push(("HTTP", "nothing".into()));
    }
    for secret in &grant.secrets {
        let hosts = secret.hosts.join(", ");
        let how = match secret.usage {
            SecretUse::Sign => {
                let begins =
                    secret.begins_with.as_deref().map(|text| format!(" of texts that begin with “{text}”")).unwrap_or_default();
                format!("signs by {}{begins}", secret.algorithm.as_deref().unwrap_or("hmac-sha256"))
            }
            SecretUse::Header => format!("in the header {} to {hosts}", secret.header.as_deref().unwrap_or_default()),
            SecretUse::Query => format!("as the parameter {} to {hosts}", secret.parameter.as_deref().unwrap_or_default()),
            SecretUse::Body => format!("in the body to {hosts}"),
        };
        lines.push(("Secret", format!("{}: {how}; the plugin never sees it", secret.name)));
    }
    if !grant.artifacts.is_none() {
        lines.push(("Artifacts", format!("reads those of {}", grant.artifacts.read.join(", "))));
    }
    lines.push(("Memory", grant.memory.to_string()));
    lines.push(("Scratch space", grant.scratch.to_string()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_says_nothing_has_the_servers_defaults() {
        let said: JobSpec = serde_json::from_value(serde_json::json!({ "name": "a", "plugin": "b" })).unwrap();
        assert_eq!(said, plain(&said.plugin, "a"));
        let told: Vec<_> = of_runs(&said, &plain(&said.plugin, "a")).into_iter().chain(of_retries(&said.retry)).collect();
        assert!(told.iter().chain(&of_items(&said.items)).all(|line| line.from == DEFAULT), "{told:?}");
        let last = [line("Backoff", "1 s to 5 min, times 2", DEFAULT), line("Jitter", "± 20 %", DEFAULT)];
        assert!(told.ends_with(&last), "{told:?}");
    }

    #[test]
    fn each_value_says_where_it_comes_from() {
        let spec = serde_json::json!({ "name": "a", "plugin": "b", "priority": 3, "retry": { "attempts": 2 }, "items": { "order": "strict" } });
        let said: JobSpec = serde_json::from_value(spec).unwrap();
        let own =
            |lines: Vec<PolicyLine>| lines.into_iter().filter(|line| line.from == JOB).map(|line| line.what).collect::<Vec<_>>();
        assert_eq!(own(of_runs(&said, &plain(&said.plugin, "a"))), ["Priority"]);
        assert_eq!(own(of_retries(&said.retry)), ["Attempts"]);
        assert_eq!(own(of_items(&said.items)), ["Dead when", "Order of items"]);
    }
}
