//! `windlass compile-plugin`: the process that compiles plugins, started by a server for one module, not for people. It
//! bounds itself first: what it is given was made by a stranger.

use std::io::{Read, Write};

use rustix::process::{Resource, Rlimit, Signal};

use super::stop::{BAD, Done, Stop};
use crate::plugin::catalog::SIZE_LIMIT;
use crate::plugin::{compile, compiler};

/// Seconds between being told that the processor time is over and being killed.
const LAST_WORDS: u64 = 2;
/// Added to the niceness: runs and pages go first.
const NICE: i32 = 10;
/// Open files; it has three, and opens a handful.
const FILES: u64 = 32;

/// A module from standard input, compiled code to standard output.
pub fn run(fuel: bool) -> Done {
    bound()?;
    let mut module = Vec::new();
    std::io::stdin().take(SIZE_LIMIT as u64 + 1).read_to_end(&mut module)?;
    if module.len() > SIZE_LIMIT {
        return Err(Stop::new(compiler::REFUSED, format!("the file has more than {SIZE_LIMIT} bytes")));
    }
    let code = compile::compile(&module, fuel).map_err(|why| Stop::new(compiler::REFUSED, why))?;
    let mut out = std::io::stdout();
    out.write_all(&code)
        .and_then(|()| out.flush())
        .map_err(|wrong| Stop::new(BAD, format!("the code cannot be written: {wrong}")))
}

fn bound() -> Done {
    let parent = rustix::process::getppid();
    let broken = |wrong: rustix::io::Errno| Stop::new(BAD, format!("the compiler cannot bound itself: {wrong}"));
    // Whoever waits for the code may be killed; then nobody wants it.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(broken)?;
    if rustix::process::getppid() != parent {
        return Err(Stop::silent(BAD));
    }
    for (resource, soft, hard) in [
        (Resource::Cpu, compiler::CPU_SECONDS, compiler::CPU_SECONDS + LAST_WORDS),
        (Resource::Data, compiler::MEMORY, compiler::MEMORY),
        (Resource::Fsize, compiler::CODE, compiler::CODE),
        (Resource::Nofile, FILES, FILES),
        (Resource::Core, 0, 0),
    ] {
        // Whoever starts it may have been given less.
        let standing = rustix::process::getrlimit(resource);
        let least = |standing: Option<u64>, own: u64| Some(standing.map_or(own, |standing| standing.min(own)));
        let bounded = Rlimit { current: least(standing.current, soft), maximum: least(standing.maximum, hard) };
        rustix::process::setrlimit(resource, bounded).map_err(broken)?;
    }
    // As it is, where that is not allowed.
    let _ = rustix::process::nice(NICE);
    Ok(())
}
