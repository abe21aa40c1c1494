//! Parses the command line, sets up the log, calls one command.

use std::io::IsTerminal;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;
use windlass::cli::{self, LogFormat};

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let (filter, format) = cli.log();
    let Ok(filter) = EnvFilter::try_new(filter) else {
        eprintln!("{filter:?} is no filter of a log: error, warn, info, debug, or parts such as windlass::runner=debug");
        return ExitCode::from(2);
    };
    // A log that cannot be written would be told of on stderr, by a macro that panics when that is what is gone.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    cli.run()
}
