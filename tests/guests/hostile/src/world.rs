//! Looks around: files, environment, network. Nothing of it may be there, and nothing that is tried may trap the guest.

use std::hash::{BuildHasher, RandomState};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::io::poll::poll;
use windlass_plugin::{Failure, Output, control, http, state};

use crate::Input;

fn outcome<T: Into<Value>>(result: std::io::Result<T>) -> Value {
    match result {
        Ok(value) => json!({ "ok": value.into() }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

pub fn files() -> Output {
    let list = |path: &str| {
        std::fs::read_dir(path).map(|entries| {
            let names = entries.flatten().map(|entry| Value::from(entry.file_name().to_string_lossy().into_owned()));
            names.collect::<Vec<_>>()
        })
    };
    let environment: Vec<_> = std::env::vars().map(|(key, value)| format!("{key}={value}")).collect();
    Output::new("looked around").data(json!({
        "passwd": outcome(std::fs::read_to_string("/etc/passwd")),
        "root": outcome(list("/")),
        "here": outcome(list(".")),
        "up": outcome(list("../..")),
        "proc": outcome(std::fs::read_to_string("/proc/self/environ")),
        "write": outcome(std::fs::write("/scratch.txt", "text").map(|()| "written")),
        "environment": environment,
        "arguments": std::env::args().collect::<Vec<_>>(),
    }))
}

pub fn socket(input: &Input) -> Output {
    let addr = input.addr.as_deref().unwrap_or("127.0.0.1:80");
    let name = input.name.as_deref().unwrap_or("localhost");
    let tcp = addr
        .parse::<SocketAddr>()
        .map_err(std::io::Error::other)
        .and_then(|addr| TcpStream::connect_timeout(&addr, Duration::from_secs(2)))
        .map(|_| "connected");
    let found = (name, 80).to_socket_addrs().map(|found| found.map(|addr| Value::from(addr.to_string())).collect::<Vec<_>>());
    let udp = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", addr)).map(|_| "sent");
    Output::new("tried the network").data(json!({ "tcp": outcome(tcp), "dns": outcome(found), "udp": outcome(udp) }))
}

/// A minute: the other one is there long before.
const LATE_NS: u64 = 60_000_000_000;

/// Everything that a host tells: with the same answers it comes to the same.
pub fn learn(input: &Input) -> Result<Output, Failure> {
    let (wall, since) = (SystemTime::now(), Instant::now());
    std::thread::sleep(Duration::from_millis(input.ms.unwrap_or(0)));
    let numbers: Vec<u64> = (0..3u64).map(|n| RandomState::new().hash_one(n)).collect();
    // Of two things that are waited for, which was first.
    let (late, soon) = (subscribe_duration(LATE_NS), subscribe_duration(1_000_000));
    let first = poll(&[&late, &soon]);
    let before = state::get("learned")?;
    let version = state::set("learned", b"\xff\x00", before.as_ref().map(|entry| entry.version))?;
    let answer = match input.url.as_str() {
        "" => Value::Null,
        url => match http::request("GET", url).send() {
            Ok(answer) => json!({ "status": answer.status, "bytes": answer.bytes(16 << 20).map(|bytes| bytes.len()).ok() }),
            Err(error) => json!({ "error": error.code }),
        },
    };
    let data = json!({
        "wall_ns": wall.duration_since(SystemTime::UNIX_EPOCH).map(|span| span.as_nanos().to_string()).unwrap_or_default(),
        "slept_ns": since.elapsed().as_nanos().to_string(),
        "random": numbers,
        "first": first,
        "state": { "before": before.is_some(), "version": version },
        "answer": answer,
        "remaining_ms": control::remaining_ms(),
        "should_stop": control::should_stop(),
    });
    match &input.name {
        Some(name) => Err(Failure::permanent(format!("{name}: {data}"))),
        None => Ok(Output::new("learned").data(data)),
    }
}
