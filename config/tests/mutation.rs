//! Whatever happens to a policy, loading it ends soon, without a panic, and with a policy or a problem.
//!
//! `POLICY_MUTATIONS` sets how many cases are tried; 2,000 by default.

use std::time::{Duration, Instant};

use config::{Environment, load_text};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const POLICIES: [&str; 3] = [
    include_str!("../../policies/quickstart.yaml"),
    include_str!("../../policies/wecard.yaml"),
    include_str!("../../policies/smart-desk.yaml"),
];

/// One change to a text; places are taken modulo its length.
#[derive(Debug, Clone)]
enum Change {
    DeleteBytes(usize, usize),
    DuplicateBytes(usize, usize),
    ReplaceByte(usize, u8),
    Insert(usize, &'static str),
    DeleteLine(usize),
    DuplicateLine(usize),
    SwapLines(usize, usize),
    Indent(usize, usize),
}

/// What means something to YAML or to the language.
const PIECES: [&str; 24] = [
    "&a ",
    "*a",
    "[",
    "]",
    "{",
    "}",
    "!!int ",
    "<<: ",
    "- ",
    "? ",
    ": ",
    "\"",
    "'",
    "|\n",
    "\t",
    "---\n",
    "...\n",
    "#",
    "${",
    "${NOPE}",
    "@file:/etc/hostname",
    "\u{feff}",
    "99999999999999999999",
    "é\u{202e}",
];

fn change() -> impl Strategy<Value = Change> {
    let at = 0..100_000_usize;
    prop_oneof![
        (at.clone(), 1..40_usize).prop_map(|(at, count)| Change::DeleteBytes(at, count)),
        (at.clone(), 1..400_usize).prop_map(|(at, count)| Change::DuplicateBytes(at, count)),
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Change::ReplaceByte(at, byte)),
        (at.clone(), prop::sample::select(&PIECES[..])).prop_map(|(at, piece)| Change::Insert(at, piece)),
        at.clone().prop_map(Change::DeleteLine),
        at.clone().prop_map(Change::DuplicateLine),
        (at.clone(), at.clone()).prop_map(|(a, b)| Change::SwapLines(a, b)),
        (at, 1..5_usize).prop_map(|(at, spaces)| Change::Indent(at, spaces)),
    ]
}

fn apply(text: &str, change: &Change) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if bytes.is_empty() || lines.is_empty() {
        return text.to_owned();
    }
    let range = |at: usize, count: usize| {
        let start = at % text.len();
        start..(start + count).min(text.len())
    };
    let count = lines.len();
    match *change {
        Change::DeleteBytes(at, count) => drop(bytes.drain(range(at, count))),
        Change::DuplicateBytes(at, count) => {
            let piece = bytes[range(at, count)].to_vec();
            let at = at % text.len();
            bytes.splice(at..at, piece);
        }
        Change::ReplaceByte(at, byte) => bytes[at % text.len()] = byte,
        Change::Insert(at, piece) => {
            let at = at % text.len();
            bytes.splice(at..at, piece.bytes());
        }
        Change::DeleteLine(at) => drop(lines.remove(at % count)),
        Change::DuplicateLine(at) => lines.insert(at % count, lines[at % count].clone()),
        Change::SwapLines(a, b) => lines.swap(a % count, b % count),
        Change::Indent(at, spaces) => lines[at % count].insert_str(0, &" ".repeat(spaces)),
    }
    if bytes == text.as_bytes() {
        lines.join("\n") + "\n"
    } else {
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn environment() -> Environment {
    Environment::of([("WECARD_JWT_KEY", "c4n4ry-c4n4ry-c4n4ry-c4n4ry-c4n4ry"), ("DESK_JWT_KEY", "c4n4ry")])
}

#[test]
fn a_spoiled_policy_is_loaded_or_refused_soon_and_says_no_secret() {
    let cases = std::env::var("POLICY_MUTATIONS").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let strategy = (0..POLICIES.len(), prop::collection::vec(change(), 1..6));
    let outcome = runner.run(&strategy, |(policy, changes)| {
        let text = changes.iter().fold(POLICIES[policy].to_owned(), |text, change| apply(&text, change));
        let begun = Instant::now();
        let loaded = load_text("spoiled.yaml", &text, &environment());
        prop_assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
        let told = match loaded {
            Ok(loaded) => loaded.warnings,
            Err(problems) => {
                prop_assert!(!problems.is_empty(), "it is refused without a reason");
                problems
            }
        };
        prop_assert!(told.is_sorted());
        for problem in told {
            let line = problem.to_string();
            prop_assert!(problem.line > 0 && problem.column > 0 && !line.contains('\n'), "{line}");
            prop_assert!(!line.contains("c4n4ry"), "{line}");
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn a_policy_of_four_megabytes_is_read_in_seconds() {
    let route = |n: usize| format!("      - {{ path: /r{n}, methods: [GET], auth: {{ identity: user }} }}\n");
    let mut text = POLICIES[1].replace("    routes:\n", "    defaults: { upstream: flask }\n    routes:\n");
    let mut n = 0;
    while text.len() < 4_000_000 {
        // Wide enough that the comparison of routes gives up and says so.
        text.push_str(&route(n));
        n += 1;
    }
    let begun = Instant::now();
    let told = load_text("large.yaml", &text, &environment());
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    let warnings = told.unwrap_or_else(|problems| panic!("{}", problems[0])).warnings;
    assert!(warnings.iter().any(|warning| warning.what.contains("too many routes to tell")));
}
