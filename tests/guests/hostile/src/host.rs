//! Uses what the host offers, granted or not, and tells what came of it.

use std::time::Duration;

use serde_json::json;
use windlass_plugin::items::{Ending, Item};
use windlass_plugin::{Failure, Output, artifacts, http, items, progress, sign, state};

use crate::Input;

pub fn progress(input: &Input) -> Output {
    let reports = input.n.unwrap_or(10).max(1);
    for done in 1..=reports {
        std::thread::sleep(Duration::from_millis(input.ms.unwrap_or(1_000) / reports));
        progress::report(done, reports, "on its way");
    }
    Output::new("done")
}

pub fn sign(input: &Input) -> Output {
    let secret = input.secret.as_deref().unwrap_or("not-granted");
    let algorithm = input.algorithm.as_deref().unwrap_or("hmac-sha256");
    let text = input.text.as_deref().unwrap_or("text");
    match sign::sign_hex(secret, algorithm, text.as_bytes()) {
        Ok(signature) => Output::new("signed").data(json!({ "signature": signature })),
        Err(refusal) => Output::new("refused").data(json!({ "code": refusal.code, "message": refusal.message })),
    }
}

pub fn http(input: &Input) -> Result<Output, Failure> {
    let body = match input.bytes {
        Some(bytes) => "x".repeat(usize::try_from(bytes).unwrap_or(usize::MAX)),
        None => input.body.clone().unwrap_or_default(),
    };
    let mut request = http::request(input.method.as_deref().unwrap_or("GET"), &input.url).body(body);
    if let Some(header) = &input.header {
        request = request.header(header, input.text.clone().unwrap_or_default());
    }
    Ok(match request.send() {
        Ok(response) => {
            let status = response.status;
            let beginning = response.beginning(2_000);
            Output::new(format!("HTTP {status}")).data(json!({ "status": status, "body": beginning }))
        }
        Err(error) => {
            let data = json!({ "code": error.code, "detail": error.detail, "sent": error.may_have_been_sent() });
            Output::new(error.to_string()).data(data)
        }
    })
}

/// As an author would: what the target says decides whether it is tried again.
pub fn get(input: &Input) -> Result<Output, Failure> {
    let tries = input.n.and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
    let timeout = Duration::from_millis(input.ms.unwrap_or(60_000));
    let response = http::get(&input.url).first_byte_timeout(timeout).retry(tries).send()?.success()?;
    Ok(Output::new(response.text(2_000)?))
}

pub fn state_count() -> Result<Output, Failure> {
    const KEY: &str = "count";
    loop {
        let entry = state::get(KEY)?;
        let version = entry.as_ref().map_or(0, |entry| entry.version);
        let text = entry.map_or_else(String::new, |entry| String::from_utf8_lossy(&entry.value).into_owned());
        let count = text.parse::<u64>().unwrap_or(0) + 1;
        match state::set(KEY, count.to_string().as_bytes(), Some(version)) {
            Ok(_) => return Ok(Output::new(count.to_string()).data(count)),
            Err(refusal) if refusal.is_conflict() => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
}

/// `n` artifacts, of which the last `leave` are not finished; then it fails if it is to.
pub fn artifact(input: &Input) -> Result<Output, Failure> {
    let name = input.name.as_deref().unwrap_or("a.bin");
    let chunk = vec![b'a'; 64 * 1024];
    let (n, mut kept) = (input.n.unwrap_or(1), 0);
    for at in 0..n {
        let name = if n > 1 { format!("{at}-{name}") } else { name.to_owned() };
        let artifact = artifacts::create(&name, input.text.as_deref().unwrap_or("application/octet-stream"))?;
        let mut left = usize::try_from(input.bytes.unwrap_or(1_000)).unwrap_or(usize::MAX);
        while left > 0 {
            let size = left.min(chunk.len());
            artifact.write(&chunk[..size])?;
            left -= size;
        }
        if at + input.leave < n {
            kept += artifact.finish()?;
        }
    }
    if input.fail > 0 {
        return Err(Failure::permanent("as asked"));
    }
    Ok(Output::new(format!("{kept} bytes")))
}

/// What the run `text` has left as `name`, read in pieces of `bytes`: how many there were, and their sum.
pub fn read_artifact(input: &Input) -> Result<Output, Failure> {
    let (run, name) = (input.text.as_deref().unwrap_or_default(), input.name.as_deref().unwrap_or_default());
    let source = artifacts::open(run, name)?;
    let (mut offset, mut pieces, mut sum) = (0_u64, 0_u64, 0_u64);
    loop {
        let piece = source.read_at(offset, u32::try_from(input.bytes.unwrap_or(u64::MAX)).unwrap_or(u32::MAX))?;
        if piece.is_empty() {
            break;
        }
        (offset, pieces) = (offset + piece.len() as u64, pieces + 1);
        sum += piece.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    }
    assert_eq!(offset, source.length());
    Ok(Output::new(format!("{offset} bytes in {pieces} pieces, sum {sum}, {}", source.media_type())))
}

/// The first `fail` items fail, the last `leave` stay undone. A retry finds only what is open.
pub fn items(input: &Input) -> Result<Output, Failure> {
    let n = input.n.unwrap_or(20);
    let all: Vec<_> = (0..n).map(|at| Item::new(format!("item-{at:04}"), &at)).collect();
    let open = items::declare(&all)?;
    let mut left = open.saturating_sub(input.leave);
    let mut ended = 0;
    while left > 0 {
        let next = items::next(u32::try_from(left).unwrap_or(u32::MAX).min(5))?;
        if next.is_empty() {
            break;
        }
        left -= next.len() as u64;
        let endings = next.iter().map(|item| ending(item, input.fail)).collect::<Result<Vec<_>, _>>()?;
        ended += items::finish(&endings)?;
    }
    Ok(Output::new(format!("{ended} of {open} open items ended")))
}

fn ending(item: &Item, fail: u64) -> Result<Ending, Failure> {
    let at: u64 = item.input()?;
    Ok(if at < fail { item.failed("as asked") } else { item.done("").output(at * 2) })
}

/// The items of the input's `text`, comma by comma, one after another; that called `name` fails for good.
pub fn steps(input: &Input) -> Result<Output, Failure> {
    let names = input.text.as_deref().unwrap_or_default().split(',');
    items::declare(&names.map(|name| Item::new(name, &name)).collect::<Vec<_>>())?;
    let tally = items::each(|name, _: String| match input.name.as_deref() {
        Some(broken) if broken == name => Err(Failure::permanent(format!("{name} is broken"))),
        _ => Ok(format!("{name} is up")),
    })?;
    Ok(Output::new(format!("{} done, {} failed", tally.done, tally.failed)))
}
