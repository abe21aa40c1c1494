//! What only the store, the settings and the plugins can say against a file: rights, ceilings, plugins, configurations.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Checked;
use crate::app::tenant_file::Parsed;
use crate::app::{App, Who};
use crate::config::{AlertRule, network, without_mail};
use crate::domain::grant::{Ceiling, Grant, Origin, SecretGrant, SecretUse};
use crate::domain::job::JobSpec;
use crate::domain::plugin::Plugin;
use crate::domain::probe::{ProbeKind, Source};
use crate::domain::rollout::Canary;
use crate::domain::tenant::Tenant;
use crate::domain::trigger::TriggerSpec;
use crate::error::{Error, Problem, Result, did_you_mean};
use crate::id::Id;
use crate::store::Tx;
use crate::store::plugin::SERVER;

impl App {
    /// Notes everything that stands against the file.
    pub(super) async fn check_file(&self, parsed: Parsed, who: &Who, problems: &mut Vec<Problem>) -> Result<Checked> {
        let mut tx = self.store.read().await?;
        let standing = tx.tenant(&parsed.file.tenant).await?;
        if who.tenant.is_some() && standing.as_ref().map(|tenant| tenant.id) != who.tenant {
            return Err(Error::not_found(format!("tenant {}", parsed.file.tenant)));
        }
        let mut found = Vec::new();
        if who.tenant.is_some() {
            found.extend(standing.iter().flat_map(|standing| beyond_own(&parsed, standing)));
        }
        found.extend(parsed.file.ceiling.iter().flat_map(|ceiling| self.beyond_server(ceiling)));
        let alerts = parsed.file.alerts.iter().enumerate();
        let has_mail = self.settings.mail.is_some();
        found.extend(alerts.clone().filter_map(|(n, rule)| without_mail(rule, has_mail, &format!("alert[{n}]"))));
        let ceiling =
            parsed.file.ceiling.clone().or_else(|| standing.as_ref().map(|tenant| tenant.ceiling.clone())).unwrap_or_default();
        let (mut plugins, mut canaries) = (Vec::new(), Vec::new());
        for (n, job) in parsed.file.jobs.iter().enumerate() {
            let owner = standing.as_ref().map_or(SERVER, |tenant| tenant.id);
            let plugin = tx.find_plugin(owner, &job.plugin).await?;
            if plugin.is_none() {
                found.push(Problem::new(format!("job[{n}].plugin"), no_plugin(&mut tx, job, owner).await?));
            }
            plugins.push(plugin);
            let canary = match job.canary.as_ref().and_then(|canary| canary.of(&job.plugin)) {
                Some(wanted) => tx.find_plugin(owner, &wanted).await?,
                None => None,
            };
            found.extend(job.canary.iter().filter_map(|wanted| no_canary(wanted, canary.as_ref(), plugins[n].as_ref(), n)));
            canaries.push(canary);
        }
        drop(tx);
        found.extend(alerts.filter_map(|(n, rule)| beyond_hosts(rule, &ceiling, n)));
        for (n, (job, plugin)) in parsed.file.jobs.iter().zip(&plugins).enumerate() {
            let field = format!("job[{n}]");
            found.extend(job.grant.beyond(&ceiling, &format!("{field}.grant")));
            found.extend(beyond_probes(job, &parsed.file.jobs, &ceiling, &self.settings.probes.sqlite, &field));
            found.extend(beyond_time(job, &ceiling, &field));
            found.extend(beyond_jobs(job, &parsed.file.jobs, &field));
            found.extend(self.beyond_budget(job, &field));
            if let Some(plugin) = plugin {
                found.extend(beyond_plugin(job, plugin, &field));
                found.extend(self.check_config(job, plugin, &field).await?);
            }
            if let Some(canary) = &canaries[n] {
                found.extend(beyond_plugin(job, canary, &field));
                found.extend(self.check_config(job, canary, &field).await?);
            }
        }
        found.sort_by_cached_key(|problem| parsed.placed(problem.clone()).line);
        problems.extend(found.into_iter().map(|problem| parsed.placed(problem)));
        let digests = plugins.into_iter().map(|plugin| plugin.map(|plugin| plugin.digest).unwrap_or_default()).collect();
        let canaries = canaries.into_iter().map(|plugin| plugin.map(|plugin| plugin.digest)).collect();
        Ok(Checked { parsed, standing, ceiling, digests, canaries })
    }

    /// Networks that windlass.toml does not let a ceiling name.
    fn beyond_server(&self, ceiling: &Ceiling) -> Vec<Problem> {
        let Some(allow) = &self.settings.network.allow else { return Vec::new() };
        let named = ceiling.networks.iter().enumerate().filter_map(|(n, text)| Some((n, network(text).ok()?)));
        let beyond = named.filter(|(_, network)| !allow.iter().any(|allowed| allowed.contains(network)));
        let message = |network| {
            format!(
                "{network} is not among the networks that this server may reach; windlass.toml may add it: [network] allow = [\"{network}\"]"
            )
        };
        beyond.map(|(n, network)| Problem::new(format!("ceiling.networks[{n}]"), message(network))).collect()
    }

    /// Memory that this node could never give one of its guests; on many, another may.
    fn beyond_budget(&self, job: &JobSpec, field: &str) -> Option<Problem> {
        let (asked, worker) = (job.grant.memory, &self.settings.worker);
        let budget = worker.budget();
        (asked > budget && !self.store.is_shared()).then(|| {
            let of = match worker.memory_budget {
                Some(_) => format!("worker.memory_budget of windlass.toml, {budget}"),
                None => format!(
                    "{budget}, three quarters of this machine's memory (worker.memory_budget of windlass.toml may say more)"
                ),
            };
            let message = format!("{asked} is above {of}, and no run could ever start; write less, or raise it there");
            Problem::new(format!("{field}.grant.memory"), message)
        })
    }

    /// What the plugin itself says against the job's configuration.
    async fn check_config(&self, job: &JobSpec, plugin: &Plugin, field: &str) -> Result<Vec<Problem>> {
        self.load_plugin(&plugin.digest).await?;
        let checked = self.executor.check(&plugin.digest, serde_json::to_string(&job.config)?).await;
        let path = |key: String| if key.is_empty() { format!("{field}.config") } else { format!("{field}.config.{key}") };
        Ok(checked
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|problem| Problem::new(path(problem.field), problem.message))
            .collect())
    }
}

/// Why a canary cannot be: it is not there, or it is what all runs take already.
fn no_canary(wanted: &Canary, found: Option<&Plugin>, plugin: Option<&Plugin>, n: usize) -> Option<Problem> {
    let message = match (found, plugin) {
        (Some(found), Some(plugin)) if found.digest == plugin.digest => {
            format!("{} is what the job has already; leave canary out, or name another version", wanted.version)
        }
        (Some(_), _) => return None,
        (None, _) => {
            format!("there is no version {} of this plugin here; push it first: windlass plugin push FILE", wanted.version)
        }
    };
    Some(Problem::new(format!("job[{n}].canary.version"), message))
}

/// What a tenant's own admin may not change: what the server gives to the tenant.
fn beyond_own(parsed: &Parsed, standing: &Tenant) -> Vec<Problem> {
    let file = &parsed.file;
    let mut problems = Vec::new();
    for (key, changed) in [
        ("ceiling", file.ceiling.as_ref().is_some_and(|ceiling| *ceiling != standing.ceiling)),
        ("weight", file.weight != standing.weight),
        ("limits", file.limits != standing.limits),
        ("retention", file.retention != standing.retention),
    ] {
        if changed {
            problems
                .push(Problem::new(key, "only a server admin may change this; leave it as it is, or ask one to apply this file"));
        }
    }
    problems
}

async fn no_plugin(tx: &mut Tx, job: &JobSpec, owner: Id) -> Result<String> {
    let mut all = tx.plugins().await?;
    all.retain(|plugin| plugin.tenant == SERVER || plugin.tenant == owner);
    all.sort_by_key(Plugin::version_key);
    let versions: Vec<&str> =
        all.iter().rev().filter(|plugin| plugin.name == job.plugin.name).map(|plugin| plugin.version.as_str()).take(5).collect();
    let near = did_you_mean(&job.plugin.name, all.iter().map(|plugin| plugin.name.as_str()));
    Ok(match versions.as_slice() {
        [] => format!("there is no plugin {}{near}; push it: windlass plugin push FILE", job.plugin.name),
        versions => format!("there is no {}; of this plugin there are {}", job.plugin, versions.join(", ")),
    })
}

fn beyond_time(job: &JobSpec, ceiling: &Ceiling, field: &str) -> Option<Problem> {
    let (asked, most) = (job.time_limit, ceiling.time_limit);
    (asked > most).then(|| {
        let message = format!(
            "{asked} is above the tenant's ceiling of {most}; a server admin may raise it: [ceiling] time_limit = \"{asked}\""
        );
        Problem::new(format!("{field}.time_limit"), message)
    })
}

/// Artifacts of jobs that are not there. `jobs`: all of the file.
fn beyond_jobs(job: &JobSpec, jobs: &[JobSpec], field: &str) -> Vec<Problem> {
    let read = job.grant.artifacts.read.iter().enumerate();
    let unknown = read.filter(|(_, name)| !jobs.iter().any(|job| job.name == **name));
    let problem = |(n, name): (usize, &String)| {
        let near = did_you_mean(name, jobs.iter().map(|job| job.name.as_str()));
        Problem::new(format!("{field}.grant.artifacts.read[{n}]"), format!("there is no job {name:?} in this file{near}"))
    };
    unknown.map(problem).collect()
}

/// A sink is reached as a guest's target is: only within the ceiling.
fn beyond_hosts(rule: &AlertRule, ceiling: &Ceiling, n: usize) -> Option<Problem> {
    let sink = rule.sink()?;
    let field = format!("alert[{n}].{}", sink.word());
    let origin = match Origin::parse(sink.origin()?) {
        Ok(origin) => origin,
        Err(wrong) => return Some(Problem::new(field, wrong)),
    };
    let there = sink.origin()?;
    let message = format!("{there} is not within the tenant's ceiling; a server admin may add it: [ceiling] hosts = [{there:?}]");
    (!ceiling.covers(&origin)).then(|| Problem::new(field, message))
}

/// Probes that ceiling and server do not let the tenant have, or that measure what is not there. `jobs`: all of the file.
fn beyond_probes(job: &JobSpec, jobs: &[JobSpec], ceiling: &Ceiling, files: &[PathBuf], field: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (n, trigger) in job.triggers.iter().enumerate() {
        let TriggerSpec::Backlog { backlog } = trigger else { continue };
        let mut refuse =
            |key: &str, message: String| problems.push(Problem::new(format!("{field}.triggers[{n}].backlog.{key}"), message));
        let word = backlog.probe.word();
        if !ceiling.probes.iter().any(|probe| probe == word) {
            refuse(
                "probe",
                format!(
                    "probes of the kind {word:?} are not within the tenant's ceiling; a server admin may add it: [ceiling] probes = [{word:?}]"
                ),
            );
        }
        match Source::of(backlog) {
            Ok(Source::Away(away)) if !ceiling.covers(&away.at.origin) => {
                let origin = away.at.origin.to_string();
                refuse(
                    "url",
                    format!(
                        "{origin} is not within the tenant's ceiling; a server admin may add it: [ceiling] hosts = [{origin:?}]"
                    ),
                );
            }
            Ok(Source::Sqlite { file, .. }) if !files.iter().any(|allowed| allowed == Path::new(&file)) => refuse(
                "url",
                format!("{file} is no file that probes may query; windlass.toml may add it: probes = {{ sqlite = [{file:?}] }}"),
            ),
            Ok(Source::Queue { job: other }) if other == job.name => {
                refuse("job", "is this job itself, whose runs would make runs; write the name of another".into());
            }
            Ok(Source::Queue { job: other }) if !jobs.iter().any(|job| job.name == other) => {
                let near = did_you_mean(&other, jobs.iter().map(|job| job.name.as_str()));
                refuse("job", format!("there is no job {other:?} in this file{near}"));
            }
            Ok(Source::Sqlite { file, .. }) => {
                if let Some(why) = ceiling.bars_file(&file) {
                    refuse("url", why);
                }
            }
            // What is wrong by itself was told when the file was read.
            Ok(_) | Err(_) => {}
        }
    }
    problems
}

/// What the job asks of a plugin that does not have it, and what the plugin asks for and is not granted.
fn beyond_plugin(job: &JobSpec, plugin: &Plugin, field: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let called = format!("{} {}", plugin.name, plugin.version);
    if !plugin.measures() {
        let asks =
            |trigger: &TriggerSpec| matches!(trigger, TriggerSpec::Backlog { backlog } if backlog.probe == ProbeKind::Plugin);
        for (n, _) in job.triggers.iter().enumerate().filter(|(_, trigger)| asks(trigger)) {
            let message = format!(
                "{called} has no backlog export and cannot measure one; choose a plugin that can, another probe, or a schedule"
            );
            problems.push(Problem::new(format!("{field}.triggers[{n}].backlog.probe"), message));
        }
    }
    if job.items.are_handed_out() && !plugin.has_items() {
        let message = format!(
            "{called} declares no items, so there would be nothing to hand out; choose a plugin that does, or leave it out"
        );
        problems.push(Problem::new(format!("{field}.items.{}", if job.items.outside { "outside" } else { "parallel" }), message));
    }
    let wants = plugin.description.get("wants").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for want in wants {
        if let Some((key, example)) = not_granted(want, &job.grant) {
            let message = format!("{called} asks for {want:?} and the job grants none; write under [job.grant]: {example}");
            problems.push(Problem::new(format!("{field}.grant.{key}"), message));
        }
    }
    problems
}

/// The key that would grant what a plugin wants, and how; `None` when it is granted or needs no grant.
fn not_granted(want: &str, grant: &Grant) -> Option<(&'static str, &'static str)> {
    let signs = |secret: &SecretGrant| secret.usage == SecretUse::Sign;
    match want {
        "http" if grant.http.is_empty() => Some(("http", "http = [{ host = \"https://api.example.org\", methods = [\"GET\"] }]")),
        "sign" if !grant.secrets.iter().any(signs) => {
            Some(("secrets", "secrets = [{ name = \"…\", use = \"sign\", algorithm = \"hmac-sha1\", begins_with = \"…\" }]"))
        }
        "secrets" if grant.secrets.iter().all(signs) => Some((
            "secrets",
            "secrets = [{ name = \"…\", use = \"header\", header = \"Authorization\", hosts = [\"https://api.example.org\"] }]",
        )),
        "filesystem" if grant.scratch.0 == 0 => Some(("scratch", "scratch = \"16 MiB\"")),
        _ => None,
    }
}
