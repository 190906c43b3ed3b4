//! WeCard: the Flask API under gunicorn and, when asked for, the Nuxt pages under Node.js.

use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::process::{Process, command};
use crate::request_log::RequestLog;
use crate::token;
use crate::{http, root};

/// The app, with a store of its own. Ended on drop.
pub struct WeCard {
    _api: Process,
    api_address: SocketAddr,
    pages: Option<(Process, SocketAddr)>,
    folder: TempDir,
    log: RequestLog,
}

impl WeCard {
    /// The API alone.
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let log = RequestLog::new(folder.path().join("requests.jsonl"));
        let mut command = command(apps().join(".venv/bin/python"));
        command
            .args(["-m", "gunicorn", "app:app", "--bind", "127.0.0.1:0"])
            .current_dir(apps().join("wecard/api"));
        command.env("WECARD_JWT_KEY", token::KEY).env("WECARD_STORE", folder.path().join("store"));
        command.env("WECARD_REQUEST_LOG", log.path());
        let mut api = Process::start("gunicorn", command);
        let api_address =
            api.wait_for("where it listens", |said| address_behind(said, "Listening at: http://"));
        // The socket listens before the app is loaded: an answer says that it is.
        http::get("/api/health").send(api_address).is(200);
        Self { _api: api, api_address, pages: None, folder, log }
    }

    /// The API and the pages.
    pub fn with_pages() -> Self {
        let mut app = Self::start();
        let server = apps().join("wecard/web/.output/server/index.mjs");
        assert!(
            server.exists(),
            "the pages are not built: run `npm ci && npm run build` in tests/apps/wecard/web"
        );
        let mut command = command("node");
        command.arg(server).env("HOST", "127.0.0.1").env("PORT", "0").env("NODE_ENV", "production");
        let mut pages = Process::start("node", command);
        let address = pages.wait_for("where it listens", |said| address_behind(said, "Listening on http://"));
        app.pages = Some((pages, address));
        app
    }

    /// Where the API listens.
    pub fn api(&self) -> SocketAddr {
        self.api_address
    }

    /// Where the pages are.
    ///
    /// # Panics
    /// When they were not asked for.
    pub fn pages(&self) -> SocketAddr {
        self.pages.as_ref().expect("the app was started with pages").1
    }

    /// What the API received.
    pub fn log(&self) -> &RequestLog {
        &self.log
    }

    /// Where its uploaded files are.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }
}

/// The folder of the apps.
pub(crate) fn apps() -> PathBuf {
    root().join("tests/apps").canonicalize().expect("the apps are part of the project")
}

/// The address that follows `text`.
pub(crate) fn address_behind(said: &str, text: &str) -> Option<SocketAddr> {
    let rest = &said[said.find(text)? + text.len()..];
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))?;
    rest[..end].parse().ok()
}
