//! An open WebSocket: frames pass in both directions, bounded in size, until somebody closes, falls silent, or the
//! credential it was opened with ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Buf, BytesMut};
use filters::websocket::frame::{Breach, Sender, Watch, close_frame};
use pingora_timeout::{sleep, timeout};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::watch::Receiver;

use crate::identifiers;
use crate::phase::{Phase, reached};
use crate::wire::Wire;

/// How long the other side may take to finish a frame, or to answer a Close.
const FAREWELL: Duration = Duration::from_secs(1);

/// The credential has ended: the code that applications use for 401.
const TOKEN_ENDED: Breach = Breach { code: 4401, reason: "token ended" };

/// The longest sleep; a timer must not overflow on a token that is valid for ages.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Bytes read at a time.
const READ: usize = 16 * 1024;

/// What a socket is held to.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// When the credential ends.
    pub expires: Option<SystemTime>,
    /// Silence in both directions that ends it.
    pub idle: Option<Duration>,
    /// Bytes of a client's message.
    pub max_message: u64,
    /// Whether the handshake agreed on extensions.
    pub extensions: bool,
}

/// How a socket ended.
#[derive(Debug)]
pub struct Ended {
    /// Why the gateway closed it; `None` when a side did.
    pub breach: Option<Breach>,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
}

/// Relays until the socket ends.
pub async fn relay(client: Box<Wire>, app: Box<Wire>, terms: Terms, mut phases: Receiver<Phase>) -> Ended {
    let (from_client, to_client) = split(client);
    let (from_app, to_app) = split(app);
    let mut up =
        Direction::new(from_client, to_app, Watch::new(Sender::Client, terms.max_message, terms.extensions));
    let mut down =
        Direction::new(from_app, to_client, Watch::new(Sender::Server, u64::MAX, terms.extensions));
    let last = LastHeard::now();
    let breach = tokio::select! {
        biased;
        ended = up.pump(&last) => ended,
        ended = down.pump(&last) => ended,
        breach = time_is_up(terms, &last) => Some(breach),
        () = reached(&mut phases, Phase::Draining) => Some(Breach::SHUTDOWN),
    };
    match breach {
        Some(breach) => close(&mut up, &mut down, breach).await,
        None => {
            // What one side sent before it closed is still passed on.
            let _ = timeout(FAREWELL, async { tokio::join!(up.drain(), down.drain()) }).await;
        }
    }
    Ended { breach, bytes_in: up.passed, bytes_out: down.passed }
}

/// When something was last heard, from either side.
struct LastHeard {
    start: Instant,
    millis: AtomicU64,
}

impl LastHeard {
    fn now() -> Self {
        Self { start: Instant::now(), millis: AtomicU64::new(0) }
    }

    fn hear(&self) {
        self.millis.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.millis.load(Ordering::Relaxed)))
    }
}

async fn time_is_up(terms: Terms, last: &LastHeard) -> Breach {
    loop {
        let left = terms.expires.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
        if left.is_some_and(|left| left.is_zero()) {
            return TOKEN_ENDED;
        }
        let silence = terms.idle.map(|idle| idle.saturating_sub(last.silence()));
        if silence.is_some_and(|silence| silence.is_zero()) {
            return Breach::IDLE;
        }
        sleep(left.into_iter().chain(silence).min().unwrap_or(LONGEST).min(LONGEST)).await;
    }
}

/// Tells both sides, each at the end of a frame, and waits a moment for the client to hear it.
async fn close(up: &mut Direction, down: &mut Direction, breach: Breach) {
    let mask = (identifiers::random() as u32).to_be_bytes();
    let masked = close_frame(breach.code, breach.reason, Some(mask));
    let plain = close_frame(breach.code, breach.reason, None);
    let both = async { tokio::join!(up.say_goodbye(&masked), down.say_goodbye(&plain)) };
    let _ = timeout(FAREWELL, both).await;
    let answer = async {
        let mut rest = [0; 1024];
        while matches!(up.from.read(&mut rest).await, Ok(n) if n > 0) {}
    };
    let _ = timeout(FAREWELL, answer).await;
}

/// One direction of a socket.
struct Direction {
    from: ReadHalf<Box<Wire>>,
    to: WriteHalf<Box<Wire>>,
    watch: Watch,
    /// Judged and not yet sent. What is left here when a pump is stopped must be sent before anything else.
    out: BytesMut,
    passed: u64,
}

impl Direction {
    fn new(from: ReadHalf<Box<Wire>>, to: WriteHalf<Box<Wire>>, watch: Watch) -> Self {
        Self { from, to, watch, out: BytesMut::new(), passed: 0 }
    }

    /// Passes frames on until the sender has closed (`None`) or broke a rule. May be stopped at any point.
    async fn pump(&mut self, last: &LastHeard) -> Option<Breach> {
        loop {
            match self.step().await {
                Step::Passed => last.hear(),
                Step::Gone => return None,
                Step::Breach(breach) => return Some(breach),
            }
        }
    }

    async fn step(&mut self) -> Step {
        if self.send().await.is_err() {
            return Step::Gone;
        }
        let mut input = BytesMut::with_capacity(READ);
        match self.from.read_buf(&mut input).await {
            Ok(n) if n > 0 => {}
            _ => return Step::Gone,
        }
        let judged = self.watch.relay(&input, &mut self.out);
        let sent = self.send().await;
        match (judged, sent) {
            (Err(breach), _) => Step::Breach(breach),
            (Ok(()), Err(_)) => Step::Gone,
            (Ok(()), Ok(())) => Step::Passed,
        }
    }

    async fn send(&mut self) -> std::io::Result<()> {
        while !self.out.is_empty() {
            let n = self.to.write(&self.out).await?;
            if n == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            self.out.advance(n);
            self.passed += n as u64;
        }
        self.to.flush().await
    }

    /// After one side has closed: passes on what is under way, and the close itself.
    async fn drain(&mut self) {
        while matches!(self.step().await, Step::Passed) {}
        let _ = self.to.shutdown().await;
    }

    /// Sends a Close frame at the end of the frame that is under way, unless the sender has closed itself.
    async fn say_goodbye(&mut self, frame: &[u8]) {
        while !self.watch.at_boundary() {
            if !matches!(self.step().await, Step::Passed) {
                return;
            }
        }
        if self.send().await.is_ok() && !self.watch.closed() {
            self.out.extend_from_slice(frame);
            let _ = self.send().await;
        }
        let _ = self.to.shutdown().await;
    }
}

enum Step {
    Passed,
    Gone,
    Breach(Breach),
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    async fn pair() -> (TcpStream, Box<Wire>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outside = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (outside, Box::new(Wire::tcp(listener.accept().await.unwrap().0)))
    }

    const TERMS: Terms = Terms { expires: None, idle: None, max_message: 100, extensions: false };

    struct Stage {
        client: TcpStream,
        app: TcpStream,
        _phase: watch::Sender<Phase>,
        relay: tokio::task::JoinHandle<Ended>,
    }

    async fn stage(terms: Terms) -> Stage {
        let (client, inside_client) = pair().await;
        let (app, inside_app) = pair().await;
        let phase = watch::Sender::new(Phase::Serving);
        let phases = phase.subscribe();
        let relay = tokio::spawn(relay(inside_client, inside_app, terms, phases));
        Stage { client, app, _phase: phase, relay }
    }

    #[tokio::test]
    async fn passes_frames_both_ways_and_counts_them() {
        let mut stage = stage(TERMS).await;
        stage.client.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
        let mut seen = [0; 8];
        stage.app.read_exact(&mut seen).await.unwrap();
        stage.app.write_all(&[0x81, 2, b'y', b'o']).await.unwrap();
        let mut seen = [0; 4];
        stage.client.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, &[0x81, 2, b'y', b'o']);
        drop(stage.client);
        let ended = stage.relay.await.unwrap();
        assert_eq!((ended.bytes_in, ended.bytes_out, ended.breach), (8, 4, None));
    }

    #[tokio::test]
    async fn closes_both_sides_when_the_token_ends() {
        let expires = Some(SystemTime::now() + Duration::from_millis(30));
        let mut stage = stage(Terms { expires, ..TERMS }).await;
        let mut seen = [0; 4];
        stage.client.read_exact(&mut seen).await.unwrap();
        assert_eq!((seen[0], u16::from_be_bytes([seen[2], seen[3]])), (0x88, 4401));
        let mut seen = [0; 8];
        stage.app.read_exact(&mut seen).await.unwrap();
        let code = [seen[6] ^ seen[2], seen[7] ^ seen[3]];
        assert_eq!((seen[0], u16::from_be_bytes(code)), (0x88, 4401));
        drop((stage.client, stage.app));
        assert_eq!(stage.relay.await.unwrap().breach, Some(TOKEN_ENDED));
    }

    #[tokio::test]
    async fn a_message_over_the_limit_never_reaches_the_app() {
        let mut stage = stage(TERMS).await;
        stage.client.write_all(&[0x82, 0xfe, 0, 126, 0, 0, 0, 0]).await.unwrap();
        let mut seen = [0; 4];
        stage.client.read_exact(&mut seen).await.unwrap();
        assert_eq!(u16::from_be_bytes([seen[2], seen[3]]), 1009);
        let mut seen = [0; 2];
        stage.app.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen[0], 0x88, "the first thing the app hears is the Close");
    }

    #[tokio::test]
    async fn large_messages_in_both_directions_at_once_do_not_block_each_other() {
        let stage = stage(Terms { max_message: 1 << 24, ..TERMS }).await;
        let mut big_up = vec![0x82, 0xff, 0, 0, 0, 0, 0, 0x80, 0, 0, 1, 2, 3, 4];
        big_up.resize(14 + 0x80_0000, 7);
        let mut big_down = vec![0x82, 0x7f, 0, 0, 0, 0, 0, 0x80, 0, 0];
        big_down.resize(10 + 0x80_0000, 9);
        let Stage { mut client, mut app, .. } = stage;
        // Neither side reads before it has written everything.
        let up = tokio::spawn(async move {
            client.write_all(&big_up).await.unwrap();
            let mut seen = vec![0; 10 + 0x80_0000];
            client.read_exact(&mut seen).await.unwrap();
        });
        let mut seen = vec![0; 14 + 0x80_0000];
        let (mut read, mut write) = app.split();
        let (read, write) = tokio::join!(read.read_exact(&mut seen), write.write_all(&big_down));
        read.unwrap();
        write.unwrap();
        up.await.unwrap();
    }
}
