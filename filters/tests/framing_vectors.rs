//! Requests that are known to be read in different ways, by tier: what is Severe is refused, what is Compliant passes
//! unless the gateway is stricter on purpose, and the rest is as the table says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use filters::Reason;
use pingora_http::RequestHeader;
use saphyr_parser::{Event, Parser};

/// Every file of vectors.
const FILES: [&str; 10] = [
    "acceptable",
    "ambiguous",
    "bad-header-characters",
    "edge-cases",
    "more-compliant-tests",
    "real-life-test-cases",
    "rfc-compliant",
    "severe",
    "single-case",
    "uri-specific-test-cases",
];

/// A YAML tree without types: what the vectors need.
#[derive(Debug, Clone)]
enum Tree {
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl Tree {
    fn get(&self, key: &str) -> Option<&Tree> {
        let Tree::Map(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn text(&self, key: &str) -> &str {
        match self.get(key) {
            Some(Tree::Text(text)) => text,
            other => panic!("{key} is {other:?}"),
        }
    }

    fn list(&self) -> &[Tree] {
        match self {
            Tree::List(items) => items,
            _ => &[],
        }
    }

    fn read(events: &mut impl Iterator<Item = Event<'static>>) -> Option<Tree> {
        match events.next()? {
            Event::Scalar(text, ..) => Some(Tree::Text(text.into_owned())),
            Event::SequenceStart(..) => Some(Tree::List(std::iter::from_fn(|| Tree::read(events)).collect())),
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                while let Some(Tree::Text(key)) = Tree::read(events) {
                    entries.push((key, Tree::read(events).expect("a key has a value")));
                }
                Some(Tree::Map(entries))
            }
            Event::SequenceEnd | Event::MappingEnd => None,
            _ => Tree::read(events),
        }
    }
}

/// The request as bytes. The vectors leave `Host` out where it does not matter; characters stand for bytes.
fn head(case: &Tree) -> Vec<u8> {
    let mut text = format!("{} {} {}\r\n", case.text("method"), case.text("uri"), case.text("version"));
    let headers = case.get("headers").map(Tree::list).unwrap_or_default();
    if !headers.iter().any(|header| header.text("name").trim().eq_ignore_ascii_case("host")) {
        text.push_str("Host: a.example\r\n");
    }
    for header in headers {
        text.push_str(&format!("{}: {}\r\n", header.text("name"), header.text("value")));
    }
    text.push_str("\r\n");
    text.chars()
        .flat_map(|c| u8::try_from(u32::from(c)).map_or_else(|_| c.to_string().into_bytes(), |b| vec![b]))
        .collect()
}

struct Judged {
    file: &'static str,
    name: String,
    tier: String,
    why: String,
    refused: Option<(Reason, String)>,
}

fn judge_all() -> Vec<Judged> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance/http-framing");
    let unused = RequestHeader::build("GET", b"/", None).expect("a plain request");
    let mut judged = Vec::new();
    for file in FILES {
        let text =
            std::fs::read_to_string(folder.join(format!("{file}.yaml"))).expect("the vectors are there");
        let text: &'static str = Box::leak(text.into_boxed_str());
        let mut events = Parser::new_from_str(text).map(|event| event.expect("the vectors are YAML").0);
        let cases = Tree::read(&mut events).expect("a list of cases");
        assert!(!cases.list().is_empty(), "{file}");
        for case in cases.list() {
            let expected = case.get("expected").expect("an expectation");
            let why = expected.get("reason").map(|_| expected.text("reason").to_owned()).unwrap_or_default();
            let verdict = filters::framing::check(&head(case), &unused, false);
            judged.push(Judged {
                file,
                name: case.text("name").to_owned(),
                tier: expected.text("tier").to_owned(),
                why,
                refused: verdict.err().map(|denial| (denial.reason, denial.detail.into_owned())),
            });
        }
    }
    judged
}

#[test]
fn every_severe_request_is_refused() {
    let severe: Vec<_> = judge_all().into_iter().filter(|case| case.tier == "Severe").collect();
    assert!(severe.len() > 30, "{} cases", severe.len());
    for case in &severe {
        assert!(case.refused.is_some(), "{}: {} ({})", case.file, case.name, case.why);
    }
}

/// What RFC 9112 allows and the gateway refuses all the same, with the reason.
const STRICTER: [(&str, &str); 9] = [
    ("Compliant URL", "a fragment in the target"),
    ("Correct TE OK", "a Transfer-Encoding other than chunked"),
    ("Different Transfer-Encoding headers", "a Transfer-Encoding other than chunked"),
    ("Different Transfer-Encoding headers combined", "a Transfer-Encoding other than chunked"),
    ("Empty URI", "an empty target"),
    ("Multiple transfer encoding headers in a single request OK", "a Transfer-Encoding other than chunked"),
    ("TE with custom parameters OK", "a Transfer-Encoding other than chunked"),
    ("Transfer-Encoding with a param: chunked;custom_param", "a Transfer-Encoding other than chunked"),
    ("Transfer-Encoding: identity and chunked OK", "a Transfer-Encoding other than chunked"),
];

#[test]
fn every_compliant_request_passes_unless_the_gateway_is_stricter_on_purpose() {
    let refused: BTreeSet<(String, String)> = judge_all()
        .into_iter()
        .filter(|case| case.tier == "Compliant")
        .filter_map(|case| case.refused.map(|(_, detail)| (case.name, detail)))
        .collect();
    let stricter = STRICTER.map(|(name, detail)| (name.to_owned(), detail.to_owned()));
    assert_eq!(refused, BTreeSet::from(stricter));
}

/// What is neither Compliant nor Severe and passes: a GET or HEAD with a body. Its length is certain, and both ends
/// of the gateway frame it anew.
const PASSED: [&str; 7] = [
    "Get with a body and Content-Length",
    "Get with a body and Content-Length:0",
    "Get with a body and Transfer-Encoding",
    "Has a CL in GET",
    "Has a TE in GET",
    "Head with a body and Content-Length",
    "Head with a body and Transfer-Encoding",
];

#[test]
fn of_the_acceptable_and_ambiguous_only_bodies_of_get_and_head_pass() {
    let between: Vec<_> = judge_all()
        .into_iter()
        .filter(|case| matches!(case.tier.as_str(), "Acceptable" | "Ambiguous"))
        .collect();
    let passed: BTreeSet<&str> =
        between.iter().filter(|case| case.refused.is_none()).map(|case| case.name.as_str()).collect();
    assert_eq!(passed, BTreeSet::from(PASSED));
    assert!(between.iter().filter(|case| case.refused.is_some()).count() > 60);
}

#[test]
fn the_tiers_are_judged_as_the_table_says() {
    let mut table: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for case in judge_all() {
        let (passed, refused) = table.entry(case.tier).or_default();
        match case.refused {
            None => *passed += 1,
            Some((Reason::RequestMalformed | Reason::MethodNotAllowed, _)) => *refused += 1,
            Some((reason, detail)) => panic!("{}: {reason:?} {detail}", case.name),
        }
    }
    let row = |tier: &str| table.get(tier).copied();
    assert_eq!(row("Compliant"), Some((19, 9)));
    assert_eq!(row("Acceptable"), Some((2, 13)));
    assert_eq!(row("Ambiguous"), Some((6, 52)));
    assert_eq!(row("Severe"), Some((0, 58)));
    assert_eq!(table.len(), 4);
}
