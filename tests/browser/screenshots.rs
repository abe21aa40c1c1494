//! The pictures in the documents: taken only when told where to.

use std::path::PathBuf;
use std::time::Duration;

use crate::chrome::{Script, story};
use crate::demo::Demo;

#[tokio::test(flavor = "multi_thread")]
async fn screenshots() {
    let Some(folder) = std::env::var_os("WINDLASS_SCREENSHOTS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).unwrap();
    let demo = Demo::start();
    story("screenshots", &demo.url, Script::On, async |chrome| {
        chrome.go("/").await;
        demo.log_in(chrome).await;
        chrome.arrives("/").await;
        // Everything is in motion: cedar is stuck, dogwood's wiki is back, birch still has much to do.
        chrome
            .wait(
                "cedar is stuck",
                Duration::from_secs(60),
                "document.querySelector('#needs').innerText.includes('none runnable')",
            )
            .await;
        tokio::time::sleep(Duration::from_secs(28).saturating_sub(demo.began.elapsed())).await;
        chrome.picture(&folder.join("overview.png"));
        chrome.go("/failures").await;
        chrome.picture(&folder.join("failures.png"));
        chrome.press("Look at the last").await;
        chrome.reads("#verdict", "No such file or directory").await;
        chrome.picture(&folder.join("run.png"));
    })
    .await;
}
