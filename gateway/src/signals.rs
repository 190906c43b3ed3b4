//! What the process is asked to do from outside, in Nginx's signals, and by what name.

use std::fs;
use std::io;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

/// A wish of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// HUP: load the policy again.
    Reload,
    /// QUIT: end when running requests have ended.
    Quit,
    /// TERM, INT: end now.
    Stop,
    /// USR1: open the log files again.
    Reopen,
    /// USR2: hand the sockets to a new binary.
    Upgrade,
}

impl Wish {
    /// The signal that carries it.
    pub fn signal(self) -> Signal {
        match self {
            Wish::Reload => Signal::SIGHUP,
            Wish::Quit => Signal::SIGQUIT,
            Wish::Stop => Signal::SIGTERM,
            Wish::Reopen => Signal::SIGUSR1,
            Wish::Upgrade => Signal::SIGUSR2,
        }
    }

    /// Tells the process whose id is in `pid_file`.
    pub fn send(self, pid_file: &Path) -> Result<(), String> {
        let text = fs::read_to_string(pid_file)
            .map_err(|error| format!("{}: {error}; is the gateway running?", pid_file.display()))?;
        let pid = text.trim().parse().map_err(|_| format!("{}: holds no process id", pid_file.display()))?;
        kill(Pid::from_raw(pid), self.signal()).map_err(|error| format!("process {pid}: {}", error.desc()))
    }
}

/// Signals as they come in.
pub struct Signals {
    streams: [(tokio::signal::unix::Signal, Wish); 6],
}

impl Signals {
    /// Takes the signals over from the system's defaults.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            streams: [
                (signal(SignalKind::hangup())?, Wish::Reload),
                (signal(SignalKind::quit())?, Wish::Quit),
                (signal(SignalKind::terminate())?, Wish::Stop),
                (signal(SignalKind::interrupt())?, Wish::Stop),
                (signal(SignalKind::user_defined1())?, Wish::Reopen),
                (signal(SignalKind::user_defined2())?, Wish::Upgrade),
            ],
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Wish {
        std::future::poll_fn(|cx| {
            for (stream, wish) in &mut self.streams {
                if let std::task::Poll::Ready(Some(())) = stream.poll_recv(cx) {
                    return std::task::Poll::Ready(*wish);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// The file that holds the process id while the process runs.
pub struct PidFile(std::path::PathBuf);

impl PidFile {
    /// Writes it.
    pub fn write(path: &Path) -> io::Result<Self> {
        fs::write(path, format!("{}\n", std::process::id()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
