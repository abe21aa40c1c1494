use serde::Deserialize;
use windlass_plugin::serde_json::{Value, json};
use windlass_plugin::{Failure, Output, Work, log};

#[derive(Deserialize)]
struct Config {
    #[serde(default = "hello")]
    greeting: String,
}

#[derive(Deserialize)]
struct Input {
    name: String,
}

fn run(work: &Work, input: Input) -> Result<Output, Failure> {
    let config: Config = work.config()?;
    if input.name.is_empty() {
        // Trying again cannot help: the run is dead at once. `?` on any error would be tried again.
        return Err(Failure::permanent("input.name is empty: whom shall I greet?"));
    }
    log::info!("attempt {} greets {}", work.attempt, input.name);
    let text = format!("{}, {}", config.greeting, input.name);
    Ok(Output::new(&text).data(json!({ "text": text })))
}

fn describe() -> Value {
    json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "summary": "Greets whom the input names",
        "config": { "type": "object", "properties": { "greeting": { "type": "string" } } },
        "wants": [],
    })
}

fn hello() -> String {
    "hello".into()
}

windlass_plugin::job!(run);
windlass_plugin::describe!(describe);
