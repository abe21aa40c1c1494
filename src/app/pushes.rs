//! Pushes that are under way: a module is compiled after the answer, and its push says how far it is.

use std::time::Duration;

use tokio::sync::watch;

use super::push::Called;
use super::{App, Who};
use crate::domain::plugin::{Plugin, Push, PushState};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::plugin::{Step, catalog};
use crate::store::plugin::SERVER;

/// Between two tries to write down what a push came to: the first pause, and the longest. All of them take an hour, after
/// which nobody waits any more.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);
const TRIES: u32 = 720;

/// What a plugin is called by who pushes it, for longer than the request.
#[derive(Debug, Clone, Default)]
pub struct Names {
    pub name: Option<String>,
    pub fallback: Option<String>,
    pub version: Option<String>,
    pub signature: Option<String>,
}

impl Names {
    fn called(&self) -> Called<'_> {
        Called {
            name: self.name.as_deref(),
            fallback: self.fallback.as_deref(),
            version: self.version.as_deref(),
            signature: self.signature.as_deref(),
        }
    }
}

impl App {
    /// Takes a module in and answers at once; it is compiled, checked and added while its push can be looked at.
    ///
    /// # Errors
    /// What can be told without compiling it: `Invalid` for a file that is no module, `Unavailable` when too many wait,
    /// `NotFound`, `Forbidden`.
    pub async fn begin_push(&self, names: Names, bytes: Vec<u8>, tenant: Option<&str>, who: &Who) -> Result<Push> {
        let owner = self.owner(tenant, who).await?;
        self.catalog.check(&bytes)?;
        let place = self.catalog.place()?;
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let push = Push {
            id: tx.new_id(),
            tenant: owner,
            name: names.name.clone().or_else(|| names.fallback.clone()).unwrap_or_default(),
            version: None,
            digest: catalog::digest(&bytes),
            bytes: bytes.len() as u64,
            state: PushState::Waiting,
            message: None,
            fresh: false,
            begun_at: now,
            at: now,
            pushed_by: who.name.clone(),
        };
        tx.put_push(&push).await?;
        tx.commit().await?;
        let (app, begun, who) = (self.clone(), push.clone(), who.clone());
        tokio::spawn(async move {
            let _place = place;
            app.carry_out(begun, names, bytes, &who).await;
        });
        Ok(push)
    }

    /// A push that whoever asks may see.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn push_of(&self, id: Id, who: &Who) -> Result<Push> {
        let found = self.store.read().await?.push(id).await?;
        let seen = found.filter(|push| push.tenant == SERVER || who.tenant.is_none_or(|own| own == push.tenant));
        seen.map(|push| push.seen(self.now())).ok_or_else(|| Error::not_found(format!("the push {id}")))
    }

    /// The last pushes that whoever asks may see, newest first.
    pub async fn pushes(&self, who: &Who) -> Result<Vec<Push>> {
        let all = self.store.read().await?.pushes(who.tenant).await?;
        Ok(all.into_iter().map(|push| push.seen(self.now())).collect())
    }

    /// Says a word whenever there is a new step, and every [`Push::WORD`].
    async fn carry_out(&self, mut push: Push, names: Names, bytes: Vec<u8>, who: &Who) {
        let (step, mut steps) = watch::channel(Step::Waiting);
        let (app, who, owner) = (self.clone(), who.clone(), push.tenant);
        // A task of its own: it may hold the writer, for which the words below wait.
        let mut adding = tokio::spawn(async move { app.push_in_steps(names.called(), bytes, owner, &who, &step).await });
        let added = loop {
            tokio::select! {
                added = &mut adding => break added.unwrap_or_else(|broken| Err(Error::Internal(broken.into()))),
                Ok(()) = steps.changed() => {
                    push.state = match *steps.borrow_and_update() {
                        Step::Waiting => PushState::Waiting,
                        Step::Compiling => PushState::Compiling,
                        Step::Describing => PushState::Describing,
                    };
                }
                () = self.clock.sleep(Push::WORD) => {}
            }
            if let Err(wrong) = self.note(&mut push).await {
                // The next word says it again.
                tracing::warn!(push.id = %push.id, error = %wrong, "how far a push is could not be written down");
            }
        };
        match added {
            Ok((Plugin { name, version, .. }, fresh)) => {
                (push.name, push.version, push.fresh, push.state) = (name, Some(version), fresh, PushState::Ready);
            }
            Err(wrong) => {
                if let Error::Internal(cause) = &wrong {
                    tracing::error!(plugin.digest = push.digest, error = format!("{cause:#}"), "a plugin could not be added");
                }
                (push.state, push.message) = (PushState::Refused, Some(wrong.to_string()));
            }
        }
        self.end(&mut push).await;
    }

    /// Nobody says the last word again, and who pushed waits for it.
    async fn end(&self, push: &mut Push) {
        let mut pause = PAUSE;
        for _ in 0..TRIES {
            let Err(wrong) = self.note(push).await else { return };
            tracing::error!(push.id = %push.id, error = %wrong, "what a push came to could not be written down yet; it is tried again");
            if self.store.is_closed() {
                return;
            }
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    async fn note(&self, push: &mut Push) -> Result<()> {
        push.at = self.now();
        let mut tx = self.store.begin().await?;
        tx.put_push(push).await?;
        tx.commit().await
    }
}
