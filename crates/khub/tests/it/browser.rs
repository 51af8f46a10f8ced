//! A real browser without a window: Chromium, spoken to in its DevTools protocol over two pipes.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// For a page that has much to do on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ended when it is dropped.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: String,
    asked: u64,
    _profile: TempDir,
}

impl Browser {
    /// None where there is no Chromium, which is told; in CI there must be one.
    #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub(crate) fn start(language: &str) -> Option<Self> {
        let program = dev("chromium", &[])?;
        let profile = tempfile::tempdir().unwrap();
        // Chromium reads commands from file 3 and answers at file 4. As root it takes no sandbox.
        let mut child = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 < /dev/null > /dev/null 2>&1"#])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--remote-debugging-pipe",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-dev-shm-usage",
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
                "--window-size=1200,900",
            ])
            .arg(format!("--lang={language}"))
            .arg(format!("--accept-lang={language}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut browser = Self {
            to: child.stdin.take().unwrap(),
            from: BufReader::new(child.stdout.take().unwrap()),
            child,
            session: String::new(),
            asked: 0,
            _profile: profile,
        };
        let target = browser.ask("Target.createTarget", &json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.ask("Target.attachToTarget", &target);
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        browser.ask("Page.enable", &json!({}));
        Some(browser)
    }

    pub(crate) fn open(&mut self, url: &str) {
        let answer = self.ask("Page.navigate", &json!({ "url": url }));
        assert!(answer.get("errorText").is_none(), "{url}: {answer}");
    }

    /// What JavaScript comes to in the page; promises are waited for.
    pub(crate) fn evaluate(&mut self, script: &str) -> Value {
        let asked = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let answer = self.ask("Runtime.evaluate", &asked);
        assert!(answer.get("exceptionDetails").is_none(), "{script}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The text of the first element that `selector` finds, as soon as there is one.
    pub(crate) fn wait_for(&mut self, selector: &str) -> String {
        let script = format!(
            "new Promise((done, failed) => {{
                const until = Date.now() + 60_000;
                const look = () => {{
                    const found = document.querySelector({selector:?});
                    if (found) done(found.innerText);
                    else if (Date.now() > until) failed(new Error(document.body.outerHTML));
                    else setTimeout(look, 20);
                }};
                look();
            }})"
        );
        self.evaluate(&script).as_str().unwrap().to_owned()
    }

    /// From now on the page looks as it is printed.
    pub(crate) fn on_paper(&mut self) {
        self.ask("Emulation.setEmulatedMedia", &json!({ "media": "print" }));
    }

    /// The same while pages come and go.
    pub(crate) fn wait_across(&mut self, selector: &str) -> String {
        let script = format!(
            "new Promise(done => setTimeout(() => done(document.querySelector({selector:?})?.innerText ?? null), 50))"
        );
        let asked = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            // A page that goes takes the promise with it.
            let told = self.try_ask("Runtime.evaluate", &asked);
            if let Some(text) = told
                .as_ref()
                .ok()
                .and_then(|told| told["result"]["value"].as_str())
            {
                return text.to_owned();
            }
        }
        let page = self.evaluate("location.href + document.documentElement.outerHTML");
        panic!("there is no {selector} in {page}")
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let told = self.try_ask(method, params);
        told.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_ask(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        write!(self.to, "{message}\0").unwrap();
        loop {
            let mut line = Vec::new();
            self.from.read_until(0, &mut line).unwrap();
            let told = line.strip_suffix(b"\0").expect("Chromium has ended");
            let told: Value = serde_json::from_slice(told).unwrap();
            // Others are events.
            if told["id"] == self.asked {
                return match told.get("error") {
                    Some(error) => Err(error.clone()),
                    None => Ok(told["result"].clone()),
                };
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a script of `dev` prints; None, which is told, if it says that something is missing. CI must have it.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn dev(script: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(dev_path(script)).args(args).output().unwrap();
    let why = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("skipped: {}", why.trim_end());
        return None;
    }
    assert!(output.status.success(), "{why}");
    Some(String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
}

/// Where a script of `dev` is.
pub(crate) fn dev_path(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../dev")
        .join(script)
}
