//! `scanner`, and the files it reads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::gate::off_or;
use crate::loading::reason;
use crate::model::{ClamdAddress, Fallback, RuleFile, ScanCache, Scanner, ScannerBackend};
use crate::problem::{Place, quote};
use crate::read::{Aim, Reader, Shape};
use crate::scalar::{count, time_limit, word, written_line};
use crate::tree::{Content, Node};

/// Bytes of a block list: some million sums.
const MAX_BLOCKLIST: usize = 64 << 20;
/// Files of rules.
const MAX_RULE_FILES: usize = 1000;
/// Bytes of all of them.
const MAX_RULES: usize = 32 << 20;

#[derive(Clone, Copy, PartialEq)]
enum Engine {
    Builtin,
    Clamd,
}

/// A table, or only the list of who scans.
pub(super) fn scanner(r: &Reader<'_>) -> Option<Scanner> {
    r.shapes(&[
        (Shape::Table, &|r| settings(r, None)),
        (Shape::List, &|r| {
            let engines = engines(r)?;
            let node = Node { at: r.span()?, content: Content::Table(Vec::new()) };
            let rest = Reader { aim: Aim::Decode { node: &node, under: None }, ..*r };
            settings(&rest, Some(engines))
        }),
    ])
}

fn settings(r: &Reader<'_>, engines_above: Option<Vec<Engine>>) -> Option<Scanner> {
    let t = r.table()?;
    let fallback = || word(&[("deny", Fallback::Deny), ("allow", Fallback::Allow)]);
    let engines = t.or(
        "backend",
        "Who scans: the gateway itself by its rules, ClamAV's daemon, or both as a list.",
        "builtin",
        engines,
    );
    let addresses = t.or(
        "address",
        "Where clamd is, tcp://HOST:PORT or unix:/path, or several such as a list; used with backend clamd.",
        "tcp://127.0.0.1:3310",
        |r| r.one_or_some(clamd_address),
    );
    let timeout =
        t.or("timeout", "For one file and one backend, from connecting to the verdict.", "30s", time_limit);
    let on_failure =
        t.or("on_failure", "What happens to a file when no scanner answers.", "deny", fallback());
    let on_unscanned =
        t.or("on_unscanned", "What happens to a file the scanner did not look at whole.", "deny", fallback());
    let max_concurrent = t.or("max_concurrent", "Scans at a time, for each backend.", "8", count(1, 10_000));
    let max_queue = t.or(
        "max_queue",
        "Scans that may wait for a place; beyond it 503 scan.unavailable.",
        "100",
        count(0, 1_000_000),
    );
    let cache = t.or(
        "cache",
        "Verdicts that are kept by SHA-256 and version of the signatures, or off.",
        "{}",
        |r| off_or(r, cache),
    );
    let rules = t.optional(
        "rules",
        "A folder of YARA rules, *.yar and *.yara, for backend builtin; the rules that ship when missing.",
        rules,
    );
    let blocklist = t.optional(
        "blocklist",
        "A file of SHA-256 sums, one a line, of files that must not pass, whoever scans.",
        blocklist,
    );
    let engines = engines_above.or(engines)?;
    if t.has("rules") && !engines.contains(&Engine::Builtin) {
        t.warn("rules", "these rules are not used", "add builtin to \"backend\", or take the key away");
    }
    let (addresses, mut rules) = (addresses?, rules?);
    let backends = engines.iter().map(|engine| match engine {
        Engine::Builtin => ScannerBackend::Builtin(rules.take()),
        Engine::Clamd => ScannerBackend::Clamd(addresses.clone()),
    });
    Some(Scanner {
        backends: backends.collect(),
        timeout: timeout?,
        on_failure: on_failure?,
        on_unscanned: on_unscanned?,
        max_concurrent: max_concurrent?,
        max_queue: max_queue?,
        cache: cache?,
        blocklist: blocklist?.unwrap_or_default(),
    })
}

fn engines(r: &Reader<'_>) -> Option<Vec<Engine>> {
    let engines = r.one_or_some(word(&[("builtin", Engine::Builtin), ("clamd", Engine::Clamd)]))?;
    if engines.iter().enumerate().any(|(at, engine)| engines[..at].contains(engine)) {
        r.problem("a scanner is named twice", "name each once");
        return None;
    }
    Some(engines)
}

fn cache(r: &Reader<'_>) -> Option<ScanCache> {
    let t = r.table()?;
    let entries = t.or("entries", "Verdicts at a time, some 200 bytes each.", "100000", count(1, 10_000_000));
    let lifetime = t.or("lifetime", "How long a verdict may be used at most.", "1h", time_limit);
    Some(ScanCache { entries: entries?, lifetime: lifetime? })
}

fn clamd_address(r: &Reader<'_>) -> Option<ClamdAddress> {
    let written = written_line(r)?;
    if let Some(path) = written.text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
        return Some(ClamdAddress::Unix(PathBuf::from(format!("/{}", path.trim_start_matches('/')))));
    }
    match written.text.strip_prefix("tcp://").filter(|address| super::upstream::is_host_and_port(address)) {
        Some(address) => Some(ClamdAddress::Tcp(address.to_owned())),
        None => {
            let what = format!("{} is not an address of clamd", written.quoted());
            r.problem(what, "write tcp://HOST:PORT or unix:/path");
            None
        }
    }
}

/// The files of a folder in the order of their names. They are compiled by whoever builds the policy.
fn rules(r: &Reader<'_>) -> Option<Vec<RuleFile>> {
    describe_path(r);
    let written = written_line(r)?;
    r.remember();
    let folder = r.loading.resolve(r.span()?.file, &written.text);
    let refuse = |what: &str| {
        let what = format!("the folder {} {what}", written.quoted());
        r.problem(what, "write the path of a folder with rules in files *.yar or *.yara");
    };
    if !r.loading.has_disk() {
        refuse("cannot be read from a text in memory");
        return None;
    }
    r.loading.watch(&folder);
    let found = std::fs::read_dir(&folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
    });
    let mut paths = match found {
        Ok(found) => found,
        Err(error) => {
            refuse(&reason(&error));
            return None;
        }
    };
    paths.retain(|path| path.extension().is_some_and(|end| end == "yar" || end == "yara"));
    paths.sort();
    if paths.is_empty() || paths.len() > MAX_RULE_FILES {
        refuse(if paths.is_empty() { "has no *.yar or *.yara" } else { "has more than 1000 files of rules" });
        return None;
    }
    // The name is shown as it is written here: a value of the environment is not.
    let shown = if written.variable { PathBuf::from(written.quoted()) } else { folder };
    let mut files = Vec::with_capacity(paths.len());
    for path in &paths {
        let file_name = path.file_name().unwrap_or_default();
        let contents = r.loading.read_file(path);
        let text = contents.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is not UTF-8".into()));
        match text {
            Ok(text) => files.push(RuleFile { name: shown.join(file_name).display().to_string(), text }),
            Err(reason) => {
                refuse(&format!("has a file {} that {reason}", quote(&file_name.to_string_lossy())));
            }
        }
    }
    if files.iter().map(|file| file.text.len()).sum::<usize>() > MAX_RULES {
        refuse("has more than 32MB of rules");
        return None;
    }
    (files.len() == paths.len()).then_some(files)
}

/// Lines of 64 hexadecimal digits, behind which anything may stand after a space, as `sha256sum` writes it; empty lines;
/// and lines that begin with `#`.
fn blocklist(r: &Reader<'_>) -> Option<Arc<[[u8; 32]]>> {
    describe_path(r);
    let written = written_line(r)?;
    let path = r.loading.resolve(r.span()?.file, &written.text);
    let contents = r.loading.read_file_of(&path, MAX_BLOCKLIST);
    let contents = match contents {
        Ok(contents) => contents,
        Err(reason) => {
            let what = format!("the file {} {reason}", written.quoted());
            r.problem(what, "write the path of a file this user may read");
            return None;
        }
    };
    // The name is shown as it is written here: a value of the environment is not.
    let shown = if written.variable { PathBuf::from(written.quoted()) } else { path };
    let (sums, whole) = sums(r, &shown, &contents);
    whole.then(|| sums.into())
}

fn describe_path(r: &Reader<'_>) {
    r.describe_with(|schema| schema.insert("type".into(), json!("string")));
}

fn sums(r: &Reader<'_>, shown: &Path, contents: &[u8]) -> (Vec<[u8; 32]>, bool) {
    let mut sums = Vec::new();
    let mut whole = true;
    for (index, line) in contents.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        match sum(line) {
            Some(sum) => sums.push(sum),
            None => {
                whole = false;
                let place = Place {
                    file: shown.display().to_string(),
                    line: index + 1,
                    column: 1,
                    key: "scanner.blocklist".into(),
                };
                let what = format!("{} is not a SHA-256 sum", quote(&String::from_utf8_lossy(line)));
                r.loading.report(place.problem(what, "write 64 hexadecimal digits, or # before a comment"));
                if r.loading.is_full() {
                    break;
                }
            }
        }
    }
    sums.sort_unstable();
    sums.dedup();
    (sums, whole)
}

fn sum(line: &[u8]) -> Option<[u8; 32]> {
    let digits = line.get(..64)?;
    if line.get(64).is_some_and(|byte| !byte.is_ascii_whitespace()) {
        return None;
    }
    let mut sum = [0; 32];
    for (byte, pair) in sum.iter_mut().zip(digits.chunks(2)) {
        let digit = |letter: u8| char::from(letter).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(sum)
}
