//! Every page on a phone and on a desk, light and dark.

use serde_json::json;

use crate::chrome::Chrome;

/// `dead`: the address of a dead run, still in the list of failures.
pub async fn everywhere(chrome: &Chrome, dead: &str) {
    chrome.go("/failures").await;
    let confirm = chrome.js("return document.querySelector('#causes h2 a').getAttribute('href')").await;
    let pages = [
        "/",
        "/?health=person&q=nobody",
        "/failures",
        "/failures?q=nothing+has+these+words",
        confirm.as_str().unwrap(),
        "/runs",
        "/runs?state=dead",
        "/plugins",
        "/schedule",
        "/schedule?window=past",
        "/t/cedar/jobs/drain-jobs/backfill",
        "/alerts",
        "/nodes",
        "/nodes/settings",
        "/audit",
        "/t/cedar",
        "/t/cedar/runs",
        "/t/cedar/jobs/drain-jobs",
        dead,
    ];
    for page in pages {
        chrome.go(page).await;
        looks(chrome).await;
    }
    for page in ["/nowhere", "/t/cedar/runs/0000000000000"] {
        chrome.go(page).await;
        chrome.quiet_but(&["404 (Not Found)"]);
        chrome.reads("main", "Not here, or not yours to see").await;
        assert_eq!(chrome.count("nav [href='/failures']").await, 1, "who is logged in keeps the way back");
        looks(chrome).await;
    }
}

/// The page that is open, in both widths and both schemes.
pub async fn looks(chrome: &Chrome) {
    let mut colours = Vec::new();
    for dark in [false, true] {
        for width in [390, 1280] {
            chrome.view(width, dark);
            chrome.is_sound().await;
        }
        colours.push(chrome.js("return getComputedStyle(document.body).color").await);
    }
    assert_ne!(colours[0], colours[1], "dark looks like light");
    assert_eq!(chrome.js("return document.querySelectorAll('[style], style, main script').length").await, json!(0));
    chrome.view(1280, false);
}
