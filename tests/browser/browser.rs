//! A browser of its own for each test, and the few things that are done with it. Everything is waited for, nothing is
//! timed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thirtyfour::LoggingPrefsLogLevel;
use thirtyfour::prelude::*;

use crate::harness::PATIENCE;

/// What Chromium is started with: nothing that asks the network for anything but the page.
const ARGUMENTS: &[&str] = &[
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    // Root has no other choice, and nothing is shown but the page.
    "--no-sandbox",
    "--window-size=1280,900",
];

/// Chromedriver; it ends the browser when it is asked to end.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

pub struct Browser {
    pub session: WebDriver,
    base: String,
    _driver: Driver,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// On the page at that address (`http://HOST:PORT`); why not, where there is no browser.
    pub async fn on(base: &str) -> Result<Self, String> {
        for program in ["chromium", "chromedriver"] {
            let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            found.map_err(|_| format!("{program} is not installed"))?;
        }
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("chromedriver: {error}"))?;
        let said = BufReader::new(driver.stdout.take().unwrap());
        let driver = Driver(driver);
        let port = |line: String| line.split("successfully on port ").nth(1)?.trim_end_matches('.').parse::<u16>().ok();
        let port = said.lines().map_while(Result::ok).find_map(port).ok_or("chromedriver does not start")?;
        let profile = tempfile::tempdir().unwrap();
        let mut wanted = DesiredCapabilities::chrome();
        for argument in ARGUMENTS {
            wanted.add_arg(argument).unwrap();
        }
        wanted.add_arg(&format!("--user-data-dir={}", profile.path().display())).unwrap();
        wanted.set_logging_prefs("browser", LoggingPrefsLogLevel::All).unwrap();
        let session = WebDriver::new(format!("http://127.0.0.1:{port}"), wanted).await;
        // It is installed: that it does not start is a fault.
        let session = session.unwrap_or_else(|error| panic!("Chromium does not start: {error}"));
        Ok(Self { session, base: base.to_owned(), _driver: driver, _profile: profile })
    }

    /// Opens a path of the page.
    pub async fn open(&self, path: &str) {
        self.session.goto(format!("{}{path}", self.base)).await.unwrap();
    }

    /// Shows the token, and waits for the first room.
    pub async fn sign_in(&self, token: &str) {
        self.open("/").await;
        self.fill("token", token).await;
        self.press("Log in").await;
        self.sees("What flows").await;
        // Before that, the page was refused what it asked.
        self.complaints().await;
    }

    /// Enters a room by its link.
    pub async fn enter(&self, room: &str) {
        self.go(&format!("nav a[href='#/{room}']")).await;
        self.holds(&format!("location.hash.startsWith('#/{room}') && document.querySelector('main .panel')")).await;
    }

    /// Clicks what the selector finds.
    pub async fn go(&self, selector: &str) {
        self.until(selector, async || self.session.find(By::Css(selector)).await?.click().await).await;
    }

    /// Presses the button or link that is called that, in the open question if there is one.
    pub async fn press(&self, name: &str) {
        let place =
            if self.ask("return !!document.querySelector('dialog[open]')").await == true { "//dialog" } else { "" };
        let path = format!(
            "{place}//*[self::button or self::a][normalize-space(.)=\"{name}\" or @aria-label=\"{name}\"]\
             [not(@disabled)]"
        );
        self.until(name, async || self.session.find(By::XPath(&path)).await?.click().await).await;
    }

    /// Presses a button that asks, and then the one of that name in its question.
    pub async fn press_and_confirm(&self, name: &str, yes: &str) {
        self.press(name).await;
        self.holds("document.querySelector('dialog[open]')").await;
        self.press(yes).await;
        self.holds("!document.querySelector('dialog[open]')").await;
    }

    /// Types into the field of that name, or chooses there.
    pub async fn fill(&self, field: &str, text: &str) {
        let selector = format!("[name='{field}']");
        self.until(field, async || {
            let field = self.session.find(By::Css(&selector)).await?;
            if field.tag_name().await? == "select" {
                let option = format!("./option[@value=\"{text}\" or normalize-space(.)=\"{text}\"]");
                return field.find(By::XPath(option)).await?.click().await;
            }
            field.clear().await?;
            field.send_keys(text).await?;
            // A page that draws itself anew meanwhile, or next, may bring back what was cleared.
            for _ in 0..2 {
                if let Some(value) = field.value().await?.filter(|value| value != text && value.ends_with(text)) {
                    return Err(WebDriverError::RequestFailed(value));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        })
        .await;
    }

    /// Waits until the page has that text.
    pub async fn sees(&self, text: &str) {
        self.holds(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    /// Waits until the page has that text no more.
    pub async fn sees_no(&self, text: &str) {
        self.holds(&format!("!document.body.innerText.includes({})", json!(text))).await;
    }

    /// Waits until an expression of JavaScript is true.
    pub async fn holds(&self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.ask(&format!("try {{ return !!({expression}) }} catch {{ return false }}")).await != true {
            if Instant::now() > end {
                let text = self.ask("return document.title + '\\n' + document.body.innerText").await;
                panic!("never: {expression}\n{}", text.as_str().unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What a script returns.
    pub async fn ask(&self, script: &str) -> Value {
        self.session.execute(script, vec![]).await.unwrap().json().clone()
    }

    /// What a script's promise comes to.
    pub async fn await_of(&self, expression: &str) -> Value {
        let script =
            format!("const done = arguments[0]; Promise.resolve({expression}).then(done, (e) => done(String(e)))");
        self.session.execute_async(&script, vec![]).await.unwrap().json().clone()
    }

    /// The window's size, and whether it is dark.
    pub async fn look(&self, width: u32, height: u32, is_dark: bool) {
        let cdp = self.session.cdp();
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        cdp.send_raw("Emulation.setDeviceMetricsOverride", size).await.unwrap();
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        cdp.send_raw("Emulation.setEmulatedMedia", features).await.unwrap();
    }

    /// What the console has said since it was last asked: faults of scripts, what the page's policy forbids, what was
    /// not to be had.
    pub async fn complaints(&self) -> Vec<String> {
        self.session.browser_log().await.unwrap().into_iter().map(|entry| entry.message).collect()
    }

    async fn until(&self, what: &str, act: impl AsyncFn() -> WebDriverResult<()>) {
        let end = Instant::now() + PATIENCE;
        // Not there yet, behind something else, or replaced while it was being used.
        while let Err(error) = act().await {
            if Instant::now() > end {
                let text = self.ask("return document.body.innerText").await;
                panic!("{what}: {error}\n{}", text.as_str().unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
