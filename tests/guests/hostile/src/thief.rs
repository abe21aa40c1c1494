//! Tries to get hold of a secret: sends its stand-in wherever it is told to, and looks for the value in all that it has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use windlass_plugin::{Failure, Output, http, secrets};

use crate::Input;

/// `{}` in URL, header and body is the stand-in, `{basic}` user and stand-in in base 64. `reversed` is the value from its end
/// to its beginning: what looks for the value must not have it.
/// What it got is its output, or with `fail` its failure's message.
pub fn steal(input: &Input) -> Result<Output, Failure> {
    let stand_in = match secrets::stand_in(input.secret.as_deref().unwrap_or("key")) {
        Ok(stand_in) => stand_in,
        Err(refusal) => {
            return Ok(Output::new("refused").data(json!({ "code": refusal.code, "message": refusal.message })));
        }
    };
    let basic = STANDARD.encode(format!("user:{stand_in}"));
    let fill = |text: &str| text.replace("{basic}", &basic).replace("{}", &stand_in);
    let mut request = http::request(input.method.as_deref().unwrap_or("GET"), fill(&input.url));
    if let Some(body) = &input.body {
        request = request.body(fill(body));
    }
    if let Some(kind) = &input.name {
        request = request.header("content-type", kind);
    }
    if let Some(header) = &input.header {
        request = request.header(header, fill(input.text.as_deref().unwrap_or("{}")));
    }
    let data = match request.send() {
        Ok(response) => {
            let (status, echo) = (response.status, response.header("x-echo").map(str::to_owned));
            let body = response.text(100_000).unwrap_or_else(|error| error.to_string());
            println!("what came back: {echo:?} {body}");
            json!({ "status": status, "echo": echo, "body": body, "stand_in": stand_in })
        }
        Err(error) => json!({ "code": error.code, "detail": error.detail }),
    };
    let hits = input.reversed.as_deref().map_or(0, hits_in_memory);
    if input.fail > 0 {
        return Err(Failure::permanent(data.to_string()));
    }
    Ok(Output::new(format!("{hits} in memory")).data(json!({ "found": data, "hits": hits })))
}

/// How often the whole memory of this guest has these bytes, read backwards.
fn hits_in_memory(reversed: &str) -> usize {
    let wanted: Vec<u8> = reversed.bytes().collect();
    memory().windows(wanted.len()).filter(|window| window.iter().eq(wanted.iter().rev())).count()
}

/// A copy of all that there is, from the first byte on.
#[cfg(target_family = "wasm")]
fn memory() -> Vec<u8> {
    let size = core::arch::wasm32::memory_size(0) * 65_536;
    let mut copy = Vec::with_capacity(size);
    for at in 1..size {
        // SAFETY: every address below the memory's size can be read, and volatile reads assume nothing of what is there.
        copy.push(unsafe { core::ptr::read_volatile(at as *const u8) });
    }
    copy
}

#[cfg(not(target_family = "wasm"))]
fn memory() -> Vec<u8> {
    Vec::new()
}
