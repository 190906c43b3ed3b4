//! Programs that are started, listened to and ended.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::wait::{SOON, until};

/// A command line for `program`, in a process group of its own, that the kernel ends when this process ends.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).process_group(0).stdin(Stdio::null());
    command
}

/// A running program and what it has printed. Ended, with all of its group, on drop.
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    /// What it printed on standard output.
    pub stdout: Output,
    /// What it printed on standard error.
    pub stderr: Output,
}

impl Process {
    /// Starts what [`command`] made.
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command).unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let stdout = Output::read(child.stdout.take().expect("standard output is piped"));
        let stderr = Output::read(child.stderr.take().expect("standard error is piped"));
        Self { name: name.to_owned(), child, status: None, stdout, stderr }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the program, not to its children.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().try_into().expect("a process id fits an i32"));
        nix::sys::signal::kill(id, signal)
            .unwrap_or_else(|error| panic!("{} gets no signal: {error}", self.name));
    }

    /// Stops the program and its children where they are (SIGSTOP).
    pub fn freeze(&self) {
        self.signal_group(Signal::SIGSTOP);
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        self.signal_group(Signal::SIGCONT);
    }

    /// Ends the program and its children at once.
    pub fn kill(&mut self) {
        self.signal_group(Signal::SIGKILL);
        self.wait(SOON);
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child can be waited for");
        }
        self.status
    }

    /// Waits for its end, and for the rest of what it printed.
    ///
    /// # Panics
    /// After `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} to end; it said:\n{}", self.name, self.stderr.text());
        let status = until(&what, limit, || self.ended());
        self.stdout.wait_for_end(SOON);
        self.stderr.wait_for_end(SOON);
        status
    }

    /// The first thing that `look` sees in what it printed, on either stream.
    ///
    /// # Panics
    /// When the program ends first, or after [`SOON`]; with what it said.
    pub fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        loop {
            for output in [&self.stderr, &self.stdout] {
                if let Some(seen) = look(&output.text()) {
                    return seen;
                }
            }
            let ended = self.ended();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{} ({ended:?}) did not say {what}, but:\n{}{}",
                self.name,
                self.stdout.text(),
                self.stderr.text()
            );
            self.stderr.wait_for_news(Duration::from_millis(10));
        }
    }

    /// Bytes of memory it holds.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most it has held since [`Process::forget_peak`].
    pub fn peak_resident(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Starts the peak anew from what it holds now.
    pub fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.id()), "5").expect("our own child's peak can be reset");
    }

    fn memory(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the process runs");
        let line = status.lines().find_map(|each| each.strip_prefix(line)).expect("Linux tells it");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("it is a number");
        kilobytes * 1024
    }

    fn signal_group(&self, signal: Signal) {
        let group = Pid::from_raw(self.child.id().try_into().expect("a process id fits an i32"));
        // An error means that nobody of the group is left.
        let _ = killpg(group, signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal_group(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// What a finished program left.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; 128 and the signal's number when a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a program to its end.
///
/// # Panics
/// When it takes longer than [`SOON`].
pub fn finish(name: &str, command: Command) -> Finished {
    let mut process = Process::start(name, command);
    let status = process.wait(SOON);
    Finished { code: exit_code(status), stdout: process.stdout.text(), stderr: process.stderr.text() }
}

/// The exit code as a shell shows it.
pub fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// What a program prints on one stream, as it comes.
#[derive(Clone)]
pub struct Output(Arc<(Mutex<Printed>, Condvar)>);

#[derive(Default)]
struct Printed {
    bytes: Vec<u8>,
    ended: bool,
}

impl Output {
    fn read(mut stream: impl Read + Send + 'static) -> Self {
        let output = Self(Arc::default());
        let shared = output.clone();
        std::thread::spawn(move || {
            let mut chunk = [0; 8192];
            loop {
                let read = stream.read(&mut chunk).unwrap_or(0);
                let mut printed = shared.0.0.lock().expect("nobody panics with this lock");
                printed.bytes.extend_from_slice(&chunk[..read]);
                printed.ended = read == 0;
                shared.0.1.notify_all();
                if read == 0 {
                    break;
                }
            }
        });
        output
    }

    /// All bytes so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.0.lock().expect("nobody panics with this lock").bytes.clone()
    }

    /// All text so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn wait_for_news(&self, limit: Duration) {
        let printed = self.0.0.lock().expect("nobody panics with this lock");
        let _ = self.0.1.wait_timeout(printed, limit);
    }

    fn wait_for_end(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut printed = self.0.0.lock().expect("nobody panics with this lock");
        while !printed.ended && Instant::now() < deadline {
            printed = self.0.1.wait_timeout(printed, limit).expect("nobody panics with this lock").0;
        }
    }
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts a program from a thread that never ends: the kernel takes the end of the thread that started a program for
/// the end of its parent.
fn spawn(command: Command) -> std::io::Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, orders) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (sender, answer) = channel();
    starter
        .lock()
        .expect("nobody panics with this lock")
        .send((command, sender))
        .expect("the starter never ends");
    answer.recv().expect("the starter answers")
}
