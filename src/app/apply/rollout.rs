//! What a file makes of a job's versions: a canary beside the old one, or a new one for all that is watched.

use super::super::Who;
use super::super::change::{Difference, Outcome};
use crate::clock::Timestamp;
use crate::domain::job::Job;
use crate::domain::rollout::{ALL, Rollout, Stage, Tally};
use crate::error::Result;
use crate::store::Tx;

/// After the job was written: `standing` is it before, `canary` the digest of the version beside it.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn write(
    tx: &mut Tx,
    standing: &Job,
    job: &Job,
    canary: Option<&str>,
    changed: &Outcome,
    who: &Who,
    now: Timestamp,
) -> Result<()> {
    let before = tx.rollout(job.id).await?;
    let Some(canary) = canary else {
        // Other bytes can be taken back; with another configuration or grant the old ones may not fit.
        let of_guest = |one: &Difference| one.key.starts_with("config") || one.key.starts_with("grant");
        let fits = !matches!(changed, Outcome::Updated(what) if what.iter().any(of_guest));
        // What was taken back is nothing to go back to.
        let old = match &before {
            Some(before) if before.stage == Stage::RolledBack && before.new == standing.digest => &before.old,
            _ => &standing.digest,
        };
        let decided = before.as_ref().is_some_and(|before| match before.stage {
            Stage::Promoted => before.new == job.digest,
            Stage::RolledBack => before.old == job.digest,
            Stage::Running | Stage::Paused => false,
        });
        return if fits && standing.digest != job.digest && *old != job.digest && !decided {
            begin(tx, job, old, &job.digest, who, now).await
        } else if before.is_some() && (standing.digest != job.digest || standing.spec.canary.is_some() || !fits) {
            tx.remove_rollout(job.id).await
        } else {
            Ok(())
        };
    };
    match before {
        // Another share of the same: what was seen of it stands.
        Some(before) if before.old == job.digest && before.new == canary && version(standing) == version(job) => {
            tx.put_rollout(&Rollout { share: share(job), ..before }).await
        }
        _ => begin(tx, job, &job.digest, canary, who, now).await,
    }
}

fn version(job: &Job) -> Option<&str> {
    job.spec.canary.as_ref().map(|canary| canary.version.as_str())
}

/// # Errors
/// When the store does not answer.
pub(super) async fn begin(tx: &mut Tx, job: &Job, old: &str, new: &str, who: &Who, now: Timestamp) -> Result<()> {
    let rollout = Rollout {
        job: job.id,
        tenant: job.tenant,
        old: old.to_owned(),
        new: new.to_owned(),
        share: share(job),
        stage: Stage::Running,
        moved: false,
        why: None,
        began_at: now,
        changed_at: now,
        changed_by: who.name.clone(),
        tally: Tally::default(),
    };
    tx.put_rollout(&rollout).await
}

/// Of the new version: all, where none is named.
fn share(job: &Job) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the file's check keeps it from 0 to 1")]
    job.spec.canary.as_ref().map_or(ALL, |canary| ((canary.share * f64::from(ALL)) as u32).clamp(1, ALL))
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::super::tests::Place;
    use super::*;

    #[tokio::test]
    async fn v2_a_version_that_does_not_fit_the_configuration_is_not_activated() {
        let place = Place::new().await;
        place.plugin("noop", "1.1.0", &[], &["windlass:plugin/job@1.0.0"]).await;
        let file = |plugin: &str, rest: &str| format!("tenant = \"beta\"\n[[job]]\nname = \"a\"\nplugin = \"{plugin}\"\n{rest}");
        let apply =
            async |text: String| place.app.apply(vec![Source { path: "beta.toml".into(), text }], false, &Who::server()).await;
        apply(file("noop@1.0.0", "")).await.unwrap();
        let rollout = async || {
            let mut tx = place.app.store.read().await.unwrap();
            let tenant = tx.need_tenant("beta").await.unwrap().id;
            let job = tx.need_job(tenant, "a").await.unwrap();
            (job.digest, tx.rollout(job.id).await.unwrap())
        };
        // Beside the old one: its share, and a version that must be there.
        for (canary, says) in [
            ("{ version = \"1.9.0\", share = 0.1 }", "beta.toml:5: job[0].canary.version: there is no version 1.9.0"),
            ("{ version = \"1.0.0\", share = 0.1 }", "1.0.0 is what the job has already"),
            ("{ version = \"1\", share = 0.1 }", "\"1\" is no version; write a whole one"),
            ("{ version = \"1.1.0\", share = 2.0 }", "job[0].canary.share: 2 is no share"),
        ] {
            let wrong = apply(file("noop@1.0.0", &format!("canary = {canary}\n"))).await.unwrap_err().to_string();
            assert!(wrong.contains(says), "{wrong}");
        }
        let canary = "canary = { version = \"1.1.0\", share = 0.1 }\n";
        apply(file("noop@1.0.0", canary)).await.unwrap();
        let (digest, Some(begun)) = rollout().await else { panic!("no rollout") };
        assert_eq!(
            (digest.as_str(), begun.old.as_str(), begun.new.as_str(), begun.share),
            ("sha256:noop-1.0.0", "sha256:noop-1.0.0", "sha256:noop-1.1.0", 100_000)
        );
        // A configuration that the plugin refuses activates nothing, and the field is named.
        let wrong = apply(file("noop@1.0.0", &format!("{canary}config = {{ bad = 1 }}\n"))).await.unwrap_err().to_string();
        assert!(wrong.contains("job[0].config.bad"), "{wrong}");
        let (digest, Some(stands)) = rollout().await else { panic!("no rollout") };
        assert_eq!((digest.as_str(), stands), ("sha256:noop-1.0.0", begun.clone()));
        // Rolled back by hand it stays so, also when the file is applied again; only the version itself would change that.
        let back = place.app.move_rollout("beta", "a", Stage::RolledBack, true, &Who::server()).await.unwrap();
        assert!(back.moved && place.app.move_rollout("beta", "a", Stage::Promoted, false, &Who::server()).await.is_err());
        apply(file("noop@1.0.0", canary)).await.unwrap();
        assert_eq!(rollout().await.1.unwrap().stage, Stage::RolledBack);
        // A new version for all is watched too.
        apply(file("noop@1.0.0", "")).await.unwrap();
        assert_eq!(rollout().await.1, None);
        apply(file("noop@1.1.0", "")).await.unwrap();
        let (digest, Some(all)) = rollout().await else { panic!("no rollout") };
        assert_eq!((digest.as_str(), all.old.as_str(), all.share), ("sha256:noop-1.1.0", "sha256:noop-1.0.0", ALL));
        // What was taken back stays so when something else is edited, and is nothing that the next version could go back to.
        place.app.move_rollout("beta", "a", Stage::RolledBack, false, &Who::server()).await.unwrap();
        apply(file("noop@1.1.0", "time_limit = \"30s\"\n")).await.unwrap();
        assert_eq!(rollout().await.1.unwrap().stage, Stage::RolledBack);
        place.plugin("noop", "1.2.0", &[], &["windlass:plugin/job@1.0.0"]).await;
        apply(file("noop@1.2.0", "time_limit = \"30s\"\n")).await.unwrap();
        let next = rollout().await.1.unwrap();
        assert_eq!((next.old.as_str(), next.new.as_str()), ("sha256:noop-1.0.0", "sha256:noop-1.2.0"));
    }
}
