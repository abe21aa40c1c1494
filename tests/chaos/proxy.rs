//! A way to the database that can be cut: bytes vanish, nobody is told, as when a cable is pulled.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

#[derive(Clone)]
pub struct Proxy {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    /// Before the server of this URL.
    pub fn before(url: &str) -> Self {
        let (_, rest) = url.split_once('@').expect("a user");
        let (target, _) = rest.split_once('/').expect("a database");
        let target = target.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let proxy = Self { port: listener.local_addr().expect("it is bound").port(), cut: Arc::default() };
        let cut = proxy.cut.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let (client_too, server_too) = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
                let (cut, cut_too) = (cut.clone(), cut.clone());
                thread::spawn(move || pass(client, server, &cut));
                thread::spawn(move || pass(server_too, client_too, &cut_too));
            }
        });
        proxy
    }

    /// The same URL by this way.
    pub fn url(&self, url: &str) -> String {
        let (head, rest) = url.split_once('@').expect("a user");
        let (_, database) = rest.split_once('/').expect("a database");
        format!("{head}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }
}

/// While it is cut, what was read waits: the other side hears nothing, not even an end.
fn pass(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(n) => n,
        };
        while cut.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
