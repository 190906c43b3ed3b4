//! Several servers, and verdicts that are kept, against something that speaks clamd's language.

use std::sync::Mutex;

use filters::state::SystemClock;
use tokio::io::AsyncRead;
use tokio::sync::{Notify, watch};

use super::*;

/// What a fake does with a file.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Clean,
    Infected,
    /// Reads the file and closes.
    Cut,
    /// Takes the connection, and that is all.
    Frozen,
    /// Answers when it was asked for a sign of life meanwhile.
    Slow,
    /// Has other signatures from the middle of the scan on.
    Reloads,
}

struct Fake {
    address: ClamdAddress,
    inside: Arc<Inside>,
}

struct Inside {
    manner: Mutex<Manner>,
    version: Mutex<String>,
    scans: AtomicUsize,
    pinged: Notify,
    /// Sessions end when it changes.
    process: watch::Sender<u32>,
}

const OLD: &str = "ClamAV 1.4.3/27812/Thu Nov 26 09:00:00 2026";
const NEW: &str = "ClamAV 1.4.3/27813/Fri Nov 27 09:00:00 2026";

impl Fake {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = ClamdAddress::Tcp(listener.local_addr().unwrap().to_string());
        let inside = Arc::new(Inside {
            manner: Mutex::new(manner),
            version: Mutex::new(OLD.to_owned()),
            scans: AtomicUsize::new(0),
            pinged: Notify::new(),
            process: watch::Sender::new(0),
        });
        let serving = Arc::clone(&inside);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(Arc::clone(&serving).serve(client));
            }
        });
        Self { address, inside }
    }

    fn scans(&self) -> usize {
        self.inside.scans.load(Ordering::Relaxed)
    }

    fn becomes(&self, manner: Manner) {
        *self.inside.manner.lock().unwrap() = manner;
    }

    fn has_version(&self, version: &str) {
        version.clone_into(&mut self.inside.version.lock().unwrap());
    }

    fn restarts(&self) {
        self.inside.process.send_modify(|process| *process += 1);
    }
}

impl Inside {
    async fn serve(self: Arc<Self>, mut client: TcpStream) -> io::Result<()> {
        match command(&mut client).await?.as_str() {
            "zPING" if self.manner() == Manner::Frozen => std::future::pending().await,
            "zPING" => {
                self.pinged.notify_one();
                client.write_all(b"PONG\0").await
            }
            "zVERSION" => client.write_all(format!("{}\0", self.version()).as_bytes()).await,
            "zIDSESSION" => {
                let mut process = self.process.subscribe();
                for number in 1.. {
                    tokio::select! {
                        _ = process.changed() => break,
                        command = command(&mut client) => assert_eq!(command?, "zVERSION"),
                    }
                    client.write_all(format!("{number}: {}\0", self.version()).as_bytes()).await?;
                }
                Ok(())
            }
            "zINSTREAM" => self.scan(client).await,
            other => panic!("{other}"),
        }
    }

    async fn scan(&self, mut client: TcpStream) -> io::Result<()> {
        self.scans.fetch_add(1, Ordering::Relaxed);
        if self.manner() == Manner::Frozen {
            std::future::pending::<()>().await;
        }
        loop {
            let length = client.read_u32().await?;
            if length == 0 {
                break;
            }
            client.read_exact(&mut vec![0; length as usize]).await?;
        }
        match self.manner() {
            Manner::Cut => return Ok(()),
            Manner::Slow => self.pinged.notified().await,
            Manner::Reloads => NEW.clone_into(&mut self.version.lock().unwrap()),
            _ => {}
        }
        let infected = self.manner() == Manner::Infected;
        client.write_all(if infected { b"stream: Evil FOUND\0" } else { b"stream: OK\0" }).await
    }

    fn manner(&self) -> Manner {
        *self.manner.lock().unwrap()
    }

    fn version(&self) -> String {
        self.version.lock().unwrap().clone()
    }
}

async fn command(client: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut command = Vec::new();
    loop {
        match client.read_u8().await? {
            0 => return Ok(String::from_utf8(command).unwrap()),
            byte => command.push(byte),
        }
    }
}

async fn gone() -> ClamdAddress {
    ClamdAddress::Tcp(TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string())
}

fn clean(said: Result<Scanned, ScanFailure>) {
    assert_eq!(said.unwrap(), Scanned::Clean);
}

#[tokio::test]
async fn a_server_that_is_away_is_passed_over_and_asked_last_from_then_on() {
    let well = Fake::start(Manner::Clean).await;
    let clamd = scanners(&[gone().await, well.address.clone()], 20_000);
    for _ in 0..4 {
        clean(scan(&clamd, b"x").await);
    }
    assert_eq!(well.scans(), 4);
    assert_eq!(clamd.servers().map(|(_, well)| well).collect::<Vec<_>>(), [false, true]);
    assert_eq!(*clamd.line(1)[0].address(), well.address);
    assert_eq!(*clamd.line(1)[0].address(), well.address, "whoever's turn it is");
}

#[tokio::test]
async fn servers_that_are_well_take_turns() {
    let (one, other) = (Fake::start(Manner::Clean).await, Fake::start(Manner::Clean).await);
    let clamd = scanners(&[one.address.clone(), other.address.clone()], 20_000);
    for _ in 0..6 {
        clean(scan(&clamd, b"x").await);
    }
    assert_eq!((one.scans(), other.scans()), (3, 3));
}

#[tokio::test]
async fn servers_take_turns_with_files_sent_ahead_too() {
    let (one, other) = (Fake::start(Manner::Clean).await, Fake::start(Manner::Clean).await);
    let clamd = scanners(&[one.address.clone(), other.address.clone()], 20_000);
    for _ in 0..6 {
        clean(scan_ahead(&clamd, [0; 32]).await);
    }
    assert_eq!((one.scans(), other.scans()), (3, 3));
}

#[tokio::test]
async fn a_file_whose_connection_is_cut_goes_to_one_more_server_and_to_no_third() {
    let (cutting, well) = (Fake::start(Manner::Cut).await, Fake::start(Manner::Clean).await);
    clean(scan(&scanners(&[cutting.address.clone(), well.address.clone()], 20_000), b"x").await);
    let cutting_too = Fake::start(Manner::Cut).await;
    let all = [cutting.address.clone(), cutting_too.address.clone(), well.address.clone()];
    let said = scan(&scanners(&all, 20_000), b"x").await.unwrap();
    assert_eq!(said, Scanned::NotScanned(Unscanned::Cut));
    assert_eq!((cutting.scans(), cutting_too.scans(), well.scans()), (2, 1, 1));
}

#[tokio::test]
async fn a_frozen_server_costs_its_share_of_the_time() {
    for length in [10, 20 << 20] {
        let (frozen, well) = (Fake::start(Manner::Frozen).await, Fake::start(Manner::Clean).await);
        let clamd = scanners(&[frozen.address.clone(), well.address.clone()], 6000);
        let started = Instant::now();
        clean(scan(&clamd, &vec![b'x'; length]).await);
        assert!(started.elapsed() < Duration::from_millis(5500), "{:?}", started.elapsed());
        assert_eq!(clamd.servers[0].standing(), Standing::Silent);
    }
}

#[tokio::test]
async fn a_long_scan_is_waited_for_while_its_server_gives_signs_of_life() {
    let (slow, other) = (Fake::start(Manner::Slow).await, Fake::start(Manner::Clean).await);
    let clamd = scanners(&[slow.address.clone(), other.address.clone()], 2000);
    clean(scan(&clamd, b"x").await);
    assert_eq!((slow.scans(), other.scans()), (1, 0));
}

#[tokio::test]
async fn tells_nobody_there_from_nobody_who_answers() {
    let said = scan(&scanners(&[gone().await, gone().await], 20_000), b"x").await;
    assert!(matches!(said, Err(ScanFailure::Unreachable(_))), "{said:?}");
    let frozen = Fake::start(Manner::Frozen).await;
    let said = scan(&scanners(&[frozen.address.clone(), gone().await], 500), b"x").await.unwrap();
    assert_eq!(said, Scanned::NotScanned(Unscanned::TimedOut));
}

/// Scans a file of this sum that was begun with.
async fn scan_ahead(clamd: &Clamd, sha256: [u8; 32]) -> Result<Scanned, ScanFailure> {
    let body = body(&[b'x'; 400_000]).await;
    let ahead = clamd.ahead(&body, 0).expect("a place is free");
    ahead.grown(body.file().unwrap().1);
    let file = FileToScan { ahead: Some(ahead), ..FileToScan::new(&body, 0..body.len(), sha256) };
    clamd.scan(file).await
}

/// A scanner that keeps verdicts, and has heard of its server's version.
async fn keeping(fake: &Fake) -> Clamd {
    let cache = config::ScanCache { entries: 100, lifetime: Duration::from_secs(600) };
    let settings = config::Scanner { cache: Some(cache), ..settings(20_000, 4, 4) };
    let verdicts = Arc::new(Verdicts::new(cache, Arc::new(SystemClock::new())));
    let clamd = made(std::slice::from_ref(&fake.address), &settings, Some(verdicts));
    // The first verdict is what the watch waits for.
    let first = scan(&clamd, b"first").await;
    assert!(first.is_ok(), "{first:?}");
    assert!(clamd.servers[0].signatures().await.is_some());
    clamd
}

/// Scans a file that is not the one of other tests: its sum is made of its bytes.
async fn scan_summed(clamd: &Clamd, bytes: &[u8]) -> Scanned {
    let body = body(bytes).await;
    let mut sha256 = [0; 32];
    sha256[..bytes.len()].copy_from_slice(bytes);
    clamd.scan(FileToScan::new(&body, 0..body.len(), sha256)).await.unwrap()
}

#[tokio::test]
async fn a_verdict_is_given_again_without_a_scan_and_without_a_place() {
    let fake = Fake::start(Manner::Clean).await;
    let clamd = keeping(&fake).await;
    assert_eq!(scan_summed(&clamd, b"good").await, Scanned::Clean);
    fake.becomes(Manner::Infected);
    assert_eq!(scan_summed(&clamd, b"evil").await, Scanned::Infected("Evil".into()));
    let _all = futures_util::future::join_all((0..4).map(|_| clamd.queue.place())).await;
    assert_eq!(clamd.queue.state().0, 0);
    for _ in 0..3 {
        assert_eq!(scan_summed(&clamd, b"good").await, Scanned::Clean);
        assert_eq!(scan_summed(&clamd, b"evil").await, Scanned::Infected("Evil".into()));
    }
    assert_eq!(fake.scans(), 3);
    assert!(clamd.metrics.encode().contains("menshen_scan_cache_hits_total{engine=\"clamav\"} 6"));
}

#[tokio::test]
async fn other_signatures_make_a_verdict_useless_at_once() {
    let fake = Fake::start(Manner::Clean).await;
    let clamd = keeping(&fake).await;
    assert_eq!(scan_summed(&clamd, b"x").await, Scanned::Clean);
    fake.has_version(NEW);
    fake.becomes(Manner::Infected);
    assert_eq!(scan_summed(&clamd, b"x").await, Scanned::Infected("Evil".into()));
}

#[tokio::test]
async fn another_process_makes_a_verdict_useless_though_its_version_is_the_same() {
    let fake = Fake::start(Manner::Clean).await;
    let clamd = keeping(&fake).await;
    assert_eq!(scan_summed(&clamd, b"x").await, Scanned::Clean);
    fake.restarts();
    fake.becomes(Manner::Infected);
    assert_eq!(scan_summed(&clamd, b"x").await, Scanned::Infected("Evil".into()));
}

#[tokio::test]
async fn a_verdict_of_signatures_that_changed_meanwhile_is_not_kept() {
    let fake = Fake::start(Manner::Clean).await;
    let clamd = keeping(&fake).await;
    fake.becomes(Manner::Reloads);
    assert_eq!(scan_summed(&clamd, b"x").await, Scanned::Clean);
    fake.becomes(Manner::Infected);
    assert_eq!(scan_summed(&clamd, b"x").await, Scanned::Infected("Evil".into()));
}

#[tokio::test]
async fn nothing_is_kept_of_a_server_that_names_no_database() {
    let fake = Fake::start(Manner::Clean).await;
    fake.has_version("ClamAV 1.4.3");
    let cache = config::ScanCache { entries: 100, lifetime: Duration::from_secs(600) };
    let verdicts = Arc::new(Verdicts::new(cache, Arc::new(SystemClock::new())));
    let clamd = made(std::slice::from_ref(&fake.address), &settings(20_000, 4, 4), Some(verdicts));
    for scans in 1..5 {
        assert_eq!(scan_summed(&clamd, b"x").await, Scanned::Clean);
        assert_eq!(clamd.servers[0].signatures().await, None);
        assert_eq!(fake.scans(), scans);
    }
}

#[tokio::test]
async fn a_verdict_counts_only_while_its_server_can_be_asked() {
    let fake = Fake::start(Manner::Clean).await;
    let clamd = keeping(&fake).await;
    assert_eq!(scan_summed(&clamd, b"x").await, Scanned::Clean);
    fake.has_version("ClamAV 1.4.3");
    fake.becomes(Manner::Cut);
    assert_eq!(scan_summed(&clamd, b"x").await, Scanned::NotScanned(Unscanned::Cut));
}

#[tokio::test]
async fn a_file_sent_ahead_is_sent_once_and_its_verdict_is_kept() {
    let fake = Fake::start(Manner::Clean).await;
    let clamd = keeping(&fake).await;
    clean(scan_ahead(&clamd, [9; 32]).await);
    assert_eq!(fake.scans(), 2, "with the one before this");
    fake.becomes(Manner::Infected);
    let body = body(&[b'x'; 400_000]).await;
    clean(clamd.scan(FileToScan::new(&body, 0..body.len(), [9; 32])).await);
    assert_eq!(fake.scans(), 2);
}
