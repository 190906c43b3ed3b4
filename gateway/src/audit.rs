//! The audit trail: append-only JSON lines, each of which carries the hash of the one before it ([`chain`]).
//!
//! One thread writes; everybody else hands it lines through a queue of [`QUEUE`] places and never waits. A line
//! that finds no place, or that the disk does not take, is lost: counted in `menshen_audit_lost_total`, reported
//! in the error log and, as soon as lines can be written again, by an `audit_gap` line with their number. Serving
//! goes on.
//!
//! What is written survives the end of the process at once, and the end of the machine after a second: the file is
//! synced (`fdatasync`) once a second while lines come, and when it is flushed, reopened or closed.
//!
//! The file is locked (`flock`): a second process, as in an upgrade, waits with its lines until the first has
//! ended, and then continues its chain. Rotate by renaming and USR1; the new file begins with an `audit_linked`
//! line that carries the last hash of the old one. Copying and truncating breaks the chain.

pub mod chain;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};

use arc_swap::ArcSwap;
use filters::scrub::Scrubber;
use prometheus::IntCounter;
use serde::Serialize;
use serde_json::Value;

use self::chain::Chain;
use crate::json_line::push_string;
use crate::record::Record;
use crate::timestamp::push_rfc3339;

pub use self::chain::{Break, Kind, verify};

/// Lines that may wait to be written.
pub const QUEUE: usize = 8192;
/// Bytes of one text in a line, after scrubbing.
const LONGEST: usize = 2048;
/// Entries of one list in a line.
const MOST: usize = 64;
/// How long a written line may be unsynced.
const SYNC: Duration = Duration::from_secs(1);
/// Between two looks at a file that another process has locked.
const RETRY: Duration = Duration::from_millis(50);

/// An open trail. Dropping it writes what is left.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
    scrubber: ArcSwap<Scrubber>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    lost: AtomicU64,
    counter: IntCounter,
    closing: AtomicBool,
}

enum Message {
    /// The members of a line but `seq`, `prev` and `hash`.
    Line(Vec<u8>),
    Reopen,
    Flush(SyncSender<()>),
}

impl Audit {
    /// Opens or makes (mode 0640) the file, reads its last line and goes on from there.
    ///
    /// # Errors
    /// When the file cannot be opened or read, or the thread cannot be started. A file that another process has
    /// locked is no error.
    pub fn open(path: &Path, scrubber: Arc<Scrubber>, lost: IntCounter) -> io::Result<Self> {
        let chain = match Chain::resume(path) {
            Ok(chain) => Some(chain),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => return Err(error),
        };
        let shared =
            Arc::new(Shared { lost: AtomicU64::new(0), counter: lost, closing: AtomicBool::new(false) });
        let (queue, messages) = sync_channel(QUEUE);
        let mut writer =
            Writer { path: path.to_owned(), chain, shared: Arc::clone(&shared), told: 0, logged: None };
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(&messages))?;
        Ok(Self {
            path: path.to_owned(),
            queue,
            shared,
            scrubber: ArcSwap::new(scrubber),
            writer: Some(thread),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hides by a new policy's patterns from here on.
    pub fn configure(&self, scrubber: Arc<Scrubber>) {
        self.scrubber.store(scrubber);
    }

    /// Hands one event to the writer. Never waits.
    pub fn append(&self, event: Event<'_>) {
        let line = event.members(&self.scrubber.load(), SystemTime::now());
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(Message::Line(line))
        {
            self.shared.lose(1);
        }
    }

    /// Opens the file anew, on USR1.
    pub fn reopen(&self) {
        // A queue that is full is being written; the signal can be sent again.
        let _ = self.queue.try_send(Message::Reopen);
    }

    /// Waits until everything appended before is on the disk, `limit` at most. Returns whether it is.
    pub fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let (done, finished) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(error) = self.queue.try_send(message) {
            let (TrySendError::Full(back) | TrySendError::Disconnected(back)) = error;
            if Instant::now() >= deadline {
                return false;
            }
            message = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        finished.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }

    /// Lines lost so far.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        // The writer ends when no sender is left.
        let (nobody, _) = sync_channel(1);
        self.queue = nobody;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing left to write.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
        self.counter.inc_by(lines);
    }
}

/// Who did something, from where, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Actor<'a> {
    /// The client's address.
    pub client: Option<IpAddr>,
    /// `User-Agent`
    pub user_agent: Option<&'a [u8]>,
    /// Of the request.
    pub method: Option<&'a [u8]>,
    /// Of the request, without its query.
    pub path: Option<&'a [u8]>,
    /// Who asked.
    pub subject: Option<&'a str>,
    /// The tenant's id.
    pub tenant: Option<&'a str>,
    /// The request's id.
    pub request_id: Option<&'a str>,
}

impl<'a> Actor<'a> {
    /// Who sent a request.
    pub fn of(record: &Record<'a>) -> Self {
        Self {
            client: Some(record.client),
            user_agent: record.user_agent,
            method: Some(record.method),
            path: Some(record.path),
            subject: record.subject,
            tenant: record.tenant,
            request_id: Some(record.request_id),
        }
    }
}

/// One thing that happened: `refusal`, `upload`, `login_failure`, `lockout`, `reload`, `admin`, `request`.
#[derive(Debug)]
pub struct Event<'a> {
    name: &'static str,
    outcome: &'static str,
    actor: Actor<'a>,
    details: Vec<(&'static str, Value)>,
}

impl<'a> Event<'a> {
    /// With what is always said. For an act of the process itself the actor is empty.
    pub fn of(name: &'static str, outcome: &'static str, actor: Actor<'a>) -> Self {
        Self { name, outcome, actor, details: Vec::new() }
    }

    /// With one more member, such as `before` and `after`.
    pub fn text(mut self, name: &'static str, value: &str) -> Self {
        self.details.push((name, Value::from(value)));
        self
    }

    /// With a number of the gateway's own, which says nothing of anybody and stays as it is.
    pub fn number(mut self, name: &'static str, value: u64) -> Self {
        self.details.push((name, Value::from(value)));
        self
    }

    /// With a list: its first 64 entries.
    pub fn list(mut self, name: &'static str, entries: &[impl Serialize]) -> Self {
        let entries = entries.iter().take(MOST);
        self.details.push((name, entries.filter_map(|entry| serde_json::to_value(entry).ok()).collect()));
        self
    }

    fn members(&self, scrubber: &Scrubber, now: SystemTime) -> Vec<u8> {
        let mut line = Vec::with_capacity(512);
        line.extend_from_slice(b"\"time\":\"");
        push_rfc3339(now, &mut line);
        line.push(b'"');
        let mut text = |name: &str, value: Option<&str>| {
            line.extend_from_slice(b",\"");
            line.extend_from_slice(name.as_bytes());
            line.extend_from_slice(b"\":");
            match value {
                Some(value) => push_string(cut(value), &mut line),
                None => line.extend_from_slice(b"null"),
            }
        };
        let actor = &self.actor;
        text("event", Some(self.name));
        text("outcome", Some(self.outcome));
        text("client", actor.client.map(|client| client.to_string()).as_deref());
        text("user_agent", actor.user_agent.map(|agent| scrubber.scrub_bytes(agent)).as_deref());
        text("method", actor.method.map(|method| scrubber.scrub_bytes(method)).as_deref());
        text("path", actor.path.map(|path| scrubber.path(path)).as_deref());
        text("subject", actor.subject.map(|subject| scrubber.name(subject)).as_deref());
        text("tenant", actor.tenant.map(|tenant| scrubber.name(tenant)).as_deref());
        text("request_id", actor.request_id.map(|id| scrubber.name(id)).as_deref());
        for (name, value) in &self.details {
            line.push(b',');
            push_string(name, &mut line);
            line.push(b':');
            push_value(name, value, scrubber, &mut line);
        }
        line
    }
}

/// A JSON value with every text in it scrubbed; a SHA-256 and the request that a duplicate is of stay readable, because
/// they are how a file is found again.
fn push_value(name: &str, value: &Value, scrubber: &Scrubber, line: &mut Vec<u8>) {
    match value {
        Value::String(text) if matches!(name, "sha256" | "duplicate_of") => {
            push_string(cut(&scrubber.name(text)), line)
        }
        Value::String(text) => push_string(cut(&scrubber.scrub(text)), line),
        Value::Array(entries) => {
            line.push(b'[');
            for (index, entry) in entries.iter().enumerate() {
                line.extend_from_slice(if index > 0 { b"," } else { b"" });
                push_value(name, entry, scrubber, line);
            }
            line.push(b']');
        }
        Value::Object(members) => {
            line.push(b'{');
            for (index, (name, member)) in members.iter().enumerate() {
                line.extend_from_slice(if index > 0 { b"," } else { b"" });
                push_string(&scrubber.scrub(name), line);
                line.push(b':');
                push_value(name, member, scrubber, line);
            }
            line.push(b'}');
        }
        plain => line.extend_from_slice(plain.to_string().as_bytes()),
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST.min(text.len()))]
}

/// The writing thread.
struct Writer {
    path: PathBuf,
    /// `None` while the file is another's, or after it could not be written.
    chain: Option<Chain>,
    shared: Arc<Shared>,
    /// Losses that the trail itself has told of.
    told: u64,
    /// When the error log last heard of losses.
    logged: Option<(Instant, u64)>,
}

impl Writer {
    fn run(&mut self, messages: &Receiver<Message>) {
        let mut lines = Vec::new();
        let mut synced = Instant::now();
        loop {
            self.wait_for_the_file();
            let first = match messages.recv_timeout(SYNC) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut waiting = Vec::new();
            for message in first.into_iter().chain(messages.try_iter().take(1024)) {
                match message {
                    Message::Line(line) => lines.push(line),
                    Message::Flush(done) => waiting.push(done),
                    Message::Reopen => {
                        self.write(&mut lines);
                        self.reopen();
                    }
                }
            }
            self.write(&mut lines);
            if synced.elapsed() >= SYNC || !waiting.is_empty() {
                self.sync();
                synced = Instant::now();
            }
            for done in waiting {
                // Whoever asked may have gone.
                let _ = done.try_send(());
            }
            self.report();
        }
        self.sync();
        self.report();
    }

    /// While another process writes the file, lines stay in the queue.
    fn wait_for_the_file(&mut self) {
        while self.chain.is_none() && !self.shared.closing.load(Ordering::Acquire) {
            match Chain::resume(&self.path) {
                Ok(chain) => self.chain = Some(chain),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(RETRY),
                Err(_) => return,
            }
        }
    }

    fn write(&mut self, lines: &mut Vec<Vec<u8>>) {
        if lines.is_empty() {
            return;
        }
        if self.chain.is_none() {
            self.chain = Chain::resume(&self.path).ok();
        }
        let lost = self.shared.lost.load(Ordering::Relaxed);
        let gap = (lost > self.told)
            .then(|| own_line("audit_gap", "lost", &format!("\"lost\":{}", lost - self.told)));
        let written = self
            .chain
            .as_mut()
            .is_some_and(|chain| chain.append(gap.iter().chain(lines.iter()).map(Vec::as_slice)).is_ok());
        if written {
            self.told = lost;
        } else {
            self.shared.lose(lines.len() as u64);
            // What of the last write reached the file is found out by reading it anew.
            self.chain = None;
        }
        lines.clear();
    }

    fn reopen(&mut self) {
        self.sync();
        let Some(old) = self.chain.take() else { return };
        let is_same = fs::metadata(&self.path).is_ok_and(|now| old.is_file(&now));
        self.chain = if is_same { Some(old) } else { Chain::resume_after(&self.path, &old).ok() };
    }

    fn sync(&mut self) {
        if let Some(chain) = &mut self.chain
            && let Err(error) = chain.sync()
        {
            log::error!(target: "menshen::audit", "the audit trail could not be synced: {error}");
        }
    }

    /// Tells the error log of losses: the first at once, further ones every ten seconds.
    fn report(&mut self) {
        let lost = self.shared.lost.load(Ordering::Relaxed);
        let (last, known) = self.logged.unzip();
        let due = last.is_none_or(|last: Instant| last.elapsed() >= Duration::from_secs(10));
        if due && lost > known.unwrap_or(0) {
            log::error!(target: "menshen::audit", "{lost} audit lines could not be written so far");
            self.logged = Some((Instant::now(), lost));
        }
    }
}

/// A line that the trail says of itself.
fn own_line(event: &str, outcome: &str, more: &str) -> Vec<u8> {
    let mut line = b"\"time\":\"".to_vec();
    push_rfc3339(SystemTime::now(), &mut line);
    line.extend_from_slice(format!("\",\"event\":\"{event}\",\"outcome\":\"{outcome}\",{more}").as_bytes());
    line
}

#[cfg(test)]
mod tests;
