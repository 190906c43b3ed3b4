//! Chromium, driven by ChromeDriver (W3C WebDriver).

use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http;
use crate::process::{Process, command};
use crate::wait::{SOON, until};

/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with an empty profile. Ended, with all of its processes, on drop.
pub struct Browser {
    _driver: Process,
    address: SocketAddr,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// Starts it without a window.
    pub fn start() -> Self {
        let profile = TempDir::new().expect("a temporary folder can be made");
        let mut command = command("chromedriver");
        command.arg("--port=0").env("HOME", profile.path()).env("TMPDIR", profile.path());
        let mut driver = Process::start("chromedriver", command);
        let port: u16 = driver.wait_for("its port", |said| {
            let rest = &said[said.find("started successfully on port ")? + 29..];
            rest[..rest.find(|c: char| !c.is_ascii_digit())?].parse().ok()
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let settings = json!({ "capabilities": { "alwaysMatch": {
            "acceptInsecureCerts": true,
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
                "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--ignore-certificate-errors", "--no-proxy-server",
                format!("--user-data-dir={}", profile.path().join("data").display()),
            ] },
        } } });
        let answer = http::post("/session").json(&settings).send(address);
        let session = answer.json()["value"]["sessionId"].as_str().map(str::to_owned);
        let session = session.unwrap_or_else(|| panic!("no session: {}", answer.text()));
        Self { _driver: driver, address, session, _profile: profile }
    }

    /// Loads a page.
    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    /// The page's title.
    pub fn title(&self) -> String {
        self.ask("GET", "/title", &Value::Null).as_str().unwrap_or_default().to_owned()
    }

    /// Runs the body of an `async` function and waits for what it returns.
    pub fn run(&self, script: &str, arguments: Value) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1]; const given = arguments;\
             (async () => {{ {script} }})().then(done, error => done({{ failed: String(error) }}));"
        );
        self.ask("POST", "/execute/async", &json!({ "script": script, "args": arguments }))
    }

    /// The text of an element.
    pub fn text(&self, css: &str) -> String {
        let script = "return document.querySelector(given[0])?.textContent ?? '';";
        self.run(script, json!([css])).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an element's text is this.
    ///
    /// # Panics
    /// When it is not after [`SOON`]; with the page.
    pub fn wait_for_text(&self, css: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        crate::wait::within(SOON, || {
            last = self.text(css);
            wanted(&last).then(|| last.clone())
        })
        .unwrap_or_else(|| panic!("{css} is {last:?} in {}\n{}", self.source(), self.console()))
    }

    /// Clicks on an element.
    pub fn click(&self, css: &str) {
        until(&format!("{css} to be enabled"), SOON, || {
            let script = "const it = document.querySelector(given[0]); return !!it && !it.disabled;";
            self.run(script, json!([css])).as_bool().filter(|&enabled| enabled)
        });
        let element = self.element(css);
        self.ask("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Types into an element, which is emptied first; a path chooses the file of a file input.
    pub fn enter(&self, css: &str, text: &str) {
        let element = self.element(css);
        if !text.starts_with('/') {
            self.ask("POST", &format!("/element/{element}/clear"), &json!({}));
        }
        self.ask("POST", &format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// The page as it is now.
    pub fn source(&self) -> String {
        self.ask("GET", "/source", &Value::Null).as_str().unwrap_or_default().to_owned()
    }

    /// What the page and the browser wrote to the console since the last time.
    pub fn console(&self) -> String {
        self.ask("POST", "/se/log", &json!({ "type": "browser" })).to_string()
    }

    fn element(&self, css: &str) -> String {
        let found = self.ask("POST", "/element", &json!({ "using": "css selector", "value": css }));
        found[ELEMENT].as_str().unwrap_or_else(|| panic!("no element {css}: {found}")).to_owned()
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut call = http::call(method, &format!("/session/{}{path}", self.session));
        if !body.is_null() {
            call = call.json(body);
        }
        let answer = call.send(self.address);
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        answer.json()["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Lets the browser end its processes by itself; whatever is left of the group is killed with the driver.
        let _ = http::call("DELETE", &format!("/session/{}", self.session))
            .patience(std::time::Duration::from_secs(5))
            .try_send(self.address);
    }
}
