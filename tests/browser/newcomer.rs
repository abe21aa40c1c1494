//! What the demo promises a newcomer: backlogs fall, one failure to look at, one button to press.

use std::time::Duration;

use serde_json::json;

use crate::chrome::{Chrome, Script, story};
use crate::demo::Demo;
use crate::looks;

/// All backlogs are drained by then.
const DRAINED: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_sees_backlogs_fall_and_mends_the_one_failure() {
    let demo = Demo::start();
    story("newcomer", &demo.url, Script::On, async |chrome| {
        chrome.go("/t/birch").await;
        assert_eq!(chrome.path().await, "/login?to=%2Ft%2Fbirch");
        demo.log_in(chrome).await;
        chrome.arrives("/t/birch").await;
        overview(chrome).await;
        let dead = look_at_the_failure(chrome).await;
        looks::everywhere(chrome, &dead).await;
        mend(chrome, &dead).await;
        a_job(chrome).await;
        keyboard(chrome).await;
    })
    .await;
}

/// The cell of a tenant's row.
fn cell(tenant: &str, label: &str) -> String {
    format!(
        "[...document.querySelectorAll('#tenants tbody tr')].find(row => row.querySelector('th').innerText === '{tenant}')\
         .querySelector('td[data-l=\"{label}\"]').innerText"
    )
}

async fn overview(chrome: &Chrome) {
    chrome.go("/").await;
    chrome.is_sound().await;
    let names = chrome.js("return [...document.querySelectorAll('#tenants th a')].map(name => name.innerText).filter(name => /^[a-z]+$/.test(name)).sort()");
    assert_eq!(names.await, json!(["alder", "birch", "cedar", "dogwood"]));
    // Whatever is seen from here on came by itself: a reload would take the mark away.
    chrome.js("window.mark = 'not reloaded'").await;
    let size = |tenant| format!("Number({}.replaceAll(',', ''))", cell(tenant, "Backlog"));
    let health = |tenant, word| format!("{}.includes('{word}')", cell(tenant, "Health"));
    chrome.wait("birch is measured", DRAINED, &format!("{} > 0", size("birch"))).await;
    let first = chrome.js(&format!("return {}", size("birch"))).await;
    chrome.wait("birch falls", DRAINED, &format!("{} < {first}", size("birch"))).await;
    chrome.wait("dogwood fails while its wiki is down", DRAINED, &health("dogwood", "failing")).await;
    chrome.wait("cedar is stuck", DRAINED, &health("cedar", "stuck")).await;
    chrome.wait("the sidebar counts the dead run", DRAINED, "document.querySelector('.side #dead').innerText === '1'").await;
    chrome.wait("dogwood recovers", DRAINED, &format!("{} && {} === 0", health("dogwood", "ok"), size("dogwood"))).await;
    chrome.wait("birch is drained", DRAINED, &format!("{} === 0", size("birch"))).await;
    chrome.reads("#needs", "none runnable").await;
    chrome
        .wait("the tabs count with them", DRAINED, "/Needs a person\\s*1/.test(document.querySelector('#tabs').innerText)")
        .await;
    chrome.wait("the tabs count with them", DRAINED, "/OK\\s*3/.test(document.querySelector('#tabs').innerText)").await;
    assert_eq!(chrome.js("return window.mark").await, json!("not reloaded"));
    chrome.is_sound().await;
}

/// The failure and its run; answers with the run's address.
async fn look_at_the_failure(chrome: &Chrome) -> String {
    chrome.click("nav [href='/failures']").await;
    chrome.reads("#totals", "1 dead run").await;
    assert_eq!(chrome.count("#causes .group").await, 1);
    chrome.reads("#causes h2", "ffmpeg: /srv/wiki/images/Intro.webm").await;
    chrome.press("Look at the last").await;
    chrome.reads("h1", "dead").await;
    let run = chrome.path().await;
    assert!(run.starts_with("/t/cedar/runs/"), "{run}");
    chrome.reads("#verdict", "No such file or directory").await;
    chrome.reads("#attempts", "failed").await;
    chrome.reads("#attempts", "/w/index.php").await;
    assert!(chrome.count("#log-lines li").await > 0);
    chrome.reads("#log", "webVideoTranscode failed").await;
    chrome.reads("#facts", "backlog 12").await;
    chrome.reads("#out", "\"failed\": 12").await;
    chrome.reads("main", "None: the job's configuration is all it needs.").await;
    run
}

async fn mend(chrome: &Chrome, dead: &str) {
    chrome.go("/failures").await;
    chrome.click("#causes h2 a").await;
    chrome.reads("#runs", "webVideoTranscode").await;
    chrome.is_sound().await;
    chrome.click("#runs input[type=checkbox]").await;
    chrome.press("Re-run…").await;
    chrome.reads("#dialog h2", "Re-run 1 dead run?").await;
    chrome.reads("#dialog", "Nothing has happened yet").await;
    chrome.is_sound().await;
    chrome.press("Re-run 1").await;
    chrome.reads("#operation", "1 of 1").await;
    chrome.reads("#operation", "run again").await;
    chrome.is_sound().await;
    chrome.go("/failures").await;
    chrome.reads("#causes", "Nothing to mend").await;
    chrome.wait("the sidebar is calm", DRAINED, "document.querySelector('.side #dead').hidden").await;
    chrome.is_sound().await;

    chrome.go(dead).await;
    chrome.reads("#verdict", "It was run again").await;
    chrome.press("Open the new run").await;
    chrome.reads("#facts", "re-run of").await;
    chrome.reads("h1", "succeeded").await;
    assert_eq!(chrome.count(&format!("#facts a[href='{dead}']")).await, 1, "the new run names the old one");
    chrome.is_sound().await;
}

async fn a_job(chrome: &Chrome) {
    chrome.go("/t/birch/jobs/drain-jobs").await;
    chrome.reads("main", "Next times").await;
    assert_eq!(chrome.js("return [...document.querySelectorAll('h2')].find(h => h.innerText === 'Next times').closest('section').querySelectorAll('tbody tr').length").await, json!(10));
    chrome.press("Run now").await;
    chrome.reads("main .msg", "Started a run.").await;
    chrome.press("Open it").await;
    chrome.reads("h1", "succeeded").await;
    chrome.reads("#facts", "manual, admin").await;
    chrome.reads("#attempts", "succeeded").await;
    chrome.is_sound().await;
    chrome.go("/t/birch/jobs/drain-jobs").await;
    chrome.press("Pause").await;
    chrome.reads("main .msg", "Paused: its triggers start nothing until it is resumed").await;
    chrome.reads("h1", "paused").await;
    assert!(!chrome.text("main").await.contains("Next times"));
    chrome.press("Resume").await;
    chrome.reads("main .msg", "Resumed.").await;
    chrome.reads("main", "Next times").await;
    chrome.is_sound().await;
}

async fn keyboard(chrome: &Chrome) {
    chrome.go("/").await;
    let mut reached = Vec::new();
    for _ in 0..40 {
        chrome.keys("\u{e004}").await;
        let name = chrome.js("const a = document.activeElement; return a.innerText || a.ariaLabel || a.placeholder || ''").await;
        reached.push(name.as_str().unwrap_or_default().trim().to_owned());
    }
    for wanted in [
        "Skip to content",
        "Overview",
        "Failures",
        "Find tenant, job or run",
        "Live",
        "Open job",
        "Tenant name",
        "Filter",
        "cedar",
    ] {
        assert!(reached.iter().any(|name| name.starts_with(wanted)), "Tab does not reach {wanted:?}: {reached:?}");
    }

    chrome.go("/").await;
    let asked = "performance.getEntriesByType('resource').filter(one => one.initiatorType === 'xmlhttprequest').length";
    chrome.wait("live updates", DRAINED, &format!("{asked} > 0")).await;
    chrome.keys("p").await;
    chrome.reads("#live", "Held").await;
    assert_eq!(chrome.js("return document.querySelector('#live').ariaPressed").await, json!("false"));
    // What was on its way has arrived by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = chrome.js(&format!("return {asked}")).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(chrome.js(&format!("return {asked}")).await, before, "a held page asks for nothing");
    chrome.keys("p").await;
    chrome.reads("#live", "Live").await;
    chrome.wait("what was missed is caught up with", DRAINED, &format!("{asked} > {before}")).await;
    chrome.is_sound().await;
}
