//! A headless Chromium of a test's own, and what a person does with it. Whatever may still change is waited for.

use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use fantoccini::error::CmdError;
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use futures_util::FutureExt;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a page may take to show what it should.
const PATIENCE: Duration = Duration::from_secs(15);
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Script {
    On,
    Off,
}

pub struct Chrome {
    client: Client,
    driver: Driver,
    session: String,
    agent: ureq::Agent,
    /// The dashboard's address.
    base: String,
    _profile: TempDir,
}

/// `chromedriver` on a port of its own; killed when dropped, its browser is ended before.
struct Driver {
    child: Child,
    url: String,
}

/// Tells a story in a fresh browser. Where it fails, a picture of the page is kept.
pub async fn story(name: &str, base: &str, script: Script, tale: impl AsyncFnOnce(&Chrome)) {
    let chrome = Chrome::start(base, script).await;
    let told = AssertUnwindSafe(tale(&chrome)).catch_unwind().await;
    if told.is_err() {
        let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{name}.png"));
        chrome.picture(&picture);
        println!("---- {} looked like {}; console: {:#?}", chrome.path().await, picture.display(), chrome.console());
    }
    let Chrome { client, driver, .. } = chrome;
    // A browser that no longer answers ends with its driver.
    let _ = client.close().await;
    drop(driver);
    if let Err(panic) = told {
        resume_unwind(panic);
    }
}

impl Driver {
    fn start() -> Self {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed: see tests/packages");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines
            .by_ref()
            .find_map(|line| Some(line.ok()?.split_once("successfully on port ")?.1.trim_end_matches('.').to_owned()));
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://127.0.0.1:{}", port.expect("chromedriver says its port"));
        Self { child, url }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Chrome {
    async fn start(base: &str, script: Script) -> Self {
        let (driver, profile) = (Driver::start(), tempfile::tempdir().unwrap());
        let mut arguments: Vec<String> = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let mut options = json!({ "args": arguments });
        if script == Script::Off {
            options["prefs"] = json!({ "profile.managed_default_content_settings.javascript": 2 });
        }
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let Value::Object(wanted) = wanted else { unreachable!("it is written as one") };
        let capabilities: Capabilities = wanted.into_iter().collect();
        let client = ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(&driver.url).await.unwrap();
        let session = client.session_id().await.unwrap().unwrap();
        let agent = ureq::Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_secs(30))).build().into();
        let chrome = Self { client, driver, session, agent, base: base.to_owned(), _profile: profile };
        chrome.view(1280, false);
        chrome
    }

    /// What WebDriver has no word for, asked of its driver.
    fn ask(&self, what: &str, body: &Value) -> Value {
        let url = format!("{}/session/{}/{what}", self.driver.url, self.session);
        let answer: Value = self.agent.post(url).send_json(body).unwrap().body_mut().read_json().unwrap();
        answer["value"].clone()
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.ask("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// A window of that width, light or dark.
    pub fn view(&self, width: u32, dark: bool) {
        let height = if width < 600 { 844 } else { 800 };
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
        let scheme = if dark { "dark" } else { "light" };
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
    }

    pub fn picture(&self, path: &Path) {
        let taken = self.devtools("Page.captureScreenshot", &json!({ "format": "png" }));
        let png = base64::engine::general_purpose::STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        std::fs::write(path, png).unwrap();
    }

    /// What the console said since it was asked last: errors of scripts, breaches of the policy, answers that failed.
    pub fn console(&self) -> Vec<String> {
        let entries = self.ask("se/log", &json!({ "type": "browser" }));
        entries.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The console said nothing but these.
    pub fn quiet_but(&self, expected: &[&str]) {
        let said: Vec<String> =
            self.console().into_iter().filter(|line| !expected.iter().any(|expected| line.contains(expected))).collect();
        assert!(said.is_empty(), "{said:#?}");
    }

    pub async fn go(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.base)).await.unwrap();
    }

    /// The address without its server.
    pub async fn path(&self) -> String {
        let url = self.client.current_url().await.unwrap().to_string();
        url.strip_prefix(&self.base).unwrap_or(&url).to_owned()
    }

    /// Waits until a button or link has led there: a form that was sent may still be on its way.
    pub async fn arrives(&self, path: &str) {
        let began = Instant::now();
        while self.path().await != path {
            assert!(began.elapsed() < PATIENCE, "{} instead of {path}", self.path().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Runs in the page; works with its scripts off, too.
    pub async fn js(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap_or_else(|wrong| panic!("{script}: {wrong}"))
    }

    /// The text of the first element, or nothing.
    pub async fn text(&self, css: &str) -> String {
        let text = self.js(&format!("return document.querySelector({})?.innerText ?? ''", json!(css))).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    pub async fn count(&self, css: &str) -> u64 {
        self.js(&format!("return document.querySelectorAll({}).length", json!(css))).await.as_u64().unwrap()
    }

    pub async fn fill(&self, name: &str, text: &str) {
        let css = format!("[name={name}]");
        let field = self.client.find(Locator::Css(&css)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Presses the button, or follows the link, that says this.
    pub async fn press(&self, words: &str) {
        let path = format!("//*[self::button or self::a or self::summary][normalize-space()={}]", json!(words));
        self.tap(Locator::XPath(&path), words).await;
    }

    pub async fn click(&self, css: &str) {
        self.tap(Locator::Css(css), css).await;
    }

    /// Live updates may take an element away between finding and pressing it: then it is looked for again.
    async fn tap(&self, place: Locator<'_>, words: &str) {
        let began = Instant::now();
        loop {
            let tried: Result<(), CmdError> = async { self.client.find(place).await?.click().await }.await;
            match tried {
                Ok(()) => return,
                Err(wrong) if began.elapsed() > PATIENCE => panic!("{words} on {}: {wrong}", self.path().await),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    pub async fn keys(&self, keys: &str) {
        self.client.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    /// Waits until the expression is true in the page.
    pub async fn wait(&self, what: &str, at_most: Duration, expression: &str) {
        let began = Instant::now();
        while self.js(&format!("return Boolean({expression})")).await != json!(true) {
            assert!(
                began.elapsed() < at_most,
                "not within {at_most:?} on {}: {what}\n{}",
                self.path().await,
                self.text("main").await
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until the words stand in the element.
    pub async fn reads(&self, css: &str, words: &str) {
        let expression = format!("document.querySelector({})?.innerText.includes({})", json!(css), json!(words));
        self.wait(&format!("{css} says {words:?}"), PATIENCE, &expression).await;
    }

    pub async fn log_in(&self, name: &str, password: &str) {
        self.fill("name", name).await;
        self.fill("password", password).await;
        self.press("Log in").await;
    }

    /// What holds for every page: one heading, a title, nothing that must be scrolled sideways, a quiet console.
    pub async fn is_sound(&self) {
        let path = self.path().await;
        assert_eq!(self.count("h1").await, 1, "{path}: one h1");
        let title = self.js("return document.title").await;
        assert!(title.as_str().is_some_and(|title| title.ends_with(" · Windlass")), "{path}: {title}");
        let wide = self.js("return document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
        assert_eq!(wide, json!(0), "{path}: scrolls sideways by so many pixels");
        self.quiet_but(&[]);
    }
}
