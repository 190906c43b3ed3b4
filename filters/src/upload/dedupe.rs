//! Files that were stored before: `upload.dedupe`.
//!
//! Passes a file that the tenant has not stored, or whose upload has not been answered with 2xx yet: of two uploads
//! of the same new file at the same time both pass, and the one that is answered first is remembered. A file that
//! comes twice in one request is a duplicate of that same request. On a route without tenants, the route takes the
//! tenant's place.
//!
//! It knows nothing of what the app deletes: until its time is over, a deleted file counts as stored.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use config::rules::{self, DedupeMode};
use sha2::{Digest, Sha256};

use super::stored::Owner;
use crate::denial::{Denial, FieldProblem, Reason};
use crate::filter::FileReport;
use crate::state::{Books, Fingerprint, Fingerprints};

/// `upload.dedupe` of one route.
pub(super) struct Dedupe {
    scope: String,
    mode: DedupeMode,
    lifetime: Duration,
    books: Books<dyn Fingerprints>,
}

impl Dedupe {
    pub(super) fn new(scope: &str, rule: rules::Dedupe, books: Books<dyn Fingerprints>) -> Self {
        let rules::Dedupe { mode, remember } = rule;
        Self { scope: scope.to_owned(), mode, lifetime: remember, books }
    }

    /// Says of every file which request stored it first, or refuses the first one that was. Gives the others, to be
    /// remembered.
    pub(super) async fn judge(
        &self,
        owner: &Owner,
        files: &mut [FileReport],
    ) -> Result<Option<Fresh>, Denial> {
        if files.is_empty() {
            return Ok(None);
        }
        let keys: Vec<_> = files.iter().map(|file| self.fingerprint(owner, &file.sha256)).collect();
        let Some((found, store)) = self.books.ask("dedupe", |store| store.find(&keys)).await? else {
            return Ok(None);
        };
        let mut seen = HashSet::new();
        for ((file, key), first) in files.iter_mut().zip(&keys).zip(found) {
            let twice = !seen.insert(*key);
            file.duplicate_of = first.or_else(|| twice.then(|| owner.request_id.clone()));
            if file.duplicate_of.is_some() && self.mode == DedupeMode::Reject {
                return Err(duplicate(file));
            }
        }
        let files = files.iter().zip(keys).filter(|(file, _)| file.duplicate_of.is_none());
        Ok(Some(Fresh {
            files: files.map(|(_, key)| key).collect(),
            request_id: owner.request_id.clone(),
            lifetime: self.lifetime,
            store,
            books: self.books.clone(),
        }))
    }

    fn fingerprint(&self, owner: &Owner, sha256: &str) -> Fingerprint {
        let (kind, whose) = match &owner.tenant {
            Some(tenant) => ("tenant", &**tenant),
            None => ("scope", &*self.scope),
        };
        let mut hash = Sha256::new();
        // With lengths, so that no two lists of texts run together into the same bytes.
        for text in [kind, whose, sha256] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hash.finalize()[..16]);
        key
    }
}

fn duplicate(file: &FileReport) -> Denial {
    Denial::new(Reason::UploadDuplicate, "a file that was stored before").with_field(FieldProblem {
        field: Some(file.field.clone()).filter(|field| !field.is_empty()),
        filename: Some(file.filename.clone()),
        code: Reason::UploadDuplicate.code(),
        duplicate_of: file.duplicate_of.clone(),
        ..FieldProblem::default()
    })
}

/// Files to be remembered when they have been stored.
pub(super) struct Fresh {
    files: Vec<Fingerprint>,
    request_id: String,
    lifetime: Duration,
    store: Arc<dyn Fingerprints>,
    books: Books<dyn Fingerprints>,
}

impl Fresh {
    /// They have been stored.
    pub(super) async fn remember(self) {
        let Self { files, request_id, lifetime, store, books } = self;
        if files.is_empty() || store.remember(&files, &request_id, lifetime).await.is_ok() {
            return;
        }
        if let Some(local) = books.instead("dedupe") {
            let _ = local.remember(&files, &request_id, lifetime).await;
        }
    }
}
