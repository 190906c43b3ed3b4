//! One exchange with clamd: what is sent, what is read, and what that means.
//!
//! clamd answers and closes while bytes are still coming when its `StreamMaxLength` is passed: the answer is read while
//! the file is written, and counts before any error of writing. `stream: OK` alone is clean; whatever else is no
//! verdict leaves the file unscanned.

use std::io;

use bytes::Buf;
use config::ClamdAddress;
use filters::upload::{FileToScan, ScanFailure, Scanned, Unscanned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Bytes of an answer. A name of a signature is far shorter.
const MAX_ANSWER: usize = 4096;

/// A connection of either kind.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Connects.
pub(super) async fn connect(address: &ClamdAddress) -> io::Result<Box<dyn Connection>> {
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
pub(super) async fn scan(clamd: Box<dyn Connection>, file: &FileToScan<'_>) -> Result<Scanned, ScanFailure> {
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
async fn send(to: &mut (impl AsyncWrite + Unpin), file: &FileToScan<'_>) -> Result<(), ScanFailure> {
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

/// Everything up to the NUL that ends an answer, and with it when more comes along; `None` when the connection ends without one.
pub(super) async fn answer(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
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
    let mut clamd = connect(address).await?;
    clamd.write_all(command).await?;
    answer(&mut clamd).await
}
