//! Looks around: files, environment, network. Nothing of it may be there, and nothing that is tried may trap the guest.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};
use windlass_plugin::Output;

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
