//! Watches one clamd: whether it is well, and whether it is still the process with the signatures that gave a verdict.
//!
//! clamd's `VERSION` names the version and date of its database ("ClamAV 1.4.3/27812/Thu Nov 26 …") when that is one of
//! ClamAV's own. It is asked on a connection that stays open (`IDSESSION`): a clamd that was started anew has cut it, so
//! that its verdicts count no longer although the version may be the same. Where `VERSION` names no database, the
//! signatures are of somebody's own, nothing would tell that they were loaded anew, and no verdict is kept.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::exchange::{self, Connection};
use super::server::{Standing, State};

/// How often a server is looked at. clamd ends a session that is silent for its `CommandReadTimeout`, 30 s.
const EVERY: Duration = Duration::from_secs(5);
/// For one look. An answer takes a tenth of a millisecond; all threads may be busy, though.
const PATIENCE: Duration = Duration::from_secs(1);

/// Numbers sessions: no two are the same, whoever they are with.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

/// See the module.
pub(super) struct Watch {
    state: Arc<State>,
    /// Whether verdicts are kept, so that a session is worth having.
    versions: bool,
    session: Option<Session>,
}

struct Session {
    clamd: Connection,
    number: u64,
    /// Commands sent; clamd puts the number in front of its answer.
    commands: u64,
}

/// Looks at a server now and then, and whenever somebody asks, until nobody can ask any more.
pub(super) async fn run(
    mut watch: Watch,
    mut questions: mpsc::Receiver<oneshot::Sender<Option<Arc<str>>>>,
    alone: bool,
) {
    let mut askers = Vec::new();
    if alone {
        tokio::select! {
            () = watch.state.answered.notified() => {}
            asker = questions.recv() => match asker {
                Some(asker) => askers.push(asker),
                None => return,
            },
        }
    }
    let mut turn = interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if askers.is_empty() {
            tokio::select! {
                asker = questions.recv() => match asker {
                    Some(asker) => askers.push(asker),
                    None => return,
                },
                _ = turn.tick() => {}
            }
        }
        // Whoever asks before the question is sent may have its answer.
        while let Ok(asker) = questions.try_recv() {
            askers.push(asker);
        }
        let signatures = watch.look().await;
        for asker in askers.drain(..) {
            let _ = asker.send(signatures.clone());
        }
    }
}

impl Watch {
    pub(super) fn new(state: Arc<State>, versions: bool) -> Self {
        Self { state, versions, session: None }
    }

    /// The process and its signatures, when they can be told.
    async fn look(&mut self) -> Option<Arc<str>> {
        // Taken out, so that a session with an answer outstanding is never used again.
        let session = self.session.take();
        let (standing, found) = match timeout(PATIENCE, ask(&self.state, session, self.versions)).await {
            Ok(Ok(found)) => (Standing::Well, found),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => (Standing::Silent, None),
            Ok(Err(_)) => (Standing::Away, None),
            Err(_) => (Standing::Silent, None),
        };
        self.state.stands(standing);
        let signatures = found.map(|(session, version)| {
            let signatures = format!("clamav {} {} {version}", self.state.name, session.number);
            self.session = Some(session);
            signatures.into()
        });
        self.state.has_signatures(signatures.clone());
        signatures
    }
}

/// Asks for the version on the session, when there is one; else on a connection of its own, and then on a new session.
async fn ask(
    state: &State,
    session: Option<Session>,
    versions: bool,
) -> io::Result<Option<(Session, String)>> {
    if let Some(session) = session
        && let Ok(answer) = session.version().await
    {
        return Ok(Some(answer));
    }
    let Some(answer) = exchange::command(&state.address, b"zVERSION\0").await? else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    if !versions || !names_database(&answer) {
        return Ok(None);
    }
    let clamd = Connection::open(&state.address).await?;
    clamd.write_all(b"zIDSESSION\0").await?;
    let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
    // A server without sessions is well all the same.
    Ok(Session { clamd, number, commands: 0 }.version().await.ok())
}

impl Session {
    /// The version, when the answer is that and names a database.
    async fn version(mut self) -> io::Result<(Self, String)> {
        self.commands += 1;
        self.clamd.write_all(b"zVERSION\0").await?;
        let answer = exchange::answer(&self.clamd).await?;
        let number = format!("{}: ", self.commands);
        match answer.as_deref().and_then(|answer| answer.strip_prefix(number.as_bytes())) {
            Some(version) if names_database(version) => {
                let version = String::from_utf8_lossy(version).into_owned();
                Ok((self, version))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Whether a version has the form `ClamAV ENGINE/DATABASE/DATE`.
fn names_database(version: &[u8]) -> bool {
    let Some(version) = std::str::from_utf8(version).ok().and_then(|text| text.strip_prefix("ClamAV "))
    else {
        return false;
    };
    let mut parts = version.splitn(3, '/');
    let (engine, database, date) = (parts.next(), parts.next(), parts.next());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    engine.is_some_and(|engine| !engine.is_empty())
        && database.is_some_and(is_number)
        && date.is_some_and(|date| !date.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_version_that_names_its_database() {
        assert!(names_database(b"ClamAV 1.4.3/27812/Thu Nov 26 09:00:00 2026"));
        for version in [
            "ClamAV 1.4.3",
            "ClamAV 1.4.3/27812",
            "ClamAV 1.4.3//x",
            "ClamAV /1/x",
            "PONG",
            "",
            "ClamAV 1/2a/x",
        ] {
            assert!(!names_database(version.as_bytes()), "{version}");
        }
    }
}
