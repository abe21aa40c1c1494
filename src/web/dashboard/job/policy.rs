//! The policy of a job in words, each value with where it comes from, and its grant.

use std::borrow::Cow;
use std::collections::HashMap;

use chrono_tz::Tz;
use serde_json::Value;

use super::view::PolicyLine;
use crate::config::{self, Origin, Origins, Retention, Settings, flat, shown};
use crate::domain::grant::{Ceiling, Grant, SecretUse};
use crate::domain::health::words;
use crate::domain::job::{ItemsSpec, JobSpec, Order, Record, SuccessDue};
use crate::domain::plugin::PluginRef;
use crate::domain::retry::{Jitter, RetrySpec};
use crate::domain::span::Span;
use crate::domain::tenant::{Tenant, TenantLimits};
use crate::id::Id;
use crate::store::said::{OWN, Said};

pub(super) const JOB: &str = "job";
pub(super) const TENANT: &str = "tenant";
/// windlass.toml, its environment or its command line.
const SERVER: &str = "server";
pub(super) const DEFAULT: &str = "server default";

/// What it takes to say what holds for a job, and who says so.
pub struct Sources<'a> {
    pub spec: &'a JobSpec,
    pub tenant: &'a Tenant,
    pub settings: &'a Settings,
    /// The keys that the tenant's file wrote. What was applied before these were noted is judged by what differs from a default.
    pub said: HashMap<Id, Said>,
    pub job: Id,
}

/// The policy of the job, with what it has from its tenant and class.
pub fn lines(sources: &Sources<'_>) -> Vec<PolicyLine> {
    let spec = sources.spec;
    let plain = plain(&spec.plugin, &spec.name);
    let mut lines = sources.of_runs(&plain);
    lines.extend(sources.of_class());
    lines.extend(sources.of_retries());
    lines.extend(sources.of_items());
    lines.extend(sources.of_tenant());
    lines
}

/// Every key of its triggers.
pub fn trigger_lines(sources: &Sources<'_>) -> Vec<PolicyLine> {
    let mut lines = Vec::new();
    for (n, trigger) in sources.spec.triggers.iter().enumerate() {
        let tree = serde_json::to_value(trigger).unwrap_or_default();
        for (key, value) in flat(&format!("triggers[{n}]"), &tree) {
            // A schedule without a zone is kept with its tenant's.
            let from = match sources.job_or_default(&[key.as_str()], true) {
                DEFAULT if key.ends_with("].zone") => TENANT,
                from => from,
            };
            let value = text(&shown(&key, value));
            lines.push(line(key, value, from));
        }
    }
    lines
}

/// Every key of the ceiling of its tenant.
pub fn ceiling_lines(sources: &Sources<'_>) -> Vec<PolicyLine> {
    let tree = |ceiling: &Ceiling| flat("ceiling", &serde_json::to_value(ceiling).unwrap_or_default());
    let usual = tree(&Ceiling::default());
    let all = tree(&sources.tenant.ceiling).into_iter();
    // A file without a ceiling leaves what an earlier one wrote.
    all.map(|(key, value)| {
        let own = !usual.contains(&(key.clone(), value.clone()));
        let from = if own || sources.tenant_or_default(&key, own) == TENANT { TENANT } else { DEFAULT };
        line(key, text(&value), from)
    })
    .collect()
}

pub(super) fn line(what: impl Into<Cow<'static, str>>, value: impl Into<String>, from: &'static str) -> PolicyLine {
    PolicyLine { what: what.into(), value: value.into(), from }
}

/// "api.example.org, 127.0.0.1": a list of texts as people write it.
fn text(value: &Value) -> String {
    match value {
        Value::Array(list) if list.is_empty() => "none".into(),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(", "),
        other => config::plain(other),
    }
}

impl Sources<'_> {
    /// Whether the job writes one of these keys; `differs`: from the default.
    fn job_or_default(&self, keys: &[&str], differs: bool) -> &'static str {
        let own = self.said.get(&self.job).map_or(differs, |said| keys.iter().any(|key| said.contains(*key)));
        if own { JOB } else { DEFAULT }
    }

    fn tenant_or_default(&self, key: &str, differs: bool) -> &'static str {
        let own = self.said.get(&OWN).map_or(differs, |said| said.contains(key));
        if own { TENANT } else { DEFAULT }
    }

    fn of_runs(&self, plain: &JobSpec) -> Vec<PolicyLine> {
        let spec = self.spec;
        let optional = |what, key: &str, span: Option<Span>| {
            line(what, span.map_or("none".into(), |span| words(span.0)), self.job_or_default(&[key], span.is_some()))
        };
        let at_once = match spec.max_live {
            0 => "no limit".to_owned(),
            1 => "1 run".to_owned(),
            n => format!("{n} runs"),
        };
        let limit = format!("{} an attempt", words(spec.time_limit.0));
        let due = match spec.success_due {
            SuccessDue::Auto => "by its triggers".to_owned(),
            SuccessDue::Within(span) => format!("every {}", words(span.0)),
        };
        vec![
            line("At once", at_once, self.job_or_default(&["max_live"], spec.max_live != plain.max_live)),
            line("Running", at_a_time(spec.running), self.job_or_default(&["running"], spec.running.is_some())),
            line("Time limit", limit, self.job_or_default(&["time_limit"], spec.time_limit != plain.time_limit)),
            line("Grace", words(spec.grace().0), self.job_or_default(&["grace"], spec.grace.is_some())),
            optional("In all", "total_limit", spec.total_limit),
            optional("Start within", "start_deadline", spec.start_deadline),
            optional("Stall limit", "stall_limit", spec.stall_limit),
            optional("Run again after a success", "rerun_after", spec.rerun_after),
            line("Success due", due, self.job_or_default(&["success_due"], spec.success_due != SuccessDue::Auto)),
            line("Recorded", recorded(spec.record), self.job_or_default(&["record"], spec.record != plain.record)),
            line("Class", spec.class.clone(), self.job_or_default(&["class"], spec.class != plain.class)),
            line("Priority", spec.priority.to_string(), self.job_or_default(&["priority"], spec.priority != plain.priority)),
        ]
    }

    /// What its class adds, over all jobs and tenants of it.
    fn of_class(&self) -> Vec<PolicyLine> {
        let class = self.settings.classes.get(&self.spec.class);
        let (running, priority) = class.map_or((None, 0), |class| (class.running, class.priority));
        let from = |key: &str| self.server_or_default(&format!("classes.{}.{key}", self.spec.class), class.is_some());
        vec![
            line("Running of its class", at_a_time(running), from("running")),
            line("Priority of its class", priority.to_string(), from("priority")),
        ]
    }

    fn server_or_default(&self, key: &str, differs: bool) -> &'static str {
        let written = self.settings.origins.of(key) != Origin::Default;
        if written || differs && self.settings.origins == Origins::default() { SERVER } else { DEFAULT }
    }

    fn of_retries(&self) -> Vec<PolicyLine> {
        let (retry, plain) = (&self.spec.retry, RetrySpec::default());
        let jitter = match retry.jitter {
            Jitter::Share(share) => format!("± {}", percent(share)),
            Jitter::Word(_) => "full".into(),
        };
        let backoff = format!("{} to {}, times {}", words(retry.base.0), words(retry.cap.0), retry.factor);
        let own = (retry.base, retry.cap, retry.factor) != (plain.base, plain.cap, plain.factor);
        vec![
            line(
                "Attempts",
                retry.attempts.to_string(),
                self.job_or_default(&["retry.attempts"], retry.attempts != plain.attempts),
            ),
            line("Backoff", backoff, self.job_or_default(&["retry.base", "retry.cap", "retry.factor"], own)),
            line("Jitter", jitter, self.job_or_default(&["retry.jitter"], retry.jitter != plain.jitter)),
        ]
    }

    fn of_items(&self) -> Vec<PolicyLine> {
        let (items, plain) = (&self.spec.items, ItemsSpec::default());
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
        let dead = format!("more than {} of its pieces failed", percent(items.threshold()));
        let workers = ["items.outside", "items.parallel", "items.chunk", "items.max_deliver"];
        vec![
            line("Dead when", dead, self.job_or_default(&["items.failure_threshold", "items.order"], threshold)),
            line("Order of items", order, self.job_or_default(&["items.order"], items.order != plain.order)),
            line("Items worked on by", by, self.job_or_default(&workers, own)),
        ]
    }

    /// What the job has from its tenant.
    fn of_tenant(&self) -> Vec<PolicyLine> {
        let (tenant, usual) = (self.tenant, TenantLimits::default());
        let (limits, kept, over) = (&tenant.limits, &tenant.retention, tenant.retention.over(&self.settings.retention));
        let upto = |limit: Option<u32>| limit.map_or("no limit".to_owned(), |n| n.to_string());
        let from = |key, differs| self.tenant_or_default(key, differs);
        let kept_by = |key: &str, own: Option<Span>, node: Span, usual: Span| match own {
            Some(_) => TENANT,
            None => self.server_or_default(&format!("retention.{key}"), node != usual),
        };
        let (node, plain) = (&self.settings.retention, Retention::default());
        vec![
            line(
                "Running of the tenant",
                at_a_time(Some(limits.running)),
                from("limits.running", limits.running != usual.running),
            ),
            line(
                "Starts a minute of the tenant",
                upto(limits.starts_per_minute),
                from("limits.starts_per_minute", limits.starts_per_minute.is_some()),
            ),
            line("Waiting of the tenant", upto(limits.waiting), from("limits.waiting", limits.waiting.is_some())),
            line("Weight", tenant.weight.to_string(), from("weight", tenant.weight != 1)),
            line("Zone", tenant.zone.name(), from("zone", tenant.zone != Tz::UTC)),
            line(
                "Successes kept",
                words(over.succeeded.0),
                kept_by("succeeded", kept.succeeded, node.succeeded, plain.succeeded),
            ),
            line("Dead kept", words(over.dead.0), kept_by("dead", kept.dead, node.dead, plain.dead)),
            line("Logs kept", words(over.logs.0), kept_by("logs", kept.logs, node.logs, plain.logs)),
        ]
    }
}

fn at_a_time(limit: Option<u32>) -> String {
    limit.map_or("no limit".into(), |n| format!("{n} at a time"))
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
        rerun_after: None,
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
    lines.extend(grant.limits.written());
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::clock::Timestamp;
    use crate::domain::tenant::TenantRetention;

    fn tenant() -> Tenant {
        Tenant {
            id: Id(1),
            name: "alpha".into(),
            zone: Tz::UTC,
            weight: 1,
            labels: BTreeMap::new(),
            limits: TenantLimits::default(),
            retention: TenantRetention::default(),
            ceiling: Ceiling { hosts: vec!["https://a.test".into()], ..Ceiling::default() },
            alerts: Vec::new(),
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        }
    }

    /// What is not a default, with who says it.
    fn told(spec: &serde_json::Value, said: &[(Id, &str)], settings: &Settings) -> Vec<(String, &'static str)> {
        let (spec, tenant): (JobSpec, _) = (serde_json::from_value(spec.clone()).unwrap(), tenant());
        let said = said.iter().map(|(id, keys)| (*id, keys.split(' ').map(str::to_owned).collect())).collect();
        let sources = Sources { spec: &spec, tenant: &tenant, settings, said, job: Id(2) };
        let all = lines(&sources).into_iter().chain(trigger_lines(&sources)).chain(ceiling_lines(&sources));
        all.filter(|line| line.from != DEFAULT).map(|line| (line.what.into_owned(), line.from)).collect()
    }

    #[test]
    fn a_job_that_says_nothing_has_the_servers_defaults() {
        let said: JobSpec = serde_json::from_value(serde_json::json!({ "name": "a", "plugin": "b" })).unwrap();
        assert_eq!(said, plain(&said.plugin, "a"));
        let hosts = ("ceiling.hosts".to_owned(), TENANT);
        assert_eq!(told(&serde_json::to_value(&said).unwrap(), &[], &Settings::default()), [hosts]);
    }

    #[test]
    fn what_was_written_is_known_although_it_is_the_default() {
        let spec = serde_json::json!({ "name": "a", "plugin": "b", "priority": 3, "class": "heavy", "retry": { "attempts": 2 }, "items": { "order": "strict" },
            "triggers": [{ "schedule": "0 2 * * *", "zone": "UTC", "overlap": "skip" }, { "backlog": { "probe": "plugin" } }] });
        let own =
            |pairs: &[(&str, &'static str)]| pairs.iter().map(|(what, from)| ((*what).to_owned(), *from)).collect::<Vec<_>>();
        let mut settings = Settings::default();
        settings.classes.insert("heavy".into(), crate::config::Class { running: Some(4), priority: 0 });
        settings.origins.flag("classes.heavy.running", "test");
        let said = "time_limit retry retry.jitter triggers triggers[0] triggers[0].schedule triggers[0].overlap triggers[1].backlog triggers[1].backlog.probe";
        let found = told(&spec, &[(Id(2), said), (OWN, "weight")], &settings);
        let expected = [
            ("Time limit", JOB),
            ("Running of its class", SERVER),
            ("Jitter", JOB),
            ("Weight", TENANT),
            ("triggers[0].schedule", JOB),
            ("triggers[0].zone", TENANT),
            ("triggers[0].overlap", JOB),
            ("triggers[1].backlog.probe", JOB),
            ("ceiling.hosts", TENANT),
        ];
        assert_eq!(found, own(&expected), "what differs and was not written is of somebody else's making");
        let found = told(&spec, &[], &settings);
        assert!(found.contains(&("Priority".to_owned(), JOB)), "before keys were noted: what differs");
    }
}
