use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use filters::WholeBody;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

mod ahead;
mod servers;

use crate::spool::{SpooledBody, tests::body};

/// The EICAR test file, put together where it is needed.
fn eicar() -> Vec<u8> {
    [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STAN", "DARD-ANTIVIRUS-TEST-FILE!$H+H*"].concat().into_bytes()
}

/// A real clamd with one hand-made signature and a stream limit of 1 MB, killed when dropped.
struct Daemon {
    process: Child,
    directory: tempfile::TempDir,
    port: u16,
}

impl Daemon {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("signatures")).unwrap();
        std::fs::create_dir(path("tmp")).unwrap();
        let signature = format!("Test.Eicar:0:*:{}\n", hex::encode(eicar()));
        std::fs::write(path("signatures/eicar.ndb"), signature).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = format!(
            "Foreground yes\nUser root\nDatabaseDirectory {}\nTemporaryDirectory {}\nLocalSocket {}\nTCPSocket {port}\n\
             TCPAddr 127.0.0.1\nStreamMaxLength 1M\nMaxThreads 4\nReadTimeout 60\nLogFile {}\n",
            path("signatures").display(),
            path("tmp").display(),
            path("clamd.sock").display(),
            path("clamd.log").display(),
        );
        std::fs::write(path("clamd.conf"), settings).unwrap();
        let process = Command::new("clamd")
            .arg(format!("--config-file={}", path("clamd.conf").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("clamd is installed");
        let daemon = Self { process, directory, port };
        let started = Instant::now();
        for address in [daemon.unix(), daemon.tcp()] {
            while !is_alive(&scanner(address.clone(), 1000)).await {
                assert!(started.elapsed() < Duration::from_secs(60), "clamd does not start");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        daemon
    }

    fn unix(&self) -> ClamdAddress {
        ClamdAddress::Unix(self.directory.path().join("clamd.sock"))
    }

    fn tcp(&self) -> ClamdAddress {
        ClamdAddress::Tcp(format!("127.0.0.1:{}", self.port))
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Some tests have killed it already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn settings(timeout: u64, max_concurrent: usize, max_queue: usize) -> config::Scanner {
    config::Scanner {
        backends: vec![config::ScannerBackend::Builtin(None)],
        timeout: Duration::from_millis(timeout),
        on_failure: config::Fallback::Deny,
        on_unscanned: config::Fallback::Deny,
        max_concurrent,
        max_queue,
        cache: None,
        blocklist: Arc::default(),
    }
}

fn scanner(address: ClamdAddress, timeout: u64) -> Clamd {
    scanners(&[address], timeout)
}

fn scanners(addresses: &[ClamdAddress], timeout: u64) -> Clamd {
    made(addresses, &settings(timeout, 4, 4), None)
}

fn made(addresses: &[ClamdAddress], settings: &config::Scanner, verdicts: Option<Arc<Verdicts>>) -> Clamd {
    let metrics = Arc::new(Metrics::new().unwrap());
    Clamd::new(addresses, settings, verdicts, &metrics, &Handle::current())
}

/// Whether the only server of this scanner answers `PING`.
async fn is_alive(clamd: &Clamd) -> bool {
    clamd.servers[0].is_alive(clamd.timeout).await
}

async fn scan(clamd: &Clamd, bytes: &[u8]) -> Result<Scanned, ScanFailure> {
    let body = body(bytes).await;
    clamd.scan(FileToScan::new(&body, 0..body.len(), [0; 32])).await
}

#[tokio::test]
async fn a_real_clamd_tells_clean_infected_and_too_large_apart_on_both_sockets() {
    let daemon = Daemon::start().await;
    for address in [daemon.unix(), daemon.tcp()] {
        let clamd = scanner(address, 20_000);
        assert_eq!(scan(&clamd, b"nothing here").await.unwrap(), Scanned::Clean);
        assert_eq!(scan(&clamd, &vec![b'x'; 900_000]).await.unwrap(), Scanned::Clean);
        let infected = scan(&clamd, &[vec![b'x'; 200_000], eicar()].concat()).await.unwrap();
        assert_eq!(infected, Scanned::Infected("Test.Eicar.UNOFFICIAL".into()));
        // Beyond the socket's buffers, so that clamd closes while the file is being written.
        for length in [1_100_000, 30 << 20] {
            let large = scan(&clamd, &vec![b'x'; length]).await.unwrap();
            assert_eq!(large, Scanned::NotScanned(Unscanned::OverLimit), "{length}");
        }
        let body = body(&[b"clean".to_vec(), eicar()].concat()).await;
        let front = FileToScan::new(&body, 0..5, [0; 32]);
        assert_eq!(clamd.scan(front).await.unwrap(), Scanned::Clean);
    }
}

/// A body whose last bytes wait for a signal, so that something can happen in mid-stream.
struct Halting {
    bytes: Vec<u8>,
    halted: tokio::sync::Notify,
    go_on: tokio::sync::Notify,
}

impl WholeBody for Halting {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, range: std::ops::Range<u64>) -> BoxFuture<'_, io::Result<bytes::Bytes>> {
        Box::pin(async move {
            let (start, end) = (range.start as usize, range.end as usize);
            if start >= self.bytes.len() / 2 {
                self.halted.notify_one();
                self.go_on.notified().await;
                self.go_on.notify_one();
            }
            Ok(bytes::Bytes::copy_from_slice(&self.bytes[start..end.min(start + 10_000)]))
        })
    }
}

/// Scans, and sends clamd a signal when half of the file is there.
async fn interrupted(daemon: &Daemon, clamd: &Clamd, signal: Signal) -> Result<Scanned, ScanFailure> {
    let body = Halting { bytes: vec![b'x'; 500_000], halted: Default::default(), go_on: Default::default() };
    let file = FileToScan::new(&body, 0..body.len(), [0; 32]);
    let interruption = async {
        body.halted.notified().await;
        daemon.signal(signal);
        body.go_on.notify_one();
    };
    tokio::join!(clamd.scan(file), interruption).0
}

/// A body that gives half of its bytes, and then none.
struct Hollow;

impl WholeBody for Hollow {
    fn len(&self) -> u64 {
        2000
    }

    fn read(&self, range: std::ops::Range<u64>) -> BoxFuture<'_, io::Result<bytes::Bytes>> {
        let bytes: &[u8] = if range.start < 1000 { &[b'x'; 1000] } else { &[] };
        Box::pin(std::future::ready(Ok(bytes.into())))
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_taken_for_a_shorter_file() {
    let daemon = Daemon::start().await;
    let clamd = scanner(daemon.unix(), 20_000);
    let said = clamd.scan(FileToScan::new(&Hollow, 0..2000, [0; 32])).await;
    assert!(matches!(said, Err(ScanFailure::Unreadable(_))), "{said:?}");
}

#[tokio::test]
async fn a_clamd_killed_in_mid_stream_leaves_the_file_unscanned_and_is_then_unreachable() {
    for tcp in [false, true] {
        let mut daemon = Daemon::start().await;
        let clamd = scanner(if tcp { daemon.tcp() } else { daemon.unix() }, 20_000);
        let cut = interrupted(&daemon, &clamd, Signal::SIGKILL).await.unwrap();
        assert_eq!(cut, Scanned::NotScanned(Unscanned::Cut));
        daemon.process.wait().unwrap();
        assert!(matches!(scan(&clamd, b"x").await, Err(ScanFailure::Unreachable(_))));
        assert!(!is_alive(&clamd).await);
    }
}

#[tokio::test]
async fn a_clamd_frozen_in_mid_stream_costs_no_more_than_the_timeout() {
    let daemon = Daemon::start().await;
    let clamd = scanner(daemon.unix(), 700);
    let started = Instant::now();
    let frozen = interrupted(&daemon, &clamd, Signal::SIGSTOP).await.unwrap();
    assert_eq!(frozen, Scanned::NotScanned(Unscanned::TimedOut));
    // The kernel still takes connections for it.
    assert_eq!(scan(&clamd, b"x").await.unwrap(), Scanned::NotScanned(Unscanned::TimedOut));
    assert!(!is_alive(&clamd).await);
    assert!(started.elapsed() < Duration::from_millis(3 * 700 + 1500), "{:?}", started.elapsed());
    daemon.signal(Signal::SIGCONT);
    assert_eq!(scan(&scanner(daemon.unix(), 20_000), b"x").await.unwrap(), Scanned::Clean);
}

/// Something that reads 14 bytes, says `line` and closes; or, when it is `patient`, reads on before it does.
async fn impostor(line: &'static [u8], patient: bool) -> ClamdAddress {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        client.read_exact(&mut [0; 14]).await.unwrap();
        client.write_all(line).await.unwrap();
        if patient {
            client.shutdown().await.unwrap();
            tokio::io::copy(&mut client, &mut tokio::io::sink()).await.unwrap();
        }
    });
    ClamdAddress::Tcp(address.to_string())
}

#[tokio::test]
async fn takes_nothing_for_clean_but_the_whole_word() {
    for (line, expected) in [
        (b"stream: OK".as_slice(), Scanned::NotScanned(Unscanned::Cut)),
        (b"stream: O", Scanned::NotScanned(Unscanned::Cut)),
        (b"", Scanned::NotScanned(Unscanned::Cut)),
        (b"\0", Scanned::NotScanned(Unscanned::Unclear(String::new()))),
        (b"stream: OK FOUND\0", Scanned::Infected("OK".into())),
        (
            b"stream: OK\0stream: OK\0",
            Scanned::NotScanned(Unscanned::Unclear("stream: OK\0stream: OK\0".into())),
        ),
        (b"OK\0", Scanned::NotScanned(Unscanned::Unclear("OK".into()))),
        (b"stream: OK\n\0", Scanned::NotScanned(Unscanned::Unclear("stream: OK\n".into()))),
        (b"stream: ok\0", Scanned::NotScanned(Unscanned::Unclear("stream: ok".into()))),
        (b"1: stream: OK\0", Scanned::NotScanned(Unscanned::Unclear("1: stream: OK".into()))),
        (b"UNKNOWN COMMAND\0", Scanned::NotScanned(Unscanned::Unclear("UNKNOWN COMMAND".into()))),
        (b"stream: OK\0stream: Evil FOUND\0", Scanned::Infected("stream: OK\0stream: Evil FOUND\0".into())),
        (b"stream: OK\nstream: Evil FOUND\0", Scanned::Infected("OK\nstream: Evil".into())),
        (
            b"stream: Can't allocate memory ERROR\0",
            Scanned::NotScanned(Unscanned::Unclear("stream: Can't allocate memory ERROR".into())),
        ),
        (b"INSTREAM size limit exceeded. ERROR\0", Scanned::NotScanned(Unscanned::OverLimit)),
        (
            b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0",
            Scanned::NotScanned(Unscanned::OverLimit),
        ),
        (b"stream: Heuristics.Encrypted.Zip FOUND\0", Scanned::NotScanned(Unscanned::Encrypted)),
    ] {
        for length in [10, 5 << 20] {
            let clamd = scanner(impostor(line, false).await, 20_000);
            assert_eq!(scan(&clamd, &vec![b'x'; length]).await.unwrap(), expected, "{length}");
        }
    }
    let clamd = scanner(impostor(b"stream: OK\0", false).await, 20_000);
    assert_eq!(scan(&clamd, b"x").await.unwrap(), Scanned::Clean);
}

#[tokio::test]
async fn takes_nothing_for_clean_that_comes_before_the_end_of_the_file() {
    for patient in [false, true] {
        // Far beyond the socket's buffers.
        let clamd = scanner(impostor(b"stream: OK\0", patient).await, 20_000);
        let said = scan(&clamd, &vec![b'x'; 30 << 20]).await.unwrap();
        assert!(matches!(said, Scanned::NotScanned(Unscanned::Unclear(_))), "{said:?}");
    }
}

#[tokio::test]
async fn scans_beyond_the_places_wait_and_beyond_the_queue_are_told_to_come_back() {
    // Takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ClamdAddress::Tcp(silent.local_addr().unwrap().to_string());
    let clamd = made(&[address], &settings(300, 1, 1), None);
    let (first, second, third) = tokio::join!(scan(&clamd, b"1"), scan(&clamd, b"2"), scan(&clamd, b"3"));
    assert_eq!(first.unwrap(), Scanned::NotScanned(Unscanned::TimedOut));
    // The second's place came free at about the time it gave up waiting for it.
    assert!(matches!(second, Ok(Scanned::NotScanned(Unscanned::TimedOut)) | Err(ScanFailure::Busy { .. })));
    assert!(matches!(third, Err(ScanFailure::Busy { retry_after }) if retry_after > Duration::ZERO));
    assert_eq!(clamd.queue.state(), (1, 0));
}

#[tokio::test]
async fn says_when_nobody_listens() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for address in
        [ClamdAddress::Tcp(gone.to_string()), ClamdAddress::Unix(PathBuf::from("/nonexistent/clamd"))]
    {
        assert!(matches!(scan(&scanner(address, 1000), b"x").await, Err(ScanFailure::Unreachable(_))));
    }
}
