//! What the job's plugin keeps between runs, a page at a time.

use serde::Deserialize;

use crate::error::Result;
use crate::id::Id;
use crate::span::Size;
use crate::store::Tx;
use crate::store::job_state::Kept;
use crate::web::address::Address;

/// Keys that the page shows.
const SHOWN: u32 = 100;

#[derive(Deserialize)]
pub struct StatePage {
    /// Those behind it.
    pub key: Option<String>,
}

pub struct StatePart {
    pub rows: Vec<Kept>,
    /// All keys that it keeps.
    pub of: u64,
    pub first: String,
    pub next: Option<String>,
    /// Not all of them are shown.
    pub paged: bool,
}

impl StatePart {
    /// `path`: the job's.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn read(tx: &mut Tx, job: Id, after: Option<&str>, path: &str) -> Result<Self> {
        let of = tx.state_count(job).await?;
        let mut rows = tx.state_list(job, after, SHOWN + 1).await?;
        let more = rows.len() > SHOWN as usize;
        rows.truncate(SHOWN as usize);
        let address = |key: Option<&str>| format!("{}#state", Address::new(path).some("key", key));
        let next = rows.last().filter(|_| more).map(|last| address(Some(&last.key)));
        Ok(Self { rows, of, first: address(None), next, paged: more || after.is_some() })
    }

    pub fn size(&self, kept: &Kept) -> Size {
        Size(kept.bytes)
    }
}
