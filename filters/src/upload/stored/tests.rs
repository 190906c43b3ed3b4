use std::sync::Mutex;
use std::time::Duration;

use config::OnStateFailure;
use config::rules::DedupeMode;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::*;
use crate::denial::{FieldProblem, Reason};
use crate::state::{
    Books, Fingerprint, Fingerprints, Grant, Quotas, Shared, Space, StateAway, SystemClock, Usage, WhenAway,
};
use crate::upload::{Ledger, SeenFiles};

/// The books of a route, and where they are kept.
struct Route {
    ledger: Arc<Ledger>,
    books: Bookkeeping,
}

impl Route {
    fn new(mode: Option<DedupeMode>, quota: bool) -> Self {
        let ledger = Ledger::new();
        let files = Books { local: SeenFiles::new(Arc::new(SystemClock::new())) as _, shared: None };
        let quotas = Books { local: ledger.clone() as _, shared: None };
        Self { ledger, books: books(mode, quota, files, quotas) }
    }

    fn judge(
        &self,
        request_id: &str,
        tenant: &str,
        files: &mut [FileReport],
    ) -> Result<Option<Stored>, Denial> {
        judge(&self.books, request_id, tenant, files)
    }

    /// Uploads one file that the app answers with 2xx or not; the code of a refusal.
    fn upload(
        &self,
        request_id: &str,
        content: &str,
        size: u64,
        kept: bool,
    ) -> Result<(), Box<FieldProblem>> {
        match self.judge(request_id, "t-1", &mut [file(content, size)]) {
            Ok(stored) => {
                stored.expect("books are kept").settle(kept).now_or_never().expect("memory answers at once");
                Ok(())
            }
            Err(denial) => Err(Box::new(problem(&denial))),
        }
    }

    fn usage(&self) -> Usage {
        self.ledger.usage("t-1").now_or_never().unwrap().unwrap()
    }
}

fn books(
    mode: Option<DedupeMode>,
    quota: bool,
    files: Books<dyn Fingerprints>,
    quotas: Books<dyn Quotas>,
) -> Bookkeeping {
    let rule = |mode| rules::Dedupe { mode, remember: Duration::from_secs(60) };
    Bookkeeping {
        dedupe: mode.map(|mode| Dedupe::new("scope", rule(mode), files)),
        storage: quota.then(|| Storage::new(quotas)),
        observed: false,
    }
}

fn judge(
    books: &Bookkeeping,
    request_id: &str,
    tenant: &str,
    files: &mut [FileReport],
) -> Result<Option<Stored>, Denial> {
    let plan = Plan { name: "free".into(), storage: Some(100), uploads: None, max_size: Default::default() };
    let owner = Owner {
        request_id: request_id.into(),
        tenant: Some(tenant.into()).filter(|_| !tenant.is_empty()),
        plan: Some(Arc::new(plan)),
    };
    books.judge(&owner, files).now_or_never().expect("memory answers at once")
}

fn file(content: &str, size: u64) -> FileReport {
    FileReport {
        field: "file".into(),
        filename: format!("{content}.png"),
        size,
        media_type: "image/png".into(),
        class: "image".into(),
        sha256: content.into(),
        scan: "clean",
        engine: "builtin",
        duplicate_of: None,
    }
}

fn problem(denial: &Denial) -> FieldProblem {
    let problem = denial.extra.as_ref().expect("it says more").errors[0].clone();
    assert_eq!(problem.code, denial.reason.code());
    problem
}

fn duplicate_of(files: &[FileReport]) -> Vec<Option<&str>> {
    files.iter().map(|file| file.duplicate_of.as_deref()).collect()
}

#[test]
fn space_is_used_when_the_upstream_took_the_files_and_free_when_not() {
    let route = Route::new(None, true);
    let held = route.judge("r-1", "t-1", &mut [file("a", 30), file("b", 40)]).unwrap();
    assert_eq!(route.usage(), Usage { used: 0, reserved: 70 });
    let refused = route.upload("r-2", "c", 31, true).unwrap_err();
    assert_eq!((refused.used, refused.limit, refused.plan.as_deref()), (Some(0), Some(100), Some("free")));
    held.unwrap().settle(true).now_or_never().unwrap();
    assert_eq!(route.usage(), Usage { used: 70, reserved: 0 });
    assert_eq!(route.upload("r-3", "d", 30, false), Ok(()));
    drop(route.judge("r-4", "t-1", &mut [file("e", 30)]).unwrap());
    assert_eq!(route.usage(), Usage { used: 70, reserved: 0 }, "neither a failure nor a loss takes space");
    assert_eq!(route.upload("r-5", "f", 30, true), Ok(()), "to the last byte");
    assert_eq!(route.upload("r-6", "g", 1, true).unwrap_err().used, Some(100));
    assert!(route.judge("r-7", "t-1", &mut [file("empty", 0)]).unwrap().is_none(), "nothing takes no space");
}

#[test]
fn a_file_is_a_duplicate_once_it_was_stored() {
    let route = Route::new(Some(DedupeMode::Reject), false);
    assert_eq!(route.upload("r-1", "a", 1, false), Ok(()));
    let late = route.judge("r-2", "t-1", &mut [file("a", 1)]).unwrap();
    assert_eq!(route.upload("r-3", "a", 1, true), Ok(()), "of two at the same time both pass");
    late.unwrap().settle(true).now_or_never().unwrap();
    let refused = route.upload("r-4", "a", 1, true).unwrap_err();
    assert_eq!(refused.duplicate_of.as_deref(), Some("r-3"), "the first that was answered");
    assert_eq!((refused.field.as_deref(), refused.filename.as_deref()), (Some("file"), Some("a.png")));
    assert_eq!(route.upload("r-5", "b", 1, true), Ok(()));
    assert!(route.judge("r-6", "t-2", &mut [file("a", 1)]).is_ok(), "another tenant's is another");
    assert!(route.judge("r-7", "", &mut [file("a", 1)]).is_ok(), "so is nobody's");
    let denial = route.judge("r-8", "t-1", &mut [file("c", 1), file("b", 1)]).unwrap_err();
    assert_eq!(
        (denial.reason, problem(&denial).duplicate_of.as_deref()),
        (Reason::UploadDuplicate, Some("r-5"))
    );
}

#[test]
fn a_file_that_comes_twice_in_a_request_is_a_duplicate_of_itself() {
    let route = Route::new(Some(DedupeMode::Reject), false);
    let denial = route.judge("r-1", "t-1", &mut [file("a", 1), file("a", 1)]).unwrap_err();
    assert_eq!(problem(&denial).duplicate_of.as_deref(), Some("r-1"));
    let route = Route::new(Some(DedupeMode::Annotate), false);
    let mut files = [file("a", 1), file("b", 1), file("a", 1)];
    let stored = route.judge("r-1", "t-1", &mut files).unwrap();
    assert_eq!(duplicate_of(&files), [None, None, Some("r-1")]);
    stored.unwrap().settle(true).now_or_never().unwrap();
    let mut files = [file("a", 1), file("c", 1)];
    drop(route.judge("r-2", "t-1", &mut files).unwrap());
    assert_eq!(duplicate_of(&files), [Some("r-1"), None]);
}

#[test]
fn a_duplicate_takes_no_space_and_a_full_storage_forgets_no_file() {
    let route = Route::new(Some(DedupeMode::Reject), true);
    assert_eq!(route.upload("r-1", "a", 60, true), Ok(()));
    assert_eq!(route.upload("r-2", "a", 60, true).unwrap_err().code, "upload.duplicate");
    assert_eq!(route.upload("r-3", "b", 60, true).unwrap_err().code, "upload.quota_exceeded");
    assert_eq!(route.usage(), Usage { used: 60, reserved: 0 });
    assert_eq!(route.upload("r-4", "b", 40, true), Ok(()), "it was not remembered");
}

#[test]
fn observed_books_judge_and_stay_as_they_are() {
    let mut route = Route::new(Some(DedupeMode::Reject), true);
    assert_eq!(route.upload("r-1", "a", 60, true), Ok(()));
    route.books.observed = true;
    let code =
        |content, size| route.judge("r-2", "t-1", &mut [file(content, size)]).map(|stored| stored.is_none());
    assert_eq!(code("a", 1).unwrap_err().reason, Reason::UploadDuplicate);
    assert_eq!(code("b", 41).unwrap_err().reason, Reason::UploadQuotaExceeded);
    assert!(code("b", 40).unwrap());
    assert!(code("b", 40).unwrap());
    assert_eq!(route.usage(), Usage { used: 60, reserved: 0 });
}

/// A shared store that is away, at once or once it has answered a question.
struct Away {
    answers: Mutex<u32>,
}

impl Away {
    fn after<T: Send + 'static>(&self, answer: T) -> BoxFuture<'static, Result<T, StateAway>> {
        let mut left = self.answers.lock().unwrap();
        let answer = left.checked_sub(1).map(|rest| {
            *left = rest;
            answer
        });
        Box::pin(ready(answer.ok_or(StateAway)))
    }
}

impl Quotas for Away {
    fn reserve(&self, _: &Space, _: Option<u64>) -> BoxFuture<'static, Result<Grant, StateAway>> {
        self.after(Grant::Reserved(7))
    }

    fn settle(&self, _: &Space, _: u64, _: bool) -> BoxFuture<'static, Result<(), StateAway>> {
        self.after(())
    }

    fn free(&self, _: &Space) -> BoxFuture<'static, Result<(), StateAway>> {
        self.after(())
    }

    fn usage(&self, _: &str) -> BoxFuture<'static, Result<Usage, StateAway>> {
        self.after(Usage::default())
    }

    fn set(&self, _: &str, _: u64) -> BoxFuture<'static, Result<Usage, StateAway>> {
        self.after(Usage::default())
    }
}

impl Fingerprints for Away {
    fn find(&self, files: &[Fingerprint]) -> BoxFuture<'static, Result<Vec<Option<String>>, StateAway>> {
        self.after(vec![None; files.len()])
    }

    fn remember(&self, _: &[Fingerprint], _: &str, _: Duration) -> BoxFuture<'static, Result<(), StateAway>> {
        self.after(())
    }
}

/// A route whose shared store is away after so many answers; and what was told of.
fn far(
    mode: Option<DedupeMode>,
    policy: OnStateFailure,
    answers: u32,
) -> (Route, Arc<Mutex<Vec<&'static str>>>) {
    let ledger = Ledger::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let away = || {
        let told = Arc::clone(&told);
        WhenAway::new(policy, Arc::new(move |operation| told.lock().unwrap().push(operation)))
    };
    let store = Arc::new(Away { answers: Mutex::new(answers) });
    let files = Books {
        local: SeenFiles::new(Arc::new(SystemClock::new())) as _,
        shared: Some(Shared { store: store.clone() as _, away: away() }),
    };
    let shared = Some(Shared { store: store as _, away: away() });
    let quotas = Books { local: ledger.clone() as _, shared };
    (Route { ledger, books: books(mode, mode.is_none(), files, quotas) }, told)
}

#[test]
fn a_store_that_is_away_is_treated_as_the_policy_says() {
    for (mode, operation) in [(None, "quota"), (Some(DedupeMode::Reject), "dedupe")] {
        let (route, told) = far(mode, OnStateFailure::Deny, 0);
        let denial = route.judge("r-1", "t-1", &mut [file("a", 1)]).unwrap_err();
        assert_eq!(denial.reason, Reason::StateUnavailable);
        assert_eq!(*told.lock().unwrap(), [operation]);

        let (route, told) = far(mode, OnStateFailure::Allow, 0);
        assert!(route.judge("r-1", "t-1", &mut [file("a", 101)]).unwrap().is_none());
        assert_eq!(*told.lock().unwrap(), [operation]);

        let (route, _) = far(mode, OnStateFailure::Local, 0);
        assert_eq!(route.upload("r-1", "a", 60, true), Ok(()));
        assert!(route.upload("r-2", "a", 60, true).is_err(), "its own books know of it");
    }
}

#[test]
fn what_a_store_did_not_learn_is_counted_where_it_will_be_asked_for() {
    for mode in [None, Some(DedupeMode::Reject)] {
        let (route, told) = far(mode, OnStateFailure::Local, 1);
        assert_eq!(route.upload("r-1", "a", 60, true), Ok(()));
        assert_eq!(told.lock().unwrap().len(), 1);
        assert!(route.upload("r-2", "a", 60, true).is_err());
        let (route, _) = far(mode, OnStateFailure::Local, 1);
        assert_eq!(route.upload("r-1", "a", 60, false), Ok(()));
        assert_eq!(route.upload("r-2", "a", 60, true), Ok(()), "what was not stored is not counted");
    }
}
