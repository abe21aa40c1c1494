//! A tenant's file as text: read with everything that is wrong in it, each problem with file, line and dotted field.
//! What only the store or a plugin can tell is judged in `apply`.

use std::collections::{BTreeSet, HashMap};

use crate::config::document::{Document, Read};
use crate::domain::follow;
use crate::domain::tenant::TenantFile;
use crate::error::Problem;

/// A file in which nothing is wrong by itself.
pub struct Parsed {
    pub file: TenantFile,
    document: Document,
}

impl Parsed {
    /// The problem with this file's name and the line of its field.
    pub fn placed(&self, problem: Problem) -> Problem {
        self.document.placed(problem)
    }

    /// The keys that the file writes of the tenant, beside its jobs, labels and alerts.
    pub fn said(&self) -> BTreeSet<String> {
        let others = ["job", "labels", "alert"];
        let top = |key: &str| key.split(['.', '[']).next().unwrap_or_default().to_owned();
        self.document.keys().filter(|key| !others.contains(&top(key).as_str())).map(str::to_owned).collect()
    }

    /// The keys that it writes of the `n`th job, without what is the plugin's or a trigger's own: that may have any name.
    pub fn said_of_job(&self, n: usize) -> BTreeSet<String> {
        let (of, own) = (format!("job[{n}]."), [".input.", ".input["]);
        let keys = self.document.keys().filter_map(|key| key.strip_prefix(&of));
        let policy = keys
            .filter(|key| !key.starts_with("config.") && !key.starts_with("grant.") && !own.iter().any(|own| key.contains(own)));
        policy.map(str::to_owned).collect()
    }
}

/// `path` is what the messages call the file.
///
/// # Errors
/// Everything that is wrong, in the order of the lines.
pub fn parse(path: &str, text: &str) -> Result<Parsed, Vec<Problem>> {
    let document = Document::parse(path, text);
    let mut read = document.read::<TenantFile>();
    let found = contradictions(&read);
    read.problems.extend(found.into_iter().map(|problem| document.placed(problem)));
    read.problems.sort_by_key(|problem| problem.line);
    match read.value {
        Some(file) if read.problems.is_empty() => Ok(Parsed { file, document }),
        _ => Err(read.problems),
    }
}

/// What fields say against each other, where all of them could be read: a default in the place of a refused value would
/// contradict what nobody wrote.
fn contradictions(read: &Read<TenantFile>) -> Vec<Problem> {
    let Some(file) = &read.value else { return Vec::new() };
    let top = |field: &str| field.split(['.', '[']).next().unwrap_or_default().to_owned();
    let mut problems = file.contradictions();
    problems.retain(|problem| read.is_whole(&top(&problem.field)));
    let mut names = HashMap::new();
    for (n, job) in file.jobs.iter().enumerate() {
        let path = format!("job[{}]", read.place("job", n));
        if let Some(first) = names.insert(&job.name, path.clone()) {
            let message = format!("{:?} is the name of {first} already; each job of a tenant has its own", job.name);
            problems.push(Problem::new(format!("{path}.name"), message));
        }
        if read.is_whole(&path) {
            problems.extend(job.contradictions(&path));
        }
    }
    if read.is_whole("job") {
        problems.extend(follow::contradictions(&file.jobs));
    }
    problems
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::app) const GOOD: &str = include_str!("../../tests/data/tenant.toml");

    /// The problems as they print, of the good file with one text in it replaced.
    fn refused(good: &str, bad: &str) -> Vec<String> {
        assert!(GOOD.contains(good), "{good}");
        refused_text(&GOOD.replacen(good, bad, 1))
    }

    fn refused_text(text: &str) -> Vec<String> {
        match parse("alpha.toml", text) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    fn line_of(text: &str) -> usize {
        GOOD.lines().position(|line| line.contains(text)).unwrap() + 1
    }

    #[test]
    fn the_documented_example_is_read_and_the_document_shows_it() {
        let parsed = parse("alpha.toml", GOOD).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(parsed.file.jobs.len(), 2);
        assert_eq!(parsed.file.limits.running, 4);
        assert!(
            include_str!("../../docs/tenant-file.md").contains(GOOD),
            "docs/tenant-file.md shows another text than tests/data/tenant.toml"
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        let wrong = refused("time_limit = \"60s\"", "time_limt = \"60s\"");
        let line = line_of("time_limit = \"60s\"");
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].starts_with(&format!("alpha.toml:{line}: job[0].time_limt: there is no such key (did you mean \"time_limit\"?); keys here: name, plugin,")), "{wrong:?}");
        let wrong = refused("lag_limit = \"180s\"", "lag = \"180s\"");
        assert!(wrong[0].contains(": job[0].triggers[0].backlog.lag: there is no such key; keys here: probe, every, per_run, max_parallel, lag_limit"), "{wrong:?}");
        let wrong = refused("methods = [\"GET\", \"POST\"]", "method = [\"GET\"]");
        assert!(
            wrong[0].contains(": job[0].grant.http[0].method: there is no such key (did you mean \"methods\"?)"),
            "{wrong:?}"
        );
    }

    #[test]
    fn an_impossible_cron_line_is_refused() {
        let wrong = refused("30 2 * * *", "61 2 * * *");
        let line = line_of("30 2 * * *");
        assert!(
            wrong[0].starts_with(&format!("alpha.toml:{line}: job[0].triggers[1].schedule: \"61 2 * * *\" is no cron line: ")),
            "{wrong:?}"
        );
        assert!(
            wrong[0].ends_with(
                "write minute hour day-of-month month day-of-week, as in \"30 2 * * *\", or a nickname such as @hourly"
            ),
            "{wrong:?}"
        );
        assert!(refused("30 2 * * *", "0 0 30 2 *")[0].contains("never comes"));
    }

    #[test]
    fn a_zone_that_does_not_exist_is_refused() {
        let wrong = refused("zone = \"Europe/Berlin\"", "zone = \"Europe/Berlim\"");
        let line = line_of("zone = \"Europe/Berlin\"");
        let says = "is no time zone (did you mean \"Europe/Berlin\"?); write an IANA name such as \"Europe/Berlin\" or \"UTC\"";
        assert_eq!(wrong, [format!("alpha.toml:{line}: zone: \"Europe/Berlim\" {says}")]);
        let wrong = refused("overlap = \"skip\"", "zone = \"Mars\"");
        assert!(wrong[0].contains(": job[0].triggers[1].zone: \"Mars\" is no time zone"), "{wrong:?}");
    }

    #[test]
    fn a_time_limit_above_the_total_limit_is_refused() {
        let wrong = refused("total_limit = \"30m\"", "total_limit = \"30s\"");
        let line = line_of("time_limit = \"60s\"");
        let says = "1m is above total_limit, 30s, and an attempt cannot last longer than all of them; write at most \"30s\", or a longer total_limit";
        assert_eq!(wrong, [format!("alpha.toml:{line}: job[0].time_limit: {says}")]);
    }

    #[test]
    fn c15_a_backoff_beyond_the_total_limit_is_refused() {
        let wrong = refused("base = \"1s\", factor = 2.0, cap = \"5m\"", "base = \"31m\", factor = 2.0, cap = \"1h\"");
        let line = line_of("base = \"1s\"");
        let says = "31m is above total_limit, 30m: no second attempt could begin; write a shorter one, or a longer total_limit";
        assert_eq!(wrong, [format!("alpha.toml:{line}: job[0].retry.base: {says}")]);
    }

    #[test]
    fn contradictions_and_impossible_values_are_refused() {
        for (good, bad, says) in [
            ("tenant = \"alpha\"", "tenant = \"Alpha\"", "tenant: \"Alpha\" is no name"),
            ("tenant = \"alpha\"", "", ":1: tenant: is missing"),
            ("name = \"nightly\"", "name = \"drain-jobs\"", "job[1].name: \"drain-jobs\" is the name of job[0] already"),
            ("weight = 1", "weight = -1", "weight: is the integer -1; write a whole number, 0 or more"),
            ("weight = 1", "weight = 0", "weight: 0 is not possible; write 1 to 1000"),
            (
                "networks = [\"127.0.0.0/8\"]",
                "networks = [\"127.0.0.1/8\"]",
                "ceiling.networks[0]: \"127.0.0.1/8\" has bits beyond its mask; write \"127.0.0.0/8\"",
            ),
            (
                "\"https://*.example.org\"",
                "\"*.example.org\"",
                "ceiling.hosts[1]: \"*.example.org\" is no origin: write scheme and host",
            ),
            (
                "probes = [\"plugin\"]",
                "probes = [\"plugins\"]",
                "ceiling.probes[0]: \"plugins\" is no kind of probe (did you mean \"plugin\"?)",
            ),
            (
                "time_limit = \"60s\"",
                "time_limit = 60",
                "job[0].time_limit: is the integer 60; write a duration in quotes, as in",
            ),
            ("grace = \"5s\"", "grace = \"60s\"", "job[0].grace: 1m is not below time_limit, 1m"),
            ("attempts = 5", "attempts = 0", "job[0].retry.attempts: 0 is not possible; write 1 to 100"),
            (
                "jitter = 0.2",
                "jitter = \"none\"",
                "job[0].retry.jitter: this is no jitter; write a share such as 0.2, or \"full\"",
            ),
            ("lag_limit = \"180s\"", "lag_limit = \"10s\"", "job[0].triggers[0].backlog.lag_limit: 10s is below every, 15s"),
            ("max_parallel = 1", "max_parallel = 2", "job[0].triggers[0].backlog.max_parallel: 2 is above max_live, 1"),
            ("probe = \"plugin\", ", "", "job[0].triggers[0].backlog.probe: is missing"),
            (
                "overlap = \"skip\"",
                "overlap = \"allow\"",
                "job[0].triggers[1].overlap: \"allow\" needs more than one run at a time",
            ),
            (
                "overlap = \"skip\"",
                "overlap = \"skp\"",
                "job[0].triggers[1].overlap: \"skp\" is not possible (did you mean \"skip\"?); write \"skip\" or \"queue\" or \"allow\" or \"cancel\"",
            ),
            (
                "algorithm = \"hmac-sha1\"",
                "algorithm = \"md5\"",
                "job[0].grant.secrets[0].algorithm: \"md5\" is not known; write \"hmac-sha1\" or \"hmac-sha256\"",
            ),
            (
                ", begins_with = \"async=0&maxjobs=\"",
                "",
                "job[0].grant.secrets[0].begins_with: is missing, and use = \"sign\" needs it",
            ),
            ("use = \"sign\"", "use = \"header\"", "job[0].grant.secrets[0].header: is missing or no header's name"),
            (
                "memory = \"64 MiB\"",
                "memory = \"64 Mbit\"",
                "job[0].grant.memory: \"64 Mbit\" is no size; write a size in quotes",
            ),
            ("plugin = \"mediawiki-jobs@1\"", "plugin = \"mediawiki-jobs@one\"", "job[0].plugin: \"one\" is no version"),
            ("batch = 500", "batch = nan", "job[0].config.batch: nan is not possible"),
            ("weight = 1", "weight = ", "this is no TOML: "),
        ] {
            let wrong = refused(good, bad);
            assert!(wrong.iter().any(|wrong| wrong.starts_with("alpha.toml:") && wrong.contains(says)), "{bad}: {wrong:#?}");
        }
    }

    #[test]
    fn what_was_refused_is_not_called_missing_as_well() {
        for (good, bad, says) in [
            ("tenant = \"alpha\"", "tenant = 5", "tenant: is the integer 5; write text in quotes"),
            (
                "use = \"sign\"",
                "use = \"sgn\"",
                "job[0].grant.secrets[0].use: \"sgn\" is not possible (did you mean \"sign\"?); write ",
            ),
            ("name = \"nightly\"", "name = 5", "job[1].name: is the integer 5; write text in quotes"),
            (
                "limits = { running = 4 }",
                "limits = { running = 999999999999 }",
                "limits.running: is the integer 999999999999; write at most 4294967295",
            ),
            (
                "priority = 0",
                "priority = 0\nrecord = \"sometimes\"",
                "job[0].record: \"sometimes\" is not possible; write \"never\" or \"on-failure\" or \"always\"",
            ),
        ] {
            let wrong = refused(good, bad);
            assert!(wrong.len() == 1 && wrong[0].contains(says), "{bad}: {wrong:#?}");
        }
    }

    #[test]
    fn keys_of_a_probe_are_refused_with_their_place() {
        let foreign = "probe = \"redis\", url = \"redis://a.test\", key = \"jobs\", path = \"$.n\", ";
        let wrong = refused("probe = \"plugin\", ", foreign);
        let says = "job[0].triggers[0].backlog.path: belongs to probe = \"http\", not to \"redis\"; leave it out";
        assert_eq!(wrong, [format!("alpha.toml:{}: {says}", line_of("probe = \"plugin\", "))]);
        let wrong = refused("lag_limit = \"180s\"", "lag_limit = \"180s\", cool_down = \"5m\"");
        assert!(wrong[0].contains("job[0].triggers[0].backlog.cool_down: 5m is not below lag_limit, 3m"), "{wrong:?}");
    }

    #[test]
    fn limits_that_would_let_nothing_run_or_could_not_be_reached_are_refused() {
        for (good, bad, says) in [
            ("limits = { running = 4 }", "limits = { waiting = 0 }", "limits.waiting: 0 would let nothing run; write 1 or more"),
            (
                "limits = { running = 4 }",
                "limits = { starts_per_minute = 0 }",
                "limits.starts_per_minute: 0 would let nothing run",
            ),
            ("priority = 0", "priority = 101", "job[0].priority: 101 is not possible; write -100 to 100"),
            ("max_live = 1", "max_live = 1\nrunning = 2", "job[0].running: 2 is above max_live, 1, and could never be reached"),
            ("max_live = 1", "max_live = 0\nrunning = 0", "job[0].running: 0 would let nothing run"),
        ] {
            let wrong = refused(good, bad);
            assert!(wrong.iter().any(|wrong| wrong.contains(says)), "{bad}: {wrong:#?}");
        }
    }

    #[test]
    fn triggers_that_contradict_themselves_or_each_other_are_refused() {
        for (good, bad, says) in [
            (
                "overlap = \"skip\", catch_up = \"last\"",
                "overlap = \"queue\", catch_up = \"all\"",
                "job[0].triggers[1].catch_up: \"all\" makes up for each time, and overlap = \"queue\" lets one wait",
            ),
            (
                "overlap = \"skip\"",
                "jitter = \"24h\"",
                "job[0].triggers[1].jitter: 1day is not below 1day, the time between two of its instants",
            ),
            ("overlap = \"skip\"", "jitter = \"3h\"", "job[0].triggers[1].jitter: 3h is not below start_deadline, 2h"),
            (
                "[{ schedule = \"~ 3 * * *\" }]",
                "[{ schedule = \"~ 3 * * *\", webhook = {} }]",
                "job[1].triggers[0]: schedule and webhook are two triggers: write two entries",
            ),
            (
                "[{ schedule = \"~ 3 * * *\" }]",
                "[{ webhook = { secret = \"My Key\" } }]",
                "job[1].triggers[0].webhook.secret: \"My Key\" is no name of a secret",
            ),
            (
                "[{ schedule = \"~ 3 * * *\" }]",
                "[{ webhook = { debounce = \"2h\" } }, { webhook = {} }]",
                "job[1].triggers[1].webhook: a job has one webhook",
            ),
            (
                "[{ schedule = \"~ 3 * * *\" }]",
                "[{ after = { job = \"drain-job\" } }]",
                "job[1].triggers[0].after.job: this file has no job \"drain-job\" (did you mean \"drain-jobs\"?)",
            ),
            (
                "[{ schedule = \"~ 3 * * *\" }]",
                "[{ after = { job = \"nightly\", on = \"ended\" } }]",
                "job[1].triggers[0].after.job: nightly → nightly is a ring",
            ),
        ] {
            let wrong = refused(good, bad);
            assert!(wrong.iter().any(|wrong| wrong.starts_with("alpha.toml:") && wrong.contains(says)), "{bad}: {wrong:#?}");
        }
    }

    #[test]
    fn an_alert_that_could_tell_nobody_is_refused() {
        for (good, bad, says) in [
            ("repeat = \"4h\"", "repeat = \"4s\"", "alert[0].repeat: 4s is not possible; write at least \"1m\""),
            ("after = \"30m\"", "slack = \"https://b.example.org\"", "alert[1]: has slack and mail; write an [[alert]] for each"),
            ("mail = \"ops@example.org\"", "", "alert[1]: names nobody to tell; write one of webhook, slack, matrix and mail"),
            ("\"silent\", ", "\"silnt\", ", "alert[0].when[2]: \"silnt\" is not possible (did you mean \"silent\"?)"),
            ("mail = \"ops@example.org\"", "mail = \"ops\"", "alert[1].mail: \"ops\" is no address; write one, as in"),
            ("hook/{{secret.hook-path}}", "hook/{{hook-path}}", "alert[0].webhook: has a {{ that no {{secret.NAME}} follows"),
        ] {
            let wrong = refused(good, bad);
            assert!(wrong.iter().any(|wrong| wrong.starts_with("alpha.toml:") && wrong.contains(says)), "{bad}: {wrong:#?}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_in_the_order_of_the_lines() {
        let text = "tenant = \"alpha\"\nzone = \"Mars\"\nalrt = []\n[[job]]\nplugin = \"a\"\n[[job]]\nname = \"b\"\nplugin = \"a\"\n\
                    time_limit = \"2m\"\ntotal_limit = \"1m\"\nclas = \"x\"\n[[job]]\nname = \"c\"\nplugin = \"a\"\ntime_limit = 1\ntotal_limit = \"1s\"\n";
        let wrong = refused_text(text);
        let fields: Vec<&str> = wrong.iter().map(|wrong| wrong.splitn(4, ':').take(3).last().unwrap().trim()).collect();
        assert_eq!(
            fields,
            ["zone", "alrt", "job[0].name", "job[1].time_limit", "job[1].clas", "job[2].time_limit"],
            "{wrong:#?}"
        );
        assert!(wrong[3].starts_with("alpha.toml:9: "), "{wrong:#?}");
    }
}
