//! Tokens that were good when they were verified, and whose they are.
//!
//! A client sends the same token hundreds of times. What does not depend on the moment, its signature and its claims,
//! is proved once; its times are judged on every request by whoever asks here.
//!
//! Only a token that was good in every respect is put in, so that nobody fills or empties this without good tokens.
//! The place of a token is chosen by a hash with a random key, and the whole token is compared, not a digest of it.
//! A hit costs that hash and that comparison.
//!
//! At most 1,024 tokens of one identity, in 512 sets of two. A third one of a set takes the place of the one that was
//! used less recently, which is then verified anew when it comes again. The sets take 80 KB, from the first good token
//! on. A token of more than 2 KiB is not kept, nor one that takes more than 8 KiB together with what was read out of
//! it, so that 8 MiB for each identity is the most. Usual ones take less than 1 KiB, so that a busy site pays 1 MiB.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::times::Times;
use crate::facts::Caller;
use crate::jwks::KeySet;

/// A power of two.
const SETS: usize = 512;

/// Bytes of a token that is kept.
const MAX_TOKEN: usize = 2 * 1024;

/// Bytes of a token and of what was read out of it.
const MAX_WEIGHT: usize = 8 * 1024;

/// The tokens of one identity that were good when they were verified.
pub(super) struct KeptTokens {
    hash: RandomState,
    sets: OnceLock<Box<[Mutex<Set>]>>,
    size: usize,
}

/// The token that was used last comes first.
type Set = [Option<Kept>; 2];

struct Kept {
    hash: u64,
    /// With the token.
    caller: Arc<Caller>,
    times: Times,
    proof: Proof,
}

/// What proved the signature of a token.
pub(super) enum Proof {
    /// A key of the policy, which is as good as the policy.
    Own,
    /// A key of this set, which counts only while the set is the current one of its cell. The set is not kept alive.
    Published {
        /// The cell's place among the identity's.
        cell: usize,
        /// Its address stays its own as long as this is here.
        set: Weak<KeySet>,
    },
}

impl KeptTokens {
    /// None kept yet.
    pub(super) fn new() -> Self {
        Self::with_sets(SETS)
    }

    /// So many sets of two; a power of two.
    pub(super) fn with_sets(size: usize) -> Self {
        Self { hash: RandomState::new(), sets: OnceLock::new(), size }
    }

    /// Whose token this is and when it is good, when it was verified before and `counts` says that what proved it
    /// still does. A token whose proof no longer counts is forgotten.
    pub(super) fn find(&self, token: &str, counts: impl Fn(&Proof) -> bool) -> Option<(Arc<Caller>, Times)> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let sets = self.sets.get()?;
        let hash = self.hash.hash_one(token);
        let mut set = lock(&sets[self.place(hash)]);
        let way = position(&set, hash, token)?;
        if set[way].take_if(|kept| !counts(&kept.proof)).is_some() {
            return None;
        }
        set[..=way].rotate_right(1);
        set[0].as_ref().map(|kept| (Arc::clone(&kept.caller), kept.times))
    }

    /// Keeps a token that is good in every respect.
    pub(super) fn keep(&self, caller: &Arc<Caller>, times: Times, proof: Proof) {
        let token = caller.token.0.as_str();
        if token.len() > MAX_TOKEN || weight(caller) > MAX_WEIGHT {
            return;
        }
        let sets = self.sets.get_or_init(|| (0..self.size).map(|_| Mutex::default()).collect());
        let hash = self.hash.hash_one(token);
        let mut set = lock(&sets[self.place(hash)]);
        let free = || set.iter().position(Option::is_none);
        let way = position(&set, hash, token).or_else(free).unwrap_or(set.len() - 1);
        set[way] = Some(Kept { hash, caller: Arc::clone(caller), times, proof });
        set[..=way].rotate_right(1);
    }

    fn place(&self, hash: u64) -> usize {
        hash as usize & (self.size - 1)
    }
}

impl fmt::Debug for KeptTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptTokens").finish_non_exhaustive()
    }
}

/// Where a set has this token. Its bytes are compared only when the whole hash is the same, whose key nobody knows: how
/// long that takes tells nobody how far a guess was right.
fn position(set: &Set, hash: u64, token: &str) -> Option<usize> {
    set.iter().position(|place| {
        place.as_ref().is_some_and(|kept| kept.hash == hash && kept.caller.token.0 == token)
    })
}

/// Bytes that a caller takes, but for what the allocator adds: 16 of them for a shorter word.
fn weight(caller: &Caller) -> usize {
    let Caller { identity: _, subject, tenant, roles, permissions, superuser: _, expires: _, token } = caller;
    let words = |list: &Vec<String>| {
        list.capacity() * size_of::<String>() + list.iter().map(|word| word.capacity().max(16)).sum::<usize>()
    };
    size_of::<Caller>()
        + token.0.capacity()
        + subject.capacity()
        + tenant.as_ref().map_or(0, String::capacity)
        + words(roles)
        + words(permissions)
}

/// A set stays usable when a thread died while it held it: its tokens were all good, in whatever order.
fn lock(set: &Mutex<Set>) -> MutexGuard<'_, Set> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
