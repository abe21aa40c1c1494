//! The policy of a job in words, each value with where it comes from, and its grant.

use super::view::PolicyLine;
use crate::domain::grant::{Grant, SecretUse};
use crate::domain::health::words;
use crate::domain::job::{JobSpec, Record, SuccessDue};
use crate::domain::plugin::PluginRef;
use crate::domain::retry::{Jitter, RetrySpec};
use crate::domain::span::Span;
use crate::domain::tenant::{Tenant, TenantLimits};

const JOB: &str = "job";
const DEFAULT: &str = "server default";

pub fn lines(spec: &JobSpec, tenant: &Tenant) -> Vec<PolicyLine> {
    let plain = plain(&spec.plugin, &spec.name);
    let from = |own: bool| if own { JOB } else { DEFAULT };
    let line = |what, value: String, from| PolicyLine { what, value, from };
    let optional = |what, span: Option<Span>| line(what, span.map_or("none".into(), |span| words(span.0)), from(span.is_some()));
    let at_once = match spec.max_live {
        0 => "no limit".to_owned(),
        1 => "1 run".to_owned(),
        n => format!("{n} runs"),
    };
    vec![
        line("At once", at_once, from(spec.max_live != plain.max_live)),
        line("Running", spec.running.map_or("no limit".into(), |n| format!("{n} at a time")), from(spec.running.is_some())),
        line("Of the tenant", of_tenant(&tenant.limits), "tenant"),
        line("Time limit", format!("{} an attempt", words(spec.time_limit.0)), from(spec.time_limit != plain.time_limit)),
        line("Grace", words(spec.grace().0), from(spec.grace.is_some())),
        optional("In all", spec.total_limit),
        optional("Start within", spec.start_deadline),
        optional("Stall limit", spec.stall_limit),
        line("Attempts", attempts(&spec.retry), from(spec.retry != RetrySpec::default())),
        line(
            "Dead when",
            format!("more than {} of its pieces failed", percent(spec.items.threshold())),
            from(spec.items != plain.items),
        ),
        match spec.success_due {
            SuccessDue::Auto => line("Success due", "by its triggers".into(), DEFAULT),
            SuccessDue::Within(span) => line("Success due", format!("every {}", words(span.0)), JOB),
        },
        line("Recorded", recorded(spec.record).into(), from(spec.record != plain.record)),
        line("Class", spec.class.clone(), from(spec.class != plain.class)),
        line("Priority", spec.priority.to_string(), from(spec.priority != plain.priority)),
    ]
}

/// "16 runs, 60 starts a minute, 1000 waiting"
fn of_tenant(limits: &TenantLimits) -> String {
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

/// "5, backoff 1 s to 5 min, ± 20 %"
fn attempts(retry: &RetrySpec) -> String {
    let jitter = match retry.jitter {
        Jitter::Share(share) => format!("± {}", percent(share)),
        Jitter::Word(_) => "full jitter".into(),
    };
    format!("{}, backoff {} to {}, {jitter}", retry.attempts, words(retry.base.0), words(retry.cap.0))
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
        items: crate::domain::job::ItemsSpec::default(),
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
        assert_eq!(attempts(&said.retry), "5, backoff 1 s to 5 min, ± 20 %");
    }
}
