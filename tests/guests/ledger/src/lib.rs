//! Posts `RUN ATTEMPT start` to a witness outside, works for a while, posts `RUN ATTEMPT end`: two effects at a target. With
//! items it does so for each, under the name `RUN/ITEM`.

use std::time::Duration;

use windlass_plugin::items::{self, Item};
use windlass_plugin::{Failure, Work, control, http};

#[derive(serde::Deserialize)]
struct Config {
    witness: String,
    /// How long the work takes.
    ms: u64,
    #[serde(default)]
    items: u32,
}

fn run(work: &Work) -> Result<&'static str, Failure> {
    let config: Config = work.config()?;
    if config.items == 0 {
        return act(&config, &work.run, work.attempt);
    }
    let names = (1..=config.items).map(|n| format!("item-{n}"));
    items::declare(&names.map(|name| Item::new(name, &())).collect::<Vec<_>>())?;
    items::each(|name, ()| act(&config, &format!("{}/{name}", work.run), work.attempt))?;
    Ok("all done")
}

fn act(config: &Config, name: &str, attempt: u32) -> Result<&'static str, Failure> {
    let tell = |what: &str| {
        let said = http::post(&config.witness).body(format!("{name} {attempt} {what}")).send();
        said.map(drop).map_err(|wrong| Failure::transient(format!("the witness does not hear: {wrong}")))
    };
    tell("start")?;
    if !control::sleep(Duration::from_millis(config.ms)) {
        return Err(Failure::transient("told to stop"));
    }
    tell("end")?;
    Ok("done")
}

windlass_plugin::job!(run);
