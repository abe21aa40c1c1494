//! What probes of tenants may see of this machine.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Problem;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probes {
    /// SQLite files that tenants' probes may query; no other file can be reached.
    pub sqlite: Vec<PathBuf>,
}

impl Probes {
    /// Windlass's own database is never a target.
    pub(super) fn contradictions(&self, data_dir: &Path) -> Vec<Problem> {
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let own = real(data_dir);
        let mut problems = Vec::new();
        for (n, file) in self.sqlite.iter().enumerate() {
            let (field, shown) = (format!("probes.sqlite[{n}]"), file.display());
            if !file.is_absolute() {
                problems.push(Problem::new(
                    field,
                    format!("\"{shown}\" is relative; write it from the root, as in \"/srv/shop.db\""),
                ));
            } else if real(file).starts_with(&own) {
                let message = format!(
                    "\"{shown}\" lies in data_dir = \"{}\", which is Windlass's own and never a target",
                    data_dir.display()
                );
                problems.push(Problem::new(field, message));
            }
        }
        problems
    }
}
