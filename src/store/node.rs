//! Nodes: who takes part, whose heart beats, whose leases are nobody's any more.

use super::claim::leased;
use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::domain::run::Run;
use crate::error::{Error, Result};
use crate::id::Id;

/// The highest number of a node: an id has so many bits for it.
pub const MOST: i64 = 1_023;
/// How long a number rests before another process gets it: ids carry it, and clocks differ.
const REST_MS: i64 = 24 * 3600 * 1000;

/// One Windlass process, as it entered itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub id: i64,
    pub name: String,
    /// Grows each time the number is taken: an earlier owner's heartbeat does not count for the present one.
    pub generation: i64,
    /// Grows with each heartbeat. Nobody compares clocks: a node is dead when this has not moved for the lease time.
    pub beat: i64,
    pub beat_at: Timestamp,
    pub started_at: Timestamp,
    pub stopped_at: Option<Timestamp>,
    /// Others found it dead, instead of it saying that it stops.
    pub died_at: Option<Timestamp>,
    pub version: String,
    /// Address of its pages.
    pub listen: String,
    /// Marks of the keys that it opens secrets with.
    pub secret_keys: Vec<String>,
    /// As `config::Roles` writes them; empty while it starts.
    pub roles: String,
}

static ALL: Sql = Sql::new(
    "SELECT id, name, generation, beat, beat_at, started_at, stopped_at, died_at, version, listen, secret_keys, roles FROM node ORDER BY id",
);
static PUT: Sql = Sql::new(
    "INSERT INTO node (id, name, generation, beat, beat_at, started_at, version, listen, roles) VALUES ($1, $2, $3, 0, $4, $5, $6, $7, '') \
     ON CONFLICT (id) DO UPDATE SET name = excluded.name, generation = excluded.generation, beat = 0, beat_at = excluded.beat_at, \
     started_at = excluded.started_at, stopped_at = NULL, died_at = NULL, version = excluded.version, listen = excluded.listen, secret_keys = ''",
);
static LISTEN: Sql = Sql::new("UPDATE node SET listen = $1, roles = $2 WHERE id = $3");
static HAS_KEYS: Sql = Sql::new("UPDATE node SET secret_keys = $1 WHERE id = $2");
static RETURN: Sql = Sql::new(
    "UPDATE node SET generation = generation + 1, beat = beat + 1, beat_at = $1, stopped_at = NULL, died_at = NULL WHERE id = $2 AND generation = $3",
);
static STOP: Sql = Sql::new("UPDATE node SET stopped_at = $1 WHERE id = $2 AND generation = $3 AND stopped_at IS NULL");
static DEAD: Sql = Sql::new(
    "UPDATE node SET stopped_at = $1, died_at = $1 WHERE id = $2 AND generation = $3 AND beat = $4 AND stopped_at IS NULL",
);
static FORGET: Sql =
    Sql::new("DELETE FROM node WHERE stopped_at < $1 AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.node = node.id)");
static ORPHANS: Sql = Sql::new(
    "SELECT l.* FROM lease l WHERE l.node <> 0 AND (l.node IN (SELECT n.id FROM node n WHERE n.stopped_at IS NOT NULL) \
     OR NOT EXISTS (SELECT 1 FROM node m WHERE m.id = l.node)) ORDER BY l.id LIMIT 512",
);
static LEASES_OF: Sql = Sql::new("SELECT * FROM lease WHERE (id) IN (VALUES {1})");
static RUNNING: Sql = Sql::new("SELECT node, count(*) AS n FROM lease WHERE node <> 0 GROUP BY node");
static HELD_BY: Sql = Sql::new("SELECT DISTINCT job, node FROM lease WHERE node <> 0");
static HELD: Sql = Sql::new("SELECT id FROM lease WHERE node = $1 ORDER BY id LIMIT 20000");

impl Tx {
    pub async fn nodes(&mut self) -> Result<Vec<Node>> {
        self.rows(&ALL, args![]).await?.iter().map(node).collect()
    }

    /// Enters this process: the lowest number that nobody has or that has rested for a day, else the one longest stopped.
    /// Answers number and generation.
    ///
    /// # Errors
    /// `Unavailable` when all 1,023 are at work.
    pub(super) async fn enter(&mut self, name: &str, listen: &str, now: Timestamp) -> Result<(i64, i64)> {
        let nodes = self.nodes().await?;
        let rested = |node: &Node| node.stopped_at.is_some_and(|at| now.0 - at.0 > REST_MS);
        let free = (1..=MOST).find(|n| nodes.iter().find(|node| node.id == *n).is_none_or(rested));
        let longest =
            || nodes.iter().filter(|node| node.stopped_at.is_some()).min_by_key(|node| node.stopped_at).map(|node| node.id);
        let number = free
            .or_else(longest)
            .ok_or_else(|| Error::Unavailable(format!("{MOST} nodes are at work; there are no more numbers")))?;
        let generation = nodes.iter().find(|node| node.id == number).map_or(0, |node| node.generation) + 1;
        self.put_node(number, name, generation, listen, now).await?;
        Ok((number, generation))
    }

    pub(super) async fn put_node(
        &mut self,
        number: i64,
        name: &str,
        generation: i64,
        listen: &str,
        now: Timestamp,
    ) -> Result<()> {
        self.exec(&PUT, args![number, name, generation, now, now, env!("CARGO_PKG_VERSION"), listen]).await?;
        Ok(())
    }

    /// Notes where this node's pages are, and what it does.
    pub async fn listens(&mut self, address: &str, roles: &str) -> Result<()> {
        let node = self.node;
        self.exec(&LISTEN, args![address, roles, node]).await?;
        Ok(())
    }

    /// Notes which keys this node has, by their marks.
    pub async fn has_secret_keys(&mut self, marks: &str) -> Result<()> {
        let node = self.node;
        self.exec(&HAS_KEYS, args![marks, node]).await?;
        Ok(())
    }

    /// Lets a node that was declared dead take part again, under a new generation.
    pub(super) async fn enter_again(&mut self, node: i64, generation: i64, now: Timestamp) -> Result<bool> {
        Ok(self.exec(&RETURN, args![now, node, generation]).await? == 1)
    }

    /// This node stops; what it still holds is nobody's.
    pub(super) async fn leave(&mut self, node: i64, generation: i64, now: Timestamp) -> Result<()> {
        self.exec(&STOP, args![now, node, generation]).await?;
        Ok(())
    }

    /// Declares a node dead if its heart has not beaten since. Answers whether it was so.
    pub async fn declare_dead(&mut self, node: &Node, now: Timestamp) -> Result<bool> {
        Ok(self.exec(&DEAD, args![now, node.id, node.generation, node.beat]).await? == 1)
    }

    /// Forgets nodes that stopped before `at` and hold nothing.
    pub async fn forget_nodes(&mut self, at: Timestamp) -> Result<()> {
        self.exec(&FORGET, args![at]).await?;
        Ok(())
    }

    /// Runs whose node has stopped or is unknown, at most 512.
    pub async fn orphans(&mut self) -> Result<Vec<Run>> {
        self.rows(&ORPHANS, args![]).await?.iter().map(leased).collect()
    }

    pub async fn leases_of(&mut self, runs: &[Id]) -> Result<Vec<Run>> {
        let keys: Vec<_> = runs.iter().map(|run| args![*run]).collect();
        self.rows_for(&LEASES_OF, &keys).await?.iter().map(leased).collect()
    }

    /// Runs that each node works on.
    pub async fn running_by_node(&mut self) -> Result<Vec<(i64, u64)>> {
        self.rows(&RUNNING, args![]).await?.iter().map(|row| Ok((row.int("node")?, row.count("n")?))).collect()
    }

    /// Which jobs which nodes work on.
    pub async fn held_by_node(&mut self) -> Result<Vec<(Id, i64)>> {
        self.rows(&HELD_BY, args![]).await?.iter().map(|row| Ok((row.id("job")?, row.int("node")?))).collect()
    }

    /// Ids of the runs that this node holds, as the database knows.
    pub async fn held(&mut self) -> Result<Vec<Id>> {
        let node = self.node;
        self.rows(&HELD, args![node]).await?.iter().map(|row| row.id("id")).collect()
    }
}

fn node(row: &Row) -> Result<Node> {
    Ok(Node {
        id: row.int("id")?,
        name: row.text("name")?,
        generation: row.int("generation")?,
        beat: row.int("beat")?,
        beat_at: row.time("beat_at")?,
        started_at: row.time("started_at")?,
        stopped_at: row.opt_time("stopped_at")?,
        died_at: row.opt_time("died_at")?,
        version: row.text("version")?,
        listen: row.text("listen")?,
        secret_keys: row.text("secret_keys")?.split_whitespace().map(str::to_owned).collect(),
        roles: row.text("roles")?,
    })
}
