//! One exchange with clamd: what is sent, what is read, and what that means.
//!
//! clamd answers and closes while bytes are still coming when its `StreamMaxLength` is passed: the answer is read while
//! the file is written, and counts before any error of writing. `stream: OK` alone is clean, and only behind the whole
//! file; whatever else is no verdict leaves the file unscanned.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use config::ClamdAddress;
use filters::upload::{FileToScan, ScanFailure, Scanned, Unscanned};
use nix::errno::Errno;
use nix::sys::sendfile::sendfile;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// Bytes of an answer. A name of a signature is far shorter.
const MAX_ANSWER: usize = 4096;
/// Bytes of a file announced at a time where they need not be read.
const CHUNK: u64 = 1024 * 1024;

/// A connection of either kind, which is read and written at the same time.
pub(super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    /// Connects.
    pub(super) async fn open(address: &ClamdAddress) -> io::Result<Self> {
        match address {
            ClamdAddress::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            ClamdAddress::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
        }
    }

    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = match self {
                Self::Tcp(stream) => stream.async_io(Interest::WRITABLE, || stream.try_write(bytes)).await?,
                Self::Unix(stream) => stream.async_io(Interest::WRITABLE, || stream.try_write(bytes)).await?,
            };
            bytes = &bytes[written..];
        }
        Ok(())
    }

    async fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.async_io(Interest::READABLE, || stream.try_read(into)).await,
            Self::Unix(stream) => stream.async_io(Interest::READABLE, || stream.try_read(into)).await,
        }
    }

    /// Sends some of the file's bytes from `at` on without reading them; pages that the system has not cached are read
    /// while it waits.
    async fn send_file(&self, file: &File, at: u64, length: u64) -> io::Result<u64> {
        let mut from = i64::try_from(at).unwrap_or(i64::MAX);
        let count = usize::try_from(length).unwrap_or(usize::MAX);
        let mut send = |socket: BorrowedFd<'_>| Ok(sendfile(socket, file, Some(&mut from), count)?);
        let sent = match self {
            Self::Tcp(stream) => stream.async_io(Interest::WRITABLE, || send(stream.as_fd())).await?,
            Self::Unix(stream) => stream.async_io(Interest::WRITABLE, || send(stream.as_fd())).await?,
        };
        match sent {
            0 if count > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            sent => Ok(sent as u64),
        }
    }
}

/// A file on its way to clamd.
pub(super) struct Underway {
    clamd: Connection,
    /// The next byte, as its place in the body.
    pub(super) at: u64,
}

impl Underway {
    /// Connects and begins with the file that starts at this place.
    pub(super) async fn begin(address: &ClamdAddress, start: u64) -> io::Result<Self> {
        let clamd = Connection::open(address).await?;
        clamd.write_all(b"zINSTREAM\0").await?;
        Ok(Self { clamd, at: start })
    }

    /// Sends a piece of a file that is there already, up to `end` at most.
    pub(super) async fn send_piece(&mut self, file: &File, end: u64) -> io::Result<()> {
        send_piece(&self.clamd, &mut self.at, file, end).await
    }

    /// Sends what is left of the file and reads the answer, whichever ends first.
    pub(super) async fn finish(self, file: &FileToScan<'_>) -> Result<Scanned, ScanFailure> {
        let Self { clamd, at } = self;
        let mut reading = std::pin::pin!(answer(&clamd));
        let (answered, whole) = tokio::select! {
            biased;
            answered = &mut reading => (answered, false),
            sent = send(&clamd, at, file) => match sent {
                Ok(()) => (reading.await, true),
                // An error of writing mostly means that clamd has said its last word: that word is still to be read.
                Err(ScanFailure::Unreachable(_)) => (reading.await, false),
                Err(failure) => return Err(failure),
            },
        };
        Ok(match answered {
            Ok(Some(answer)) => match verdict(&answer) {
                Scanned::Clean if !whole => {
                    Scanned::NotScanned(Unscanned::Unclear("OK before the end of the file".to_owned()))
                }
                said => said,
            },
            Ok(None) | Err(_) => Scanned::NotScanned(Unscanned::Cut),
        })
    }
}

/// Pieces with their lengths in front, then a piece of none.
async fn send(to: &Connection, mut at: u64, file: &FileToScan<'_>) -> Result<(), ScanFailure> {
    if let Some((spooled, length)) = file.body.file() {
        let end = length.min(file.range.end);
        while at < end {
            send_piece(to, &mut at, spooled, end).await.map_err(failure)?;
        }
    }
    while at < file.range.end {
        let piece = file.body.read(at..file.range.end).await.map_err(ScanFailure::Unreadable)?;
        // A piece of none would end the file for clamd.
        let Some(length) = u32::try_from(piece.len()).ok().filter(|&length| length > 0) else {
            return Err(ScanFailure::Unreadable(io::ErrorKind::UnexpectedEof.into()));
        };
        at += u64::from(length);
        to.write_all(&[&length.to_be_bytes(), &piece[..]].concat()).await.map_err(failure)?;
    }
    to.write_all(&0_u32.to_be_bytes()).await.map_err(failure)
}

async fn send_piece(to: &Connection, at: &mut u64, file: &File, end: u64) -> io::Result<()> {
    let mut length = end.saturating_sub(*at).min(CHUNK);
    to.write_all(&u32::try_from(length).unwrap_or_default().to_be_bytes()).await?;
    while length > 0 {
        let sent = to.send_file(file, *at, length).await?;
        *at += sent;
        length -= sent;
    }
    Ok(())
}

/// Tells a file that cannot be read from a clamd that cannot be written to.
fn failure(error: io::Error) -> ScanFailure {
    match error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(Errno::EIO as i32) {
        true => ScanFailure::Unreadable(error),
        false => ScanFailure::Unreachable(error.to_string()),
    }
}

/// Everything up to the NUL that ends an answer, and with it when more comes along; `None` when the connection ends without one.
pub(super) async fn answer(from: &Connection) -> io::Result<Option<Vec<u8>>> {
    let mut answer = Vec::new();
    let mut piece = [0; 512];
    while answer.len() < MAX_ANSWER {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return Ok(None);
        }
        answer.extend_from_slice(&piece[..read]);
        match memchr::memchr(0, &answer) {
            Some(end) if end + 1 == answer.len() => {
                answer.truncate(end);
                return Ok(Some(answer));
            }
            // More than was asked for: none of it is taken for the answer.
            Some(_) => return Ok(Some(answer)),
            None => {}
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
    // Out of form, but certainly not clean.
    if text.contains(" FOUND") {
        return Scanned::Infected(text.into_owned());
    }
    Scanned::NotScanned(Unscanned::Unclear(text.into_owned()))
}

/// Sends a command on a connection of its own and reads the answer.
pub(super) async fn command(address: &ClamdAddress, command: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let clamd = Connection::open(address).await?;
    clamd.write_all(command).await?;
    answer(&clamd).await
}
