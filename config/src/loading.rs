//! What one load gathers: problems, warnings, the files it read and the names that others may refer to.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::HostPattern;
use crate::environment::Environment;
use crate::model::{Claims, Plan, TenantSource, UpstreamTimeouts};
use crate::problem::{Place, Problem};
use crate::tree::{self, Span};

/// Problems that are kept; who mends a thousand runs `check` again.
const MOST_PROBLEMS: usize = 1000;
/// Values that are read, those of `defaults` once for every route. A file of 4 MB has at most two million.
const MOST_READS: usize = 4_000_000;

/// One load, from the first file to the last check.
pub(crate) struct Loading<'e> {
    pub(crate) environment: &'e Environment,
    /// Whether files may be read.
    disk: bool,
    sources: RefCell<Vec<PathBuf>>,
    watched: RefCell<Vec<PathBuf>>,
    digest: RefCell<Sha256>,
    problems: RefCell<Findings>,
    warnings: RefCell<Findings>,
    places: RefCell<BTreeMap<String, Place>>,
    reads: Cell<usize>,
    pub(crate) known: RefCell<Known>,
}

/// Problems without repetition.
#[derive(Default)]
struct Findings {
    list: Vec<Problem>,
    /// Where and what: a value of `defaults` is read once for every route, and reported once.
    seen: HashSet<(String, usize, usize, String)>,
}

/// What later parts of a policy may refer to.
#[derive(Default)]
pub(crate) struct Known {
    /// By name; `None` when the identity itself is wrong.
    pub(crate) identities: BTreeMap<String, Option<Claims>>,
    /// By name, with their time limits; `None` when the upstream itself is wrong.
    pub(crate) upstreams: BTreeMap<String, Option<UpstreamTimeouts>>,
    /// Where tenants are told from; `None` without `tenants`.
    pub(crate) tenant_sources: Option<Vec<TenantSource>>,
    /// By name; `None` when the plan itself is wrong.
    pub(crate) plans: BTreeMap<String, Option<Arc<Plan>>>,
    /// Classes that plans speak of, before any route has said which there are.
    pub(crate) planned: Vec<Planned>,
    pub(crate) hosts: HashMap<HostPattern, Place>,
    pub(crate) addresses: HashMap<SocketAddr, Place>,
}

/// A class that a plan speaks of.
pub(crate) struct Planned {
    pub(crate) class: String,
    /// As it stands in the file, in quotes.
    pub(crate) quoted: String,
    /// Whether a part of it came from the environment.
    pub(crate) variable: bool,
    /// Bytes of one file, where the plan says them.
    pub(crate) max_size: Option<u64>,
    pub(crate) place: Place,
}

/// All that a load leaves beside the policy.
pub(crate) struct Gathered {
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) digest: [u8; 32],
    pub(crate) places: BTreeMap<String, Place>,
}

impl<'e> Loading<'e> {
    pub(crate) fn new(environment: &'e Environment, disk: bool) -> Self {
        Self {
            environment,
            disk,
            sources: RefCell::default(),
            watched: RefCell::default(),
            digest: RefCell::default(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
            places: RefCell::default(),
            reads: Cell::new(0),
            known: RefCell::default(),
        }
    }

    pub(crate) fn finish(self) -> Gathered {
        let mut files = self.watched.into_inner();
        files.sort();
        files.dedup();
        Gathered {
            problems: self.problems.into_inner().sorted(),
            warnings: self.warnings.into_inner().sorted(),
            files,
            digest: self.digest.into_inner().finalize().into(),
            places: self.places.into_inner(),
        }
    }

    /// Names a file; its number is what a [`Span`] holds.
    pub(crate) fn source(&self, path: &Path) -> usize {
        let mut sources = self.sources.borrow_mut();
        sources.push(path.to_owned());
        sources.len() - 1
    }

    pub(crate) fn source_name(&self, file: usize) -> String {
        self.sources.borrow().get(file).map_or_else(String::new, |path| path.display().to_string())
    }

    /// A path of the policy, seen from the folder of the file it stands in.
    pub(crate) fn resolve(&self, file: usize, path: &str) -> PathBuf {
        let sources = self.sources.borrow();
        let folder = sources.get(file).and_then(|source| source.parent());
        folder.map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
    }

    pub(crate) fn watch(&self, path: &Path) {
        self.watched.borrow_mut().push(path.to_owned());
    }

    /// Whether files may be looked at: not when the policy is a text in memory.
    pub(crate) fn has_disk(&self) -> bool {
        self.disk
    }

    /// The contents of a file, which is watched from then on and counts for the digest. The error says why not.
    pub(crate) fn read_file(&self, path: &Path) -> Result<Vec<u8>, String> {
        self.read_file_of(path, tree::MAX_FILE)
    }

    /// The same for a file that may have so many bytes, a number of whole megabytes.
    pub(crate) fn read_file_of(&self, path: &Path, most: usize) -> Result<Vec<u8>, String> {
        if !self.disk {
            return Err("cannot be read from a text in memory".into());
        }
        self.watch(path);
        let mut contents = Vec::new();
        File::open(path)
            .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut contents))
            .map_err(|error| reason(&error))?;
        if contents.len() > most {
            return Err(format!("is larger than {}MB", most >> 20));
        }
        self.digest(&contents);
        Ok(contents)
    }

    /// Adds to the digest, which two sequences of contents share only when they are equal.
    pub(crate) fn digest(&self, contents: &[u8]) {
        let mut digest = self.digest.borrow_mut();
        digest.update((contents.len() as u64).to_be_bytes());
        digest.update(contents);
    }

    /// Counts a value; false when there have been too many.
    pub(crate) fn count_read(&self) -> bool {
        self.reads.set(self.reads.get() + 1);
        self.reads.get() <= MOST_READS
    }

    pub(crate) fn place(&self, at: Span, key: String) -> Place {
        Place { file: self.source_name(at.file), line: at.line, column: at.column, key }
    }

    pub(crate) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().add(problem);
    }

    pub(crate) fn warn(&self, warning: Problem) {
        self.warnings.borrow_mut().add(warning);
    }

    /// Whether so much is wrong already that no more is told.
    pub(crate) fn is_full(&self) -> bool {
        self.problems.borrow().list.len() >= MOST_PROBLEMS
    }

    pub(crate) fn has_problems(&self) -> bool {
        !self.problems.borrow().list.is_empty()
    }

    /// Remembers a place for whoever finds something wrong after the load.
    pub(crate) fn remember(&self, place: Place) {
        self.places.borrow_mut().insert(place.key.clone(), place);
    }
}

impl Findings {
    fn add(&mut self, problem: Problem) {
        let identity = (problem.file.clone(), problem.line, problem.column, problem.what.clone());
        if self.list.len() < MOST_PROBLEMS && self.seen.insert(identity) {
            self.list.push(problem);
        }
    }

    fn sorted(mut self) -> Vec<Problem> {
        self.list.sort();
        if let (MOST_PROBLEMS, Some(last)) = (self.list.len(), self.list.last()) {
            let (what, remedy) = ("there may be more, which are not told".into(), "mend these first".into());
            let more = Problem { what, remedy, ..last.clone() };
            self.list.push(more);
            self.list.sort();
        }
        self.list
    }
}

/// Why a file cannot be read, without its name.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".into(),
        io::ErrorKind::PermissionDenied => "may not be read by this user".into(),
        io::ErrorKind::IsADirectory => "is a directory".into(),
        kind => format!("cannot be read: {kind}"),
    }
}
