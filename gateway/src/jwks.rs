//! Keeps published key sets fresh (RFC 7517), one background task for each URL.
//!
//! A set is fetched at once, again when `Cache-Control: max-age` says so (between 5 minutes and 24 hours, 15 minutes
//! when nothing is said), and when a request names a key that it lacks, at most once every 30 seconds. A fetch that
//! fails changes nothing: the last good set stays, and the next try comes after 1 second, then 2, 4 and so on up to a
//! minute. An answer may take 5 seconds, be 1 MiB long, and send us on to its own scheme, host and port only. A
//! `file:` set is read again every 5 seconds.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use filters::jwks::{KeySet, KeySetCell, KeySets, Origin, Wanted};
use reqwest::header::{ACCEPT, CACHE_CONTROL};
use reqwest::{Client, StatusCode, Url, redirect};
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Bytes of a set.
const MAX_BODY: usize = 1024 * 1024;

/// The longest a request waits for a key that is being fetched.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is told of every fetch: the URL without user, password and query, and how many keys it brought or why none.
/// A file that has not changed is not told of.
pub type Report = Arc<dyn Fn(&str, Result<usize, &str>) + Send + Sync>;

/// Fetches the sets of a process. Dropping it ends its tasks.
pub struct Fetcher {
    source: Arc<Source>,
    tasks: Mutex<HashMap<String, Task>>,
}

/// What keeps one set fresh. It ends when this is dropped.
struct Task {
    cell: Arc<KeySetCell>,
    running: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.running.abort();
        self.cell.set_open(false);
    }
}

impl Fetcher {
    /// `report` hears of every fetch, beside the log. A TLS provider must have been installed for the process.
    pub fn new(report: Report) -> Result<Self, String> {
        Self::with_pace(report, Pace::default())
    }

    fn with_pace(report: Report, pace: Pace) -> Result<Self, String> {
        let client = Client::builder()
            .timeout(pace.answer)
            .redirect(redirect::Policy::custom(only_to_itself))
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|problem| format!("the client for key sets cannot be made: {problem}"))?;
        Ok(Self { source: Arc::new(Source { client, report, pace }), tasks: Mutex::default() })
    }

    /// Starts a task for every set that has none, and ends those of sets that are gone. To be called inside a runtime,
    /// after each policy that is put in place.
    pub fn follow(&self, sets: &KeySets) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: HashMap<String, Arc<KeySetCell>> = sets.all().into_iter().collect();
        tasks.retain(|url, task| {
            wanted.get(url).is_some_and(|same| Arc::ptr_eq(same, &task.cell)) && !task.running.is_finished()
        });
        for (url, cell) in wanted {
            tasks.entry(url.clone()).or_insert_with(|| {
                let (source, own) = (Arc::clone(&self.source), Arc::clone(&cell));
                let running = tokio::spawn(async move {
                    match file(&url) {
                        Some(path) => source.keep_file(&url, path, &own).await,
                        None => source.keep(&url, &own).await,
                    }
                });
                Task { cell, running }
            });
        }
    }
}

/// Waits until the set that was asked for has been fetched, or could not be, at most 2 seconds.
pub async fn patience(wanted: Wanted) {
    let end = Instant::now() + PATIENCE;
    while !wanted.is_over() && Instant::now() < end {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Reads the set of a `file:` URL, None for another URL: what a check of a policy does.
pub async fn read_file(url: &str) -> Option<Result<KeySet, String>> {
    let path = file(url)?;
    Some(async { KeySet::parse(&read(&path).await?, Origin::File) }.await)
}

struct Source {
    client: Client,
    report: Report,
    pace: Pace,
}

/// How long things take.
struct Pace {
    /// An answer, whole.
    answer: Duration,
    /// Between fetches, at least.
    least: Duration,
    /// Between fetches, at most.
    most: Duration,
    /// Between fetches when the answer says nothing.
    usual: Duration,
    /// Between fetches for the sake of unknown keys.
    unknown: Duration,
    /// After the first failure; doubled by each further one.
    retry: Duration,
    /// After many failures.
    retry_most: Duration,
    /// Between looks at a file.
    file: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            answer: seconds(5),
            least: seconds(5 * 60),
            most: seconds(24 * 3600),
            usual: seconds(15 * 60),
            unknown: seconds(30),
            retry: seconds(1),
            retry_most: seconds(60),
            file: seconds(5),
        }
    }
}

impl Pace {
    fn after_success(&self, max_age: Option<Duration>) -> Duration {
        max_age.unwrap_or(self.usual).clamp(self.least, self.most)
    }

    fn after_failures(&self, failures: u32) -> Duration {
        self.retry.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.retry_most)
    }
}

impl Source {
    async fn keep(&self, url: &str, cell: &KeySetCell) {
        let mut failures = 0;
        let mut last_asked: Option<Instant> = None;
        cell.set_open(true);
        loop {
            let fetched = self.fetch(url).await;
            let rest = match &fetched {
                Ok((_, max_age)) => {
                    failures = 0;
                    self.pace.after_success(*max_age)
                }
                Err(_) => {
                    failures += 1;
                    self.pace.after_failures(failures)
                }
            };
            self.settle(url, cell, fetched.map(|(set, _)| set));

            let next = Instant::now() + rest;
            if let Some(quiet) =
                last_asked.map(|at| at + self.pace.unknown).filter(|end| *end > Instant::now())
            {
                cell.set_open(false);
                sleep_until(quiet.min(next)).await;
                if next <= quiet {
                    continue;
                }
                cell.set_open(true);
            }
            tokio::select! {
                () = sleep_until(next) => {}
                () = cell.wanted() => last_asked = Some(Instant::now()),
            }
        }
    }

    async fn keep_file(&self, url: &str, path: PathBuf, cell: &KeySetCell) {
        let mut last = None;
        loop {
            let bytes = read(&path).await;
            if last.as_ref() != Some(&bytes) {
                let set = bytes.clone().and_then(|bytes| KeySet::parse(&bytes, Origin::File));
                self.settle(url, cell, set);
                last = Some(bytes);
            }
            sleep(self.pace.file).await;
        }
    }

    /// Puts a good set in place, and tells of it or of the failure.
    fn settle(&self, url: &str, cell: &KeySetCell, set: Result<KeySet, String>) {
        let shown = shown(url);
        match set {
            Ok(set) => {
                let keys = set.len();
                cell.put(set);
                log::debug!("key set {shown}: {keys} keys");
                (self.report)(&shown, Ok(keys));
            }
            Err(problem) => {
                let kept =
                    if cell.current().is_some() { "the last good set stays" } else { "there is none yet" };
                log::warn!("key set {shown}: {problem}; {kept}");
                (self.report)(&shown, Err(&problem));
            }
        }
        cell.end_round();
    }

    async fn fetch(&self, url: &str) -> Result<(KeySet, Option<Duration>), String> {
        // The client's own limit counts from the connection on; this one holds whatever happens.
        timeout(self.pace.answer, self.answer(url)).await.map_err(|_| "no whole answer in time".to_owned())?
    }

    async fn answer(&self, url: &str) -> Result<(KeySet, Option<Duration>), String> {
        let failed = |problem: reqwest::Error| cause(&problem.without_url());
        let request = self.client.get(url).header(ACCEPT, "application/jwk-set+json, application/json");
        let mut response = request.send().await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(format!("the answer is {}", response.status().as_u16()));
        }
        let max_age =
            response.headers().get_all(CACHE_CONTROL).iter().find_map(|line| max_age(line.to_str().ok()?));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err("the answer is longer than 1 MiB".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        Ok((KeySet::parse(&body, Origin::Network)?, max_age))
    }
}

fn only_to_itself(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let first = attempt.previous().first().unwrap_or(attempt.url());
    if first.origin() != attempt.url().origin() {
        return attempt.error("the answer sends us to another host");
    }
    if attempt.previous().len() > 3 {
        return attempt.error("the answer sends us on and on");
    }
    attempt.follow()
}

/// An error and the errors below it, in one line.
fn cause(problem: &dyn std::error::Error) -> String {
    let mut text = problem.to_string();
    let mut below = problem.source();
    while let Some(problem) = below {
        text = format!("{text}: {problem}");
        below = problem.source();
    }
    text
}

fn max_age(cache_control: &str) -> Option<Duration> {
    cache_control.split(',').find_map(|directive| {
        let (name, value) = directive.trim().split_once('=')?;
        let seconds = value.trim_matches('"').parse().ok()?;
        name.eq_ignore_ascii_case("max-age").then(|| Duration::from_secs(seconds))
    })
}

/// The path of `file:PATH`, `file:///PATH` and `file://localhost/PATH`. Nothing in it is decoded.
fn file(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("file:")?;
    let path = path.strip_prefix("//").map_or(path, |rest| rest.strip_prefix("localhost").unwrap_or(rest));
    Some(PathBuf::from(path))
}

async fn read(path: &PathBuf) -> Result<Vec<u8>, String> {
    let unreadable = |problem: std::io::Error| format!("the file cannot be read: {}", problem.kind());
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_BODY as u64 + 1).read_to_end(&mut bytes).await.map_err(unreadable)?;
    if bytes.len() > MAX_BODY {
        return Err("the file is longer than 1 MiB".to_owned());
    }
    Ok(bytes)
}

/// A URL as logs may have it.
fn shown(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return "(unreadable URL)".to_owned() };
    // Both fail only for URLs that cannot have a user, which then have none.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.set_query(None);
    parsed.set_fragment(None);
    parsed.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    const KEY: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    fn quick() -> Pace {
        let ms = Duration::from_millis;
        Pace { answer: ms(2000), retry: ms(5), retry_most: ms(20), file: ms(5), ..Pace::default() }
    }

    fn ok(kid: &str) -> String {
        let body = format!(r#"{{"keys":[{{{KEY},"kid":"{kid}"}}]}}"#);
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    fn redirect_to(place: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    }

    /// The head of an answer whose body never comes.
    const SLOW: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";

    /// A server that gives these answers in turn, and the last one ever after.
    async fn server(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut answers = answers.into_iter().peekable();
            let (mut last, mut open) = (String::new(), Vec::new());
            while let Ok((mut stream, _)) = listener.accept().await {
                last = answers.next().unwrap_or(last);
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    head.push(byte);
                }
                let _ = stream.write_all(last.as_bytes()).await;
                if last == SLOW {
                    open.push(stream);
                }
            }
        });
        url
    }

    type Told = UnboundedReceiver<Result<usize, String>>;

    fn fetcher(pace: Pace) -> (Fetcher, Told) {
        // A second installation is refused, and as good as the first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (tell, told) = unbounded_channel();
        let report: Report = Arc::new(move |url, result| {
            assert!(!url.contains("hidden"), "{url}");
            let _ = tell.send(result.map_err(str::to_owned));
        });
        (Fetcher::with_pace(report, pace).unwrap(), told)
    }

    async fn told(reports: &mut Told) -> Result<usize, String> {
        timeout(Duration::from_secs(10), reports.recv()).await.unwrap().unwrap()
    }

    fn has(cell: &KeySetCell, kid: &str) -> bool {
        cell.current().as_ref().is_some_and(|set| !set.lacks(kid))
    }

    #[tokio::test]
    async fn fetches_a_set_at_once() {
        let url = server(vec![ok("a")]).await.replace("http://", "http://hidden:hidden@") + "?hidden=1";
        let (fetcher, mut reports) = fetcher(quick());
        let sets = KeySets::default();
        let cell = sets.cell(&url);
        fetcher.follow(&sets);
        assert_eq!(told(&mut reports).await, Ok(1));
        assert!(has(&cell, "a"));
    }

    #[tokio::test]
    async fn an_outage_leaves_the_last_good_set() {
        let broken = "HTTP/1.1 500 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned();
        let url = server(vec![broken.clone(), ok("a"), broken.clone(), "nonsense".into(), ok("b")]).await;
        let (fetcher, mut reports) = fetcher(quick());
        let sets = KeySets::default();
        let cell = sets.cell(&url);
        fetcher.follow(&sets);
        assert_eq!(told(&mut reports).await, Err("the answer is 500".into()));
        assert!(cell.current().is_none());
        assert_eq!(told(&mut reports).await, Ok(1));
        patience(cell.want().unwrap()).await;
        assert!(told(&mut reports).await.is_err());
        assert!(told(&mut reports).await.is_err());
        assert!(has(&cell, "a"));
        assert_eq!(told(&mut reports).await, Ok(1));
        assert!(has(&cell, "b"));
    }

    #[tokio::test]
    async fn an_unknown_key_brings_one_fetch_and_then_quiet() {
        let url = server(vec![ok("a"), ok("b"), ok("c")]).await;
        let (fetcher, mut reports) = fetcher(quick());
        let sets = KeySets::default();
        let cell = sets.cell(&url);
        fetcher.follow(&sets);
        told(&mut reports).await.unwrap();
        patience(cell.want().unwrap()).await;
        told(&mut reports).await.unwrap();
        assert!(has(&cell, "b"));
        // The bell is closed in the same turn in which the fetch is told of.
        tokio::task::yield_now().await;
        assert!(cell.want().is_none(), "within 30 seconds");
        assert!(reports.try_recv().is_err());
    }

    #[tokio::test]
    async fn asks_again_after_the_quiet() {
        let url = server(vec![ok("a"), ok("b"), ok("c")]).await;
        let (fetcher, mut reports) = fetcher(Pace { unknown: Duration::from_millis(20), ..quick() });
        let sets = KeySets::default();
        let cell = sets.cell(&url);
        fetcher.follow(&sets);
        for kid in ["a", "b", "c"] {
            told(&mut reports).await.unwrap();
            assert!(has(&cell, kid));
            let asked = async {
                while cell.want().is_none() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(Duration::from_secs(10), asked).await.unwrap();
        }
    }

    #[tokio::test]
    async fn follows_the_way_to_the_same_host_only() {
        let elsewhere = server(vec![ok("evil")]).await;
        for (place, good) in
            [("/other".to_owned(), true), (elsewhere, false), ("https://127.0.0.1/".to_owned(), false)]
        {
            let url = server(vec![redirect_to(&place), ok("a")]).await;
            let (fetcher, mut reports) = fetcher(Pace {
                retry: Duration::from_secs(60),
                retry_most: Duration::from_secs(60),
                ..quick()
            });
            let sets = KeySets::default();
            let cell = sets.cell(&url);
            fetcher.follow(&sets);
            assert_eq!(told(&mut reports).await.is_ok(), good, "{place}");
            assert_eq!(has(&cell, "a"), good);
        }
    }

    #[tokio::test]
    async fn refuses_answers_without_end_in_size_and_time() {
        let long = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", " ".repeat(MAX_BODY + 1));
        for (answer, problem) in [(long, "longer than 1 MiB"), (SLOW.to_owned(), "time")] {
            let url = server(vec![answer]).await;
            let (fetcher, mut reports) = fetcher(Pace { answer: Duration::from_millis(500), ..quick() });
            let sets = KeySets::default();
            let cell = sets.cell(&url);
            fetcher.follow(&sets);
            let told = told(&mut reports).await.unwrap_err();
            assert!(told.contains(problem), "{told}");
            assert!(cell.current().is_none());
        }
    }

    #[tokio::test]
    async fn reads_a_file_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let write =
            |kid: &str| std::fs::write(&path, format!(r#"{{"keys":[{{{KEY},"kid":"{kid}"}}]}}"#)).unwrap();
        write("a");
        let url = format!("file://{}", path.display());
        assert_eq!(read_file(&url).await.unwrap().unwrap().len(), 1);
        assert!(read_file("file:/nowhere").await.unwrap().is_err());
        assert!(read_file("https://a.example/").await.is_none());
        let (fetcher, mut reports) = fetcher(quick());
        let sets = KeySets::default();
        let cell = sets.cell(&url);
        fetcher.follow(&sets);
        assert_eq!(told(&mut reports).await, Ok(1));
        std::fs::write(&path, "{").unwrap();
        assert!(told(&mut reports).await.is_err());
        assert!(has(&cell, "a"));
        write("b");
        while told(&mut reports).await.is_err() {}
        assert!(has(&cell, "b"));
    }

    #[tokio::test]
    async fn forgets_the_sets_of_a_policy_that_is_gone() {
        let url = server(vec![ok("a")]).await;
        let (fetcher, mut reports) = fetcher(quick());
        let sets = KeySets::default();
        let cell = sets.cell(&url);
        fetcher.follow(&sets);
        told(&mut reports).await.unwrap();
        sets.retain(&[]);
        fetcher.follow(&sets);
        assert!(cell.want().is_none());
        assert!(fetcher.tasks.lock().unwrap().is_empty());
    }

    #[test]
    fn keeps_the_pace() {
        let (pace, seconds) = (Pace::default(), Duration::from_secs);
        assert_eq!(pace.after_success(None), seconds(900));
        assert_eq!(pace.after_success(max_age("no-cache, Max-Age=3600")), seconds(3600));
        assert_eq!(pace.after_success(max_age("max-age=\"1\"")), seconds(300));
        assert_eq!(pace.after_success(max_age("max-age=99999999999")), seconds(86400));
        assert_eq!(pace.after_success(max_age("s-maxage=7, max-age=x")), seconds(900));
        let waits: Vec<u64> = (1..=9).map(|failures| pace.after_failures(failures).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pace.after_failures(u32::MAX), seconds(60));
    }
}
