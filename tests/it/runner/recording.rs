//! Which attempts are recorded, where the recording goes, and when it goes away.

use std::collections::HashMap;

use serde_json::json;
use windlass::plugin::tape::Recordings;
use windlass::store::prune::Cut;

use super::steps::with_a_real_guest;
use crate::plugin::guests;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_wants_recorded_is_kept_with_its_run() {
    for (record, attack, kept) in [
        ("on-failure", "fail_permanent", true),
        ("on-failure", "echo", false),
        ("always", "echo", true),
        ("never", "fail_permanent", false),
    ] {
        let world = World::new().await;
        let input = json!({ "attack": attack });
        let id = with_a_real_guest(&world, guests::hostile(), json!({ "record": record }), input.clone()).await;
        let mut tx = world.store.read().await.unwrap();
        let found = tx.recording(world.tenant.id, id, None).await.unwrap();
        assert_eq!(found.is_some(), kept, "{record}, {attack}");
        let Some((attempt, packed)) = found else { continue };
        let recordings = Recordings::read(&packed).unwrap();
        let header = &recordings.0[0].header;
        assert_eq!((attempt, header.run, header.attempt, header.input.clone()), (1, id, 1, input.to_string()));
        assert_eq!(recordings.0[0].end.outcome.outcome, if attack == "echo" { "succeeded" } else { "permanent" });
        assert_eq!(recordings.write(&HashMap::new()).unwrap(), packed);
        drop(tx);
        let mut tx = world.store.begin().await.unwrap();
        let far = windlass::clock::Timestamp(i64::MAX >> 22);
        let old = tx.old_runs(world.tenant.id, &Cut { succeeded: far, dead: far, logs: far }).await.unwrap();
        tx.prune_runs(world.tenant.id, &old).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = world.store.read().await.unwrap();
        assert!(tx.recordings_of(world.tenant.id, id).await.unwrap().is_empty(), "it goes with its run");
    }
}
