//! The command line. `serve`, `demo`, `doctor`, `bench`, `config`, `cron`, `import`, `backup`, `restore`, `plugin new|build|wit|run|inspect|check|test`
//! and `run replay FILE` work by themselves, `password` where no server runs; the rest is a client of the API.
//! docs/cli.md is its reference.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{DEFAULT_FILE, Settings};
use stop::{BAD, Done, Stop};

mod alert;
mod apply;
mod audit;
mod backfill;
mod backlog;
mod backup;
pub mod bench;
mod build_plugin;
mod client;
mod compile;
mod config;
mod cron;
mod dead;
pub mod demo;
pub mod doctor;
mod import;
mod job;
mod kept;
mod local;
mod moving;
mod new_plugin;
mod password;
mod plugin;
mod plugin_check;
mod plugin_test;
mod replay;
mod rotate_key;
mod run;
mod secret;
pub mod serve;
mod show;
mod stop;
mod tenant;
mod token;
mod try_plugin;

/// Per-tenant background jobs on cron and on backlog size, run as sandboxed WebAssembly plugins
#[derive(Parser)]
#[command(name = "windlass", version)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
pub struct Global {
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
    /// The server's address, with its token in WINDLASS_TOKEN; the one of the data folder, when absent
    #[arg(long, global = true, value_name = "URL", env = "WINDLASS_SERVER")]
    server: Option<String>,
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// windlass.toml
    #[arg(long, global = true, value_name = "FILE", env = "WINDLASS_CONFIG")]
    config: Option<PathBuf>,
    /// What is logged to stderr: error, warn, info, debug, or a filter such as windlass::runner=debug
    #[arg(long, global = true, value_name = "FILTER", env = "WINDLASS_LOG", default_value = "info")]
    log: String,
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve {
        #[command(flatten)]
        listen: Listen,
        /// `sqlite:FILE` in the data folder, or `postgres://USER@HOST/DATABASE`, which many nodes may share
        #[arg(long, value_name = "URL")]
        database_url: Option<String>,
    },
    /// The server with four small wikis whose backlogs fall
    Demo {
        #[command(flatten)]
        listen: Listen,
        /// Without a browser: in a temporary folder, on a free port, until all backlogs are where they should be
        #[arg(long)]
        once: bool,
    },
    /// Make tenants and jobs as files say
    Apply(apply::Command),
    /// What other systems were told, as tenant files
    #[command(subcommand)]
    Import(import::Command),
    #[command(subcommand)]
    Job(job::Command),
    #[command(subcommand)]
    Run(run::Command),
    /// Runs that need a person
    #[command(subcommand)]
    Dead(dead::Command),
    /// What needs a person, and who is told
    #[command(subcommand)]
    Alert(alert::Command),
    /// Who did what
    #[command(subcommand)]
    Audit(audit::Command),
    /// What waits at the targets
    Backlog(backlog::Command),
    #[command(subcommand)]
    Tenant(tenant::Command),
    #[command(subcommand)]
    Secret(secret::Command),
    #[command(subcommand)]
    Token(token::Command),
    /// For who cannot log in any more
    #[command(subcommand)]
    Password(password::Command),
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Copy the database to one file, while the server runs or not
    Backup(backup::Backup),
    /// Put a backup in the database's place, where no server runs
    Restore(backup::Restore),
    /// What this node is told, and by what
    #[command(subcommand)]
    Config(config::Command),
    /// Times of schedules
    #[command(subcommand)]
    Cron(cron::Command),
    /// Copy a SQLite file into an empty PostgreSQL
    Move(moving::Command),
    /// Started by a server for each plugin that it compiles
    #[command(hide = true)]
    CompilePlugin {
        /// For an engine that counts what is executed
        #[arg(long)]
        fuel: bool,
    },
    /// Check data folder, database, secrets, clock, engine, free space and, where a server runs, the sinks of alerts
    Doctor,
    /// Measure this machine
    Bench {
        /// Only this; without it all but `triggers`
        part: Option<bench::Part>,
        /// No-op runs to drain
        #[arg(long, default_value_t = 50_000)]
        runs: usize,
        /// Runs that wait, and that live one after the other, where it is about many
        #[arg(long, default_value_t = 1_000_000)]
        many: usize,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// An empty PostgreSQL, instead of a temporary file: `postgres://USER@HOST/DATABASE`
        #[arg(long, value_name = "URL")]
        database_url: Option<String>,
        /// Another plugin whose compiling and loading is measured, of another language perhaps; may be given more than once
        #[arg(long = "plugin", value_name = "FILE")]
        plugins: Vec<PathBuf>,
        /// An H.264 MP4 of 240 lines or more, up to 15 MiB: transcoded in the sandbox
        #[arg(long, value_name = "FILE")]
        film: Option<PathBuf>,
        /// The same transcoder without a sandbox, `PROGRAM FILM PRESET`: the same film by it, and the share that the sandbox has of its speed
        #[arg(long, value_name = "PROGRAM", requires = "film")]
        native: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Listen {
    /// Address and port; port 0 is a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

/// Parses the command line, or ends as clap does: 0 after help, 2 for wrong use.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, ExitCode> {
    Cli::try_parse_from(args).map_err(|wrong| {
        // Nobody is left to tell when this fails.
        let _ = wrong.print();
        ExitCode::from(u8::try_from(wrong.exit_code()).unwrap_or(stop::WRONG))
    })
}

impl Cli {
    /// The filter and format of the log.
    pub fn log(&self) -> (&str, LogFormat) {
        (&self.global.log, self.global.log_format)
    }

    /// Does it.
    pub fn run(self) -> ExitCode {
        let json = self.global.json;
        match self.done() {
            Ok(()) => ExitCode::SUCCESS,
            Err(stop) => stop.exit(json),
        }
    }

    fn done(self) -> Done {
        let Self { global, command } = self;
        match command {
            Command::Serve { listen, database_url } => {
                let mut settings = global.settings(&listen)?;
                if let Some(url) = database_url {
                    settings.database_url = url;
                    settings.origins.flag("database_url", "--database-url");
                    settings.check()?;
                }
                Ok(serve::run(settings)?)
            }
            Command::Demo { listen, once: false } => Ok(demo::run(global.demo_settings(&listen)?)?),
            Command::Demo { listen, once: true } => good(demo::run_once(global.demo_settings(&listen)?, global.json)?),
            Command::Apply(command) => apply::run(&command, &global),
            Command::Import(command) => import::run(command, &global),
            Command::Job(command) => job::run(command, &global),
            Command::Run(command) => run::run(command, &global),
            Command::Dead(command) => dead::run(command, &global),
            Command::Alert(command) => alert::run(command, &global),
            Command::Audit(command) => audit::run(command, &global),
            Command::Backlog(command) => backlog::run(&command, &global),
            Command::Tenant(command) => tenant::run(&command, &global),
            Command::Secret(command) => secret::run(command, &global),
            Command::Token(command) => token::run(command, &global),
            Command::Password(command) => password::run(command, &global),
            Command::Plugin(command) => plugin::run(command, &global),
            Command::Backup(command) => backup::backup(&command, &global),
            Command::Restore(command) => backup::restore(&command, &global),
            Command::Config(command) => config::run(&command, &global),
            Command::Cron(command) => cron::run(command, &global),
            Command::Move(command) => moving::run(&command, &global.data_dir()?, global.json),
            Command::CompilePlugin { fuel } => compile::run(fuel),
            Command::Doctor => good(doctor::run(&global.node()?, alert::judged(&global), global.json)?),
            Command::Bench { part, runs, many, seed, database_url, plugins, film, native } => {
                let plan = bench::Plan { part, runs, many, seed, postgres: database_url, plugins, film, native };
                Ok(bench::run(&plan, global.json)?)
            }
        }
    }
}

/// A command that ran and has said what is bad.
fn good(well: bool) -> Done {
    if well { Ok(()) } else { Err(Stop::silent(BAD)) }
}

impl Global {
    /// Of the node: the configuration, and the command line over it.
    fn settings(&self, listen: &Listen) -> Done<Settings> {
        let standing = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists());
        let file = self.config.clone().or_else(standing);
        let mut settings = Settings::load(file.as_deref(), std::env::vars())?;
        if let Some(data_dir) = &self.data_dir {
            settings.data_dir.clone_from(data_dir);
            settings.origins.flag("data_dir", "--data-dir");
        }
        if let Some(listen) = listen.listen {
            settings.listen = listen;
            settings.origins.flag("listen", "--listen");
        }
        Ok(settings)
    }

    /// Of the demo: it keeps apart from a real server's folder, unless it is told which one to take.
    fn demo_settings(&self, listen: &Listen) -> Done<Settings> {
        let mut settings = self.settings(listen)?;
        if settings.data_dir == Settings::default().data_dir {
            settings.data_dir = "windlass-demo".into();
        }
        Ok(settings)
    }

    /// Of the node, as commands see it that start no server.
    fn node(&self) -> Done<Settings> {
        self.settings(&Listen { listen: None })
    }

    /// Where the server of this machine leaves its address.
    fn data_dir(&self) -> Done<PathBuf> {
        Ok(self.node()?.data_dir)
    }
}

/// A variable that is for the command line and no setting.
#[expect(
    clippy::disallowed_methods,
    reason = "a token must not stand in argv, which every process can read, nor in the settings"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Between two looks at the server.
#[expect(clippy::disallowed_methods, reason = "the command line has one thread and no runtime")]
fn pause(span: Duration) {
    std::thread::sleep(span);
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_use_is_2_and_help_is_0() {
        let code = |line: &str| parse(line.split(' ').map(OsString::from)).map(|_| ()).unwrap_err();
        assert_eq!(format!("{:?}", code("windlass job walk")), format!("{:?}", ExitCode::from(2)));
        assert_eq!(format!("{:?}", code("windlass --version")), format!("{:?}", ExitCode::SUCCESS));
    }
}
