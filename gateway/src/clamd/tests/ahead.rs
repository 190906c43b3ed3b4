//! Files that are sent to a real clamd while they still arrive.

use super::*;

/// A body that arrives, and the scan of its file that goes along with it.
struct Arriving {
    body: SpooledBody,
    start: u64,
    ahead: Arc<dyn Ahead>,
}

/// Begins with the file that starts at `start` in these bytes; they are enough to fill a file.
async fn begin(clamd: &Clamd, bytes: &[u8], start: u64) -> Arriving {
    let body = body(bytes).await;
    let ahead = clamd.ahead(&body, start).expect("a place is free");
    let mut arriving = Arriving { body, start, ahead };
    arriving.goes_on(&[]).await;
    arriving
}

impl Arriving {
    async fn goes_on(&mut self, bytes: &[u8]) {
        self.body.append(bytes).await.unwrap();
        self.body.settle().await.unwrap();
        self.ahead.grown(self.body.file().map_or(self.start, |(_, length)| length));
    }

    async fn scan(self, clamd: &Clamd, end: u64) -> Result<Scanned, ScanFailure> {
        let file =
            FileToScan { ahead: Some(self.ahead), ..FileToScan::new(&self.body, self.start..end, [0; 32]) };
        clamd.scan(file).await
    }
}

async fn until(met: impl Fn() -> bool) {
    let started = Instant::now();
    while !met() {
        assert!(started.elapsed() < Duration::from_secs(20), "it never comes to it");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_file_sent_ahead_gets_the_verdict_of_all_its_bytes_and_of_no_others() {
    let daemon = Daemon::start().await;
    let clean = vec![b'x'; 400_000];
    let evil = [&clean[..200_000], &eicar(), &clean[..200_000]].concat();
    let infected = Scanned::Infected("Test.Eicar.UNOFFICIAL".into());
    for address in [daemon.unix(), daemon.tcp()] {
        let clamd = scanner(address, 20_000);
        for (first, second, expected) in [
            (&clean, &clean, Scanned::Clean),
            (&evil, &clean, infected.clone()),
            (&clean, &evil, infected.clone()),
            (&evil, &vec![b'x'; 900_000], Scanned::NotScanned(Unscanned::OverLimit)),
        ] {
            // What stands before and behind the file is not of it.
            let mut arriving = begin(&clamd, &[&eicar(), &first[..]].concat(), eicar().len() as u64).await;
            arriving.goes_on(second).await;
            let end = arriving.body.len();
            arriving.body.append(&eicar()).await.unwrap();
            arriving.body.settle().await.unwrap();
            assert_eq!(arriving.scan(&clamd, end).await.unwrap(), expected);
            assert_eq!(clamd.queue.state(), (4, 0));
        }
    }
}

#[tokio::test]
async fn a_file_sent_ahead_is_not_clean_before_its_end() {
    let clamd = scanner(impostor(b"stream: OK\0", true).await, 20_000);
    let mut arriving = begin(&clamd, &vec![b'x'; 400_000], 0).await;
    arriving.goes_on(&vec![b'x'; 30 << 20]).await;
    let end = arriving.body.len();
    let said = arriving.scan(&clamd, end).await.unwrap();
    assert!(matches!(said, Scanned::NotScanned(Unscanned::Unclear(_))), "{said:?}");
}

#[tokio::test]
async fn a_sender_that_pauses_holds_no_place() {
    let daemon = Daemon::start().await;
    let clamd = scanner(daemon.unix(), 20_000);
    let mut arriving = begin(&clamd, &vec![b'x'; 400_000], 0).await;
    assert_eq!(clamd.queue.state(), (3, 0));
    until(|| clamd.queue.state() == (4, 0)).await;
    arriving.goes_on(&[vec![b'x'; 300_000], eicar()].concat()).await;
    let end = arriving.body.len();
    assert_eq!(arriving.scan(&clamd, end).await.unwrap(), Scanned::Infected("Test.Eicar.UNOFFICIAL".into()));
}

#[tokio::test]
async fn a_refused_upload_holds_no_place_and_files_that_arrive_take_no_more_than_half() {
    let daemon = Daemon::start().await;
    let clamd = scanner(daemon.unix(), 20_000);
    let [one, other] = [begin(&clamd, &[b'x'; 2000], 0).await, begin(&clamd, &[b'x'; 2000], 0).await];
    assert!(clamd.ahead(&one.body, 0).is_none());
    drop((one, other));
    until(|| clamd.queue.state() == (4, 0)).await;
    let alone = made(&[daemon.unix()], &settings(20_000, 1, 1), None);
    assert!(alone.ahead(&body(&[b'x'; 2000]).await, 0).is_none(), "the only place is for whole files");
}

#[tokio::test]
async fn files_that_arrive_at_once_on_several_workers_take_no_more_than_half_either() {
    let nowhere = ClamdAddress::Unix(PathBuf::from("/nonexistent/clamd"));
    let clamd = made(&[nowhere], &settings(20_000, 2, 1), None);
    let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let take_and_give_back = || {
        for _ in 0..100_000 {
            if let Some(_place) = clamd.queue.spare() {
                most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                held.fetch_sub(1, Ordering::SeqCst);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(take_and_give_back);
        }
    });
    assert_eq!(most.into_inner(), 1);
    assert_eq!(clamd.queue.state(), (2, 0));
}

#[tokio::test]
async fn a_clamd_that_freezes_or_dies_while_the_file_arrives_is_found_out_when_it_is_whole() {
    let mut daemon = Daemon::start().await;
    let clamd = scanner(daemon.unix(), 700);
    let arriving = begin(&clamd, &vec![b'x'; 400_000], 0).await;
    daemon.signal(Signal::SIGSTOP);
    let started = Instant::now();
    let frozen = arriving.scan(&clamd, 400_000).await.unwrap();
    assert_eq!(frozen, Scanned::NotScanned(Unscanned::TimedOut));
    assert!(started.elapsed() < Duration::from_millis(700 + 1500), "{:?}", started.elapsed());
    daemon.signal(Signal::SIGCONT);

    let clamd = scanner(daemon.unix(), 20_000);
    let arriving = begin(&clamd, &vec![b'x'; 400_000], 0).await;
    daemon.signal(Signal::SIGKILL);
    daemon.process.wait().unwrap();
    let said = arriving.scan(&clamd, 400_000).await;
    assert!(
        matches!(said, Err(ScanFailure::Unreachable(_)) | Ok(Scanned::NotScanned(Unscanned::Cut))),
        "{said:?}"
    );
    assert_eq!(clamd.queue.state(), (4, 0));
}
