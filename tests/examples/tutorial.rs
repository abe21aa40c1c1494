//! docs/authors.md, line by line: what it tells people to type is typed here, and what it shows must be answered.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::folder;
use super::harness::{Server, binary};

/// One fenced block of the tutorial: commands, or what the commands before it answer (`…` stands for anything).
enum Block {
    Commands(String),
    Answer(String),
}

/// The blocks up to the first heading that is none of the tutorial's.
fn blocks(text: &str) -> Vec<Block> {
    let tutorial = text.split("\n## ").take_while(|part| !part.starts_with("More")).collect::<Vec<_>>().join("\n## ");
    let fenced = tutorial.split("\n```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    fenced
        .filter_map(|(kind, body)| match kind {
            "sh" => Some(Block::Commands(body.to_owned())),
            "text" => Some(Block::Answer(body.to_owned())),
            _ => None,
        })
        .collect()
}

/// The parts of each line stand in the answer, one after the other.
fn missing<'a>(shown: &'a str, answered: &str) -> Option<&'a str> {
    let mut rest = answered;
    shown.lines().flat_map(|line| line.split('…')).map(str::trim).filter(|part| !part.is_empty()).find(|part| {
        let found = rest.find(part);
        rest = found.map_or(rest, |at| &rest[at + part.len()..]);
        found.is_none()
    })
}

#[test]
fn the_tutorial_does_what_it_says() {
    let dir = folder("tutorial");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/authors.md")).unwrap();
    let blocks = blocks(&text);
    let commands = blocks.iter().filter(|block| matches!(block, Block::Commands(_))).count();
    assert!(commands >= 5 && blocks.len() > commands, "{} blocks, {commands} of them commands", blocks.len());
    fs::create_dir(dir.join("bin")).unwrap();
    std::os::unix::fs::symlink(binary(), dir.join("bin/windlass")).unwrap();
    let (mut server, mut answered) = (None, String::new());
    // A shell a block, and the folder goes on from one to the next, as for somebody with one terminal.
    let mut at = dir.clone();
    for block in blocks {
        match block {
            Block::Commands(lines) if lines.trim().starts_with("windlass serve") => {
                server = Some(Server::start(&dir.join("data")))
            }
            Block::Commands(lines) => {
                let script = format!("set -e\nPATH='{0}/bin':$PATH\n{lines}\npwd >'{0}/at'", dir.display());
                let mut shell = Command::new("bash");
                shell.args(["-c", &script]).current_dir(&at).env("WINDLASS_DATA_DIR", dir.join("data"));
                shell.env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
                shell.env("CARGO_TARGET_DIR", dir.with_file_name("tutorial-target"));
                let done = shell.output().unwrap();
                answered = String::from_utf8(done.stdout).unwrap();
                assert!(done.status.success(), "{lines}\n{answered}\n{}", String::from_utf8_lossy(&done.stderr));
                at = fs::read_to_string(dir.join("at")).unwrap().trim().into();
            }
            Block::Answer(shown) => {
                let missing = missing(&shown, &answered);
                assert!(missing.is_none(), "{missing:?} is not (in this order) in what was answered:\n{answered}");
            }
        }
    }
    assert!(server.is_some(), "the tutorial comes as far as a server");
}

#[test]
fn what_is_not_answered_is_found() {
    assert_eq!(missing("a … c\nd", "xa b c\nd"), None);
    assert_eq!(missing("a … c\nd", "a b\nd"), Some("c"));
    assert_eq!(missing("b\na", "a b"), Some("a"));
}
