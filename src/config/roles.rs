//! What a node does: pages and API, what one node does for all, running guests.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Problem;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Pages and the API.
    Web,
    /// Schedules, probes, promotion, pruning, judging: one node of those that may does it for all.
    Scheduler,
    /// Runs.
    Worker,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Web, Self::Scheduler, Self::Worker];

    pub fn word(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Scheduler => "scheduler",
            Self::Worker => "worker",
        }
    }
}

/// As words with a comma between, also in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Roles(BTreeSet<Role>);

impl Default for Roles {
    fn default() -> Self {
        Self(Role::ALL.into())
    }
}

impl Roles {
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// As [`fmt::Display`] writes them; nothing, as older versions wrote, is all.
    pub fn parse(text: &str) -> Self {
        let roles: BTreeSet<Role> =
            Role::ALL.into_iter().filter(|role| text.split(", ").any(|word| word == role.word())).collect();
        if roles.is_empty() { Self::default() } else { Self(roles) }
    }

    pub(super) fn contradictions(&self, database_url: &str) -> Vec<Problem> {
        let missing: Vec<&str> = Role::ALL.into_iter().filter(|role| !self.has(*role)).map(Role::word).collect();
        let all = "[\"web\", \"scheduler\", \"worker\"]";
        let message = if self.0.is_empty() {
            format!("[] would do nothing; write one or more of {all}")
        } else if !missing.is_empty() && database_url.starts_with("sqlite:") {
            format!(
                "roles = {:?} lacks {}, and database_url = {database_url:?} belongs to this process alone: nobody else would do it; \
                 write {all}, or share a PostgreSQL",
                self.0.iter().map(|role| role.word()).collect::<Vec<_>>(),
                missing.join(" and ")
            )
        } else {
            return Vec::new();
        };
        vec![Problem::new("roles", message)]
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.0.iter().map(|role| role.word()).collect();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_come_back_as_they_went_and_none_is_all() {
        for roles in [vec![Role::Web], vec![Role::Scheduler, Role::Worker], Role::ALL.to_vec()] {
            let roles = Roles(roles.into_iter().collect());
            assert_eq!(Roles::parse(&roles.to_string()), roles);
        }
        assert_eq!(Roles::parse(""), Roles::default());
    }
}
