//! `windlass plugin …`

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;

use super::client::{self, Client};
use super::show::{Table, now, say, say_json, say_raw, short, when};
use super::stop::{Done, Stop, WRONG};
use super::{Global, build_plugin, new_plugin, plugin_check, plugin_test, try_plugin};
use crate::domain::plugin::{PluginRef, Want, is_name};
use crate::span::Size;
use crate::web::api::shape::{List, PluginJson, PluginShownJson, PushJson};
use crate::web::api::{LARGE_LIMIT, SIGNATURE};

/// Between two looks at a push.
const LOOK: Duration = Duration::from_millis(150);

#[derive(Subcommand)]
pub enum Command {
    List,
    /// Its versions, what it offers and asks for, and the jobs that use it
    Show {
        name: String,
    },
    /// A folder with a small plugin that works, to begin with
    New(new_plugin::New),
    /// Make the component of a plugin's folder, with the tools of its language
    Build(build_plugin::Build),
    /// The contract between Windlass and its plugins, as WIT
    Wit,
    /// One attempt on this machine, without a server; prints what it came to
    Run(Box<try_plugin::Run>),
    /// What stands against a component, and what it will ask for: one line each, without a server
    Check(plugin_check::Check),
    /// Run a component against written cases, without a server
    Test(plugin_test::Test),
    /// What a component is, asks for and offers, without a server
    Inspect(try_plugin::Inspect),
    /// Add a plugin: a component, or a program for WASI preview 1; waits until it is compiled and checked
    Push {
        /// A WebAssembly component
        file: PathBuf,
        /// What the component calls itself, else the file's name, when absent
        #[arg(long)]
        name: Option<String>,
        /// X.Y.Z, for a component that does not say its own
        #[arg(long)]
        version: Option<String>,
        /// For everybody, when absent
        #[arg(long)]
        tenant: Option<String>,
        /// What minisign wrote about the component: FILE.minisig
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
    },
}

pub fn run(command: Command, global: &Global) -> Done {
    match command {
        Command::New(asked) => new_plugin::run(&asked, global),
        Command::Build(asked) => build_plugin::run(&asked, global),
        Command::Wit => say_raw(new_plugin::contract().trim_end()),
        Command::Run(asked) => try_plugin::run(*asked, global),
        Command::Check(asked) => plugin_check::run(&asked, global),
        Command::Test(asked) => plugin_test::run(&asked, global),
        Command::Inspect(asked) => try_plugin::inspect(&asked, global),
        Command::List => list(&Client::open(global)?.get("plugins")?, global.json),
        Command::Show { name } => {
            if !is_name(&name) {
                return Err(Stop::new(WRONG, not_a_name(&name)));
            }
            show(&Client::open(global)?.get(&format!("plugins/{name}"))?, global.json)
        }
        Command::Push { file, name, version, tenant, signature } => {
            let client = Client::open(global)?;
            let bytes = component(&file)?;
            let query = query(&file, name, version, tenant)?;
            let signature = signature.as_deref().map(encoded).transpose()?;
            let headers: Vec<_> = signature.iter().map(|signature| (SIGNATURE, signature.as_str())).collect();
            let begun: PushJson = client.post_bytes(&format!("plugins?{query}"), &bytes, "application/wasm", &headers)?;
            let push = followed(&client, begun)?;
            if push.state != "ready" {
                return Err(Stop::new(WRONG, push.message.unwrap_or(push.state)));
            }
            if global.json {
                return say_json(&push);
            }
            let how = if push.new { "pushed" } else { "already there" };
            say(format_args!("{how}  {} {} ({})", push.name, push.version.as_deref().unwrap_or("?"), push.digest))
        }
    }
}

/// A signature as a header carries it.
fn encoded(file: &Path) -> Done<String> {
    let text = std::fs::read(file).map_err(|wrong| Stop::new(WRONG, format!("{}: {wrong}", file.display())))?;
    Ok(STANDARD.encode(text))
}

/// Looks until it has come to its end, and shows how far it is where somebody looks.
fn followed(client: &Client, mut push: PushJson) -> Done<PushJson> {
    let mut shown = std::io::stderr();
    let somebody = shown.is_terminal();
    while matches!(push.state.as_str(), "waiting" | "compiling" | "describing") {
        super::pause(LOOK);
        push = client.get(&format!("pushes/{}", push.id))?;
        if somebody {
            let seconds = now().since(push.begun_at).as_secs();
            // Progress that cannot be shown is no reason to stop.
            let _ = write!(shown, "\r\x1b[K{} {seconds} s", push.state);
            let _ = shown.flush();
        }
    }
    if somebody {
        let _ = write!(shown, "\r\x1b[K");
    }
    Ok(push)
}

/// The file's bytes; one that the server would refuse for its size is not sent.
pub fn component(file: &Path) -> Done<Vec<u8>> {
    let wrong = |wrong: std::io::Error| Stop::new(WRONG, format!("{}: {wrong}", file.display()));
    let bytes = std::fs::metadata(file).map_err(wrong)?.len();
    if bytes > LARGE_LIMIT as u64 {
        let why = format!("{}: {} is more than a plugin may have, {}", file.display(), Size(bytes), Size(LARGE_LIMIT as u64));
        return Err(Stop::new(WRONG, why));
    }
    std::fs::read(file).map_err(wrong)
}

/// What the component is called and whose it is; only what needs no encoding comes in.
fn query(file: &Path, name: Option<String>, version: Option<String>, tenant: Option<String>) -> Done<String> {
    let mut query = Vec::new();
    match name {
        Some(name) if is_name(&name) => query.push(format!("name={name}")),
        Some(name) => {
            return Err(Stop::new(WRONG, not_a_name(&name)));
        }
        // Cargo writes my-plugin to my_plugin.wasm.
        None => {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-").to_lowercase();
            query.extend(Some(stem).filter(|stem| is_name(stem)).map(|stem| format!("fallback={stem}")));
        }
    }
    if let Some(version) = version {
        let exact = format!("x@{version}").parse::<PluginRef>().is_ok_and(|plugin| matches!(plugin.want, Want::Exactly(_)));
        let plain = version.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
        if !(exact && plain) {
            return Err(Stop::new(WRONG, format!("{version:?} is no version: write one such as 1.4.2")));
        }
        query.push(format!("version={version}"));
    }
    if let Some(tenant) = tenant {
        query.push(format!("tenant={}", client::tenant(&tenant)?));
    }
    Ok(query.join("&"))
}

fn not_a_name(name: &str) -> String {
    format!("{name:?} is no name of a plugin: a-z, 0-9 and -, beginning with a letter")
}

fn show(plugin: &PluginShownJson, json: bool) -> Done {
    if json {
        return say_json(plugin);
    }
    let now = now();
    say(format_args!("{}   {}", plugin.name, plugin.summary))?;
    if let Some(newest) = plugin.versions.first() {
        // Of the contract by its short name, of WASI by the whole.
        let name = |export: &str| {
            let name = export.split('@').next().unwrap_or(export);
            name.strip_prefix("windlass:plugin/").unwrap_or(name).to_owned()
        };
        let all = |names: &[String]| names.iter().map(|export| name(export)).collect::<Vec<_>>().join(" ");
        say(format_args!("offers    {}", all(&newest.exports)))?;
        say(format_args!("asks for  {}", all(&newest.imports)))?;
    }
    say("")?;
    let mut versions = Table::new(&["version", "of", ">bytes", ">jobs", "signed", "pushed", "by", "digest"]);
    for one in &plugin.versions {
        let jobs = plugin.used_by.iter().filter(|user| user.digest == one.digest).count();
        versions.row(vec![
            one.version.clone(),
            one.tenant.clone().unwrap_or_else(|| "(all)".into()),
            one.bytes.to_string(),
            jobs.to_string(),
            if one.signed { "yes" } else { "no" }.into(),
            when(one.pushed_at, now),
            one.pushed_by.clone(),
            one.digest.clone(),
        ]);
    }
    versions.print("no versions")?;
    say("")?;
    let mut users = Table::new(&["used by", "version", "runs"]);
    for user in &plugin.used_by {
        users.row(vec![format!("{}/{}", user.tenant, user.job), user.version.clone(), user.runs.clone()]);
    }
    users.print("no job uses it")
}

fn list(list: &List<PluginJson>, json: bool) -> Done {
    if json {
        return say_json(list);
    }
    let now = now();
    let mut table = Table::new(&["plugin", "version", "of", ">bytes", "pushed", "by", "exports", "digest"]);
    for plugin in &list.items {
        table.row(vec![
            plugin.name.clone(),
            plugin.version.clone(),
            plugin.tenant.clone().unwrap_or_else(|| "(all)".into()),
            plugin.bytes.to_string(),
            when(plugin.pushed_at, now),
            plugin.pushed_by.clone(),
            plugin.exports.iter().map(|export| interface(export)).collect::<Vec<_>>().join(" "),
            short(&plugin.digest, 20),
        ]);
    }
    table.print("no plugins")
}

/// `windlass:plugin/job@1.0.0` is `job` to people.
fn interface(export: &str) -> &str {
    let name = export.rsplit('/').next().unwrap_or(export);
    name.split('@').next().unwrap_or(name)
}
