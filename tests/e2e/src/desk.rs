//! The desk: FastAPI under uvicorn.

use std::net::SocketAddr;

use tempfile::TempDir;

use crate::http;
use crate::process::{Process, command};
use crate::request_log::RequestLog;
use crate::token;
use crate::wecard::{address_behind, apps};

/// The app. Ended on drop.
pub struct Desk {
    _process: Process,
    address: SocketAddr,
    _folder: TempDir,
    log: RequestLog,
}

impl Desk {
    /// Starts it and waits until it answers.
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let log = RequestLog::new(folder.path().join("requests.jsonl"));
        let mut command = command(apps().join(".venv/bin/python"));
        command.arg("serve.py").current_dir(apps().join("desk"));
        command.env("HOST", "127.0.0.1").env("PORT", "0");
        command.env("DESK_JWT_KEY", token::KEY).env("DESK_REQUEST_LOG", log.path());
        let mut process = Process::start("uvicorn", command);
        let address = process.wait_for("where it listens", |said| address_behind(said, "running on http://"));
        http::get("/api/health").send(address).is(200);
        Self { _process: process, address, _folder: folder, log }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it received.
    pub fn log(&self) -> &RequestLog {
        &self.log
    }
}
