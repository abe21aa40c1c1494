//! The same in a chat.

use serde_json::{Value, json};

use super::Letter;

/// For Slack's incoming webhooks, and what is like them (Mattermost, Rocket.Chat, Discord's `/slack`).
pub(super) fn slack(letter: &Letter) -> Value {
    // Slack's three letters that mean something.
    let plain = |line: &String| line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let lines: Vec<String> = letter.lines().iter().map(plain).collect();
    json!({ "text": format!("*{}*\n{}", lines[0], lines[1..].join("\n")) })
}

/// For the generic webhooks of Matrix's bridge, hookshot.
pub(super) fn matrix(letter: &Letter) -> Value {
    let plain = |line: &String| line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let lines = letter.lines();
    let html: Vec<String> = lines.iter().map(plain).collect();
    json!({
        "username": "Windlass",
        "text": lines.join("\n"),
        "html": format!("<strong>{}</strong><br>{}", html[0], html[1..].join("<br>")),
    })
}
