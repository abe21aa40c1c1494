//! `make chaos N=1000`: kills at random instants under load, one after the other, on both databases in turn.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::scene::{Account, Kind, Scene};

/// Kills of one scene; then the other database gets a fresh one.
const ROUND: u64 = 25;
/// The lease of nodes where nobody asks for another; they beat five times in it, as they do by default.
const QUICK_MS: u64 = 1_000;

/// `lease_ms`: of nodes on PostgreSQL, which are all there is then.
pub fn run(kills: u64, seed: u64, lease_ms: Option<u64>) -> ExitCode {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut total, mut recoveries, mut done) = (Account::default(), Vec::new(), 0);
    let lease = lease_ms.unwrap_or(QUICK_MS);
    let env = [("WINDLASS_LEASE__HEARTBEAT", format!("{}ms", lease / 5)), ("WINDLASS_LEASE__LEASE", format!("{lease}ms"))];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let kinds = if lease_ms.is_some() { [Kind::Postgres; 2] } else { [Kind::Postgres, Kind::Sqlite] };
    for (round, kind) in kinds.into_iter().cycle().enumerate() {
        if done == kills {
            break;
        }
        let mut scene = Scene::new(kind, &env);
        for _ in 0..ROUND.min(kills - done) {
            scene.enqueue(random.random_range(4..16));
            sleep(Duration::from_millis(random.random_range(0..600)));
            let node = random.random_range(0..scene.nodes.len());
            let (under_way, at) = (scene.witness.under_way(), Instant::now());
            scene.nodes[node].kill();
            if kind == Kind::Sqlite {
                scene.nodes[node].restart();
            }
            let recovery = scene.recovered(&under_way, at);
            // A node that had nothing in hand has nothing to recover.
            recoveries.extend((!recovery.is_zero()).then_some(recovery.as_millis()));
            scene.ended(&under_way);
            if kind == Kind::Postgres {
                scene.nodes[node].restart();
            }
            done += 1;
        }
        let account = scene.account();
        println!("round {round}, {kind:?}, {done} of {kills} kills: {account:?}");
        total.runs += account.runs;
        total.executions += account.executions;
        total.never_begun += account.never_begun;
        total.lost += account.lost;
        total.recorded_twice += account.recorded_twice;
        total.unexplained += account.unexplained;
    }
    recoveries.sort_unstable();
    println!(
        "{}",
        json!({
            "seed": seed, "kills": kills, "runs": total.runs, "executions": total.executions, "never_begun": total.never_begun, "lost": total.lost,
            "recorded_twice": total.recorded_twice, "unexplained": total.unexplained,
            "recovery_ms_median": recoveries.get(recoveries.len() / 2), "recovery_ms_max": recoveries.last(),
        })
    );
    if total.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
