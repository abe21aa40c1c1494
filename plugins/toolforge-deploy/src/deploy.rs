//! A deployment: the components are the run's items, in their order; each is made as it is wanted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde::Deserialize;
use windlass_plugin::items::{self, Item};
use windlass_plugin::{Class, Failure, Output, Work, control, progress};

use crate::api::{Api, Made};
use crate::component::{Component, Kind, Restart};
use crate::config::Config;
use crate::mark::{self, Mark};
use crate::once;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    /// Restart what runs all the time, changed or not.
    #[serde(default)]
    restart: bool,
}

pub fn run(work: &Work) -> Result<Output, Failure> {
    let config = Config::of(&work.config)?;
    let input: Option<Input> = work.input()?;
    let force = input.unwrap_or_default().restart;
    let api = Api::open(&config, &work.run)?;
    let all = config.components.len() as u64;
    let declared: Vec<_> = config.components.iter().map(|component| Item::new(&*component.name, component)).collect();
    let open = items::declare(&declared)?;
    let before = all.saturating_sub(open);
    let ended = Cell::new(before);
    let words: RefCell<BTreeMap<String, u64>> = RefCell::default();
    items::each(|name, _: serde_json::Value| {
        progress::report(ended.get(), Some(all), name);
        // As the configuration has it now: a re-run carries the items of the run before, and what was wrong in them.
        let Some(component) = config.components.iter().find(|component| component.name == name) else {
            return Ok("not in the configuration any more".to_owned());
        };
        let deployed = match component.kind {
            Kind::OneOff => once::run(&api, work, component),
            Kind::Continuous | Kind::Scheduled => make(&api, work, component, force),
        };
        let deployed = deployed.map_err(|failure| failure.context(name));
        if !matches!(&deployed, Err(failure) if failure.class() != Class::Permanent) {
            ended.set(ended.get() + 1);
            let word = deployed.as_ref().map_or("failed", |message| message.split([',', ':']).next().unwrap_or(message));
            *words.borrow_mut().entry(word.to_owned()).or_default() += 1;
        }
        deployed
    })?;
    progress::report(ended.get(), Some(all), "");
    let failed = words.borrow().contains_key("failed");
    if ended.get() < all && !failed && control::should_stop() {
        // Who got on is called again at no cost.
        let message = format!("stopped after {} of {all} components; the next attempt goes on", ended.get());
        return Err(if ended.get() > before { Failure::snooze(0, message) } else { Failure::transient(message) });
    }
    let mut told: Vec<String> = words.borrow().iter().map(|(word, n)| format!("{n} {word}")).collect();
    if before > 0 {
        told.insert(0, format!("{before} done before"));
    }
    Ok(Output::new(format!("{all} components: {}", told.join(", "))))
}

/// Makes a component that stays, and restarts what has become another. Answers in the API's words.
fn make(api: &Api, work: &Work, component: &Component, force: bool) -> Result<String, Failure> {
    let name = &component.name;
    // One that was not answered may have been done: what is up to date now may have changed then.
    let begun = mark::of(name)?;
    let unknown = begun.is_some();
    let mark = begun.filter(|mark| mark.run == work.run).unwrap_or_else(|| Mark { run: work.run.clone(), n: 0 });
    mark::set(name, &mark)?;
    let made = api.upsert(component).inspect_err(|failure| {
        if failure.class() == Class::Permanent && !unknown {
            // Refused, so nothing was begun. A mark too many costs a restart, so nobody minds when it stays.
            let _ = mark::clear(name);
        }
    })?;
    let mut word = match &made {
        Made::Created => "created".to_owned(),
        Made::Updated => "updated".to_owned(),
        Made::UpToDate => "already up to date".to_owned(),
        Made::Refused(why) => replace(api, component, mark, why)?,
    };
    let changed = made == Made::Updated || (made == Made::UpToDate && unknown);
    let restart = match component.restart {
        Restart::Always => true,
        Restart::Changed => changed || force,
        Restart::Never => force,
    };
    let stood = matches!(made, Made::Updated | Made::UpToDate);
    if component.kind == Kind::Continuous && restart && stood {
        api.restart(name)?;
        word.push_str(", restarted");
    }
    mark::clear(name)?;
    Ok(word)
}

/// Deletes the job that cannot be changed, and creates the wanted one. Whatever happens in between, the next attempt makes it.
fn replace(api: &Api, component: &Component, mark: Mark, why: &str) -> Result<String, Failure> {
    let name = &component.name;
    if !component.replace {
        let message =
            format!("the API does not change it in its place ({why}); replace = true lets it be deleted and created anew");
        return Err(Failure::permanent(message));
    }
    // An API that answers by keys would else call created what this deletes.
    let mark = Mark { n: mark.n + 1, ..mark };
    mark::set(name, &mark)?;
    api.delete(name)?;
    if api.create(component, mark.n)? {
        return Ok("replaced".to_owned());
    }
    Err(Failure::transient("the job that it replaces is deleted but not gone yet").after(5_000))
}
