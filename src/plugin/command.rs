//! Any WASI program as a job: the input on standard input, the configuration as arguments and environment, the exit
//! code as outcome, output and error as its log.

use serde_json::Value;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;

use super::Work;

/// What a program is started with.
pub struct Program {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    input: String,
}

impl Program {
    /// `{"max-rows": 5}` becomes `--max-rows 5` and `MAX_ROWS=5`; facts of the run stand in `WINDLASS_…`. Texts are given
    /// as they are, other values as JSON. The error says what is wrong with the configuration.
    pub fn new(work: &Work) -> Result<Self, String> {
        let config: serde_json::Map<String, Value> =
            serde_json::from_str(&work.config).map_err(|wrong| format!("the configuration is no JSON object: {wrong}"))?;
        let mut arguments = vec![work.job.clone()];
        let mut environment = Vec::new();
        for (key, value) in config {
            let value = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            arguments.extend([format!("--{key}"), value.clone()]);
            let name = key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
            environment.push((name, value));
        }
        for (name, value) in [
            ("WINDLASS_TENANT", work.tenant.clone()),
            ("WINDLASS_JOB", work.job.clone()),
            ("WINDLASS_RUN", work.run.to_string()),
            ("WINDLASS_ATTEMPT", work.attempt.to_string()),
            ("WINDLASS_TRIGGER", work.trigger.to_owned()),
        ] {
            environment.push((name.to_owned(), value));
        }
        Ok(Self { arguments, environment, input: work.input.clone() })
    }

    pub fn furnish(&self, wasi: &mut WasiCtxBuilder) {
        wasi.args(&self.arguments).envs(&self.environment).stdin(MemoryInputPipe::new(self.input.clone()));
    }
}
