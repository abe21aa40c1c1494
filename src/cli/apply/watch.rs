//! `windlass apply --watch`: the files are what is wanted, whatever happens to them, to the server, or behind its back.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Command, files, send, tell};
use crate::cli::show::{harmless, say, say_json};
use crate::cli::stop::{Done, Stop, WRONG};
use crate::cli::{Global, pause};
use crate::web::api::shape::{Applied, SourceJson};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);
/// Looks after which unchanged files are applied once more: what somebody changed meanwhile comes back.
const AGAIN: u32 = 300;

pub fn run(command: &Command, global: &Global) -> Done {
    let mut watch = Watch::default();
    loop {
        let came = match files(command) {
            Err(stop) => Some(Err(stop)),
            Ok(files) if watch.is_due(&files) => {
                let sent = send(command, files, global);
                watch.note(sent.as_ref().err());
                Some(sent)
            }
            Ok(_) => None,
        };
        if let Some(came) = came {
            match came {
                Ok(applied) => told(applied, &mut watch, global.json)?,
                Err(stop) => watch.complain(&stop),
            }
        }
        pause(LOOK);
    }
}

#[derive(Default)]
struct Watch {
    /// Of the files at the last look.
    seen: Option<Vec<u8>>,
    /// Of those that were applied, or refused.
    applied: Option<Vec<u8>>,
    /// Looks since.
    looks: u32,
    /// What was said last to be wrong, and still is.
    trouble: Option<String>,
}

impl Watch {
    /// Files that are as they were a look ago, so that none is read half written, and that are not applied or not lately.
    fn is_due(&mut self, files: &[SourceJson]) -> bool {
        let now = Some(digest(files));
        let at_rest = std::mem::replace(&mut self.seen, now.clone()) == now;
        self.looks += 1;
        at_rest && (self.applied != now || self.looks >= AGAIN)
    }

    /// Of files that were sent. What is refused is refused again until it changes; a server that is away, or somebody who was
    /// there first, may not be at the next look.
    fn note(&mut self, wrong: Option<&Stop>) {
        if wrong.is_none_or(|stop| stop.code() == WRONG) {
            self.applied.clone_from(&self.seen);
            self.looks = 0;
        }
    }

    /// Once, as long as it stays the same.
    fn complain(&mut self, stop: &Stop) {
        let text = stop.text();
        if self.trouble.as_ref() != Some(&text) {
            eprintln!("{}\nnothing was changed; the files are watched on", harmless(&text));
            self.trouble = Some(text);
        }
    }
}

fn told(mut applied: Applied, watch: &mut Watch, json: bool) -> Done {
    applied.changes.retain(|change| change.result != "already up to date");
    let well_again = watch.trouble.take().is_some();
    if json {
        return if well_again || !applied.changes.is_empty() { say_json(&applied) } else { Ok(()) };
    }
    applied.changes.iter().try_for_each(tell)?;
    if well_again && applied.changes.is_empty() { say("all is as the files say again") } else { Ok(()) }
}

fn digest(files: &[SourceJson]) -> Vec<u8> {
    let mut digest = Sha256::new();
    for file in files {
        for text in [&file.path, &file.text] {
            digest.update(text.len().to_be_bytes());
            digest.update(text);
        }
    }
    digest.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::stop::{BAD, NO_SERVER};

    fn file(text: &str) -> Vec<SourceJson> {
        vec![SourceJson { path: "a.toml".into(), text: text.into() }]
    }

    #[test]
    fn files_are_applied_when_they_rest_and_again_after_a_while() {
        let mut watch = Watch::default();
        let looks = [file("a"), file("a"), file("a"), file("ab"), file("abc"), file("abc"), file("abc")];
        let due: Vec<bool> = looks
            .iter()
            .map(|files| {
                let due = watch.is_due(files);
                if due {
                    watch.note(None);
                }
                due
            })
            .collect();
        assert_eq!(due, [false, true, false, false, false, true, false]);
        let next = (1..).find(|_| watch.is_due(&file("abc"))).unwrap();
        assert_eq!(next + 1, AGAIN, "counted from the last time");
    }

    #[test]
    fn what_is_refused_waits_for_a_change_and_a_server_that_is_away_does_not() {
        let mut watch = Watch::default();
        watch.is_due(&file("a"));
        for _ in 0..3 {
            assert!(watch.is_due(&file("a")));
            watch.note(Some(&Stop::new(NO_SERVER, "no server")));
        }
        assert!(watch.is_due(&file("a")));
        watch.note(Some(&Stop::new(BAD, "somebody was there first")));
        assert!(watch.is_due(&file("a")));
        watch.note(Some(&Stop::new(WRONG, "a.toml:1: wrong")));
        assert!(!watch.is_due(&file("a")));
    }
}
