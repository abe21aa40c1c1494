//! A network of our own, in which packets can be made to vanish without a soul outside noticing.

use std::process::{Command, Stdio};

/// An address of the database that one node alone uses.
pub const FAR: &str = "127.0.0.2";
/// Set in the process that runs inside.
const INSIDE: &str = "WINDLASS_CHAOS_NETWORK";

pub fn is_own() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs that test of the matrix in a process whose network has nothing but a loopback. Only root may make one: without, the
/// test is skipped and says so; `a_node_that_is_cut_off_stops_its_guests` shows the same by a proxy.
///
/// # Panics
/// When the test inside fails.
pub fn enter(test: &str) {
    if !can() {
        println!("SKIPPED {test}: a network of its own wants root, unshare and nft (Debian: util-linux, nftables)");
        return;
    }
    let exe = std::env::current_exe().expect("this program has a path");
    let script = "ip link set lo up && nft add table inet chaos \
                  && nft 'add chain inet chaos input { type filter hook input priority 0; }' && exec \"$0\" \"$1\"";
    let inside = Command::new("unshare").args(["--net", "--", "sh", "-c", script]).arg(exe).arg(test).env(INSIDE, "1").status();
    assert!(inside.expect("unshare runs").success(), "{test} failed in its own network");
}

fn can() -> bool {
    let tried = ["--net", "--", "sh", "-c", "ip link set lo up && nft list tables"];
    Command::new("unshare").args(tried).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// While it is cut, whatever comes from or goes to [`FAR`] vanishes; nobody is told.
pub fn cut(cut: bool) {
    let ways: &[&str] = if cut { &["saddr", "daddr"] } else { &[] };
    nft("flush chain inet chaos input");
    for way in ways {
        nft(&format!("add rule inet chaos input ip {way} {FAR} drop"));
    }
}

fn nft(order: &str) {
    assert!(Command::new("nft").arg(order).status().expect("nft runs").success(), "nft {order}");
}
