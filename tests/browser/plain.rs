//! The same without JavaScript: links and forms.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::chrome::{Script, story};
use crate::demo::Demo;

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_without_javascript() {
    let demo = Demo::start();
    story("plain", &demo.url, Script::Off, async |chrome| {
        chrome.go("/").await;
        demo.log_in(chrome).await;
        chrome.arrives("/").await;
        assert_eq!(chrome.count("html.js").await, 0, "scripts are off");
        assert_eq!(chrome.count("#tenants tbody tr").await, 4);
        let shown = "return [...document.querySelectorAll('.js-only')].filter(one => one.checkVisibility()).length";
        assert_eq!(chrome.js(shown).await, json!(0), "nothing that needs scripts is shown");
        let began = Instant::now();
        while !chrome.text("#needs").await.contains("dead") {
            assert!(began.elapsed() < Duration::from_secs(30), "no dead run:\n{}", chrome.text("main").await);
            tokio::time::sleep(Duration::from_millis(500)).await;
            chrome.press("Refresh").await;
        }
        chrome.is_sound().await;

        chrome.click("nav [href='/failures']").await;
        chrome.reads("#causes", "ffmpeg").await;
        chrome.click("#causes input[type=checkbox]").await;
        chrome.press("Re-run…").await;
        chrome.reads("h1", "Re-run 1 dead run?").await;
        chrome.is_sound().await;
        chrome.press("Re-run 1").await;
        let began = Instant::now();
        while !chrome.text("#operation").await.contains("1 of 1") {
            assert!(began.elapsed() < Duration::from_secs(30), "not done:\n{}", chrome.text("main").await);
            tokio::time::sleep(Duration::from_millis(500)).await;
            chrome.press("Refresh").await;
        }
        chrome.is_sound().await;
        chrome.click("nav [href='/failures']").await;
        chrome.reads("#causes", "Nothing to mend").await;

        chrome.go("/t/cedar/jobs/drain-jobs").await;
        chrome.press("Pause").await;
        chrome.reads("main .msg", "Paused:").await;
        chrome.press("Resume").await;
        chrome.reads("main .msg", "Resumed.").await;
        chrome.is_sound().await;

        chrome.click("[popovertarget=menu]").await;
        chrome.press("Log out").await;
        chrome.arrives("/login").await;
        chrome.is_sound().await;
    })
    .await;
}
