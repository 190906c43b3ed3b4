//! Where bodies wait while they are checked: memory up to a limit each, then a file without a name.
//!
//! The file is made with `O_TMPFILE` (unlinked at once where the file system lacks it), so that nothing is left behind,
//! whatever ends the process. It is written in pieces of 256 KiB and read in pieces of 64 KiB on blocking threads:
//! mostly the page cache takes them at memory speed, but when the kernel makes writers wait for the disk, it must not
//! be the event loop of every other connection that waits. While one piece is written the next is received. A body's
//! memory is a buffer of `spool.memory` at first, and two of 256 KiB once it is in a file; when all bodies together hold
//! `spool.max_memory`, they are of 64 KiB, so that what they hold in the end is `spool.max_memory` and 128 KiB for each
//! body beyond.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use filters::{Denial, Reason, WholeBody};
use futures_util::future::BoxFuture;
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes written to a file at a time.
const BATCH: usize = 256 * 1024;
/// Bytes of a body kept in memory, and written at a time, when all bodies together hold what they may.
const CROWDED: usize = 64 * 1024;
/// Bytes read at a time.
const PIECE: u64 = 64 * 1024;

/// The account of all bodies at a time, and where they may go. Cheap to clone; outlives reloads.
#[derive(Clone)]
pub struct Spool(Arc<Account>);

struct Account {
    settings: ArcSwap<config::Spool>,
    memory: AtomicU64,
    disk: AtomicU64,
    total: AtomicU64,
}

/// What bodies take right now, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolUsage {
    /// In memory.
    pub memory: u64,
    /// In files.
    pub disk: u64,
}

/// Why a body cannot be kept: 503 `spool.exhausted`.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// All bodies together would pass `spool.max_total`.
    #[error("all bodies together would pass spool.max_total ({0} bytes)")]
    Full(u64),
    /// Less than `spool.min_free` would be left on the disk.
    #[error("the spool's disk would have less than spool.min_free ({0} bytes) left")]
    Floor(u64),
    /// The file cannot be made or written.
    #[error("the spool's file cannot be written: {0}")]
    Disk(#[from] io::Error),
}

impl From<SpoolError> for Denial {
    fn from(error: SpoolError) -> Self {
        Denial::new(Reason::SpoolExhausted, error.to_string())
    }
}

impl Spool {
    /// An empty spool.
    pub fn new(settings: config::Spool) -> Self {
        let zero = AtomicU64::default;
        Self(Arc::new(Account {
            settings: ArcSwap::from_pointee(settings),
            memory: zero(),
            disk: zero(),
            total: zero(),
        }))
    }

    /// Takes new settings; bodies that are there stay where they are.
    pub fn apply(&self, settings: config::Spool) {
        self.0.settings.store(Arc::new(settings));
    }

    /// A place for one body, empty.
    pub fn body(&self) -> SpooledBody {
        let settings = self.0.settings.load();
        SpooledBody {
            account: self.0.clone(),
            limit: settings.memory,
            buffer: Vec::new(),
            spare: Vec::new(),
            file: None,
            writing: None,
            written: 0,
        }
    }

    /// For `menshen_spool_bytes{kind="memory"|"disk"}`.
    pub fn usage(&self) -> SpoolUsage {
        SpoolUsage {
            memory: self.0.memory.load(Ordering::Relaxed),
            disk: self.0.disk.load(Ordering::Relaxed),
        }
    }

    /// Whether a file can be made in the spool's directory: for `check` and readiness.
    pub fn probe(&self) -> io::Result<()> {
        tempfile::tempfile_in(&self.0.settings.load().directory).map(drop)
    }
}

impl Account {
    /// Takes `bytes` more, or says that there is no room for them.
    fn take(&self, bytes: u64) -> Result<(), SpoolError> {
        let limit = self.settings.load().max_total;
        let fits = |total: u64| total.checked_add(bytes).filter(|&total| total <= limit);
        match self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => {
                self.memory.fetch_add(bytes, Ordering::Relaxed);
                Ok(())
            }
            Err(_) => Err(SpoolError::Full(limit)),
        }
    }

    /// Whether all bodies together hold what they may in memory.
    fn is_crowded(&self) -> bool {
        self.memory.load(Ordering::Relaxed) >= self.settings.load().max_memory
    }

    /// `bytes` went from memory to a file.
    fn spilled(&self, bytes: u64) {
        self.disk.fetch_add(bytes, Ordering::Relaxed);
        self.memory.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One body. It can be read back at any time, also while it grows. Its room is given back when it is dropped.
pub struct SpooledBody {
    account: Arc<Account>,
    /// `spool.memory`
    limit: usize,
    /// The bytes behind those in the file and those on their way there.
    buffer: Vec<u8>,
    /// Empty: what was written before.
    spare: Vec<u8>,
    file: Option<Arc<File>>,
    writing: Option<Writing>,
    /// Bytes in the file.
    written: u64,
}

impl SpooledBody {
    /// Adds bytes to the end. Waits when a buffer is full and the one before it is not written yet. Says whether more is
    /// in the file than before. After an error, or when the future is dropped before its end, the body is of no more use.
    pub async fn append(&mut self, mut bytes: &[u8]) -> Result<bool, SpoolError> {
        let before = self.written;
        while !bytes.is_empty() {
            let room = match self.file {
                _ if self.account.is_crowded() => CROWDED,
                None => self.limit,
                Some(_) => BATCH,
            };
            let (piece, rest) = bytes.split_at(bytes.len().min(room.saturating_sub(self.buffer.len())));
            self.account.take(piece.len() as u64)?;
            self.buffer.extend_from_slice(piece);
            bytes = rest;
            if !bytes.is_empty() {
                self.spill().await?;
            }
        }
        Ok(self.written > before)
    }

    /// Where the buffer begins, once all before it is written.
    fn settled(&self) -> u64 {
        self.written + self.writing.as_ref().map_or(0, |writing| writing.lent.bytes)
    }

    /// Waits until what was handed to the disk is there. Before it, bytes at the end cannot be read.
    pub async fn settle(&mut self) -> Result<(), SpoolError> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let written = (&mut writing.task).await;
        let mut writing = self.writing.take();
        let buffer = written.unwrap_or_else(|_| Err(io::Error::other("the disk's thread ended").into()))?;
        self.account.spilled(writing.as_mut().map_or(0, |writing| std::mem::take(&mut writing.lent.bytes)));
        self.written += buffer.len() as u64;
        self.spare = buffer;
        self.spare.clear();
        self.spare.shrink_to(BATCH);
        Ok(())
    }

    /// Has the buffer written to the file, behind the one before it.
    async fn spill(&mut self) -> Result<(), SpoolError> {
        self.settle().await?;
        let settings = self.account.settings.load_full();
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                let directory: PathBuf = settings.directory.clone();
                let file = blocking(move || tempfile::tempfile_in(directory)).await?;
                self.file.insert(Arc::new(file)).clone()
            }
        };
        let buffer = std::mem::replace(&mut self.buffer, std::mem::take(&mut self.spare));
        let at = self.written;
        let lent = Lent { account: self.account.clone(), bytes: buffer.len() as u64 };
        let task = spawn_blocking(move || {
            let left = free(&file)?.saturating_sub(buffer.len() as u64);
            if left < settings.min_free {
                return Err(SpoolError::Floor(settings.min_free));
            }
            file.write_all_at(&buffer, at)?;
            Ok(buffer)
        });
        self.writing = Some(Writing { task, lent });
        Ok(())
    }
}

/// A buffer that is being written.
struct Writing {
    task: JoinHandle<Result<Vec<u8>, SpoolError>>,
    lent: Lent,
}

/// Bytes that are on their way to the file. The account holds them as memory until they are written, or given up.
struct Lent {
    account: Arc<Account>,
    bytes: u64,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.account.memory.fetch_sub(self.bytes, Ordering::Relaxed);
        self.account.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl WholeBody for SpooledBody {
    fn len(&self) -> u64 {
        self.settled() + self.buffer.len() as u64
    }

    /// `None` while all of it is in memory.
    fn file(&self) -> Option<(&Arc<File>, u64)> {
        self.file.as_ref().map(|file| (file, self.written))
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, io::Result<Bytes>> {
        let end = range.end.min(range.start.saturating_add(PIECE)).min(self.len());
        if range.start >= end {
            return Box::pin(async { Err(io::ErrorKind::UnexpectedEof.into()) });
        }
        let Some(file) = self.file.clone().filter(|_| range.start < self.written) else {
            let place = |at: u64| usize::try_from(at.checked_sub(self.settled())?).ok();
            let bytes =
                place(range.start).zip(place(end)).and_then(|(start, end)| self.buffer.get(start..end));
            let bytes = bytes.map(Bytes::copy_from_slice);
            return Box::pin(async { bytes.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()) });
        };
        let length = usize::try_from(end.min(self.written) - range.start).unwrap_or_default();
        Box::pin(blocking(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, range.start).map(|()| bytes.into())
        }))
    }
}

impl Drop for SpooledBody {
    fn drop(&mut self) {
        let held = self.buffer.len() as u64;
        self.account.memory.fetch_sub(held, Ordering::Relaxed);
        self.account.disk.fetch_sub(self.written, Ordering::Relaxed);
        self.account.total.fetch_sub(held + self.written, Ordering::Relaxed);
    }
}

/// Bytes that may still be written to the file's disk by anybody but root.
fn free(file: &File) -> io::Result<u64> {
    let disk = nix::sys::statvfs::fstatvfs(file)?;
    Ok(disk.blocks_available() * disk.fragment_size())
}

/// Runs what may wait for the disk where waiting does no harm.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|_| Err(io::Error::other("the disk's thread ended")))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A body in a file, but for its last bytes.
    pub(crate) async fn body(bytes: &[u8]) -> SpooledBody {
        let spool = Spool::new(config::Spool {
            memory: 1000,
            directory: "/tmp".into(),
            max_memory: u64::MAX,
            max_total: u64::MAX,
            min_free: 0,
        });
        let mut body = spool.body();
        body.append(bytes).await.unwrap();
        body.settle().await.unwrap();
        body
    }

    fn spool(memory: usize, max_total: u64) -> (Spool, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let directory_path = directory.path().into();
        let settings =
            config::Spool { memory, directory: directory_path, max_memory: 1 << 30, max_total, min_free: 0 };
        (Spool::new(settings), directory)
    }

    /// The same, with something else changed.
    fn changed(spool: &Spool, change: impl FnOnce(&mut config::Spool)) {
        let mut settings = config::Spool::clone(&spool.0.settings.load());
        change(&mut settings);
        spool.apply(settings);
    }

    async fn read_all(body: &SpooledBody) -> Vec<u8> {
        let mut all = Vec::new();
        while (all.len() as u64) < body.len() {
            let piece = body.read(all.len() as u64..body.len()).await.unwrap();
            assert!(!piece.is_empty() && piece.len() <= 64 * 1024);
            all.extend_from_slice(&piece);
        }
        all
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 % 251) as u8).collect()
    }

    #[tokio::test]
    async fn gives_back_what_it_took_from_memory_and_from_disk() {
        for (memory, length) in [(1000, 0), (1000, 1000), (1000, 1001), (0, 300_000), (100_000, 3_000_001)] {
            for piece in [1 + length / 3, 70_000] {
                let (spool, directory) = spool(memory, u64::MAX);
                let (mut body, all) = (spool.body(), pattern(length));
                for piece in all.chunks(piece) {
                    body.append(piece).await.unwrap();
                }
                body.settle().await.unwrap();
                assert_eq!(read_all(&body).await, all);
                let usage = spool.usage();
                assert_eq!(usage.memory + usage.disk, length as u64);
                assert_eq!(usage.disk > 0, length > memory);
                assert_eq!(directory.path().read_dir().unwrap().count(), 0, "the file has no name");
                drop(body);
                assert_eq!(spool.usage(), SpoolUsage { memory: 0, disk: 0 });
            }
        }
    }

    #[tokio::test]
    async fn reads_a_range_and_nothing_beyond_the_end() {
        let (spool, _directory) = spool(10, u64::MAX);
        let mut body = spool.body();
        body.append(&pattern(400_000)).await.unwrap();
        body.settle().await.unwrap();
        assert_eq!(body.read(300_000..300_005).await.unwrap(), pattern(400_000)[300_000..300_005]);
        assert_eq!(body.read(399_999..500_000).await.unwrap().len(), 1);
        assert!(body.read(400_000..400_001).await.is_err());
    }

    #[tokio::test]
    async fn refuses_what_would_pass_the_total_and_gives_room_back() {
        let (spool, _directory) = spool(10, 100);
        let (mut first, mut second) = (spool.body(), spool.body());
        first.append(&[0; 60]).await.unwrap();
        let error = second.append(&[0; 60]).await.unwrap_err();
        assert!(matches!(error, SpoolError::Full(100)));
        assert_eq!(Denial::from(error).reason, Reason::SpoolExhausted);
        drop((first, second));
        assert_eq!(spool.0.total.load(Ordering::Relaxed), 0);
        spool.body().append(&[0; 100]).await.unwrap();
        assert_eq!(spool.0.total.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn bodies_beyond_the_memory_of_all_go_to_files_early() {
        let (spool, _directory) = spool(1 << 20, u64::MAX);
        changed(&spool, |settings| settings.max_memory = 2 << 20);
        let mut bodies: Vec<SpooledBody> = (0..20).map(|_| spool.body()).collect();
        let all = pattern(900_000);
        for body in &mut bodies {
            for piece in all.chunks(10_000) {
                body.append(piece).await.unwrap();
            }
        }
        let usage = spool.usage();
        assert!(usage.memory <= (2 << 20) + 20 * 2 * CROWDED as u64, "{usage:?}");
        assert_eq!(usage.memory + usage.disk, 20 * 900_000);
        for body in &mut bodies {
            body.settle().await.unwrap();
            assert_eq!(read_all(body).await, all);
        }
        drop(bodies);
        assert_eq!(spool.usage(), SpoolUsage { memory: 0, disk: 0 });
    }

    #[tokio::test]
    async fn leaves_the_disk_its_free_bytes() {
        let (spool, _directory) = spool(10, u64::MAX);
        changed(&spool, |settings| settings.min_free = 1 << 50);
        let mut body = spool.body();
        // It is found out when the buffer is written.
        body.append(&pattern(100)).await.unwrap();
        let error = body.settle().await.unwrap_err();
        assert!(matches!(error, SpoolError::Floor(_)));
        assert_eq!(Denial::from(error).reason, Reason::SpoolExhausted);
        drop(body);
        assert_eq!(spool.usage(), SpoolUsage { memory: 0, disk: 0 });
        spool.body().append(&pattern(10)).await.unwrap();
        changed(&spool, |settings| settings.min_free = 1);
        let mut body = spool.body();
        body.append(&pattern(100)).await.unwrap();
        body.settle().await.unwrap();
    }

    #[tokio::test]
    async fn says_when_the_directory_is_not_there() {
        let (spool, directory) = spool(10, u64::MAX);
        assert!(spool.probe().is_ok());
        drop(directory);
        assert!(spool.probe().is_err());
        let error = spool.body().append(&[0; 11]).await.unwrap_err();
        assert!(matches!(error, SpoolError::Disk(_)));
        assert_eq!(spool.usage(), SpoolUsage { memory: 0, disk: 0 });
    }

    /// Resident memory of this process in bytes.
    fn resident() -> u64 {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    #[tokio::test]
    async fn eight_large_bodies_leave_memory_flat() {
        let (spool, _directory) = spool(256 * 1024, u64::MAX);
        let before = resident();
        let chunk = pattern(32 * 1024);
        let mut bodies: Vec<SpooledBody> = (0..8).map(|_| spool.body()).collect();
        for _ in 0..50 * 32 {
            for body in &mut bodies {
                body.append(&chunk).await.unwrap();
            }
        }
        bodies[7].settle().await.unwrap();
        let body = &bodies[7];
        let mut at = 0;
        while at < body.len() {
            at += body.read(at..body.len()).await.unwrap().len() as u64;
        }
        assert_eq!(at, 50 << 20);
        let grown = resident().saturating_sub(before);
        assert!(grown < 32 << 20, "{grown}");
    }
}
