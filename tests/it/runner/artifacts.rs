//! Files that runs leave behind: there when they are whole, gone with their run, and never more than a run may have.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use windlass::clock::Clock;
use windlass::domain::artifact::Artifact;
use windlass::domain::attempt::{Class, Outcome};
use windlass::domain::limits::Limits;
use windlass::id::Id;
use windlass::plugin::{ArtifactAnswer, ArtifactAsk, ArtifactsPort, Call, Work};
use windlass::store::claim::{Lane, Want};

use super::steps::with_a_real_guest;
use crate::plugin::guests;
use crate::world::{World, transient, well};

const HOUR: Duration = Duration::from_secs(3600);

/// The `artifacts` interface, as a script calls it.
#[derive(Clone)]
pub struct Artifacts(ArtifactsPort);

impl Artifacts {
    pub fn of(work: &Work) -> Self {
        Self(work.artifacts.clone().unwrap())
    }

    /// The code of a refusal is what counts.
    async fn ask(&self, ask: ArtifactAsk) -> Result<u64, &'static str> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.0.send(Call { ask, answer }).await.unwrap();
        match answered.await.unwrap() {
            Ok(ArtifactAnswer::Number(number)) => Ok(number),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal.code),
        }
    }

    async fn create(&self, name: &str) -> Result<u64, &'static str> {
        self.ask(ArtifactAsk::Create { name: name.into(), media_type: "text/plain".into() }).await
    }

    async fn write(&self, handle: u64, bytes: &[u8]) -> Result<u64, &'static str> {
        self.ask(ArtifactAsk::Write { handle, bytes: bytes.to_vec() }).await
    }

    pub async fn put(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<u64, &'static str> {
        let handle = self.ask(ArtifactAsk::Create { name: name.into(), media_type: media_type.into() }).await?;
        self.write(handle, bytes).await?;
        self.ask(ArtifactAsk::Finish { handle }).await
    }
}

async fn left_by(world: &World, run: Id) -> Vec<Artifact> {
    world.store.read().await.unwrap().artifacts_of(world.tenant.id, run).await.unwrap()
}

/// Files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_guest_leaves_files_behind_and_none_that_it_did_not_finish() {
    let world = World::new().await;
    // More than one part of a large object, so that it is written in pieces.
    let bytes = 11 * 1024 * 1024;
    let input = json!({"attack": "artifact", "n": 3, "leave": 1, "bytes": bytes, "name": "März.bin", "fail": 1});
    let id = with_a_real_guest(&world, guests::hostile(), json!({}), input).await;
    let left = left_by(&world, id).await;
    let names: Vec<_> = left.iter().map(|one| (one.name.as_str(), one.bytes, one.media_type.as_str())).collect();
    assert_eq!(names, [("0-März.bin", bytes, "application/octet-stream"), ("1-März.bin", bytes, "application/octet-stream")]);
    assert!(left[0].digest == left[1].digest && left[0].place.starts_with(&format!("alpha/{id}/")), "{left:?}");
    assert_eq!(files(&world.dir.path().join("artifacts")).len(), 2, "what was not finished is nowhere");
    let run = world.run(id).await;
    assert_eq!(run.message.as_deref(), Some("as asked"), "a run that fails keeps what it left");
}

/// A run of another tenant, with an artifact that is there.
async fn of_another_tenant(world: &World) -> Id {
    let mut tx = world.store.begin().await.unwrap();
    let other = crate::world::tenant(tx.new_id(), "beta");
    tx.put_tenant(&other, world.clock.now()).await.unwrap();
    let spec = serde_json::from_value(json!({"name": "deploy", "plugin": "noop"})).unwrap();
    let job = tx.put_job(other.id, &spec, "sha256:none", "test", world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    let id = world.enqueue(&job).await;
    let lanes = vec![Lane { tenant: other.id, job: job.id, runs: 1, ..Lane::default() }];
    let run = world.store.claim(Want { lanes }).await.unwrap().runs.remove(0).run;
    let mut writer = world.objects().write("beta/a").unwrap();
    writer.write(b"another's".to_vec()).await.unwrap();
    let (bytes, digest) = writer.finish().await.unwrap();
    let (name, place, created_at) = ("film.bin".into(), "beta/a".into(), world.clock.now());
    let artifact = Artifact { name, media_type: "text/plain".into(), bytes, digest, place, created_at };
    let mut tx = world.store.begin().await.unwrap();
    tx.put_artifact(&run, &artifact).await.unwrap();
    tx.commit().await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_guest_reads_what_runs_of_granted_jobs_have_left_and_nothing_else() {
    let world = World::new().await;
    let leave = json!({"attack": "artifact", "bytes": 2_500_000, "name": "film.bin"});
    let left = with_a_real_guest(&world, guests::hostile(), json!({}), leave).await;
    let read = async |run: Id, name: &str, grant: serde_json::Value| {
        let input = json!({"attack": "read_artifact", "text": run.to_string(), "name": name});
        let id = with_a_real_guest(&world, guests::hostile(), json!({"grant": grant}), input).await;
        let run = world.run(id).await;
        (run.message.unwrap(), run.attempt)
    };
    let granted = || json!({"artifacts": {"read": ["gone", "deploy"]}});
    let whole = "2500000 bytes in 3 pieces, sum 242500000, application/octet-stream";
    assert_eq!(read(left, "film.bin", granted()).await, (whole.into(), 1));
    let (refused, attempts) = read(left, "film.bin", json!({})).await;
    assert!(refused.contains("to allow it: grant.artifacts = { read = [\"deploy\"] } (not-granted)"), "{refused}");
    assert_eq!(attempts, 1, "it is not tried again");
    for (run, name) in [(left, "other.bin"), (of_another_tenant(&world).await, "film.bin"), (Id(7), "film.bin")] {
        let says = format!("no run {run} of this tenant has left the artifact {name:?}");
        let (refused, attempts) = read(run, name, granted()).await;
        assert!(refused.contains(&says) && attempts == 1, "{refused}");
    }
    // Somebody has cleaned up.
    let place = left_by(&world, left).await.remove(0).place;
    std::fs::remove_file(world.dir.path().join("artifacts").join(place)).unwrap();
    let (refused, attempts) = read(left, "film.bin", granted()).await;
    assert!(refused.contains("the bytes of the artifact \"film.bin\" are gone") && attempts == 1, "{refused}");
}

#[tokio::test]
async fn a_retry_writes_over_what_was_there_and_all_goes_with_the_run() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    world.guests.script("j", |work| {
        let (artifacts, attempt) = (Artifacts::of(work), work.attempt);
        async move {
            artifacts.put("report.csv", "text/csv", format!("attempt {attempt}").as_bytes()).await.unwrap();
            artifacts.put("only-once.txt", "text/plain", b"x").await.unwrap();
            if attempt == 1 { transient("once more") } else { well(None) }
        }
    });
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    world.ended(id, Duration::from_secs(1)).await;
    let left = left_by(&world, id).await;
    let names: Vec<_> = left.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["only-once.txt", "report.csv"]);
    let folder = world.dir.path().join("artifacts");
    assert_eq!(std::fs::read_to_string(folder.join(&left[1].place)).unwrap(), "attempt 2");
    // The first attempt's go with the next round, the second's with their run.
    world
        .until("what was written over is gone", Duration::from_secs(10), async || (files(&folder).len() == 2).then_some(()))
        .await;
    world
        .until("the run is gone", 2 * HOUR, async || {
            world.store.read().await.unwrap().run(world.tenant.id, id).await.unwrap().is_none().then_some(())
        })
        .await;
    world.until("its files are gone", Duration::from_secs(10), async || files(&folder).is_empty().then_some(())).await;
    world
        .until("nothing remembers them", Duration::from_secs(10), async || {
            world.store.read().await.unwrap().stray_objects(10).await.unwrap().is_empty().then_some(())
        })
        .await;
    runner.drain().await;
}

#[tokio::test]
async fn what_a_dead_node_was_writing_is_swept_away_and_what_a_living_one_writes_is_not() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0})).await;
    let (dead, _) = (world.enqueue(&job).await, world.enqueue(&job).await);
    let claimed = world.claim(job.id, 2).await;
    let objects = world.objects();
    for claimed in &claimed {
        let place = format!("alpha/{}/1-a", claimed.run.id);
        let mut writer = objects.write(&place).unwrap();
        writer.write(b"half".to_vec()).await.unwrap();
        writer.finish().await.unwrap();
        let mut tx = world.store.begin().await.unwrap();
        tx.object_begins(&claimed.run, &place, world.tenant.created_at).await.unwrap();
        tx.commit().await.unwrap();
    }
    let mut reader = world.store.read().await.unwrap();
    assert!(reader.stray_objects(10).await.unwrap().is_empty(), "both have their lease");
    drop(reader);
    // The lease of one is another's now.
    let mut lost = claimed.iter().find(|claimed| claimed.run.id == dead).unwrap().run.clone();
    lost.fence += 1;
    let mut tx = world.store.begin().await.unwrap();
    let late = Artifact {
        name: "a".into(),
        media_type: "text/plain".into(),
        bytes: 4,
        digest: "sha256:0".into(),
        place: format!("alpha/{dead}/1-a"),
        created_at: world.tenant.created_at,
    };
    let wrong = tx.put_artifact(&lost, &late).await.unwrap_err().to_string();
    assert!(wrong.contains("passed to another node"), "{wrong}");
    tx.object_begins(&lost, "alpha/x/2-b", world.tenant.created_at).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.store.read().await.unwrap().stray_objects(10).await.unwrap(), ["alpha/x/2-b"]);
}

/// Between the look at the lease and the row nobody takes it away. SQLite has one transaction at a time.
#[tokio::test]
async fn an_artifact_waits_for_who_takes_its_lease_away() {
    if !crate::database::is_postgres() {
        return;
    }
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    let id = world.enqueue(&job).await;
    let run = world.claim(job.id, 1).await.remove(0).run;
    let artifact = Artifact {
        name: "a".into(),
        media_type: "text/plain".into(),
        bytes: 4,
        digest: "sha256:0".into(),
        place: format!("alpha/{id}/1-a"),
        created_at: world.tenant.created_at,
    };
    let mut beside = crate::database::Beside::open(world.store.database()).await;
    beside.exec("BEGIN").await;
    beside.exec(format!("DELETE FROM lease WHERE id = {}", id.0)).await;
    let store = world.store.clone();
    let put = tokio::spawn(async move {
        let mut tx = store.begin().await?;
        tx.put_artifact(&run, &artifact).await?;
        tx.commit().await
    });
    // Time enough for one that does not wait.
    tokio::time::sleep(Duration::from_millis(500)).await;
    beside.exec("COMMIT").await;
    assert!(put.await.unwrap().unwrap_err().to_string().contains("passed to another node"));
    assert!(left_by(&world, id).await.is_empty());
}

#[tokio::test]
async fn a_run_has_so_many_artifacts_and_no_more() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    let (store, tenant) = (world.store.clone(), world.tenant.id);
    world.guests.script("j", move |work| {
        let (artifacts, store, run) = (Artifacts::of(work), store.clone(), work.run);
        async move {
            for (name, media_type) in [("../a", "text/plain"), ("", "text/plain"), ("a", "html"), ("a", "a/b\r\nx: y")] {
                assert_eq!(artifacts.put(name, media_type, b"").await, Err("invalid"), "{name:?} {media_type:?}");
            }
            let mut open = Vec::new();
            for n in 0..4 {
                open.push(artifacts.create(&format!("open-{n}")).await.unwrap());
            }
            assert_eq!(artifacts.create("fifth").await, Err("limit"));
            for handle in open {
                artifacts.ask(ArtifactAsk::Discard { handle }).await.unwrap();
            }
            // As if an earlier attempt had left almost all there may be.
            let mut tx = store.begin().await.unwrap();
            let run = tx.run(tenant, run).await.unwrap().unwrap();
            let large = Artifact {
                name: "large".into(),
                media_type: "video/mp4".into(),
                bytes: Limits::default().artifact_bytes.0 - 10,
                digest: "sha256:0".into(),
                place: "alpha/large".into(),
                created_at: run.created_at,
            };
            tx.put_artifact(&run, &large).await.unwrap();
            tx.commit().await.unwrap();
            let small = artifacts.create("small").await.unwrap();
            assert_eq!(artifacts.write(small, b"0123456789").await, Ok(0));
            assert_eq!(artifacts.write(small, b"x").await, Err("limit"));
            assert_eq!(artifacts.write(small, b"").await, Err("incomplete"));
            assert_eq!(artifacts.ask(ArtifactAsk::Finish { handle: small }).await, Err("incomplete"), "half of it is not kept");
            // Written over, it counts no more.
            assert_eq!(artifacts.put("large", "video/mp4", b"0123456789x").await, Ok(11));
            for n in 1..Limits::default().artifacts {
                assert_eq!(artifacts.put(&format!("{n}"), "text/plain", b"").await, Ok(0));
            }
            assert_eq!(artifacts.create("one-more").await, Err("limit"));
            assert_eq!(artifacts.put("large", "video/mp4", b"").await, Ok(0), "in the place of one there is room");
            Outcome::failed(Class::Permanent, "all was tried")
        }
    });
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    let run = world.ended(id, Duration::ZERO).await;
    assert_eq!(run.message.as_deref(), Some("all was tried"));
    assert_eq!(left_by(&world, id).await.len() as u64, Limits::default().artifacts);
    runner.drain().await;
}
