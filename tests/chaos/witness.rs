//! The target of the runs: hears what guests do, and writes it down where no node has its hands.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

/// One effect at the target.
#[derive(Debug, Clone)]
pub struct Effect {
    pub at: Instant,
    pub run: String,
    pub attempt: u32,
    /// The beginning of the work, or its end.
    pub ends: bool,
}

/// Listens on a free port of 127.0.0.1 until the process ends.
#[derive(Clone)]
pub struct Witness {
    pub url: String,
    ledger: Arc<Mutex<Vec<Effect>>>,
    /// The next end of work is heard, and not answered until this is opened again.
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<Door>,
    moved: Condvar,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Door {
    #[default]
    Open,
    /// Somebody waits for the next end.
    Awaited,
    /// It is there, and waits to be answered.
    Held,
}

impl Witness {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let witness = Self { url, ledger: Arc::default(), gate: Arc::default() };
        let heard = witness.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heard = heard.clone();
                thread::spawn(move || heard.hear(stream));
            }
        });
        witness
    }

    /// Waits for the next end of work, and does this before the guest gets its answer.
    pub fn at_the_next_end(&self, act: impl FnOnce()) {
        let mut door = self.gate.state.lock().expect("no thread panicked");
        *door = Door::Awaited;
        while *door != Door::Held {
            door = self.gate.moved.wait(door).expect("no thread panicked");
        }
        drop(door);
        act();
        *self.gate.state.lock().expect("no thread panicked") = Door::Open;
        self.gate.moved.notify_all();
    }

    pub fn effects(&self) -> Vec<Effect> {
        self.ledger.lock().expect("no thread panicked").clone()
    }

    /// Runs that began and have not ended, with their last attempt.
    pub fn under_way(&self) -> BTreeMap<String, u32> {
        let mut under_way = BTreeMap::new();
        for effect in self.effects() {
            if effect.ends {
                under_way.remove(&effect.run);
            } else {
                under_way.insert(effect.run, effect.attempt);
            }
        }
        under_way
    }

    /// One request after the other; what cannot be read is a guest that was stopped in the middle.
    fn hear(&self, stream: TcpStream) {
        let mut answers = stream.try_clone().expect("a second handle");
        let mut reader = BufReader::new(stream);
        loop {
            let (mut length, mut line) = (0, String::new());
            loop {
                line.clear();
                match reader.read_line(&mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) if line == "\r\n" => break,
                    Ok(_) => {}
                }
                if let Some(("content-length", value)) = line.to_lowercase().trim().split_once(": ") {
                    length = value.parse().unwrap_or(0);
                }
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                return;
            }
            let body = String::from_utf8_lossy(&body);
            let words: Vec<&str> = body.split(' ').collect();
            if let [run, attempt, what] = words[..] {
                let effect = Effect {
                    at: Instant::now(),
                    run: run.to_owned(),
                    attempt: attempt.parse().expect("a number"),
                    ends: what == "end",
                };
                let ends = effect.ends;
                self.ledger.lock().expect("no thread panicked").push(effect);
                if ends {
                    self.wait_at_the_gate();
                }
            }
            if answers.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    }

    fn wait_at_the_gate(&self) {
        let mut door = self.gate.state.lock().expect("no thread panicked");
        if *door == Door::Awaited {
            *door = Door::Held;
            self.gate.moved.notify_all();
        }
        while *door == Door::Held {
            door = self.gate.moved.wait(door).expect("no thread panicked");
        }
    }
}
