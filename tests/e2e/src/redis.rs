//! A Redis server of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, command};
use crate::wait::{SOON, until};

/// The server. Ended on drop.
pub struct Redis {
    process: Process,
    address: SocketAddr,
    folder: TempDir,
}

impl Redis {
    /// Starts it on a free port, with nothing in it.
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let address = free_address();
        let process = launch(&folder, address);
        let redis = Self { process, address, folder };
        redis.wait_until_ready();
        redis
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again where it was, with nothing in it.
    pub fn restart(&mut self) {
        self.process = launch(&self.folder, self.address);
        self.wait_until_ready();
    }

    /// It keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// It goes on.
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Runs one inline command (without spaces in its arguments); its answer as it came.
    pub fn ask(&self, command: &str) -> String {
        self.try_ask(command).expect("the server answers")
    }

    fn try_ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn wait_until_ready(&self) {
        until("Redis to answer", SOON, || self.try_ask("PING").filter(|answer| answer.starts_with("+PONG")));
    }
}

fn launch(folder: &TempDir, address: SocketAddr) -> Process {
    let mut command = command("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]);
    command.arg(address.port().to_string()).arg("--dir").arg(folder.path());
    Process::start("redis-server", command)
}

/// An address nobody listens on now.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("there is a free port")
}
