use super::*;
use crate::span::Size;

fn load(text: &str, env: &[(&str, &str)]) -> Result<Settings> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("windlass.toml");
    std::fs::write(&file, text).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let loaded = Settings::load(Some(&file), env);
    loaded.map_err(|wrong| match wrong {
        // The folder has another name each time.
        Error::Invalid(problems) => {
            Error::Invalid(problems.into_iter().map(|p| Problem { file: p.file.map(|_| "windlass.toml".into()), ..p }).collect())
        }
        wrong => wrong,
    })
}

fn refused(text: &str, env: &[(&str, &str)]) -> String {
    load(text, env).unwrap_err().to_string()
}

#[test]
fn nothing_given_is_the_defaults() {
    let settings = Settings::load(None, std::iter::empty()).unwrap();
    assert_eq!(settings, Settings::default());
    let printed = serde_json::to_value(&settings).unwrap();
    assert_eq!(printed["listen"], "127.0.0.1:7171");
    assert_eq!(printed["retention"]["succeeded"], "7days");
    assert_eq!(serde_json::from_value::<Settings>(printed).unwrap(), settings, "what is printed can be given again");
}

#[test]
fn artifacts_lie_in_a_folder_or_in_a_bucket() {
    let bucket = "artifacts = { url = \"s3://jobs/files\", endpoint = \"http://127.0.0.1:9000\", region = \"eu-1\" }\n";
    assert_eq!(load(bucket, &[]).unwrap().artifacts.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
    for (text, says) in [
        ("artifacts = { url = \"artifacts\" }", "windlass.toml:1: artifacts.url: \"artifacts\" is no place for files"),
        ("artifacts = { url = \"s3://\" }", "names no bucket"),
        ("artifacts = { endpoint = \"http://x\" }", "artifacts.endpoint: belongs to a bucket"),
        ("artifacts = { url = \"s3://a\", endpoint = \"x:9000\" }", "write scheme and host"),
    ] {
        let wrong = refused(text, &[]);
        assert!(wrong.contains(says), "{wrong}");
    }
}

#[test]
fn the_environment_goes_over_the_file_key_by_key() {
    let text = "listen = \"0.0.0.0:80\"\ndata_dir = \"data\"\nworker = { runs_in_flight = 8, guest_threads = 1 }\n";
    let env = [
        ("WINDLASS_WORKER__GUEST_THREADS", "4"),
        ("WINDLASS_NETWORK__ALLOW", "[\"10.0.0.0/8\"]"),
        ("WINDLASS_RETENTION__SUCCEEDED", "30d"),
        ("WINDLASS_PUBLIC_URL", "https://jobs.example.org/"),
        ("WINDLASS_METRICS__LISTEN", "127.0.0.1:7172"),
        ("WINDLASS_TOKEN", "not a setting"),
        ("WINDLASS_SERVICE_HOST", "10.1.1.1"),
        ("PATH", "/bin"),
    ];
    let settings = load(text, &env).unwrap();
    assert_eq!(settings.worker, Worker { runs_in_flight: 8, guest_threads: 4, memory_budget: None });
    assert_eq!(settings.network.allow, Some(vec!["10.0.0.0/8".parse().unwrap()]));
    assert_eq!(settings.retention.succeeded, Span::secs(30 * 86_400));
    assert_eq!(settings.public_url.as_deref(), Some("https://jobs.example.org"));
    assert_eq!(settings.metrics.listen, Some(([127, 0, 0, 1], 7172).into()));
    assert!(settings.data_dir.is_absolute(), "relative to the file: {:?}", settings.data_dir);
    let numeric = load("", &[("WINDLASS_DATA_DIR", "2026")]).unwrap();
    assert_eq!(numeric.data_dir, Path::new("2026"), "relative to the working folder");
}

#[test]
fn everything_wrong_is_named_with_line_key_and_what_is_right() {
    let text = "listn = \"127.0.0.1:7171\"\n[worker]\nguest_threads = \"many\"\nruns_in_flight = 0\n[retention]\nsucceeded = 7\n";
    let wrong = refused(text, &[]);
    let lines: Vec<&str> = wrong.lines().collect();
    assert_eq!(
        lines[0],
        "windlass.toml:1: listn: there is no such key (did you mean \"listen\"?); keys here: data_dir, listen, public_url, trusted_proxies, database_url, roles, worker, classes, lease, network, retention, metrics, artifacts, plugins, probes, alert, mail, heartbeat, otel"
    );
    assert_eq!(lines[1], "windlass.toml:3: worker.guest_threads: is the string \"many\"; write a whole number, 0 or more");
    assert_eq!(
        lines[2],
        "windlass.toml:6: retention.succeeded: is the integer 7; write a duration in quotes, as in \"250ms\", \"15s\", \"2h 30m\" or \"7d\""
    );
    assert_eq!(lines[3], "windlass.toml:4: worker.runs_in_flight: 0 is not possible; write 1 to 100000");
}

#[test]
fn a_wrong_variable_is_named_as_such() {
    assert_eq!(
        refused("", &[("WINDLASS_WORKER__GUEST_THREADS", "many")]),
        "WINDLASS_WORKER__GUEST_THREADS: is the string \"many\"; write a whole number, 0 or more"
    );
    assert!(
        refused("", &[("WINDLASS_LISTN", "x")]).starts_with("WINDLASS_LISTN: there is no such key (did you mean \"listen\"?)")
    );
    assert!(
        refused("", &[("WINDLASS_LISTEN", "here")]).starts_with("WINDLASS_LISTEN: \"here\" is no address; write IP and port")
    );
    assert!(refused("", &[("WINDLASS_WORKER", "4")]).starts_with("WINDLASS_WORKER: is the integer 4; write a table"));
}

#[test]
fn what_cannot_be_is_refused_with_what_would_be_right() {
    for (text, says) in [
        ("classes.heavy.running = 0", "windlass.toml:1: classes.heavy.running: 0 would let nothing of it run; write 1 or more"),
        ("classes = { heavy = { priority = 101 } }", "classes.heavy.priority: 101 is not possible; write -100 to 100"),
        ("classes.heavy.runing = 4", "classes.heavy.runing: there is no such key (did you mean \"running\"?)"),
        ("worker.memory_budget = \"63 MiB\"", "worker.memory_budget: 63.0 MiB is not possible: a guest is granted 64 MiB"),
        ("network = { target = { failures = 0 } }", "windlass.toml:1: network.target.failures: 0 is not possible; write 1 to"),
        ("network.target.probe_every = \"2h\"", "network.target.probe_every: 2h is not possible; write \"1s\" to \"1h\""),
        ("database_url = \"mysql://db/w\"", "windlass.toml:1: database_url: \"mysql://db/w\" names no database; write"),
        ("database_url = \"sqlite::memory:\"", "database_url: \"sqlite::memory:\" names no file"),
        (
            "public_url = \"https://x/jobs\"",
            "public_url: \"https://x/jobs\" is not possible; write scheme and host without a path",
        ),
        (
            "[network]\nallow = [\"10.20.0.1/16\"]",
            "windlass.toml:2: network.allow: \"10.20.0.1/16\" has bits beyond its mask; write \"10.20.0.0/16\"",
        ),
        ("\n[network]\nextra_ca = [\"no.pem\"]", "windlass.toml:3: network.extra_ca[0]: "),
        (
            "roles = [\"web\"]",
            "windlass.toml:1: roles: roles = [\"web\"] lacks scheduler and worker, and database_url = \"sqlite:windlass.db\"",
        ),
        ("roles = []", "windlass.toml:1: roles: [] would do nothing"),
        ("roles = [\"wed\"]", "\"wed\" is not possible (did you mean \"web\"?)"),
        ("rules = [\"web\"]", "windlass.toml:1: rules: there is no such key (did you mean \"roles\"?)"),
        ("listen = ", "windlass.toml:1: this is no TOML: "),
        ("listen = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"", "windlass.toml:2: listen: this is no TOML: duplicate key"),
    ] {
        let wrong = refused(text, &[]);
        assert!(wrong.contains(says), "{text}: {wrong}");
    }
}

#[test]
fn c15_contradictions_of_the_node_name_both_settings() {
    let wrong = refused("[lease]\nheartbeat = \"5s\"\nlease = \"10s\"", &[]);
    assert!(wrong.contains("lease.heartbeat = 5s is not below half of lease.lease = 10s"), "{wrong}");
    assert!(wrong.starts_with("windlass.toml:2: lease.heartbeat"), "{wrong}");
    let wrong = refused("", &[("WINDLASS_LEASE__LEASE", "1s")]);
    assert!(wrong.contains("lease.heartbeat = 2s is not below half of lease.lease = 1s"), "{wrong}");
}

#[test]
fn what_was_refused_is_not_called_missing_or_empty_as_well() {
    assert_eq!(
        refused("roles = [\"wed\"]", &[]),
        "windlass.toml:1: roles[0]: \"wed\" is not possible (did you mean \"web\"?); write \"web\" or \"scheduler\" or \"worker\""
    );
    // The other key of a section is judged still, by what stands there.
    let wrong = refused("[worker]\nguest_threads = \"many\"\nruns_in_flight = 0\n", &[]);
    assert!(wrong.lines().count() == 2 && wrong.contains("worker.runs_in_flight: 0 is not possible"), "{wrong}");
}

#[test]
fn the_memory_of_guests_is_what_is_written_or_three_quarters_of_what_there_is() {
    let worker = Worker { memory_budget: Some(Size::mib(100)), ..Worker::default() };
    assert_eq!(worker.budget(), Size::mib(100));
    assert!(worker.budget_words().starts_with("guests may be granted 100.0 MiB at a time, as worker.memory_budget says"));
    let has = super::machine::has().expect("Linux says what it has").memory.0;
    let own = Worker::default().budget().0;
    assert!(own <= has / 4 * 3 && own + (1 << 20) > has / 4 * 3, "{own} of {has}");
    let all = Worker { memory_budget: Some(Size(has * 2)), ..Worker::default() };
    assert!(all.budget_words().contains("which is less"), "{}", all.budget_words());
}
