//! What was begun at the target and is not known to have been answered, kept in the job's state: whoever comes next, after a
//! time-out or a process that died, knows that it may have been done.

use serde::{Deserialize, Serialize};
use windlass_plugin::{Failure, state};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub run: String,
    /// Counts what the run has begun for this component: with it, each gets a key of its own.
    pub n: u32,
}

/// What stands, of whatever run. A record that no version of this plugin wrote counts as none.
pub fn of(component: &str) -> Result<Option<Mark>, Failure> {
    let entry = state::get(&key(component))?;
    Ok(entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()))
}

pub fn set(component: &str, mark: &Mark) -> Result<(), Failure> {
    state::set(&key(component), &serde_json::to_vec(mark)?, None)?;
    Ok(())
}

pub fn clear(component: &str) -> Result<(), Failure> {
    state::delete(&key(component), None)?;
    Ok(())
}

fn key(component: &str) -> String {
    format!("begun/{component}")
}
