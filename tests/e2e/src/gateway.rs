//! The gateway itself, as a program.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::http::{self, Answer};
use crate::process::{self, Finished, Process, command};
use crate::token;
use crate::wait::{SOON, until};

/// The binary under test: `MENSHEN` names it, else the one built beside the tests.
///
/// # Panics
/// When there is none.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("MENSHEN") {
        return path.into();
    }
    let tests = std::env::current_exe().expect("the tests run from a file");
    let path = tests.ancestors().nth(2).expect("it is in TARGET/PROFILE/deps").join("menshen");
    assert!(
        path.exists(),
        "{} is not built: run `cargo build` first, or name one in MENSHEN",
        path.display()
    );
    path
}

/// Runs `menshen` with these arguments to its end, in `folder`.
pub fn run_in(folder: &Path, arguments: &[&str]) -> Finished {
    let mut command = command(binary());
    command
        .args(arguments)
        .current_dir(folder)
        .env("WECARD_JWT_KEY", token::KEY)
        .env("DESK_JWT_KEY", token::KEY);
    process::finish("menshen", command)
}

/// A running gateway and its folder. Ended on drop.
pub struct Gateway {
    process: Process,
    folder: TempDir,
    policy: PathBuf,
    has_admin: bool,
}

/// What a gateway is started with.
pub struct Builder {
    folder: TempDir,
    server: Vec<String>,
    listeners: Vec<String>,
    log_level: &'static str,
    rest: String,
    whole: Option<String>,
    path: Option<PathBuf>,
    environment: Vec<(String, String)>,
    disk: Option<(PathBuf, u64)>,
}

impl Gateway {
    /// With one plain listener, an admin listener, logs and audit in its folder, and no policy yet.
    pub fn builder() -> Builder {
        Builder {
            folder: TempDir::new().expect("a temporary folder can be made"),
            server: vec!["workers: 2".to_owned()],
            listeners: Vec::new(),
            log_level: "info",
            rest: String::new(),
            whole: None,
            path: None,
            environment: Vec::new(),
            disk: None,
        }
    }

    /// Where the first plain listener is.
    pub fn address(&self) -> SocketAddr {
        self.listening("listening on http://", 0)
    }

    /// Where the plain listener of this index is, in the order in which they were bound.
    pub fn plain(&self, index: usize) -> SocketAddr {
        self.listening("listening on http://", index)
    }

    /// Where the first TLS listener is.
    pub fn secure(&self) -> SocketAddr {
        self.listening("listening on https://", 0)
    }

    /// Where the operator's listener is.
    pub fn admin(&self) -> SocketAddr {
        self.listening("admin on http://", 0)
    }

    /// The URL of the first plain listener, by the name `localhost`.
    pub fn url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.address().port())
    }

    /// Its folder: `policy.yaml`, `access.log`, `audit.jsonl`, `menshen.pid`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file or folder it was started with.
    pub fn policy(&self) -> &Path {
        &self.policy
    }

    /// Replaces the policy file in one step, as editors and deployment tools do.
    pub fn rewrite(&self, edit: impl FnOnce(String) -> String) {
        let text = edit(fs::read_to_string(&self.policy).expect("the policy can be read"));
        let new = self.folder().join("policy.new");
        fs::write(&new, text).expect("the folder is writable");
        fs::rename(&new, &self.policy).expect("the policy can be replaced");
    }

    /// The program.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.process.wait(limit)
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end gracefully and waits; its exit code.
    pub fn quit_and_wait(&mut self) -> i32 {
        self.signal(Signal::SIGQUIT);
        process::exit_code(self.wait(SOON))
    }

    /// GET on the operator's listener.
    pub fn ask(&self, path: &str) -> Answer {
        http::get(path).send(self.admin())
    }

    /// One value of `/metrics`: the line whose name and labels contain all of `parts`; 0 when there is none.
    pub fn metric(&self, parts: &[&str]) -> f64 {
        let text = self.ask("/metrics").text();
        text.lines()
            .filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// The number of the policy that serves.
    pub fn generation(&self) -> u64 {
        self.ask("/policy").json()["generation"].as_u64().expect("/policy has a generation")
    }

    /// Every line of the access log so far.
    pub fn access_log(&self) -> Vec<Value> {
        json_lines(&self.folder().join("access.log"))
    }

    /// The access-log line of this request.
    ///
    /// # Panics
    /// When there is none after [`SOON`].
    pub fn access_line(&self, request_id: &str) -> Value {
        until(&format!("the access-log line of {request_id}"), SOON, || {
            self.access_log().into_iter().find(|line| line["request_id"] == request_id)
        })
    }

    /// Every line of the audit so far.
    pub fn audit(&self) -> Vec<Value> {
        json_lines(&self.folder().join("audit.jsonl"))
    }

    /// What it printed as diagnostics; its error log is there too.
    pub fn error_log(&self) -> String {
        self.process.stderr.text()
    }

    fn listening(&self, what: &str, index: usize) -> SocketAddr {
        until(what, SOON, || addresses(&self.error_log(), what).into_iter().nth(index))
    }
}

impl Builder {
    /// What the policy says. A text that begins with `version:` is taken as it is; any other is what follows the
    /// standard `server`, `listeners`, `admin`, `log` and `audit`.
    pub fn policy(mut self, text: impl Into<String>) -> Self {
        let text = text.into();
        if text.lines().any(|line| line.starts_with("version:")) {
            self.whole = Some(text);
        } else {
            self.rest = text;
        }
        self
    }

    /// Starts with this file or folder instead, which the test made inside [`Builder::folder`].
    pub fn policy_at(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Its folder, to put files in beforehand. `${DIR}` in the policy.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A line for `server:`, such as `trusted_proxies: [127.0.0.1/32]`.
    pub fn server(mut self, line: &str) -> Self {
        self.server.push(line.to_owned());
        self
    }

    /// `log.level`.
    pub fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = level;
        self
    }

    /// A listener beside the plain one, in flow style; `address: "127.0.0.1:0"` is added.
    pub fn listener(mut self, settings: &str) -> Self {
        self.listeners.push(settings.to_owned());
        self
    }

    /// A TLS listener for HTTP/2 and HTTP/1.1 beside the plain one.
    pub fn tls(self, certificate: &Certificate) -> Self {
        self.listener(&format!(
            "protocols: [h2, http/1.1], tls: {{ certificates: [{{ cert: \"{}\", key: \"{}\" }}] }}",
            certificate.cert().display(),
            certificate.key().display()
        ))
    }

    /// An environment variable.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Gives it a disk of its own of this many bytes, mounted over a folder that exists, and seen by it alone.
    pub fn disk(mut self, folder: PathBuf, bytes: u64) -> Self {
        self.disk = Some((folder, bytes));
        self
    }

    /// The text of the policy it would start with.
    pub fn text(&self) -> String {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let mut text = format!(
            "version: 1\nserver:\n  pid_file: ${{DIR}}/menshen.pid\n  {}\n",
            self.server.join("\n  ")
        );
        text.push_str("listeners:\n  - { address: \"127.0.0.1:0\" }\n");
        for listener in &self.listeners {
            text.push_str(&format!("  - {{ address: \"127.0.0.1:0\", {listener} }}\n"));
        }
        text.push_str(&format!(
            "admin: {{ address: \"127.0.0.1:0\" }}\nlog:\n  level: {}\n  error: {{ path: stderr }}\n  \
             access: {{ path: \"${{DIR}}/access.log\", format: json }}\naudit: {{ path: \"${{DIR}}/audit.jsonl\" }}\n",
            self.log_level
        ));
        text.push_str(&self.rest);
        text
    }

    /// Starts the program without waiting for anything.
    pub fn launch(self) -> Gateway {
        let policy = self.path.clone().unwrap_or_else(|| {
            let path = self.folder.path().join("policy.yaml");
            fs::write(&path, self.text()).expect("the folder is writable");
            path
        });
        let mut command = self.command();
        command.args(["run", "-c"]).arg(&policy);
        let has_admin = self.whole.as_ref().is_none_or(|text| text.contains("\nadmin:"));
        Gateway { process: Process::start("menshen", command), folder: self.folder, policy, has_admin }
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it ends or is not ready after [`SOON`], with what it said.
    pub fn start(self) -> Gateway {
        let mut gateway = self.launch();
        gateway.process.wait_for("where it listens", |said| said.contains("listening on http").then_some(()));
        if gateway.has_admin {
            let admin = gateway.admin();
            until("/readyz to be 200", SOON, || {
                http::get("/readyz").try_send(admin).ok().filter(|answer| answer.status == 200)
            });
        }
        gateway
    }

    fn command(&self) -> Command {
        let mut command = match &self.disk {
            None => command(binary()),
            Some((folder, bytes)) => {
                let mut command = command("unshare");
                let mount = "mount -t tmpfs -o size=$1 spool \"$2\" && shift 2 && exec \"$@\"";
                command.args(["--map-root-user", "--mount", "sh", "-c", mount, "sh"]);
                command.arg(bytes.to_string()).arg(folder).arg(binary());
                command
            }
        };
        command.current_dir(self.folder.path()).env("DIR", self.folder.path());
        command.env("WECARD_JWT_KEY", token::KEY).env("DESK_JWT_KEY", token::KEY).env("JWT_KEY", token::KEY);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// The addresses behind `what` in the log, in order.
fn addresses(log: &str, what: &str) -> Vec<SocketAddr> {
    log.match_indices(what)
        .filter_map(|(at, _)| {
            let rest = &log[at + what.len()..];
            let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c)))?;
            rest[..end].parse().ok()
        })
        .collect()
}

fn json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The last line may still be being written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}
