//! ClamAV's daemon, knowing nothing but the test file.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, command};
use crate::redis::free_address;
use crate::sample;
use crate::wait::{SOON, until};

/// The daemon. Ended on drop.
pub struct Clamd {
    process: Process,
    address: SocketAddr,
    folder: TempDir,
}

impl Clamd {
    /// Starts it on a free port and a Unix socket, with one signature.
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let at = folder.path();
        let database = at.join("signatures");
        fs::create_dir(&database).expect("the folder is writable");
        let signature = format!("Eicar-Test-Signature:0:*:{}\n", hex::encode(sample::eicar()));
        fs::write(database.join("eicar.ndb"), signature).expect("the folder is writable");
        let address = free_address();
        let settings = format!(
            "Foreground yes\nDatabaseDirectory {database}\nTemporaryDirectory {at}\nLocalSocket {at}/clamd.sock\n\
             TCPAddr 127.0.0.1\nTCPSocket {port}\nStreamMaxLength 200M\nMaxScanSize 200M\nMaxFileSize 200M\n\
             MaxThreads 12\nCommandReadTimeout 30\nReadTimeout 60\n",
            database = database.display(),
            at = at.display(),
            port = address.port(),
        );
        fs::write(at.join("clamd.conf"), settings).expect("the folder is writable");
        let mut clamd = Self { process: launch(&folder), address, folder };
        clamd.wait_until_ready();
        clamd
    }

    /// `scanner.address` of its port.
    pub fn tcp(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// `scanner.address` of its Unix socket.
    pub fn unix(&self) -> String {
        format!("unix:{}/clamd.sock", self.folder.path().display())
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        let _ = fs::remove_file(self.folder.path().join("clamd.sock"));
        self.process = launch(&self.folder);
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

    fn wait_until_ready(&mut self) {
        let address = self.address;
        let process = &mut self.process;
        until("clamd to answer", SOON, || {
            let ended = process.ended();
            assert!(ended.is_none(), "clamd ended: {}{}", process.stdout.text(), process.stderr.text());
            let mut stream = TcpStream::connect(address).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
            stream.write_all(b"zPING\0").ok()?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).ok()?;
            (&answer == b"PONG").then_some(())
        });
    }
}

fn launch(folder: &TempDir) -> Process {
    let mut command = command("/usr/sbin/clamd");
    command.arg("--config-file").arg(folder.path().join("clamd.conf"));
    Process::start("clamd", command)
}
