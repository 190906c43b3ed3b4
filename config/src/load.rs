//! From files to a policy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::environment::Environment;
use crate::language;
use crate::loading::{Loading, reason};
use crate::model::Config;
use crate::problem::{Place, Problem, quote};
use crate::read::{self, Aim, Reader};
use crate::tree::{self, Content, Entry, Node, Span};

/// A policy that was loaded, and what is to be known about the load.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The policy.
    pub config: Config,
    /// What is doubtful about it, in the order of reading.
    pub warnings: Vec<Problem>,
    /// Every file and folder whose change may change the policy: policies, their folders, secrets, certificates, keys
    /// and the directory of tenants.
    pub files: Vec<PathBuf>,
    /// SHA-256 over the contents of the policy and of what it reads with it. Certificates are not among them.
    pub digest: [u8; 32],
    places: BTreeMap<String, Place>,
}

impl Loaded {
    /// A problem that was found after the load, such as a certificate that does not fit its key, at the place of a key
    /// path like `listeners[0].tls.certificates[0].key`. Where the key is not known, it is at the nearest one above.
    pub fn problem(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
        let mut above = key;
        loop {
            if let Some(place) = self.places.get(above) {
                return Place { key: key.to_owned(), ..place.clone() }.problem(what, remedy);
            }
            match above.rfind(['.', '[']) {
                Some(end) => above = &above[..end],
                None => break,
            }
        }
        let root = self.places.get(ROOT).cloned();
        let root =
            root.unwrap_or_else(|| Place { file: String::new(), line: 1, column: 1, key: String::new() });
        Place { key: key.to_owned(), ..root }.problem(what, remedy)
    }
}

/// How the whole policy is called in a problem.
const ROOT: &str = "policy";

/// Loads a policy out of files, and out of all `*.yaml` of folders, as if they were one: names of `identities` and
/// `upstreams` and items of `sites` and `listeners` add up, anything else may be written once.
///
/// # Errors
/// All problems of all files, in the order of reading; never none.
pub fn load(paths: &[PathBuf], environment: &Environment) -> Result<Loaded, Vec<Problem>> {
    let loading = Loading::new(environment, true);
    let mut texts = Vec::new();
    for path in policy_files(&loading, paths) {
        let file = loading.source(&path);
        match loading.read_file(&path) {
            Ok(contents) => texts.push((file, contents)),
            Err(reason) => report_file(&loading, file, &format!("the file {reason}")),
        }
    }
    finish(loading, &texts)
}

/// Loads a policy out of a text in memory. Files that it refers to are not looked at; where their contents are needed,
/// that is a problem.
///
/// # Errors
/// All problems, in the order of reading; never none.
pub fn load_text(name: &str, text: &str, environment: &Environment) -> Result<Loaded, Vec<Problem>> {
    let loading = Loading::new(environment, false);
    let file = loading.source(Path::new(name));
    loading.digest(text.as_bytes());
    finish(loading, &[(file, text.as_bytes().to_vec())])
}

/// The JSON Schema (draft 2020-12) of the language: every key with its sentence and its default.
pub fn schema() -> Value {
    let environment = Environment::empty();
    let loading = Loading::new(&environment, false);
    let mut schema = read::members(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Menshen policy",
    }));
    schema.extend(read::describe(&loading, language::policy));
    Value::Object(schema)
}

/// The files that are meant, those of a folder by name.
fn policy_files(loading: &Loading<'_>, paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        loading.watch(path);
        let entries = std::fs::read_dir(path).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
        });
        match entries {
            Ok(entries) => {
                let mut found: Vec<_> = entries
                    .into_iter()
                    .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
                    .collect();
                found.sort();
                if found.is_empty() {
                    report_file(loading, loading.source(path), "the folder has no *.yaml");
                }
                files.extend(found);
            }
            Err(error) => {
                report_file(loading, loading.source(path), &format!("the folder {}", reason(&error)))
            }
        }
    }
    files
}

fn report_file(loading: &Loading<'_>, file: usize, what: &str) {
    let place = loading.place(Span { file, line: 1, column: 1 }, ROOT.into());
    loading.report(place.problem(what, "name a policy file of at most 4MB, or a folder of them"));
}

fn finish(loading: Loading<'_>, texts: &[(usize, Vec<u8>)]) -> Result<Loaded, Vec<Problem>> {
    let roots: Vec<_> = texts.iter().filter_map(|(file, contents)| root(&loading, *file, contents)).collect();
    let mut config = None;
    // A file that is no tree at all would be missed in what the others refer to.
    if roots.len() == texts.len()
        && let Some(root) = merge(&loading, roots)
    {
        loading.remember(loading.place(root.at, ROOT.into()));
        let aim = Aim::Decode { node: &root, under: None };
        config = Reader { loading: &loading, path: &read::Path::Root, aim }.read(language::policy);
    }
    if config.is_none() && !loading.has_problems() {
        let place = Place { file: loading.source_name(0), line: 1, column: 1, key: ROOT.into() };
        loading.report(place.problem("there is no policy here", "begin with \"version: 1\""));
    }
    let gathered = loading.finish();
    match config {
        Some(config) if gathered.problems.is_empty() => Ok(Loaded {
            config,
            warnings: gathered.warnings,
            files: gathered.files,
            digest: gathered.digest,
            places: gathered.places,
        }),
        _ => Err(gathered.problems),
    }
}

/// The tree of one file. Of several files that make one policy, one must say the version.
fn root(loading: &Loading<'_>, file: usize, contents: &[u8]) -> Option<Node> {
    if contents.len() > tree::MAX_FILE {
        report_file(loading, file, "the file is larger than 4MB");
        return None;
    }
    let text = match std::str::from_utf8(contents) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let before = String::from_utf8_lossy(&contents[..error.valid_up_to()]);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let place = loading.place(Span { file, line, column }, ROOT.into());
            loading.report(place.problem("the file is not UTF-8 here", "save it as UTF-8"));
            return None;
        }
    };
    let (root, flaws) = tree::parse(file, text);
    for flaw in flaws {
        let key = if flaw.key.is_empty() { ROOT.to_owned() } else { flaw.key };
        loading.report(loading.place(flaw.at, key).problem(flaw.what, flaw.remedy));
    }
    let root = root?;
    if let Content::Table(entries) = &root.content {
        let version = entries.iter().position(|entry| entry.key == "version");
        if let Some(index) = version.filter(|index| *index > 0) {
            let place = loading.place(entries[index].at, "version".into());
            loading
                .warn(place.problem("the version does not come first", "begin the file with \"version: 1\""));
        }
    }
    Some(root)
}

/// One tree out of those of all files.
fn merge(loading: &Loading<'_>, roots: Vec<Node>) -> Option<Node> {
    let mut roots = roots.into_iter();
    let mut whole = roots.next()?;
    for root in roots {
        let at = root.at;
        let (Content::Table(into), Content::Table(entries)) = (&mut whole.content, root.content) else {
            let place = loading.place(at, ROOT.into());
            loading
                .report(place.problem("keys and values belong here", "begin the file with \"version: 1\""));
            continue;
        };
        for entry in entries {
            merge_entry(loading, into, entry);
        }
    }
    if let Content::Table(entries) = &mut whole.content
        && !entries.iter().any(|entry| entry.key == "version")
    {
        let place = loading.place(Span { line: 1, column: 1, ..whole.at }, "version".into());
        loading.report(place.problem("the key \"version\" is missing", "begin the file with \"version: 1\""));
        let value = Node::plain(whole.at, "1");
        entries.push(Entry { key: "version".into(), at: whole.at, value });
    }
    Some(whole)
}

fn merge_entry(loading: &Loading<'_>, into: &mut Vec<Entry>, entry: Entry) {
    let Some(first) = into.iter_mut().find(|first| first.key == entry.key) else {
        into.push(entry);
        return;
    };
    match (entry.key.as_str(), &mut first.value.content, entry.value.content) {
        ("version", _, content) => {
            let node = Node { at: entry.value.at, content };
            let path = read::Path::Key(&read::Path::Root, "version");
            let aim = Aim::Decode { node: &node, under: None };
            Reader { loading, path: &path, aim }.read(language::version);
        }
        ("sites" | "listeners", Content::List(items), Content::List(more)) => items.extend(more),
        ("identities" | "upstreams", Content::Table(names), Content::Table(more)) => {
            for name in more {
                match names.iter().find(|known| known.key == name.key) {
                    Some(known) => {
                        report_twice(loading, &format!("{}.{}", entry.key, name.key), &name, known.at)
                    }
                    None => names.push(name),
                }
            }
        }
        (key, _, content) => {
            let key = key.to_owned();
            let value = Node { at: entry.value.at, content };
            report_twice(loading, &key, &Entry { key: key.clone(), at: entry.at, value }, first.at);
        }
    }
}

fn report_twice(loading: &Loading<'_>, path: &str, entry: &Entry, first: Span) {
    let first = loading.place(first, String::new());
    let what = format!("{} is already written at {first}", quote(&entry.key));
    loading.report(loading.place(entry.at, path.into()).problem(what, "keep one of the two"));
}
