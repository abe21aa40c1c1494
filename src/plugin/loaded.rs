//! A plugin that is ready to be called.

use wasmtime::component::{Component, InstancePre};
use wasmtime_wasi::p2::bindings::CommandPre;

use super::bindings::exports::windlass::plugin::{backlog, config, describe, finish, job};
use super::engine::Engine;
use super::inspect::{Found, inspect};
use super::instance::Guest;

/// Linked, with the places of its exports; an instance costs microseconds from here.
pub struct Loaded {
    pub pre: InstancePre<Guest>,
    pub found: Found,
    /// Slots of the pool that an instance takes.
    pub weight: u32,
    pub job: Option<job::GuestIndices>,
    pub backlog: Option<backlog::GuestIndices>,
    pub config: Option<config::GuestIndices>,
    pub describe: Option<describe::GuestIndices>,
    pub finish: Option<finish::GuestIndices>,
    pub command: Option<CommandPre<Guest>>,
}

impl Loaded {
    /// Checks imports and exports by their types; the error names the one that does not fit.
    pub fn link(engine: &Engine, component: &Component) -> wasmtime::Result<Self> {
        let found = inspect(&component.component_type(), &engine.wasm);
        let pre = engine.linker.instantiate_pre(component)?;
        Ok(Self {
            weight: Engine::weight(component),
            job: found.job.then(|| job::GuestIndices::new(&pre)).transpose()?,
            backlog: found.backlog.then(|| backlog::GuestIndices::new(&pre)).transpose()?,
            config: found.config.then(|| config::GuestIndices::new(&pre)).transpose()?,
            describe: found.describe.then(|| describe::GuestIndices::new(&pre)).transpose()?,
            finish: found.finish.then(|| finish::GuestIndices::new(&pre)).transpose()?,
            command: (found.command && !found.job).then(|| CommandPre::new(pre.clone())).transpose()?,
            pre,
            found,
        })
    }
}
