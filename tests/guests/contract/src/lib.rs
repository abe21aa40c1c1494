//! Uses every function of the contract that is offered and has every export, without the SDK: what is built of it once is
//! kept in tests/data and must run for ever (docs/adr/0015).

wit_bindgen::generate!({
    path: "../../../plugins/wit",
    inline: "
        package windlass:fixture@1.0.0;
        world whole {
            import windlass:plugin/log@1.0.0;
            import windlass:plugin/progress@1.0.0;
            import windlass:plugin/control@1.0.0;
            import windlass:plugin/items@1.0.0;
            import windlass:plugin/state@1.0.0;
            import windlass:plugin/sign@1.0.0;
            export windlass:plugin/job@1.0.0;
            export windlass:plugin/backlog@1.0.0;
            export windlass:plugin/config@1.0.0;
            export windlass:plugin/describe@1.0.0;
            export windlass:plugin/finish@1.0.0;
        }
    ",
    world: "windlass:fixture/whole",
    generate_all,
});

use exports::windlass::plugin::{backlog, config, describe, finish, job};
use windlass::plugin::types::{Class, Counts, Failure, Output, Work};
use windlass::plugin::{control, items, log, progress, sign, state};

struct Whole;

fn told(summary: String) -> Output {
    let counts = Counts { taken: 2, done: 2, failed: 0, left: Some(0) };
    Output { summary, data: Some("{\"whole\":true}".into()), counts: Some(counts), extras: Vec::new() }
}

fn refused(code: String, message: String) -> Failure {
    let extras = vec![("code".to_owned(), code)];
    Failure { class: Class::Permanent, message, delay_ms: None, counts: None, extras }
}

impl job::Guest for Whole {
    fn run(work: Work) -> Result<Output, Failure> {
        log::write(log::Level::Info, "begun", &[("run".into(), work.run.clone())]);
        progress::report(1, Some(2), "half");
        let state_refused = |wrong: state::Refusal| refused(wrong.code, wrong.message);
        let version = state::set("key", b"value", None).map_err(state_refused)?;
        let found = state::get("key").map_err(state_refused)?;
        let keys = state::keys("k").map_err(state_refused)?;
        state::delete("key", Some(version)).map_err(state_refused)?;
        let item_refused = |wrong: items::Refusal| refused(wrong.code, wrong.message);
        let open = items::declare(&[items::Item { name: "one".into(), input: "1".into() }]).map_err(item_refused)?;
        let next = items::next(5).map_err(item_refused)?;
        let ending = |item: &items::Item| items::Ending {
            name: item.name.clone(),
            status: items::Status::Done,
            message: String::new(),
            output: None,
        };
        let ended = items::finish(&next.iter().map(ending).collect::<Vec<_>>()).map_err(item_refused)?;
        let signed = sign::sign("nobody", "hmac-sha256", b"text").map_or_else(|wrong| wrong.code, |_| "signed".into());
        let value = found.map_or(0, |entry| entry.value.len());
        let stop = control::should_stop() || control::remaining_ms() == 0;
        Ok(told(format!("value {value}, {} keys, {open} open, {ended} ended, {signed}, stop {stop}", keys.len())))
    }
}

impl backlog::Guest for Whole {
    fn measure(target: backlog::Target) -> Result<backlog::Measurement, Failure> {
        Ok(backlog::Measurement { size: target.config.len() as u64, age_ms: Some(7), extras: Vec::new() })
    }
}

impl config::Guest for Whole {
    fn check(config: String) -> Result<(), Vec<config::Problem>> {
        let problem = || config::Problem { field: "bad".into(), message: "leave it out".into() };
        if config.contains("bad") { Err(vec![problem()]) } else { Ok(()) }
    }
}

impl describe::Guest for Whole {
    fn describe() -> String {
        r#"{"version":"1.0.0","summary":"Has the whole contract 1.0.0","config":{},"wants":["sign"]}"#.into()
    }
}

impl finish::Guest for Whole {
    fn finish(_: Work, totals: finish::Totals) -> Result<Output, Failure> {
        Ok(told(format!("{} done, {} failed, {} skipped", totals.done, totals.failed, totals.skipped)))
    }
}

#[cfg(target_family = "wasm")]
export!(Whole);
