//! Where log lines go: a sink that never makes a worker wait for a disk.
//!
//! Every thread appends to a buffer of its own (one uncontended lock and the formatting, no copy, no system call).
//! One writer thread per sink takes the buffers and writes them: 200 ms after the first line, or at once when a
//! buffer passes 64 KiB. A buffer holds 1 MiB at most; while the disk is slower than the lines come, further ones
//! are dropped and counted. Lines of one thread keep their order; lines of different threads may change places
//! within 200 ms.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use config::LogTarget;

/// How long a line may wait for company.
const DELAY: Duration = Duration::from_millis(200);
/// Bytes in one buffer that are worth writing at once.
const FULL: usize = 64 * 1024;
/// Bytes in one buffer above which lines are dropped.
const LIMIT: usize = 1024 * 1024;
/// Buffers; threads beyond as many share.
const SHARDS: usize = 16;

/// One open log. Dropping it writes what is left.
#[derive(Debug)]
pub struct LogFile {
    shared: Arc<Shared>,
    target: LogTarget,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    shards: [Shard; SHARDS],
    state: Mutex<State>,
    /// For the writer: there is something to do.
    wake: Condvar,
    /// For who waits for the writer.
    done: Condvar,
    /// Whether the writer knows that there are lines.
    pending: AtomicBool,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Vec<u8>>);

#[derive(Debug, Default)]
struct State {
    /// Write now, not after the delay.
    urgent: bool,
    reopen: bool,
    stop: bool,
    /// Rounds asked for and rounds finished: how `flush` knows that its lines are out.
    asked: u64,
    finished: u64,
}

impl LogFile {
    /// Opens (appending, mode 0640 when made) and starts the writer thread.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread cannot be started.
    pub fn open(target: &LogTarget) -> io::Result<Self> {
        let output = Output::open(target)?;
        let shared = Arc::new(Shared {
            shards: Default::default(),
            state: Mutex::default(),
            wake: Condvar::new(),
            done: Condvar::new(),
            pending: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        });
        let (theirs, path) = (Arc::clone(&shared), target.clone());
        let writer =
            std::thread::Builder::new().name("log".into()).spawn(move || theirs.write_on(output, &path))?;
        Ok(Self { shared, target: target.clone(), writer: Some(writer) })
    }

    /// What it was opened for.
    pub fn target(&self) -> &LogTarget {
        &self.target
    }

    /// Appends what `write` pushes: one or more whole lines, newline included. Never waits for the disk.
    /// Returns whether there was room.
    pub fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let full = {
            let mut buffer = lock(&self.shared.shards[own_shard()].0);
            if buffer.len() >= LIMIT {
                drop(buffer);
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            let before = buffer.len();
            write(&mut buffer);
            // Once for each buffer: waking the writer is a system call, and it may take a while to come.
            before < FULL && buffer.len() >= FULL
        };
        if full {
            self.wake_now();
        } else if !self.shared.pending.load(Ordering::Relaxed)
            && !self.shared.pending.swap(true, Ordering::AcqRel)
        {
            let _state = lock(&self.shared.state);
            self.shared.wake.notify_one();
        }
        true
    }

    /// As [`append`](Self::append), for lines that somebody waits for: written at once, by the same thread.
    pub fn append_now(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let taken = self.append(write);
        self.wake_now();
        taken
    }

    /// Lines dropped so far, for want of room or because writing failed.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Has the file opened anew at its path: after it was renamed, on USR1. What was logged before still goes to
    /// the old one. When the path cannot be opened the old file stays in use.
    pub fn reopen(&self) {
        lock(&self.shared.state).reopen = true;
        self.wake_now();
    }

    /// Waits until everything appended before is written, `limit` at most. Returns whether it is.
    pub fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = lock(&self.shared.state);
        state.asked += 1;
        let mine = state.asked;
        state.urgent = true;
        self.shared.wake.notify_one();
        while state.finished < mine {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            state = self.shared.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn wake_now(&self) {
        lock(&self.shared.state).urgent = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        lock(&self.shared.state).stop = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing left to write.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn write_on(&self, mut output: Output, target: &LogTarget) {
        let mut spare = Vec::new();
        loop {
            let (reopen, stop, asked) = self.wait();
            // Cleared before the buffers are taken, so that a line appended from here on wakes us again.
            self.pending.store(false, Ordering::Release);
            for shard in &self.shards {
                std::mem::swap(&mut *lock(&shard.0), &mut spare);
                if !spare.is_empty() && output.write_all(&spare).is_err() {
                    let lines = memchr::memchr_iter(b'\n', &spare).count() as u64;
                    self.lost.fetch_add(lines, Ordering::Relaxed);
                }
                spare.clear();
                spare.shrink_to(2 * FULL);
            }
            if reopen && let Ok(opened) = Output::open(target) {
                output = opened;
            }
            lock(&self.state).finished = asked;
            self.done.notify_all();
            if stop {
                return;
            }
        }
    }

    /// Sleeps until there is something to write: while there are no lines, for as long as it takes.
    fn wait(&self) -> (bool, bool, u64) {
        let mut state = lock(&self.state);
        let mut since = None;
        while !(state.urgent || state.stop || state.reopen) {
            if since.is_none() && self.pending.load(Ordering::Acquire) {
                since = Some(Instant::now());
            }
            state = match since {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(start) => {
                    let Some(left) = DELAY.checked_sub(start.elapsed()) else { break };
                    self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.urgent = false;
        (std::mem::take(&mut state.reopen), state.stop, state.asked)
    }
}

/// The open end.
enum Output {
    Stdout,
    Stderr,
    File(File),
}

impl Output {
    fn open(target: &LogTarget) -> io::Result<Self> {
        Ok(match target {
            LogTarget::Stdout => Output::Stdout,
            LogTarget::Stderr => Output::Stderr,
            LogTarget::File(path) => Output::File(append_to(path)?),
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Output::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Output::Stderr => io::stderr().lock().write_all(bytes),
            Output::File(file) => file.write_all(bytes),
        }
    }
}

/// Opens a log for appending; made with mode 0640 when it is not there.
///
/// # Errors
/// As [`OpenOptions::open`].
pub fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.with(|own| match own.get() {
        Some(shard) => shard,
        None => {
            let shard = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
            own.set(Some(shard));
            shard
        }
    })
}

/// The data under these locks is whole at every step, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn opened() -> (tempfile::TempDir, std::path::PathBuf, LogFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = LogFile::open(&LogTarget::File(path.clone())).unwrap();
        (folder, path, log)
    }

    #[test]
    fn keeps_every_line_of_every_thread_in_order() {
        let (_folder, path, log) = opened();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    for line in 0..5_000 {
                        assert!(log.append(|buffer| {
                            buffer.extend_from_slice(format!("{thread} {line}\n").as_bytes())
                        }));
                    }
                });
            }
        });
        assert!(log.flush(SOON));
        let text = std::fs::read_to_string(&path).unwrap();
        for thread in 0..4 {
            let mine = text.lines().filter_map(|line| line.strip_prefix(&format!("{thread} ")));
            assert!(mine.map(|line| line.parse::<u32>().unwrap()).eq(0..5_000));
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn writes_a_lone_line_without_being_asked() {
        let (_folder, path, log) = opened();
        log.append(|buffer| buffer.extend_from_slice(b"lone\n"));
        let started = Instant::now();
        while std::fs::read(&path).unwrap() != b"lone\n" {
            assert!(started.elapsed() < SOON);
            std::thread::yield_now();
        }
    }

    #[test]
    fn goes_on_in_a_new_file_after_the_old_one_was_renamed() {
        let (folder, path, log) = opened();
        log.append(|buffer| buffer.extend_from_slice(b"one\n"));
        assert!(log.flush(SOON));
        let old = folder.path().join("access.log.1");
        std::fs::rename(&path, &old).unwrap();
        log.append(|buffer| buffer.extend_from_slice(b"two\n"));
        log.reopen();
        assert!(log.flush(SOON));
        log.append(|buffer| buffer.extend_from_slice(b"three\n"));
        drop(log);
        assert_eq!(std::fs::read_to_string(old).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "three\n");
    }

    #[test]
    fn drops_and_counts_lines_when_the_disk_takes_none() {
        let log = LogFile::open(&LogTarget::File("/dev/full".into())).unwrap();
        log.append(|buffer| buffer.extend_from_slice(b"one\ntwo\n"));
        assert!(log.flush(SOON));
        assert_eq!(log.lost(), 2);
    }

    #[test]
    fn drops_lines_beyond_its_limit_instead_of_growing() {
        let (_folder, _path, log) = opened();
        let shard = &log.shared.shards[own_shard()].0;
        *lock(shard) = vec![b'\n'; LIMIT];
        assert!(!log.append(|_| panic!("there is no room")));
        assert_eq!(log.lost(), 1);
    }

    #[test]
    #[ignore = "a measurement"]
    fn measures_what_appending_costs() {
        let (_folder, _path, log) = opened();
        let line = [b'x'; 400];
        let rounds = 1_000_000_u32;
        let started = Instant::now();
        for _ in 0..rounds {
            log.append(|buffer| buffer.extend_from_slice(&line));
        }
        println!("append: {} ns, {} lost", started.elapsed().as_nanos() / u128::from(rounds), log.lost());
    }
}
