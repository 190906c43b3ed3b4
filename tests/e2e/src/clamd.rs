//! ClamAV's daemon, knowing nothing but the test file.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::database::{Database, signature};
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

/// What a daemon is started with.
pub struct Builder {
    settings: Vec<(&'static str, String)>,
    database: Option<Database>,
}

impl Builder {
    /// One line of `clamd.conf`, in place of the one that is there.
    pub fn setting(mut self, name: &'static str, value: &str) -> Self {
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value.to_owned()));
        self
    }

    /// A database that `VERSION` names, in place of a signature that it does not.
    pub fn database(mut self, database: Database) -> Self {
        self.database = Some(database);
        self
    }

    /// Starts it on a free port and a Unix socket, knowing the test file.
    pub fn start(self) -> Clamd {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let at = folder.path();
        let database = at.join("signatures");
        fs::create_dir(&database).expect("the folder is writable");
        if let Some(versioned) = &self.database {
            versioned.write(&database);
        } else {
            let signature = signature("Eicar-Test-Signature", &sample::eicar());
            fs::write(database.join("eicar.ndb"), signature).expect("the folder is writable");
        }
        let address = free_address();
        let mut settings = format!(
            "Foreground yes\nDatabaseDirectory {database}\nTemporaryDirectory {at}\nLocalSocket {at}/clamd.sock\n\
             TCPAddr 127.0.0.1\nTCPSocket {port}\n",
            database = database.display(),
            at = at.display(),
            port = address.port(),
        );
        for (name, value) in &self.settings {
            settings.push_str(&format!("{name} {value}\n"));
        }
        fs::write(at.join("clamd.conf"), settings).expect("the folder is writable");
        let mut clamd = Clamd { process: launch(&folder), address, folder };
        clamd.wait_until_ready();
        clamd
    }
}

impl Clamd {
    /// Starts it with limits that are larger than what the tests send.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// The same, with other settings.
    pub fn builder() -> Builder {
        let limits = [("StreamMaxLength", "200M"), ("MaxScanSize", "200M"), ("MaxFileSize", "200M")];
        let rest = [("MaxThreads", "12"), ("CommandReadTimeout", "30"), ("ReadTimeout", "60")];
        let settings = limits.into_iter().chain(rest);
        Builder { settings: settings.map(|(name, value)| (name, value.to_owned())).collect(), database: None }
    }

    /// Adds a signature to its database: of these bytes, anywhere in a file. It counts after [`Clamd::reload`], or a
    /// restart.
    pub fn add_signature(&self, name: &str, bytes: &[u8]) {
        let path = self.folder.path().join(format!("signatures/{name}.ndb"));
        fs::write(path, signature(name, bytes)).expect("the folder is writable");
    }

    /// Replaces the database that it was started with. It counts after `RELOAD`, SIGUSR2, or a restart.
    pub fn update(&self, database: &Database) {
        database.write(&self.folder.path().join("signatures"));
    }

    /// What it answers to a command, such as `VERSION`.
    pub fn ask(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("clamd is there");
        stream.set_read_timeout(Some(SOON)).expect("a time limit can be set");
        stream.write_all(format!("z{command}\0").as_bytes()).expect("clamd reads");
        answer(stream)
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Has it load its signatures anew, and waits until it finds these bytes.
    pub fn reload(&self, found: &[u8]) {
        self.ask("RELOAD");
        until("clamd to load its signatures", SOON, || self.judge(found).ends_with(" FOUND").then_some(()));
    }

    /// What it says of a file that nobody else has looked at, such as `stream: OK`.
    pub fn judge(&self, file: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).expect("clamd is there");
        stream.set_read_timeout(Some(SOON)).expect("a time limit can be set");
        stream.write_all(b"zINSTREAM\0").expect("clamd reads");
        for piece in file.chunks(64 * 1024) {
            let length = u32::try_from(piece.len()).expect("a piece is short").to_be_bytes();
            stream.write_all(&[&length, piece].concat()).expect("clamd reads");
        }
        stream.write_all(&[0; 4]).expect("clamd reads");
        answer(stream)
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

/// What it says until it closes.
fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("clamd answers in text");
    answer.trim_end_matches('\0').to_owned()
}

fn launch(folder: &TempDir) -> Process {
    let mut command = command("/usr/sbin/clamd");
    command.arg("--config-file").arg(folder.path().join("clamd.conf"));
    Process::start("clamd", command)
}
