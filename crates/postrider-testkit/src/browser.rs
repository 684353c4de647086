//! A real browser, to be led through pages: Debian's Chromium, by its own driver (W3C WebDriver).
//!
//! It asks nobody but the pages that it is sent to. Where something is to appear on a page it waits, as a person would.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::eventually_within;

/// Browsers are heavy: so many at the same time.
static BROWSERS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(2));

/// A page is given this long, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// Without what would ask the Internet, and without a window.
const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// A browser. Call [`Browser::close`] at the end; dropped, it is killed.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    driver: Child,
    base: String,
    _profile: tempfile::TempDir,
    _place: SemaphorePermit<'static>,
}

/// How pages are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Light,
    Dark,
}

impl Browser {
    /// Starts one for the pages at `base`, as `http://127.0.0.1:3000`.
    ///
    /// # Panics
    ///
    /// When it cannot be started; `cargo xtask test` installs it.
    pub async fn start(base: &str) -> Self {
        let place = BROWSERS.acquire().await.expect("it is never closed");
        let (driver, port) = start_driver();
        let profile = tempfile::tempdir().expect("a folder can be made");
        let mut arguments: Vec<String> = ARGUMENTS.iter().map(|&argument| argument.to_owned()).collect();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".to_owned(), json!({ "args": arguments }));
        capabilities.insert("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL" }));
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities);
        let address = format!("http://127.0.0.1:{port}");
        let client = builder.connect(&address).await.unwrap_or_else(|error| panic!("no browser: {error}"));
        let browser = Self { client, driver, base: base.to_owned(), _profile: profile, _place: place };
        browser.resize(1280, 900).await;
        browser
    }

    /// Ends it.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    pub async fn close(mut self) {
        self.client.clone().close().await.expect("the browser ends");
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }

    /// Goes to a path of the pages, or to a whole address.
    ///
    /// # Panics
    ///
    /// When it does not get there.
    pub async fn go(&self, path: &str) {
        let address = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        self.client.goto(&address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
    }

    /// The path and query of where it is.
    ///
    /// # Panics
    ///
    /// When the browser does not answer.
    pub async fn path(&self) -> String {
        let url = self.client.current_url().await.expect("the browser knows where it is");
        match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        }
    }

    /// Waits until it is at a path that begins so.
    pub async fn wait_for_path(&self, prefix: &str) {
        let what = format!("the browser to be at {prefix}");
        eventually_within(PATIENCE, &what, async || self.path().await.starts_with(prefix).then_some(())).await;
    }

    /// The text of what a CSS selector finds first, as people see it; waits until it is there.
    pub async fn text(&self, selector: &str) -> String {
        let what = format!("{selector} to have a text");
        let script = "const found = document.querySelector(arguments[0]); return found ? found.innerText : null;";
        eventually_within(PATIENCE, &what, async || {
            self.run(script, &[json!(selector)]).await.as_str().map(str::to_owned)
        })
        .await
    }

    /// Waits until what a selector finds first has this in its text, without loading the page again.
    pub async fn wait_for_text(&self, selector: &str, part: &str) {
        let mut last = Value::Null;
        let script = "return [...document.querySelectorAll(arguments[0])].map((found) => found.innerText).join('\\n');";
        let started = std::time::Instant::now();
        loop {
            last = if started.elapsed() < PATIENCE { self.run(script, &[json!(selector)]).await } else { last };
            if last.as_str().is_some_and(|text| text.contains(part)) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "waited in vain for {part:?} in {selector}; there is {last}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many elements a selector finds now.
    pub async fn count(&self, selector: &str) -> u64 {
        let found = self.run("return document.querySelectorAll(arguments[0]).length;", &[json!(selector)]).await;
        found.as_u64().expect("a length is a number")
    }

    /// Clicks what a selector finds first, as soon as it is there.
    ///
    /// # Panics
    ///
    /// When it cannot be clicked.
    pub async fn click(&self, selector: &str) {
        let what = format!("{selector} to take a click");
        eventually_within(PATIENCE, &what, async || {
            let found = self.client.find(Locator::Css(selector)).await.ok()?;
            found.click().await.ok()
        })
        .await;
    }

    /// Types into a field in place of what is in it.
    ///
    /// # Panics
    ///
    /// When there is no such field.
    pub async fn fill(&self, selector: &str, text: &str) {
        let what = format!("{selector} to be filled");
        eventually_within(PATIENCE, &what, async || {
            let field = self.client.find(Locator::Css(selector)).await.ok()?;
            field.clear().await.ok()?;
            field.send_keys(text).await.ok()
        })
        .await;
    }

    /// Presses keys, wherever the focus is.
    ///
    /// # Panics
    ///
    /// When nothing takes them.
    pub async fn press(&self, keys: &str) {
        // What is closed keeps the focus for a moment.
        let what = format!("something to take the keys {keys:?}");
        eventually_within(PATIENCE, &what, async || {
            let focused = self.client.active_element().await.ok()?;
            focused.send_keys(keys).await.ok()
        })
        .await;
    }

    /// Runs a script in the page; what it returns.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub async fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.client.execute(script, arguments.to_vec()).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Runs a script that says when it is done: it calls its last argument with what it found.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub async fn run_until_done(&self, script: &str) -> Value {
        self.client.execute_async(script, Vec::new()).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Makes the window this large, in pixels of CSS.
    pub async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.order("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Prefers light or dark pages from now on.
    pub async fn prefer(&self, scheme: Scheme) {
        let value = if scheme == Scheme::Dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.order("Emulation.setEmulatedMedia", media).await;
    }

    /// Turns scripts of pages that are loaded from now on, off or on.
    pub async fn allow_scripts(&self, allowed: bool) {
        self.order("Emulation.setScriptExecutionDisabled", json!({ "value": !allowed })).await;
    }

    /// What the browser complained of since it was asked last: errors, refused loads, violated policies.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    pub async fn complaints(&self) -> Vec<String> {
        let logged = self.client.issue_cmd(Logged).await.expect("the browser has a log");
        let entries = logged.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Writes a picture of the whole page.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub async fn picture(&self, file: &Path) {
        let options = json!({ "format": "png", "captureBeyondViewport": true });
        let taken = self.order("Page.captureScreenshot", options).await;
        let data = taken["data"].as_str().expect("a picture is text in base64");
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("a picture is in base64");
        fs::create_dir_all(file.parent().expect("a file is in a folder")).expect("a folder can be made");
        fs::write(file, bytes).expect("a picture can be written");
    }

    /// What axe-core finds wrong with the page for people who use it in other ways: rule, and where.
    ///
    /// # Panics
    ///
    /// When it cannot be run; `axe` is its source.
    pub async fn accessibility_violations(&self, axe: &str) -> Vec<String> {
        self.run(&format!("{axe}; return true;"), &[]).await;
        let script = "const done = arguments[arguments.length - 1];
            axe.run(document, { resultTypes: ['violations'] }).then(
                (found) => done(found.violations.flatMap((rule) => rule.nodes.map(
                    (node) => `${rule.id} (${rule.help}): ${node.target.join(' ')} ${node.html}`))),
                (error) => done([`axe failed: ${error}`]));";
        let found = self.run_until_done(script).await;
        let found = found.as_array().cloned().unwrap_or_default();
        found.iter().map(|violation| violation.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// A command of the browser's own protocol.
    async fn order(&self, command: &str, parameters: Value) -> Value {
        let ordered = Ordered(json!({ "cmd": command, "params": parameters }));
        self.client.issue_cmd(ordered).await.unwrap_or_else(|error| panic!("{command}: {error}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // SIGTERM: the driver then ends the browser, too. One that is gone already is no matter.
        if let Ok(None) = self.driver.try_wait() {
            let _ = Command::new("kill").arg(self.driver.id().to_string()).status();
            let _ = self.driver.wait();
        }
    }
}

/// The driver on a port of its choice.
fn start_driver() -> (Child, u16) {
    let mut driver = Command::new(find("chromedriver"))
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("chromedriver (package chromium-driver) cannot be started: {error}"));
    let output = driver.stdout.take().expect("its output is a pipe");
    let mut lines = BufReader::new(output).lines();
    let port = lines.find_map(|line| {
        let line = line.ok()?;
        line.rsplit_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
    });
    // Somebody must read on, or the driver would wait for that one day.
    std::thread::spawn(move || lines.for_each(drop));
    (driver, port.expect("the driver says on which port it listens"))
}

fn find(program: &str) -> PathBuf {
    Path::new("/usr/bin").join(program)
}

/// `POST .../goog/cdp/execute`
#[derive(Debug)]
struct Ordered(Value);

impl WebDriverCompatibleCommand for Ordered {
    fn endpoint(&self, base_url: &url::Url, session_id: Option<&str>) -> Result<url::Url, url::ParseError> {
        base_url.join(&format!("session/{}/goog/cdp/execute", session_id.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.0.to_string()))
    }
}

/// `POST .../se/log`
#[derive(Debug)]
struct Logged;

impl WebDriverCompatibleCommand for Logged {
    fn endpoint(&self, base_url: &url::Url, session_id: Option<&str>) -> Result<url::Url, url::ParseError> {
        base_url.join(&format!("session/{}/se/log", session_id.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}
