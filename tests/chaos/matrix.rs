//! Each way to fail, once, on the databases it can happen to.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{command, wait};
use crate::network;
use crate::proxy::Proxy;
use crate::scene::{IMAGES, Kind, Scene};

/// Short, so that tests are: what is shown does not depend on how long a lease is.
const QUICK: [(&str, &str); 2] = [("WINDLASS_LEASE__HEARTBEAT", "300ms"), ("WINDLASS_LEASE__LEASE", "2s")];
/// Longer than a quick lease, and than its watchers need.
const OVER: Duration = Duration::from_secs(4);

type Test = fn();

pub const ALL: &[(&str, Test)] = &[
    ("a_killed_node_loses_nothing_on_sqlite", || a_killed_node_loses_nothing(Kind::Sqlite)),
    ("a_killed_node_loses_nothing_on_postgres", || a_killed_node_loses_nothing(Kind::Postgres)),
    ("items_of_a_killed_node_are_worked_on_again_on_sqlite", || items_of_a_killed_node_are_worked_on_again(Kind::Sqlite)),
    ("items_of_a_killed_node_are_worked_on_again_on_postgres", || items_of_a_killed_node_are_worked_on_again(Kind::Postgres)),
    ("c1_c2_runs_of_a_killed_node_are_back_in_time", c1_c2_runs_of_a_killed_node_are_back_in_time),
    ("c2_a_run_claimed_and_not_begun_is_back_in_time", c2_a_run_claimed_and_not_begun_is_back_in_time),
    ("c3_a_stopping_node_hands_over_and_spends_nothing", c3_a_stopping_node_hands_over_and_spends_nothing),
    ("c9_a_paused_node_records_nothing_late", c9_a_paused_node_records_nothing_late),
    ("a_node_that_is_cut_off_stops_its_guests", a_node_that_is_cut_off_stops_its_guests),
    ("a_node_whose_packets_vanish_stops_its_guests", a_node_whose_packets_vanish_stops_its_guests),
    ("a_restarted_database_loses_nothing", a_restarted_database_loses_nothing),
    ("a_crashed_database_loses_nothing", a_crashed_database_loses_nothing),
    ("killed_backends_lose_nothing", killed_backends_lose_nothing),
    ("a_node_with_another_key_is_refused", a_node_with_another_key_is_refused),
    ("a_server_full_of_strangers_is_waited_for", a_server_full_of_strangers_is_waited_for),
    ("a_stranger_idle_in_a_transaction_holds_nobody_up", a_stranger_holds_nobody_up),
    ("a_node_killed_between_the_guests_end_and_the_record_repeats_the_run", killed_before_the_record),
    ("a_full_disk_is_said_and_survived_on_sqlite", a_full_disk_is_survived),
];

fn a_killed_node_loses_nothing(kind: Kind) {
    let mut scene = Scene::new(kind, &QUICK);
    for round in 0..3 {
        scene.enqueue(16);
        scene.until_under_way(4);
        sleep(Duration::from_millis(70 * round));
        let (node, hit) = (scene.nodes.len() - 1, scene.witness.under_way());
        scene.nodes[node].kill();
        scene.nodes[node].restart();
        scene.ended(&hit);
    }
    assert!(scene.account().is_clean());
}

/// Four guests at a time work on one run's items, on any node; what a dead one had in hand comes again, what was done does not.
fn items_of_a_killed_node_are_worked_on_again(kind: Kind) {
    let mut scene = Scene::new(kind, &QUICK);
    let run = scene.nodes[0].enqueue("chaos", "images", "images").unwrap();
    scene.until_under_way(3);
    let node = scene.nodes.len() - 1;
    scene.nodes[node].kill();
    scene.nodes[node].restart();
    let address = format!("tenants/chaos/runs/{run}");
    let run = wait("the run is over", Duration::from_secs(90), || {
        let run = scene.nodes[0].api_get(&address);
        (run["state"] != "waiting" && run["state"] != "running").then_some(run)
    });
    assert_eq!((&run["state"], &run["items"]["done"]), (&"succeeded".into(), &IMAGES.into()), "{run:#}");
    let effects = scene.witness.effects();
    for n in 1..=IMAGES {
        let name = format!("{}/item-{n}", run["id"].as_str().unwrap());
        let ends = effects.iter().filter(|effect| effect.run == name && effect.ends).count();
        assert!((1..=2).contains(&ends), "{name} was done {ends} times: {effects:#?}");
    }
}

/// With the lease as it comes: 10 s, and back within 15 s of the last heartbeat.
fn c1_c2_runs_of_a_killed_node_are_back_in_time() {
    let mut scene = Scene::new(Kind::Postgres, &[]);
    scene.enqueue(40);
    scene.until_under_way(6);
    // The node that is killed has to have something in hand: the one with the most.
    let (cluster, database) = (scene.cluster.as_ref().unwrap(), scene.url.rsplit('/').next().unwrap().to_owned());
    let busiest = "SELECT node - 1 FROM lease GROUP BY node ORDER BY count(*) DESC LIMIT 1";
    let node: usize = wait("a node works", OVER, || cluster.psql(&database, busiest).parse().ok());
    let (under_way, killed) = (scene.witness.under_way(), Instant::now());
    scene.nodes[node].kill();
    let took = scene.recovered(&under_way, killed);
    println!("runs of a killed node went on after {} ms", took.as_millis());
    assert!(!took.is_zero() && took <= Duration::from_secs(15), "{took:?}");
    assert!(scene.account().is_clean());
}

/// A node that has claimed a run reads its secrets next: while somebody holds their table, it cannot begin.
fn c2_a_run_claimed_and_not_begun_is_back_in_time() {
    let mut scene = Scene::new(Kind::Postgres, &[]);
    scene.guard();
    let mut psql = Command::new("psql").args(["-X", "-q", &scene.url]).stdin(Stdio::piped()).spawn().unwrap();
    writeln!(psql.stdin.as_mut().unwrap(), "BEGIN; LOCK TABLE secret IN ACCESS EXCLUSIVE MODE;").unwrap();
    let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'secret'::regclass AND granted";
    let database = scene.url.rsplit('/').next().unwrap().to_owned();
    let cluster = scene.cluster.as_ref().unwrap();
    wait("the table is held", OVER, || (cluster.psql(&database, held) == "1").then_some(()));
    let id = scene.nodes[0].enqueue("guarded", "ledger", "guarded").unwrap();
    let node: usize = wait("the run is claimed", OVER, || cluster.psql(&database, "SELECT node - 1 FROM lease").parse().ok());
    let killed = Instant::now();
    scene.nodes[node].kill();
    // The lock goes with its connection.
    psql.kill().unwrap();
    psql.wait().unwrap();
    let run = wait("the run has ended", Duration::from_secs(60), || {
        let run = scene.nodes[1 - node].api_get(&format!("tenants/guarded/runs/{id}"));
        (run["state"] != "waiting" && run["state"] != "running").then_some(run)
    });
    let effects = scene.witness.effects();
    let begun = effects.iter().find(|effect| effect.run == id && !effect.ends).unwrap();
    assert_eq!((&run["state"], &run["attempt"], begun.attempt), (&"succeeded".into(), &2.into(), 2), "{run:#}\n{effects:#?}");
    let took = begun.at.saturating_duration_since(killed);
    assert!(took <= Duration::from_secs(15), "{took:?}");
}

fn c3_a_stopping_node_hands_over_and_spends_nothing() {
    let mut scene = Scene::new(Kind::Postgres, &QUICK);
    scene.enqueue(24);
    scene.until_under_way(4);
    assert!(scene.nodes[1].terminate().success());
    let account = scene.account();
    assert!(account.is_clean());
    let runs = scene.nodes[0].api_get("tenants/chaos/runs?limit=200");
    for run in runs["items"].as_array().unwrap() {
        let run = scene.nodes[0].api_get(&format!("tenants/chaos/runs/{}", run["id"].as_str().unwrap()));
        assert_eq!((&run["failed"], &run["lost"]), (&0.into(), &0.into()), "a stop spends nothing: {run:#}");
    }
}

fn c9_a_paused_node_records_nothing_late() {
    let mut scene = Scene::new(Kind::Postgres, &QUICK);
    scene.enqueue(24);
    scene.until_under_way(6);
    let (under_way, paused) = (scene.witness.under_way(), Instant::now());
    scene.nodes[1].signal("STOP");
    sleep(OVER);
    scene.recovered(&under_way, paused);
    scene.nodes[1].signal("CONT");
    assert!(scene.account().is_clean());
    wait("the paused node learns that it was taken for dead", OVER, || {
        scene.nodes[1].log().contains("took this one for dead").then_some(())
    });
    // It takes part again.
    scene.nodes[0].kill();
    scene.enqueue_on(1, 4);
    scene.nodes[0].restart();
    assert!(scene.account().is_clean());
}

/// The way to the database swallows what is sent: everybody can see this one.
fn a_node_that_is_cut_off_stops_its_guests() {
    let mut proxy = None;
    let scene = Scene::through(Kind::Postgres, &QUICK, &[], |url| {
        let way = Proxy::before(url);
        proxy = Some(way.clone());
        way.url(url)
    });
    let proxy = proxy.unwrap();
    cut_off(scene, |cut| proxy.cut(cut));
}

/// The kernel drops its packets: also those of new connections, of keep-alives and of retransmissions.
fn a_node_whose_packets_vanish_stops_its_guests() {
    if !network::is_own() {
        return network::enter("a_node_whose_packets_vanish_stops_its_guests");
    }
    let settings = [format!("listen_addresses=127.0.0.1,{}", network::FAR)];
    let scene = Scene::through(Kind::Postgres, &QUICK, &[&settings[0]], |url| url.replacen("127.0.0.1", network::FAR, 1));
    cut_off(scene, network::cut);
}

/// The second node is cut off from the database; its way to the witness stays.
fn cut_off(mut scene: Scene, cut: impl Fn(bool)) {
    scene.enqueue(32);
    scene.until_under_way(6);
    let (under_way, since) = (scene.witness.under_way(), Instant::now());
    cut(true);
    scene.recovered(&under_way, since);
    sleep(OVER);
    cut(false);
    assert!(scene.account().is_clean());
}

fn a_restarted_database_loses_nothing() {
    database_goes("restart");
}

fn a_crashed_database_loses_nothing() {
    let mut scene = Scene::new(Kind::Postgres, &QUICK);
    scene.enqueue(16);
    scene.until_under_way(4);
    scene.cluster.as_ref().unwrap().order("crash");
    sleep(Duration::from_millis(800));
    let answer = scene.nodes[0].api_post("tenants/chaos/jobs/ledger/runs", &serde_json::json!({}));
    assert_eq!(answer.status, 503, "nothing is accepted while nothing can be kept: {answer:?}");
    scene.cluster.as_ref().unwrap().order("start");
    scene.enqueue(8);
    assert!(scene.account().is_clean());
}

fn database_goes(order: &str) {
    let mut scene = Scene::new(Kind::Postgres, &QUICK);
    for _ in 0..2 {
        scene.enqueue(16);
        scene.until_under_way(4);
        scene.cluster.as_ref().unwrap().order(order);
    }
    assert!(scene.account().is_clean());
}

fn killed_backends_lose_nothing() {
    let mut scene = Scene::new(Kind::Postgres, &QUICK);
    for _ in 0..4 {
        scene.enqueue(12);
        scene.until_under_way(3);
        let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'windlass'";
        let killed = scene.cluster.as_ref().unwrap().psql("postgres", kill);
        assert_ne!(killed, "0");
    }
    assert!(scene.account().is_clean());
}

/// Secrets that one node seals must open on all.
fn a_node_with_another_key_is_refused() {
    let scene = Scene::new(Kind::Postgres, &QUICK);
    let folder = tempfile::tempdir().unwrap();
    let started = command(folder.path())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("WINDLASS_DATABASE_URL", &scene.url)
        .env("WINDLASS_SECRET_KEY", "YW5vdGhlciBrZXkgYW5vdGhlciBrZXkgYW5vdGhlci4=")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&started.stderr);
    assert!(!started.status.success() && said.contains("is not the key of the database"), "{said}");
}

/// The nodes lose their connections, and others take the places.
fn a_server_full_of_strangers_is_waited_for() {
    let mut scene = Scene::through(Kind::Postgres, &QUICK, &["max_connections=40"], |url| url.to_owned());
    scene.enqueue(12);
    scene.until_under_way(3);
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'windlass'";
    scene.cluster.as_ref().unwrap().psql("postgres", kill);
    let stranger = |_| {
        Command::new("psql")
            .args(["-X", "-q", "-c", "SELECT pg_sleep(4)", &scene.url])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let strangers: Vec<Child> = (0..60).map(stranger).collect();
    for mut stranger in strangers {
        stranger.wait().unwrap();
    }
    scene.enqueue(4);
    assert!(scene.account().is_clean());
}

/// It holds the rows that claims, ends and enqueues want most.
fn a_stranger_holds_nobody_up() {
    let mut scene = Scene::new(Kind::Postgres, &QUICK);
    scene.enqueue(8);
    scene.until_under_way(2);
    let mut stranger = Command::new("psql")
        .args([
            "-X",
            "-q",
            "-c",
            "BEGIN; SELECT count(*) FROM lease; SELECT count(*) FROM job; SELECT pg_sleep(6); ROLLBACK",
            &scene.url,
        ])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    scene.enqueue(8);
    let account = scene.account();
    assert!(account.is_clean());
    assert!(began.elapsed() < Duration::from_secs(6), "the runs waited for the stranger");
    stranger.wait().unwrap();
}

/// The guest has done its work, and its node dies before it has said so: the run is executed again, and that is explained.
fn killed_before_the_record() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let mut scene = Scene::new(kind, &QUICK);
        scene.enqueue(1);
        // The witness holds its answer to the end of the work until the node is dead.
        let witness = scene.witness.clone();
        witness.at_the_next_end(|| scene.nodes.iter_mut().for_each(crate::harness::Server::kill));
        for node in &mut scene.nodes {
            node.restart();
        }
        let account = scene.account();
        assert!(account.is_clean());
        assert_eq!((account.runs, account.executions), (1, 2), "{account:?}");
    }
}

fn a_full_disk_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "windlass-chaos"]).arg(folder.path()).output();
    if !mounted.is_ok_and(|done| done.status.success()) {
        println!("SKIPPED: a small disk cannot be mounted here (it takes root)");
        return;
    }
    let done = std::panic::catch_unwind(|| full_disk(folder.path()));
    assert!(Command::new("umount").arg("-l").arg(folder.path()).status().unwrap().success());
    assert!(done.is_ok());
}

fn full_disk(disk: &std::path::Path) {
    let mut scene = Scene::on(disk, &QUICK);
    scene.enqueue(8);
    scene.until_under_way(2);
    let filler = disk.join("filler");
    // Whatever is free, to the last block.
    let _ = Command::new("dd").args(["if=/dev/zero", "bs=64k", &format!("of={}", filler.display())]).output().unwrap();
    wait("the full disk is said", Duration::from_secs(20), || {
        let answer = scene.nodes[0].api_post("tenants/chaos/jobs/ledger/runs", &serde_json::json!({}));
        (answer.status >= 500).then_some(())
    });
    std::fs::remove_file(filler).unwrap();
    scene.enqueue(8);
    assert!(scene.account().is_clean());
}
