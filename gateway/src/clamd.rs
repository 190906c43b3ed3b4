//! ClamAV's daemon by `INSTREAM` (clamd(8)), over TCP or a Unix socket, one connection a scan.
//!
//! clamd answers and closes while bytes are still coming when its `StreamMaxLength` is passed: the answer is read while
//! the file is written, and counts before any error of writing. `stream: OK` alone is clean; whatever else is no
//! verdict leaves the file unscanned.
//!
//! Time: a scan waits for a place at most `scanner.timeout`, and then, from connecting to the answer, as long again.
//! Memory: one piece of the body (256 KiB) a scan.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Buf;
use config::ClamdAddress;
use filters::upload::{FileToScan, ScanFailure, Scanned, Scanner, Unscanned};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Bytes of an answer. A name of a signature is far shorter.
const MAX_ANSWER: usize = 4096;
/// What a client is told to wait when all places are taken.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// See the module. Shared by all workers.
pub struct Clamd {
    address: ClamdAddress,
    timeout: Duration,
    places: Semaphore,
    waiting: AtomicUsize,
    max_queue: usize,
}

impl Clamd {
    /// Connects to nothing yet.
    pub fn new(address: ClamdAddress, settings: &config::Scanner) -> Self {
        Self {
            address,
            timeout: settings.timeout,
            places: Semaphore::new(settings.max_concurrent.clamp(1, Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
            max_queue: settings.max_queue,
        }
    }

    /// Whether clamd answers `PING` within `scanner.timeout`; takes no place from scans. The error is for the operator.
    pub async fn ping(&self) -> Result<(), String> {
        let asked = async {
            let mut clamd = connect(&self.address).await?;
            clamd.write_all(b"zPING\0").await?;
            answer(&mut clamd).await
        };
        match timeout(self.timeout, asked).await {
            Ok(Ok(Some(answer))) if answer == b"PONG" => Ok(()),
            Ok(Ok(_)) => Err("clamd answered something else than PONG".to_owned()),
            Ok(Err(error)) => Err(format!("clamd cannot be reached: {error}")),
            Err(_) => Err("clamd did not answer in time".to_owned()),
        }
    }

    async fn ask(&self, file: FileToScan<'_>) -> Result<Scanned, ScanFailure> {
        let _place = self.place().await?;
        let mut connected = false;
        let exchange = async {
            let clamd = match connect(&self.address).await {
                Ok(clamd) => clamd,
                Err(error) => {
                    return Err(ScanFailure::Unreachable(format!("clamd cannot be reached: {error}")));
                }
            };
            connected = true;
            exchange(clamd, file).await
        };
        match timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) if connected => Ok(Scanned::NotScanned(Unscanned::TimedOut)),
            Err(_) => Err(ScanFailure::Unreachable("clamd does not take the connection".to_owned())),
        }
    }

    /// One of `max_concurrent`, after waiting among at most `max_queue` others.
    async fn place(&self) -> Result<SemaphorePermit<'_>, ScanFailure> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let busy = || ScanFailure::Busy { retry_after: RETRY_AFTER };
        let more = |waiting: usize| (waiting < self.max_queue).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| busy())?;
        let _queued = Queued(&self.waiting);
        match timeout(self.timeout, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(busy()),
        }
    }
}

/// A place in the queue.
struct Queued<'a>(&'a AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Scanner for Clamd {
    fn engine(&self) -> &'static str {
        "clamav"
    }

    fn scan<'a>(&'a self, file: FileToScan<'a>) -> BoxFuture<'a, Result<Scanned, ScanFailure>> {
        Box::pin(self.ask(file))
    }
}

/// A connection of either kind.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

async fn connect(address: &ClamdAddress) -> io::Result<Box<dyn Connection>> {
    match address {
        ClamdAddress::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        ClamdAddress::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
    }
}

/// Sends the file and reads the answer, whichever ends first.
async fn exchange(clamd: Box<dyn Connection>, file: FileToScan<'_>) -> Result<Scanned, ScanFailure> {
    let (mut from, mut to) = tokio::io::split(clamd);
    let mut reading = std::pin::pin!(answer(&mut from));
    let answered = tokio::select! {
        biased;
        answered = &mut reading => answered,
        sent = send(&mut to, file) => match sent {
            // An error of writing mostly means that clamd has said its last word: that word is still to be read.
            Ok(()) | Err(ScanFailure::Unreachable(_)) => reading.await,
            Err(failure) => return Err(failure),
        },
    };
    Ok(match answered {
        Ok(Some(answer)) => verdict(&answer),
        Ok(None) | Err(_) => Scanned::NotScanned(Unscanned::Cut),
    })
}

/// `zINSTREAM`, then pieces with their lengths in front, then a piece of none.
async fn send(to: &mut (impl AsyncWrite + Unpin), file: FileToScan<'_>) -> Result<(), ScanFailure> {
    let lost = |error: io::Error| ScanFailure::Unreachable(error.to_string());
    to.write_all(b"zINSTREAM\0").await.map_err(lost)?;
    let mut at = file.range.start;
    while at < file.range.end {
        let piece = file.body.read(at..file.range.end).await.map_err(ScanFailure::Unreadable)?;
        let Some(length) = u32::try_from(piece.len()).ok().filter(|&length| length > 0) else {
            return Err(ScanFailure::Unreadable(io::ErrorKind::UnexpectedEof.into()));
        };
        at += u64::from(length);
        let length = length.to_be_bytes();
        to.write_all_buf(&mut Buf::chain(length.as_slice(), piece)).await.map_err(lost)?;
    }
    to.write_all(&0_u32.to_be_bytes()).await.map_err(lost)?;
    to.flush().await.map_err(lost)
}

/// Everything up to the NUL that ends an answer; `None` when the connection ends without one.
async fn answer(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut answer = Vec::new();
    let mut piece = [0; 512];
    while answer.len() < MAX_ANSWER {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return Ok(None);
        }
        answer.extend_from_slice(&piece[..read]);
        if let Some(end) = memchr::memchr(0, &answer) {
            answer.truncate(end);
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

/// What an answer means.
fn verdict(answer: &[u8]) -> Scanned {
    let text = String::from_utf8_lossy(answer);
    if text == "stream: OK" {
        return Scanned::Clean;
    }
    if let Some(name) = text.strip_prefix("stream: ").and_then(|rest| rest.strip_suffix(" FOUND")) {
        // What clamd says, if so configured, of what it did not look into.
        return match name {
            _ if name.starts_with("Heuristics.Limits.Exceeded") => Scanned::NotScanned(Unscanned::OverLimit),
            _ if name.starts_with("Heuristics.Encrypted") => Scanned::NotScanned(Unscanned::Encrypted),
            _ => Scanned::Infected(name.to_owned()),
        };
    }
    if text.ends_with("size limit exceeded. ERROR") {
        return Scanned::NotScanned(Unscanned::OverLimit);
    }
    Scanned::NotScanned(Unscanned::Unclear(text.into_owned()))
}

#[cfg(test)]
mod tests;
