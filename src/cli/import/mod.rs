//! `windlass import toolforge`: the configuration of a Toolforge tool as a tenant file, and what became of each of its keys.
//! docs/toolforge.md says what is carried over.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Global;
use super::show::{say, say_json, say_raw};
use super::stop::{Done, Stop, WRONG};
use crate::domain::plugin::is_name;

mod carry;
mod shape;

#[derive(Subcommand)]
pub enum Command {
    /// Jobs of a tool on Toolforge, from its component configuration or one of its deployments
    Toolforge(Toolforge),
}

#[derive(Args)]
pub struct Toolforge {
    /// YAML or JSON
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The tenant's name; the file's, when absent
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The tool's name; the tenant's, when absent
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Toolforge's jobs API, up to its version
    #[arg(long, value_name = "URL", default_value = carry::API)]
    api: String,
    /// Write the tenant file there, and the report to stdout; otherwise to stdout and stderr
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(command: Command, global: &Global) -> Done {
    let Command::Toolforge(asked) = command;
    let path = asked.file.display().to_string();
    let text = std::fs::read_to_string(&asked.file).map_err(|wrong| Stop::new(WRONG, format!("{path}: {wrong}")))?;
    let tenant = asked.tenant.clone().unwrap_or_else(|| name_of(&asked.file));
    for (flag, name) in [("--tenant", &tenant), ("--tool", asked.tool.as_ref().unwrap_or(&tenant))] {
        if !is_name(name) {
            let right = "a-z, 0-9 and -, beginning with a letter, at most 63";
            return Err(Stop::new(WRONG, format!("{flag}: {name:?} is no name; write {right}")));
        }
    }
    let read = shape::read(&path, &text).map_err(|problems| Stop::problems(&problems))?;
    let tool = asked.tool.unwrap_or_else(|| tenant.clone());
    let imported = carry::carry(&read, &carry::Target { path, tenant, tool, api: asked.api })
        .map_err(|problems| Stop::problems(&problems))?;
    if let Some(out) = &asked.out {
        write_new(out, &imported.file)?;
    }
    if global.json {
        return say_json(&imported);
    }
    match &asked.out {
        Some(out) => {
            say(imported.report())?;
            say(format_args!("written to {0}; look at it with windlass apply --dry-run {0}", out.display()))
        }
        None => {
            say_raw(imported.file.trim_end())?;
            eprintln!("{}", super::show::harmless(&imported.report()));
            Ok(())
        }
    }
}

/// A file that is there is not written over.
fn write_new(path: &Path, text: &str) -> Done {
    use std::io::Write;
    let wrong = |wrong: std::io::Error| Stop::new(WRONG, format!("{}: {wrong}", path.display()));
    let mut file = std::fs::File::options().write(true).create_new(true).open(path).map_err(wrong)?;
    file.write_all(text.as_bytes()).map_err(wrong)
}

/// A name from the file's: `My_Tool.yaml` is `my-tool`.
fn name_of(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let letters: String = stem.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    let name: String = letters.trim_start_matches(|letter: char| !letter.is_ascii_lowercase()).chars().take(63).collect();
    let name = name.trim_end_matches('-');
    if name.is_empty() { "tool".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::carry::{Imported, Target, carry};
    use super::*;
    use crate::app::tenant_file;
    use crate::domain::trigger::TriggerSpec;
    use crate::span::Span;

    const DEPLOYMENT: &str = include_str!("../../../tests/data/toolforge/deployment.json");
    const COMPONENTS: &str = include_str!("../../../tests/data/toolforge/components.yaml");

    fn import(text: &str) -> Result<Imported, Vec<String>> {
        let told = |problems: Vec<crate::error::Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        let read = shape::read("tool.yaml", text).map_err(told)?;
        let to = Target { path: "tool.yaml".into(), tenant: "gazette".into(), tool: "gazette".into(), api: carry::API.into() };
        carry(&read, &to).map_err(told)
    }

    /// The problems of the YAML file with one text in it replaced.
    fn refused(good: &str, bad: &str) -> Vec<String> {
        assert!(COMPONENTS.contains(good), "{good}");
        import(&COMPONENTS.replacen(good, bad, 1)).err().unwrap_or_default()
    }

    fn schedule(trigger: &TriggerSpec) -> &str {
        &trigger.schedule().unwrap_or_else(|| panic!("{trigger:?}")).schedule
    }

    #[test]
    fn t12_a_deployment_is_imported_whole() {
        let imported = import(DEPLOYMENT).unwrap();
        let parsed = tenant_file::parse("gazette.toml", &imported.file).unwrap_or_else(|problems| panic!("{problems:?}"));
        let jobs: Vec<_> = parsed
            .file
            .jobs
            .iter()
            .map(|job| (job.name.as_str(), schedule(&job.triggers[0]), job.time_limit, job.retry.attempts))
            .collect();
        // Nothing is said of limits: Toolforge has none, and does not try again.
        let right = |name, line| (name, line, Span::secs(24 * 3600), 1);
        assert_eq!(
            jobs,
            [
                right("archive-threads", "7 2 * * *"),
                right("count-categories", "41 * * * *"),
                right("fetch-feeds", "*/20 * * * *"),
                right("fix-redirects", "19 */3 * * *"),
                right("mail-digest", "0 6 * * 1"),
                right("merge-lists", "52 23 * * *"),
                right("purge-cache", "33 * * * *"),
                right("rank-editors", "11 4 * * *"),
                right("refresh-index", "8 1 * * *"),
                right("report-orphans", "26 5 * * 0"),
                right("sync-patrol", "14 */6 * * *"),
                right("tag-stubs", "47 12 * * *"),
            ]
        );
        let component = &parsed.file.jobs[0].config["components"][0];
        assert_eq!(component["command"], "./manage.py archive_threads");
        assert_eq!((&component["type"], &component["image"]), (&"one-off".into(), &"tool-gazette/gazette:latest".into()));
        // Whatever stands in the file and is not a job has its line.
        let left: Vec<_> = imported.not_carried_over.iter().map(|left| left.field.as_str()).collect();
        for there in [
            "deploy_id, creation_time, builds, runs, status, long_status, force_build, force_run",
            "config_version",
            "components.gazette (build.repository, build.ref, build.use_latest_versions, run.command, run.port, run.replicas, run.health_check_http)",
            "components.keydb (build.repository, build.ref, build.use_latest_versions, run.command, run.mount, run.port)",
            "components.gazette-worker (build.reuse_from, run.command, run.replicas)",
            "components.tag-stubs.build.reuse_from",
        ] {
            assert!(left.contains(&there), "{there}: {left:#?}");
        }
        assert_eq!(left.len(), 2 + 3 + 12, "one line each: {left:#?}");
    }

    #[test]
    fn t12_limits_and_mails_go_along_and_nicknames_are_spread() {
        let imported = import(COMPONENTS).unwrap();
        let parsed = tenant_file::parse("gazette.toml", &imported.file).unwrap_or_else(|problems| panic!("{problems:?}"));
        let [digest, prune, patrol] = parsed.file.jobs.as_slice() else { panic!("{}", imported.file) };
        assert_eq!((digest.time_limit, digest.retry.attempts, schedule(&digest.triggers[0])), (Span::secs(3600), 3, "0 6 * * 1"));
        let component = &digest.config["components"][0];
        assert_eq!(
            (&component["emails"], &component["command"]),
            (&"onfailure".into(), &"./manage.py mail_digest --to \"all editors\"".into())
        );
        assert_eq!((schedule(&prune.triggers[0]), prune.time_limit), ("~ * * * *", Span::secs(172_800)));
        let component = &prune.config["components"][0];
        assert_eq!((&component["mount"], &component["memory"]), (&"all".into(), &"1Gi".into()));
        assert_eq!(parsed.file.ceiling.unwrap().time_limit, Span::secs(172_800), "the longest must be within the ceiling");
        assert_eq!(schedule(&patrol.triggers[0]), "*/15 * * * *");
        let report = imported.report();
        for line in [
            "carried over into tenant gazette: 3 jobs",
            "  mail-digest    0 6 * * 1, timeout 3600 s, retry 2, emails onfailure",
            "  prune-backups  ~ * * * * (was @hourly), timeout 172800 s, retry 0, emails none",
            "  sync-patrol    */15 * * * *, timeout none, so 1day, retry 0, emails none",
            "  components.relay (build.repository, build.ref, run.command, run.health_check_script): it runs all the time",
            "  components.mail-digest.build.reuse_from: Windlass builds nothing; the job runs tool-gazette/gazette:latest",
        ] {
            assert!(report.lines().any(|there| there.starts_with(line)), "{line}\n{report}");
        }
    }

    #[test]
    fn t12_what_cannot_be_is_refused_with_its_field() {
        for (good, bad, says) in [
            ("retry: 2", "retry: 6", "components.mail-digest.run.retry: 6 is not possible; write 0 to 5"),
            (
                "timeout: 3600",
                "time_out: 3600",
                "components.mail-digest.run.time_out: there is no such key (did you mean \"timeout\"?)",
            ),
            (
                "timeout: 3600",
                "timeout: -1",
                "components.mail-digest.run.timeout: is the integer -1; write a whole number, 0 or more",
            ),
            (
                "health_check_http: /up",
                "health_check_http: /up\n      health_check_script: test -e up",
                "components.gazette.run.health_check_script: \"test -e up\" and health_check_http = \"/up\" do not go together",
            ),
            (
                "reuse_from: gazette\n    run:\n      command: ./manage.py sync",
                "reuse_from: mail-digest\n    run:\n      command: ./manage.py sync",
                "components.sync-patrol.build.reuse_from: \"mail-digest\" is not built but re-uses the build of \"gazette\"",
            ),
            (
                "reuse_from: gazette",
                "reuse_from: gazete",
                "build.reuse_from: there is no component \"gazete\" (did you mean \"gazette\"?)",
            ),
            (
                "reuse_from: gazette",
                "reuse_from: mail-digest",
                "components.mail-digest.build.reuse_from: names its own component",
            ),
            ("reuse_from: gazette", "repository: https://a.example", "components.mail-digest.build.ref: is missing"),
            (
                "schedule: 0 6 * * 1",
                "schedule: 0 25 * * 1",
                "components.mail-digest.run.schedule: \"0 25 * * 1\" is no cron line",
            ),
            ("schedule: 0 6 * * 1", "schedule: '@reboot'", "components.mail-digest.run.schedule: \"@reboot\" is no nickname"),
            (
                "schedule: 0 6 * * 1",
                "port: 80",
                "components.mail-digest.run.timeout: a component_type of \"continuous\" has no such key",
            ),
            ("emails: onfailure", "emails: always", "components.mail-digest.run.emails: \"always\" is not possible"),
            (
                "port: 8000",
                "port: 8000\n      retry: 1",
                "components.gazette.run.retry: a component_type of \"continuous\" has no such key",
            ),
            ("  relay:", "  Relay_1:", "components.Relay_1: \"Relay_1\" is no name"),
            ("v1beta1", "v2", "config_version: \"v2\" is not possible"),
            ("components:", "component:", "there is no such key (did you mean \"components\"?)"),
            ("      ref: main", "      ref: main\n      ref: dev", "tool.yaml:17: this is neither YAML nor JSON: "),
        ] {
            let told = refused(good, bad);
            assert!(told.iter().any(|line| line.starts_with("tool.yaml:") && line.contains(says)), "{bad}: {told:#?}");
        }
        let told = import(&DEPLOYMENT.replacen("\"retry\": null", "\"retry\": 6", 1)).unwrap_err();
        assert_eq!(told, ["tool.yaml: tool_config.components.archive-threads.run.retry: 6 is not possible; write 0 to 5"]);
    }

    #[test]
    fn a_tenant_is_called_as_its_file() {
        let name = |file: &str| name_of(Path::new(file));
        assert_eq!(name("/tmp/My_Tool.v2.yaml"), "my-tool-v2");
        assert_eq!(name("gazette.json"), "gazette");
        assert_eq!((name("9.yaml"), name("__.yaml")), ("tool".to_owned(), "tool".to_owned()));
    }
}
