//! How far the run is. The last report wins.

/// Reports `done` of `total` pieces; `total` is `None` where it is not known.
pub fn report(done: u64, total: impl Into<Option<u64>>, message: &str) {
    crate::bindings::job::windlass::plugin::progress::report(done, total.into(), message);
}
