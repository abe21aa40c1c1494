//! Posts `RUN ATTEMPT start` to a witness outside, works for a while, posts `RUN ATTEMPT end`: two effects at a target.

use std::time::Duration;

use windlass_plugin::{Failure, Work, control, http};

#[derive(serde::Deserialize)]
struct Config {
    witness: String,
    /// How long the work takes.
    ms: u64,
}

fn run(work: &Work) -> Result<&'static str, Failure> {
    let config: Config = work.config()?;
    let tell = |what: &str| {
        let said = http::post(&config.witness).body(format!("{} {} {what}", work.run, work.attempt)).send();
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
