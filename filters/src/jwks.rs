//! Published sets of keys (RFC 7517), and the cell in which the latest one waits for requests.
//!
//! What becomes of each member of a set:
//! - `kty` other than RSA, EC, OKP and oct, a curve other than P-256, P-384 and Ed25519, an `alg` that is not accepted
//!   here or does not fit the key, a `use` other than `sig`, `key_ops` without `verify`: not a key for us, left out;
//! - RSA below 2048 or above 8192 bits, a point that is not on its curve: left out;
//! - `oct` is taken from a file only, names its `alg`, and is as long as its hash (RFC 7518 section 3.2);
//! - a private part (`d`) that somebody published is nobody's secret any more: left out;
//! - without `alg`, RSA is for RS256 only, P-256 for ES256, P-384 for ES384, Ed25519 for EdDSA. RS384, RS512 and PS*
//!   have to be said.
//!
//! The cell outlives reloads. Serving reads it without a lock; a background task of the gateway fills it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use arc_swap::{ArcSwapOption, Guard};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::Algorithm;
use futures_util::task::AtomicWaker;
use serde::Deserialize;

use crate::jws::{Key, algorithm};

/// Keys of one set; a longer set is refused whole.
pub const MAX_KEYS: usize = 256;

/// Keys of one set that are tried on one token, which bounds the work that a token can cause.
const MAX_TRIED: usize = 8;

/// The usable keys of a set. Never empty.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// Where a set came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A URL that others can read.
    Network,
    /// A file of the operator's.
    File,
}

impl KeySet {
    /// Reads a set. An error when it is no set, has more than 256 keys, or none that is of use here.
    pub fn parse(json: &[u8], origin: Origin) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Members {
            keys: Vec<serde_json::Value>,
        }
        let members: Members = serde_json::from_slice(json).map_err(|_| "this is not a JSON Web Key Set")?;
        if members.keys.len() > MAX_KEYS {
            return Err(format!("the set has more than {MAX_KEYS} keys"));
        }
        let keys: Vec<Key> = members
            .keys
            .into_iter()
            .filter_map(|member| serde_json::from_value::<Jwk>(member).ok()?.into_key(origin))
            .collect();
        if keys.is_empty() {
            return Err("the set has no key that can verify a signature here".to_owned());
        }
        Ok(Self { keys })
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that a token of this algorithm and key id may have been signed with, at most eight. A token without
    /// a key id gets the keys without one, and the only key of its algorithm when there is only one.
    pub fn candidates(&self, alg: Algorithm, kid: Option<&str>) -> impl Iterator<Item = &Key> {
        let only = kid.is_none() && self.keys.iter().filter(|key| key.alg() == alg).take(2).count() == 1;
        self.keys
            .iter()
            .filter(move |key| key.alg() == alg && (only || key.kid().is_none() || key.kid() == kid))
            .take(MAX_TRIED)
    }

    /// Whether a token names a key that this set does not have.
    pub fn lacks(&self, kid: &str) -> bool {
        !self.keys.iter().any(|key| key.kid().is_none_or(|own| own == kid))
    }
}

/// The latest good set of one URL, and the bell that asks for a newer one.
#[derive(Default)]
pub struct KeySetCell {
    set: ArcSwapOption<KeySet>,
    /// Fetches that ended, well or not.
    rounds: AtomicU64,
    /// Whether a fetch follows soon when it is asked for.
    open: AtomicBool,
    wanted: AtomicBool,
    waker: AtomicWaker,
}

impl KeySetCell {
    /// The latest good set; none before the first fetch that went well. Cheap and never blocks.
    pub fn current(&self) -> Guard<Option<Arc<KeySet>>> {
        self.set.load()
    }

    /// Puts a newer set in place, for all requests that look from now on.
    pub fn put(&self, set: KeySet) {
        self.set.store(Some(Arc::new(set)));
    }

    /// Asks for a newer set. None when none is going to be fetched for it soon: asking is held back because it was
    /// done lately, or nobody fetches.
    pub fn want(self: &Arc<Self>) -> Option<Wanted> {
        if !self.open.load(Ordering::Acquire) {
            return None;
        }
        let round = self.rounds();
        self.wanted.store(true, Ordering::Release);
        self.waker.wake();
        Some(Wanted { cell: Arc::clone(self), round })
    }

    /// Comes when a newer set has been asked for. For one task at a time, the one that fetches.
    pub async fn wanted(&self) {
        std::future::poll_fn(|context| {
            self.waker.register(context.waker());
            if self.wanted.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Lets requests ask, or holds them back.
    pub fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
        if !open {
            self.wanted.store(false, Ordering::Release);
        }
    }

    /// Counts a fetch that ended, well or not.
    pub fn end_round(&self) {
        self.rounds.fetch_add(1, Ordering::AcqRel);
    }

    /// How many fetches have ended: a change means that whoever waits may look again.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Acquire)
    }
}

/// A newer set that was asked for.
#[derive(Debug)]
pub struct Wanted {
    cell: Arc<KeySetCell>,
    round: u64,
}

impl Wanted {
    /// Whether a fetch has ended since it was asked for, well or not: time to look again.
    pub fn is_over(&self) -> bool {
        self.cell.rounds() != self.round
    }
}

impl std::fmt::Debug for KeySetCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySetCell").field("set", &*self.current()).field("rounds", &self.rounds()).finish()
    }
}

/// The cells of all URLs. It outlives reloads: a policy that names a URL again finds the keys already there.
#[derive(Debug, Default)]
pub struct KeySets {
    cells: Mutex<HashMap<String, Arc<KeySetCell>>>,
}

impl KeySets {
    /// The cell of this URL, an empty one the first time.
    pub fn cell(&self, url: &str) -> Arc<KeySetCell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(url.to_owned()).or_default())
    }

    /// Every cell with its URL.
    pub fn all(&self) -> Vec<(String, Arc<KeySetCell>)> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.iter().map(|(url, cell)| (url.clone(), Arc::clone(cell))).collect()
    }

    /// Forgets the URLs that are not among these.
    pub fn retain(&self, urls: &[&str]) {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|url, _| urls.contains(&url.as_str()));
    }
}

/// One member as written (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

impl Jwk {
    fn into_key(self, origin: Origin) -> Option<Key> {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !signs || self.d.is_some() {
            return None;
        }
        // A name that is not accepted must not fall back to a default.
        let alg = match &self.alg {
            Some(name) => Some(algorithm(name)?),
            None => None,
        };
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let n = bytes(&self.n)?;
                let n = &n[n.iter().position(|byte| *byte != 0)?..];
                let bits = n.len() * 8 - n[0].leading_zeros() as usize;
                let e = bytes(&self.e)?;
                (2048..=8192).contains(&bits).then_some(())?;
                Key::rsa(alg.unwrap_or(Algorithm::RS256), n, &e, self.kid)
            }
            ("EC", Some("P-256")) => self.point(alg, Algorithm::ES256, 32),
            ("EC", Some("P-384")) => self.point(alg, Algorithm::ES384, 48),
            ("OKP", Some("Ed25519")) => {
                let x = bytes(&self.x)?;
                (alg.unwrap_or(Algorithm::EdDSA) == Algorithm::EdDSA && x.len() == 32).then_some(())?;
                Key::point(Algorithm::EdDSA, &x, self.kid)
            }
            ("oct", _) if origin == Origin::File => {
                let secret = bytes(&self.k)?;
                let least = match alg? {
                    Algorithm::HS256 => 32,
                    Algorithm::HS384 => 48,
                    _ => 64,
                };
                (secret.len() >= least).then_some(())?;
                Key::shared(alg?, &secret, self.kid).ok()
            }
            _ => None,
        }
    }

    fn point(self, alg: Option<Algorithm>, own: Algorithm, size: usize) -> Option<Key> {
        let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
        (alg.unwrap_or(own) == own && x.len() == size && y.len() == size).then_some(())?;
        Key::point(own, &[&[4], &x[..], &y[..]].concat(), self.kid)
    }
}

fn bytes(field: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(field.as_deref()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: &str = r#""kty":"EC","crv":"P-256","x":"04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY",
        "y":"UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw""#;

    fn set(members: &[&str], origin: Origin) -> Result<KeySet, String> {
        let members: Vec<String> = members.iter().map(|member| format!("{{{member}}}")).collect();
        KeySet::parse(format!(r#"{{"keys":[{}]}}"#, members.join(",")).as_bytes(), origin)
    }

    fn modulus(bytes: usize) -> String {
        let mut n = vec![0xC5; bytes];
        n[bytes - 1] |= 1;
        URL_SAFE_NO_PAD.encode(n)
    }

    #[test]
    fn binds_a_key_without_alg_to_one_algorithm() {
        let rsa = format!(r#""kty":"RSA","n":"{}","e":"AQAB""#, modulus(256));
        let ed = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
        let set = set(&[&rsa, POINT, ed], Origin::Network).unwrap();
        let algs: Vec<Algorithm> = set.keys.iter().map(Key::alg).collect();
        assert_eq!(algs, [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]);
    }

    #[test]
    fn leaves_out_what_is_not_for_verifying() {
        assert_eq!(
            set(&[POINT, r#""kty":"future","z":1"#, r#""no":"kty""#], Origin::Network).unwrap().len(),
            1
        );
        for more in [
            r#""use":"enc""#,
            r#""key_ops":["encrypt"]"#,
            r#""alg":"RS256""#,
            r#""alg":"ES384""#,
            r#""alg":"none""#,
            r#""d":"AAAA""#,
        ] {
            assert!(set(&[&format!("{POINT},{more}")], Origin::Network).is_err(), "{more}");
        }
        for more in [r#""use":"sig""#, r#""key_ops":["verify"]"#, r#""alg":"ES256""#, r#""x5c":["junk"]"#] {
            assert!(set(&[&format!("{POINT},{more}")], Origin::Network).is_ok(), "{more}");
        }
    }

    #[test]
    fn leaves_out_keys_that_are_too_weak() {
        for (bytes, taken) in [(128, false), (255, false), (256, true), (1024, true), (1025, false)] {
            let rsa = format!(r#""kty":"RSA","n":"{}","e":"AQAB""#, modulus(bytes));
            assert_eq!(set(&[&rsa], Origin::Network).is_ok(), taken, "{bytes}");
        }
        let off_curve = POINT.replace("gmw", "gmA");
        assert!(set(&[&off_curve], Origin::Network).is_err());
    }

    #[test]
    fn takes_shared_secrets_from_files_only() {
        let secret = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![7u8; bytes]);
        let oct = format!(r#""kty":"oct","alg":"HS256","k":"{}""#, secret(32));
        assert!(set(&[&oct], Origin::File).is_ok());
        assert!(set(&[&oct], Origin::Network).is_err());
        for bad in [
            format!(r#""kty":"oct","alg":"HS256","k":"{}""#, secret(31)),
            format!(r#""kty":"oct","alg":"HS512","k":"{}""#, secret(32)),
            format!(r#""kty":"oct","alg":"RS256","k":"{}""#, secret(256)),
            format!(r#""kty":"oct","k":"{}""#, secret(64)),
        ] {
            assert!(set(&[&bad], Origin::File).is_err(), "{bad}");
        }
    }

    #[test]
    fn refuses_what_is_no_set_and_sets_without_end() {
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#] {
            assert!(KeySet::parse(text.as_bytes(), Origin::Network).is_err(), "{text}");
        }
        assert_eq!(set(&[POINT; MAX_KEYS], Origin::Network).unwrap().len(), MAX_KEYS);
        assert!(set(&[POINT; MAX_KEYS + 1], Origin::Network).is_err());
    }

    #[test]
    fn selects_by_key_id() {
        let named = |kid: &str| format!(r#"{POINT},"kid":"{kid}""#);
        let two = set(&[&named("a"), &named("b")], Origin::Network).unwrap();
        let count = |set: &KeySet, kid| set.candidates(Algorithm::ES256, kid).count();
        assert_eq!(count(&two, Some("a")), 1);
        assert_eq!(count(&two, Some("c")), 0);
        assert_eq!(count(&two, None), 0, "two keys could be meant");
        assert!(two.lacks("c") && !two.lacks("b"));
        let one = set(&[&named("a")], Origin::Network).unwrap();
        assert_eq!(count(&one, None), 1);
        assert_eq!(one.candidates(Algorithm::RS256, Some("a")).count(), 0);
        let nameless = set(&[POINT; 100], Origin::Network).unwrap();
        assert_eq!(count(&nameless, Some("any")), MAX_TRIED);
    }

    #[tokio::test]
    async fn rings_only_while_somebody_listens() {
        let cell = Arc::new(KeySetCell::default());
        assert!(cell.want().is_none());
        cell.set_open(true);
        let wanted = cell.want().unwrap();
        cell.wanted().await;
        assert!(!wanted.is_over());
        cell.end_round();
        assert!(wanted.is_over());
        cell.set_open(false);
        assert!(cell.want().is_none());
    }

    #[test]
    fn keeps_the_cell_of_a_url_for_the_next_policy() {
        let sets = KeySets::default();
        let first = sets.cell("https://a.example/jwks");
        assert!(Arc::ptr_eq(&first, &sets.cell("https://a.example/jwks")));
        sets.cell("https://b.example/jwks");
        sets.retain(&["https://a.example/jwks"]);
        assert_eq!(sets.all().len(), 1);
        assert!(Arc::ptr_eq(&first, &sets.cell("https://a.example/jwks")));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in r#"\{"keys":\[(\{("(kty|crv|n|e|x|y|k|alg|kid)":"(RSA|EC|OKP|oct|P-256|Ed25519|[A-Za-z0-9_-]{0,12})",?){0,8}\},?){0,3}\]\}"#) {
            let _ = KeySet::parse(text.as_bytes(), Origin::File);
        }
    }
}
