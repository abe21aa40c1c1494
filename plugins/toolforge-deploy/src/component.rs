//! One component of a tool: what it is, and how the jobs API is told of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What stands at the target in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Runs all the time.
    Continuous,
    /// Toolforge runs it by its own schedule.
    Scheduled,
    /// Runs once, now; its end is waited for.
    OneOff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// When it was there already and is another one now.
    #[default]
    Changed,
    /// In every deployment.
    Always,
    Never,
}

/// As in the configuration, which [`crate::config::check`] has judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Component {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    pub command: String,
    pub image: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    #[serde(default)]
    pub restart: Restart,
    /// A job that the API does not change in its place is deleted and created anew.
    #[serde(default)]
    pub replace: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_http: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_script: Option<String>,
    /// `cpu`, `memory`, `port` …: they go to the API as they are.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Component {
    /// The job as the API takes it.
    pub fn job(&self) -> Value {
        let mut job = json!({ "name": self.name, "cmd": self.command, "imagename": self.image, "job_type": self.kind });
        if self.kind == Kind::Continuous {
            job["continuous"] = true.into();
        }
        if let Some(schedule) = &self.schedule {
            job["schedule"] = schedule.as_str().into();
        }
        if let Some(path) = &self.health_check_http {
            job["health_check"] = json!({ "type": "http", "path": path });
        }
        if let Some(script) = &self.health_check_script {
            job["health_check"] = json!({ "type": "script", "script": script });
        }
        for (key, value) in &self.more {
            job[key.as_str()] = value.clone();
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_gets_its_own_words() {
        let component: Component = serde_json::from_value(json!({
            "name": "web", "type": "continuous", "command": "serve", "image": "tool-x/web:latest",
            "port": 8000, "memory": "2Gi", "health_check_http": "/health",
        }))
        .unwrap();
        assert_eq!(
            component.job(),
            json!({
                "name": "web", "cmd": "serve", "imagename": "tool-x/web:latest", "job_type": "continuous", "continuous": true,
                "health_check": { "type": "http", "path": "/health" }, "port": 8000, "memory": "2Gi",
            })
        );
    }
}
