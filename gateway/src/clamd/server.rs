//! One clamd: where it is, how it stands, and which signatures it has.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use config::ClamdAddress;
use filters::upload::Scanned;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use super::Attempt;
use super::exchange;
use super::watch::{self, Watch};

/// The longest that anybody waits to be told a version.
const VERSION: Duration = Duration::from_secs(1);
/// Questions for the version that wait; beyond it a file is scanned instead.
const QUESTIONS: usize = 1024;

/// What is known of a server's health. The order is that in which servers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Standing {
    /// It answers, or nothing is known yet.
    Well = 0,
    /// It takes connections and does not answer.
    Silent = 1,
    /// It cannot be connected to.
    Away = 2,
}

/// See the module.
pub(super) struct Server {
    state: Arc<State>,
    questions: mpsc::Sender<oneshot::Sender<Option<Arc<str>>>>,
}

/// What the server and those who watch it both know.
pub(super) struct State {
    pub(super) address: ClamdAddress,
    /// As in the policy.
    pub(super) name: String,
    standing: AtomicU8,
    signatures: Mutex<Option<Arc<str>>>,
    /// Told when a file was given a verdict.
    pub(super) answered: Notify,
}

impl Server {
    /// A server, and the task that watches it until it is dropped. One that is alone is watched only when its verdicts
    /// are kept, and from its first verdict on: nothing else would come of it.
    pub(super) fn watched(address: ClamdAddress, versions: bool, alone: bool, control: &Handle) -> Self {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let name = address.to_string();
        let state = Arc::new(State {
            address,
            name,
            standing: AtomicU8::new(Standing::Well as u8),
            signatures: Mutex::default(),
            answered: Notify::new(),
        });
        if versions || !alone {
            control.spawn(watch::run(Watch::new(Arc::clone(&state), versions), asked, alone));
        }
        Self { state, questions }
    }

    pub(super) fn address(&self) -> &ClamdAddress {
        &self.state.address
    }

    pub(super) fn name(&self) -> &str {
        &self.state.name
    }

    pub(super) fn standing(&self) -> Standing {
        self.state.standing()
    }

    /// The process and its signatures, as last heard; `None` when its verdicts cannot be kept.
    pub(super) fn known_signatures(&self) -> Option<Arc<str>> {
        self.state.signatures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for them now.
    pub(super) async fn signatures(&self) -> Option<Arc<str>> {
        let (answer, told) = oneshot::channel();
        self.questions.try_send(answer).ok()?;
        timeout(VERSION, told).await.ok()?.ok()?
    }

    /// Whether anything at all is answered within `limit`.
    pub(super) async fn is_alive(&self, limit: Duration) -> bool {
        let answer = exchange::command(&self.state.address, b"zPING\0");
        matches!(timeout(limit, answer).await, Ok(Ok(Some(_))))
    }

    /// Takes note of how a scan went.
    pub(super) fn went(&self, attempt: &Attempt) {
        match attempt {
            Attempt::Answered(Ok(said)) => {
                self.state.stands(Standing::Well);
                if !matches!(said, Scanned::NotScanned(_)) {
                    self.state.answered.notify_one();
                }
            }
            Attempt::Unreachable(_) => self.state.stands(Standing::Away),
            Attempt::Cut | Attempt::Frozen => self.state.stands(Standing::Silent),
            // A body that cannot be read, or a scan that takes long, says nothing of the server.
            Attempt::Answered(Err(_)) | Attempt::TimedOut => {}
        }
    }
}

impl State {
    fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            0 => Standing::Well,
            1 => Standing::Silent,
            _ => Standing::Away,
        }
    }

    /// Sets how it stands, and says so when that is news.
    pub(super) fn stands(&self, standing: Standing) {
        let before = self.standing.swap(standing as u8, Ordering::Relaxed);
        if before == standing as u8 {
            return;
        }
        match standing {
            Standing::Well => log::info!("scanner {} answers again", self.name),
            Standing::Silent => log::warn!("scanner {} does not answer", self.name),
            Standing::Away => log::warn!("scanner {} cannot be reached", self.name),
        }
    }

    pub(super) fn has_signatures(&self, signatures: Option<Arc<str>>) {
        *self.signatures.lock().unwrap_or_else(PoisonError::into_inner) = signatures;
    }
}
