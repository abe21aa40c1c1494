//! A copy of the file while it is in use, and what stands in the way of putting one back.

use std::path::Path;

use sqlx::ConnectOptions;

use super::Store;
use super::sqlite::{MIGRATIONS, cannot_open, looking};
use crate::error::{Error, Result};

/// The newest schema that this binary knows.
pub fn newest_schema() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Says what to do about a file of another age.
///
/// # Errors
/// `Unavailable` when a newer Windlass has written it.
pub fn fits(database: &str, schema: i64) -> Result<()> {
    let known = newest_schema();
    if schema <= known {
        return Ok(());
    }
    Err(Error::Unavailable(format!(
        "{database} was written by a newer Windlass: its schema is {schema}, and this one knows up to {known}; start the newer one, or \
         restore the backup that was made before the upgrade"
    )))
}

impl Store {
    /// Writes a copy of the database at this moment to a file that is not there yet. A server may be writing meanwhile: the
    /// copy has what was committed when it began, and nothing of what came after.
    ///
    /// # Errors
    /// When the one cannot be read or the other cannot be made.
    pub async fn backup(from: &Path, to: &Path) -> Result<()> {
        let name = to.to_str().ok_or_else(|| Error::invalid("file", format!("{} is no UTF-8", to.display())))?;
        let mut conn = looking(from).connect().await.map_err(|wrong| cannot_open(from, &wrong))?;
        let copied = sqlx::query("VACUUM INTO ?").bind(name).execute(&mut conn).await;
        if let Err(wrong) = copied {
            // Half a copy is none; that it cannot be removed either is said by the next try.
            let _ = std::fs::remove_file(to);
            return Err(Error::Unavailable(format!("cannot copy {} to {name}: {wrong}", from.display())));
        }
        // SQLite leaves it to the system when the copy reaches the disk.
        std::fs::File::open(to)?.sync_all()?;
        Ok(())
    }
}
