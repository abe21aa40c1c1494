//! What Windlass is about, without I/O: `now` is an argument, nothing waits, nothing is stored.

pub mod admission;
pub mod alert;
pub mod apart;
pub mod artifact;
pub mod attempt;
pub mod backfill;
pub mod backlog;
pub mod days;
pub mod dead;
pub mod duty;
pub mod follow;
pub mod grant;
pub mod health;
pub mod hook;
pub mod item;
pub mod job;
pub mod limits;
pub mod log;
pub mod member;
pub mod origin;
pub mod plugin;
pub mod probe;
pub mod rate;
pub mod retry;
pub mod rollout;
pub mod run;
pub mod schedule;
pub mod secret;
pub mod signature;
pub mod silence;
pub mod tenant;
pub mod trace;
pub mod trigger;
pub mod zone;

pub use crate::span;
