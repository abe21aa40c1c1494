//! The way in: the first start of a server, then who may see a page.

use crate::chrome::{Chrome, Script, story};
use crate::harness::Server;
use crate::{hostile, looks};

const PASSWORD: &str = "a sentence is fine";

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_sets_a_password_and_no_page_opens_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    story("gate", &server.url, Script::On, async |chrome| {
        first_start(chrome, &code(&server)).await;
        log_out_and_in(chrome).await;
        hostile::shows_words_as_words(chrome, &server).await;
    })
    .await;
}

/// What the server says at its start.
fn code(server: &Server) -> String {
    let log = server.log();
    let code = log.lines().find_map(|line| Some(line.split_once("with the code ")?.1.trim().to_owned()));
    code.unwrap_or_else(|| panic!("no code in the log:\n{log}"))
}

async fn first_start(chrome: &Chrome, code: &str) {
    chrome.go("/runs").await;
    chrome.reads("h1", "Create the first admin").await;
    looks::looks(chrome).await;
    let form = async |code: &str, password: &str| {
        chrome.fill("code", code).await;
        chrome.fill("name", "ann").await;
        chrome.fill("password", password).await;
        chrome.press("Create and log in").await;
    };
    form("WRONG", PASSWORD).await;
    chrome.reads("[role=alert]", "That is not the code").await;
    chrome.quiet_but(&["403 (Forbidden)"]);
    looks::looks(chrome).await;
    form(&code.to_lowercase(), PASSWORD).await;
    chrome.reads("main .msg", "You are the first admin of this server.").await;
    chrome.reads("h1", "No tenants yet").await;
    looks::looks(chrome).await;
    chrome.go("/first-start").await;
    assert_eq!(chrome.path().await, "/login", "it works once");
}

async fn log_out_and_in(chrome: &Chrome) {
    chrome.go("/").await;
    chrome.click("[popovertarget=menu]").await;
    chrome.press("Log out").await;
    chrome.arrives("/login").await;
    for page in ["/", "/failures", "/runs", "/plugins", "/t/alpha"] {
        chrome.go(page).await;
        assert!(chrome.path().await.starts_with("/login"), "{page} is shown to strangers");
    }
    // A live update of the page that was left may have been on its way when its session ended.
    chrome.quiet_but(&["401 (Unauthorized)"]);
    looks::looks(chrome).await;
    chrome.log_in("ann", "not her password").await;
    chrome.reads("[role=alert]", "do not belong together").await;
    chrome.quiet_but(&["401 (Unauthorized)"]);
    looks::looks(chrome).await;
    chrome.go("/login?to=%2Fplugins").await;
    chrome.log_in("ann", PASSWORD).await;
    chrome.arrives("/plugins").await;
    chrome.is_sound().await;
}
