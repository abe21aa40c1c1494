//! A component that runs once: created, waited for, and tidied away.

use std::time::Duration;

use windlass_plugin::{Class, Failure, Work, control, log, progress};

use crate::api::{Api, Stage, Standing};
use crate::component::Component;
use crate::mark::{self, Mark};

/// A job is looked at after so long, then at twice the time, and in the end every so often.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LOOK: Duration = Duration::from_secs(5);
/// A creation that is not answered is tried so often in all; each time it is looked first whether it was done.
const CREATIONS: u32 = 4;
/// Somebody else's is asked after again.
const REST_MS: u64 = 30_000;

pub fn run(api: &Api, work: &Work, component: &Component) -> Result<String, Failure> {
    let name = &component.name;
    let mark = mark::of(name)?.filter(|mark| mark.run == work.run);
    let standing = api.standing(name)?;
    if let Some(Standing { other: Some(kind), .. }) = &standing {
        let message =
            format!("a {kind} job of this name stands at Toolforge; it is not deleted: remove it there, or rename the component");
        return Err(Failure::permanent(message));
    }
    let begun = match (&mark, &standing) {
        // Begun by an attempt before, which did not see its end.
        (Some(_), Some(_)) => None,
        (_, Some(Standing { stage: Stage::Running, words, .. })) => {
            return Err(Failure::snooze(REST_MS, format!("one that this run did not start is still there: {words}")));
        }
        // Not there: its creation was never done, or it is over and was tidied away. With the same key it is one.
        (Some(mark), None) => Some(mark.clone()),
        (None, _) => Some(Mark { run: work.run.clone(), n: work.attempt }),
    };
    if let Some(begun) = begun {
        if standing.is_some() {
            api.delete(name)?;
            gone(api, name)?;
        }
        mark::set(name, &begun)?;
        create(api, component, &begun)?;
    }
    wait(api, name)
}

/// Waits until the deleted one is gone: it would else be taken for the one to be created, its end for that one's.
fn gone(api: &Api, name: &str) -> Result<(), Failure> {
    while api.standing(name)?.is_some() {
        if !control::sleep(FIRST_LOOK * 4) {
            return Err(Failure::snooze(5_000, "the one before is deleted but not gone yet"));
        }
    }
    Ok(())
}

/// Creates it. After a creation that was not answered it is asked whether it was done, before there is a second.
fn create(api: &Api, component: &Component, mark: &Mark) -> Result<(), Failure> {
    let mut tried = 1;
    // Since then a job of this name may be ours.
    let mut unanswered = false;
    loop {
        let failure = match api.create(component, mark.n) {
            Ok(true) => return Ok(()),
            Ok(false) if unanswered => return Ok(()),
            Ok(false) => Failure::transient("the one before is deleted but not gone yet").after(5_000),
            Err(failure) if failure.class() == Class::Transient => {
                unanswered = true;
                failure
            }
            Err(failure) => return Err(failure),
        };
        let pause = failure.delay_ms().unwrap_or(1_000 << (tried - 1));
        if tried >= CREATIONS || pause >= control::remaining_ms() || !control::sleep(Duration::from_millis(pause)) {
            return Err(failure);
        }
        log::info!(tried = tried; "creating it is tried again: {}", failure.message());
        if unanswered && api.standing(&component.name)?.is_some() {
            return Ok(());
        }
        tried += 1;
    }
}

fn wait(api: &Api, name: &str) -> Result<String, Failure> {
    let mut pause = FIRST_LOOK;
    loop {
        let looked = match api.standing(name) {
            // A look that fails is no failure of the work, which goes on at Toolforge.
            Err(failure) if failure.class() == Class::Transient => {
                log::warn!("looking at it is tried again: {}", failure.message());
                if !control::sleep(LOOK) {
                    return Err(stopped(api, name));
                }
                continue;
            }
            looked => looked?,
        };
        let Some(standing) = looked else {
            mark::clear(name)?;
            return Err(Failure::transient("it is gone from Toolforge, and nobody knows how it ended"));
        };
        progress::report(0, None, &standing.words);
        match standing.stage {
            Stage::Running => {}
            Stage::Completed => {
                mark::clear(name)?;
                tidy(api, name);
                return Ok(format!("completed: {}", standing.words));
            }
            // It stays to be looked at; the next attempt tidies it away.
            Stage::Failed => {
                mark::clear(name)?;
                return Err(Failure::transient(format!("it failed: {}", standing.words)));
            }
        }
        if !control::sleep(pause) {
            return Err(stopped(api, name));
        }
        pause = (pause * 2).min(LOOK);
    }
}

/// At the time limit it is ended. A node that goes down, or a cancelled run, leaves it: the one comes back to it, the other is
/// decided by a person.
fn stopped(api: &Api, name: &str) -> Failure {
    if control::remaining_ms() > 0 {
        return Failure::transient("stopped here; it goes on at Toolforge");
    }
    match api.delete(name).and_then(|()| mark::clear(name)) {
        Ok(()) => Failure::transient("it took longer than the time limit, and was deleted"),
        Err(failure) => failure.context("it took longer than the time limit, and could not be deleted"),
    }
}

fn tidy(api: &Api, name: &str) {
    if let Err(failure) = api.delete(name) {
        log::warn!("it is done and could not be deleted: {}", failure.message());
    }
}
