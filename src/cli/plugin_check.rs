//! `windlass plugin check`: what stands against a component, one line each, without a server.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::plugin::component;
use super::serve::runtime;
use super::show::{say, say_json};
use super::stop::{BAD, Done, Stop, WRONG};
use super::{Global, local};
use crate::app::tenant_file;
use crate::domain::grant::SecretUse;
use crate::domain::job::JobSpec;
use crate::domain::plugin::is_name;
use crate::domain::span::Size;
use crate::domain::tenant::TenantFile;
use crate::error::{Problem, Result};
use crate::plugin::catalog::SIZE_LIMIT;
use crate::plugin::{Described, Executor, Sandbox};

#[derive(Args)]
pub struct Check {
    /// A WebAssembly component
    file: PathBuf,
    /// Jobs of this file that use the plugin: their grants against what it imports, and their configuration
    #[arg(long, value_name = "FILE")]
    tenant_file: Option<PathBuf>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Line {
    /// ok, asks (it has to be granted), bad
    verdict: &'static str,
    about: String,
    says: String,
}

fn line(verdict: &'static str, about: impl Into<String>, says: impl Into<String>) -> Line {
    Line { verdict, about: about.into(), says: says.into() }
}

/// What an import is for, and the grant that it needs.
const ASKED: [(&str, &str, &str); 6] = [
    ("wasi:http/outgoing-handler", "http", "sends HTTP requests: grant.http"),
    ("windlass:plugin/sign", "sign", "signs with secrets: grant.secrets with use = \"sign\""),
    ("windlass:plugin/secrets", "secrets", "puts secrets into requests: grant.secrets with use = \"header\""),
    ("windlass:plugin/state", "state", "keeps a small state of its job"),
    ("windlass:plugin/items", "items", "declares items"),
    ("windlass:plugin/artifact-source", "artifacts", "reads what other runs have left: grant.artifacts"),
];

/// Exit code 0 when nothing is bad, 1 when something is, 2 for a file that cannot be read.
pub fn run(asked: &Check, global: &Global) -> Done {
    let (bytes, settings) = (component(&asked.file)?, global.node()?);
    let tenant = asked.tenant_file.as_ref().map(|file| {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|wrong| Stop::new(WRONG, format!("{name}: {wrong}")))?;
        tenant_file::parse(&name, &text).map(|parsed| parsed.file).map_err(|problems| Stop::problems(&problems))
    });
    let tenant = tenant.transpose()?;
    let stem = asked.file.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-").to_lowercase();
    let lines = runtime()?.block_on(local::in_a_folder("check", |folder| async {
        let sandbox = local::sandbox(&settings, folder)?;
        let size = bytes.len() as u64;
        match sandbox.catalog().add(bytes).await {
            Ok(found) => looked_at(&sandbox, &found, &stem, tenant.as_ref()).await,
            Err(crate::error::Error::Invalid(problems)) => Ok(refused(size, &problems)),
            Err(other) => Err(other),
        }
    }))?;
    if global.json {
        say_json(&lines)?;
    } else {
        for Line { verdict, about, says } in &lines {
            say(format_args!("{verdict:<5} {about}: {says}"))?;
        }
    }
    if lines.iter().any(|line| line.verdict == "bad") { Err(Stop::silent(BAD)) } else { Ok(()) }
}

fn refused(size: u64, problems: &[Problem]) -> Vec<Line> {
    let bad = problems.iter().map(|problem| line("bad", "contract", problem.message.clone()));
    std::iter::once(line("ok", "size", Size(size).to_string())).chain(bad).collect()
}

async fn looked_at(sandbox: &Sandbox, found: &Described, stem: &str, tenant: Option<&TenantFile>) -> Result<Vec<Line>> {
    let exports: Vec<&str> = found.exports.iter().map(|name| name.rsplit('/').next().unwrap_or(name)).collect();
    let contract = if found.is_command { "a WASI program: its exit code is the outcome" } else { "windlass:plugin@1.0.0" };
    let mut lines = vec![
        line("ok", "contract", format!("{contract}; exports {}", exports.join(", "))),
        line("ok", "size", format!("{} of at most {}", Size(found.bytes), Size(SIZE_LIMIT as u64))),
        line("ok", "version", found.version.clone()),
    ];
    for (_, about, says) in ASKED.iter().filter(|(import, ..)| imports(found, import)) {
        lines.push(line("asks", *about, *says));
    }
    let Some(tenant) = tenant else { return Ok(lines) };
    let own = found.description.get("name").and_then(serde_json::Value::as_str).filter(|name| is_name(name)).unwrap_or(stem);
    let jobs: Vec<&JobSpec> = tenant.jobs.iter().filter(|job| job.plugin.name == own).collect();
    if jobs.is_empty() {
        lines.push(line("bad", "jobs", format!("no job of tenant {} uses the plugin {own}", tenant.tenant)));
    }
    for job in jobs {
        lines.extend(of_job(sandbox, found, job, tenant).await?);
    }
    Ok(lines)
}

fn imports(found: &Described, interface: &str) -> bool {
    found.imports.iter().any(|name| name.split('@').next() == Some(interface))
}

/// Its grants against what is imported and what the ceiling allows, and its configuration as the plugin judges it.
async fn of_job(sandbox: &Sandbox, found: &Described, job: &JobSpec, tenant: &TenantFile) -> Result<Vec<Line>> {
    let (about, grant) = (format!("job {}", job.name), &job.grant);
    let mut lines = Vec::new();
    let mut bad = |says: String| lines.push(line("bad", about.clone(), says));
    // Tools import it for programs that never send: what the plugin says of itself goes before.
    let wants = found.description.get("wants").and_then(serde_json::Value::as_array);
    let sends = wants.is_none_or(|all| all.iter().any(|want| want == "http"));
    if sends && imports(found, ASKED[0].0) && grant.http.is_empty() {
        bad("it sends HTTP requests, and none is granted: grant.http = [{ host = \"https://…\", methods = [\"GET\"] }]".into());
    }
    for (import, usage, word) in [(ASKED[1].0, SecretUse::Sign, "sign"), (ASKED[2].0, SecretUse::Header, "header")] {
        if imports(found, import) && !grant.secrets.iter().any(|secret| secret.usage == usage) {
            bad(format!(
                "it imports {import}, and no secret is granted for it: grant.secrets = [{{ name = \"…\", use = \"{word}\", … }}]"
            ));
        }
    }
    if let Some(ceiling) = &tenant.ceiling {
        grant.beyond(ceiling, "grant").iter().for_each(|problem| bad(problem.to_string()));
    }
    let config = serde_json::to_string(&job.config)?;
    if let Err(problems) = sandbox.check(&found.digest, config).await {
        problems.iter().for_each(|problem| bad(format!("config.{problem}")));
    }
    if lines.is_empty() {
        lines.push(line("ok", about, "what it imports is granted, and its configuration fits"));
    }
    Ok(lines)
}
