//! Starts the compiler: a process of the same binary, under limits of its own. A module that is built to keep a compiler
//! busy (1.2 MB can cost 76 s of CPU) ends there, with the reason, and the server has lost nothing.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::inspect::one_line;
use crate::error::{Error, Result};

/// The hidden subcommand: a module on standard input, compiled code on standard output, a reason on standard error.
pub const COMMAND: &str = "compile-plugin";
/// Processor time; the process sets this limit itself.
pub const CPU_SECONDS: u64 = 60;
/// Bytes of memory that is written to; the same.
pub const MEMORY: u64 = 2 * 1024 * 1024 * 1024;
/// Bytes of compiled code; the same.
pub const CODE: u64 = 1024 * 1024 * 1024;
/// By the clock on the wall: a busy machine is no fault of the module, and the process gives way to all others.
const WALL: Duration = Duration::from_secs(10 * CPU_SECONDS);
/// Exit code for a module that is refused.
pub const REFUSED: u8 = 2;
/// Bytes of a reason.
const REASON: u64 = 64 * 1024;

/// Where modules are compiled.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// In a process of this Windlass binary.
    Process(PathBuf),
    /// The same, for an engine that counts what guests execute.
    Counting(PathBuf),
    /// Unit tests have no binary.
    #[cfg(test)]
    Here,
}

impl Compiler {
    /// The same compiler, for an engine that counts what guests execute.
    pub fn counting(self) -> Self {
        match self {
            Self::Process(binary) => Self::Counting(binary),
            other => other,
        }
    }

    /// Compiles `module` to `code`, and waits for it: for a thread that may wait.
    ///
    /// # Errors
    /// `Invalid` with the reason for a module that is refused or too much; `Unavailable` when no compiler can be had.
    pub fn compile(&self, module: File, code: File) -> Result<()> {
        match self {
            Self::Process(binary) | Self::Counting(binary) => {
                let mut command = Command::new(binary);
                // Nothing of ours is there to be found: no variables, no folder, no other file.
                command.arg(COMMAND).args(matches!(self, Self::Counting(_)).then_some("--fuel"));
                command.env_clear().current_dir("/").stdin(module).stdout(code).stderr(Stdio::piped());
                let child = command.spawn().map_err(|wrong| {
                    Error::Unavailable(format!("the compiler {} cannot be started: {wrong}", binary.display()))
                })?;
                ended(child)
            }
            #[cfg(test)]
            Self::Here => here(module, code),
        }
    }
}

#[cfg(test)]
fn here(mut module: File, mut code: File) -> Result<()> {
    let mut bytes = Vec::new();
    module.read_to_end(&mut bytes)?;
    let compiled = super::compile::compile(&bytes, false).map_err(refused)?;
    Ok(std::io::Write::write_all(&mut code, &compiled)?)
}

/// Waits for the end of the process, which comes at [`WALL`] at the latest.
fn ended(mut child: Child) -> Result<()> {
    let end = Instant::now() + WALL;
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Err(refused(format!("compiling it takes more than {} s: build it from smaller functions", WALL.as_secs())));
        }
        std::thread::park_timeout(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(REASON).read_to_end(&mut said)?;
    }
    judged(status, &String::from_utf8_lossy(&said))
}

fn judged(status: ExitStatus, said: &str) -> Result<()> {
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    if status.code() == Some(i32::from(REFUSED)) {
        return Err(refused(last));
    }
    let size = crate::span::Size(MEMORY);
    Err(match status.signal() {
        Some(signal) if signal == Signal::XCPU.as_raw() => refused(format!(
            "compiling it takes more than {CPU_SECONDS} s of processor time: build it from smaller functions, with opt-level \"s\""
        )),
        Some(signal) if signal == Signal::XFSZ.as_raw() => {
            refused(format!("its compiled code has more than {}: leave something out", crate::span::Size(CODE)))
        }
        _ if said.contains("memory allocation of") || said.contains("Cannot allocate memory") => {
            refused(format!("compiling it takes more than {size} of memory: build it from smaller functions"))
        }
        Some(signal) if signal == Signal::KILL.as_raw() => Error::Unavailable(
            "the compiler was killed from outside: this machine may be short of memory; push the plugin again".into(),
        ),
        Some(signal) => refused(format!("the compiler broke on it (signal {signal}: {}): {AGAIN}", one_line(last))),
        // A panic, which says its place in one line and its reason in the next.
        None if status.code() == Some(101) => refused(format!("the compiler broke on it ({}): {AGAIN}", one_line(said))),
        None => Error::Unavailable(format!("the compiler ended with {status}: {}", one_line(last))),
    })
}

const AGAIN: &str = "build it again for wasm32-wasip2, with another version of its compiler";

fn refused(why: impl Into<String>) -> Error {
    Error::invalid("plugin", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_the_compiler_has_its_words() {
        let told = |raw, said| judged(ExitStatus::from_raw(raw), said);
        assert!(told(0, "").is_ok());
        for (raw, said, says) in [
            (2 << 8, "some log\nthe file is empty\n", "the file is empty"),
            (24, "", "more than 60 s of processor time"),
            (6, "memory allocation of 4096 bytes failed\n", "more than 2.0 GiB of memory"),
            (6, "thread 'main' has overflowed its stack\nfatal runtime error", "broke on it (signal 6: fatal runtime error)"),
            (101 << 8, "thread 'main' panicked at x.rs:1:2:\nindex out of\nbounds", "panicked at x.rs:1:2: index out of bounds"),
        ] {
            let Err(Error::Invalid(problems)) = told(raw, said) else { panic!("{raw}") };
            assert!(problems[0].message.contains(says) && !problems[0].message.contains('\n'), "{problems:?}");
        }
        assert!(matches!(told(9, ""), Err(Error::Unavailable(why)) if why.contains("killed from outside")));
        assert!(matches!(told(3 << 8, "cannot write: no space"), Err(Error::Unavailable(why)) if why.contains("no space")));
    }
}
