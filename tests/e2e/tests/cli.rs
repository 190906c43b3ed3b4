//! The command line.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::gateway::run_in;
use harness::process::Finished;
use harness::{Certificate, root};
use serde_json::Value;
use tempfile::TempDir;

const GOOD: &str = "\
version: 1
listeners:
  - address: 127.0.0.1:0
upstreams:
  app: { servers: [\"127.0.0.1:5000\"] }
sites:
  - hosts: [localhost]
    routes:
      - path: /api/*
        upstream: app
        auth: none
      - path: /hello
        auth: none
        respond: { status: 200, body: hello }
";

/// Writes a policy and checks it.
fn check(text: &str) -> Finished {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("policy.yaml"), text).unwrap();
    run_in(folder.path(), &["check", "policy.yaml"])
}

/// What was said, on whichever stream.
fn said(finished: &Finished) -> String {
    format!("{}{}", finished.stdout, finished.stderr)
}

/// Line and column, counted from one, of the first `needle`.
fn place(text: &str, needle: &str) -> String {
    let at = text.find(needle).unwrap_or_else(|| panic!("{needle} is in the text"));
    let line = text[..at].matches('\n').count() + 1;
    let column = at - text[..at].rfind('\n').map_or(0, |newline| newline + 1) + 1;
    format!("policy.yaml:{line}:{column}: ")
}

/// The problem reported at this place.
#[track_caller]
fn problem_at(finished: &Finished, place: &str) -> String {
    let all = said(finished);
    let found = all.lines().find(|line| line.starts_with(place));
    found.unwrap_or_else(|| panic!("nothing at {place} in:\n{all}")).to_owned()
}

#[test]
fn a_good_policy_is_counted_and_ends_with_0() {
    let finished = check(GOOD);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert_eq!(
        finished.stdout,
        "policy.yaml: ok (1 sites, 2 routes, 1 upstreams)\n"
            .replace("1 sites", &one("site", &finished))
            .replace("1 upstreams", &one("upstream", &finished))
    );
    assert_eq!(finished.stderr, "");
}

/// `1 site` or `1 sites`: how one is counted is not the point.
fn one(noun: &str, finished: &Finished) -> String {
    let plural = format!("1 {noun}s");
    if finished.stdout.contains(&plural) { plural } else { format!("1 {noun}") }
}

#[test]
fn every_problem_is_reported_with_its_line_column_and_key() {
    let text = GOOD
        .replace("    routes:", "    rotues: []\n    routes:")
        .replace(
            "        auth: none\n      - path: /hello",
            "        auth: none\n        upstreem: app\n      - path: /hello",
        )
        .replace("status: 200", "status: 999");
    let finished = check(&text);
    assert_eq!(finished.code, 1, "{finished:?}");
    let misspelt = problem_at(&finished, &place(&text, "upstreem"));
    assert!(misspelt.contains("sites[0].routes[0]") && misspelt.contains("upstream"), "{misspelt}");
    let near = problem_at(&finished, &place(&text, "rotues"));
    assert!(near.contains("sites[0]") && near.contains("routes"), "{near}");
    let range = problem_at(&finished, &place(&text, "999"));
    assert!(range.contains("sites[0].routes[1].respond.status") && range.contains("; "), "{range}");
    assert_eq!(
        said(&finished).lines().filter(|line| line.starts_with("policy.yaml:")).count(),
        3,
        "{finished:?}"
    );
}

#[test]
fn each_kind_of_mistake_has_its_place() {
    for (from, to, at, says) in [
        ("version: 1", "version: 2", "2\nlisteners", "version"),
        ("version: 1\n", "", "listeners", "version"),
        ("upstream: app", "upstream: ap", "ap\n        auth", "app"),
        ("auth: none\n      - path: /hello", "auth: nobody\n      - path: /hello", "nobody", "auth"),
        ("path: /hello", "path: hello", "hello\n        auth", "path"),
        (
            "        auth: none\n        respond",
            "        auth: none\n        auth: none\n        respond",
            "",
            "auth",
        ),
        ("127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:99999", "address"),
        ("hosts: [localhost]", "hosts: [localhost, localhost]", "localhost]", "host"),
        ("hosts: [localhost]", "hosts: yes", "yes", "hosts"),
        ("path: /hello", "path: /api/*", "", "/api/*"),
        ("body: hello", "body: [hello]", "[hello]", "body"),
        ("upstreams:", "\tupstreams:", "", ""),
        ("respond: { status: 200, body: hello }", "respond: { status: 200", "", ""),
        (
            "respond: { status: 200, body: hello }",
            "upstream: app\n        lockout: { key: [ip], failures: 0 }",
            "0 }",
            "lockout",
        ),
        (
            "respond: { status: 200, body: hello }",
            "respond: { status: 200, body: \"${NOT_SET_ANYWHERE}\" }",
            "",
            "NOT_SET_ANYWHERE",
        ),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let finished = check(&text);
        assert_eq!(finished.code, 1, "{to}: {finished:?}");
        let all = said(&finished);
        let first = all
            .lines()
            .find(|line| line.starts_with("policy.yaml:"))
            .unwrap_or_else(|| panic!("{to}: {all}"));
        let mut parts = first.splitn(4, ':').skip(1);
        let line: usize = parts.next().unwrap().parse().unwrap_or_else(|_| panic!("no line in {first}"));
        let column: usize = parts.next().unwrap().parse().unwrap_or_else(|_| panic!("no column in {first}"));
        assert!(line >= 1 && line <= text.lines().count() + 1 && column >= 1, "{first}");
        assert!(first.contains(says), "{to}: {first}");
        if !at.is_empty() {
            problem_at(&finished, &place(&text, at));
        }
        assert!(!all.contains("panicked"), "{all}");
    }
}

#[test]
fn problems_come_as_json_too() {
    let folder = TempDir::new().unwrap();
    let text =
        GOOD.replace("status: 200", "status: 999").replace("    routes:", "    rotues: []\n    routes:");
    fs::write(folder.path().join("policy.yaml"), &text).unwrap();
    let finished = run_in(folder.path(), &["check", "--format", "json", "policy.yaml"]);
    assert_eq!(finished.code, 1);
    let json: Value =
        serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    let flat = json.to_string();
    let status_line = 1 + text.lines().position(|line| line.contains("999")).unwrap();
    assert!(flat.contains(&format!("\"line\":{status_line}")) && flat.contains("\"column\":"), "{flat}");
    assert!(flat.contains("policy.yaml"), "{flat}");
    fs::write(folder.path().join("policy.yaml"), GOOD).unwrap();
    let finished = run_in(folder.path(), &["check", "policy.yaml", "--format", "json"]);
    assert_eq!(finished.code, 0);
    serde_json::from_str::<Value>(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
}

#[test]
fn a_folder_is_one_policy() {
    let folder = TempDir::new().unwrap();
    let (head, sites) = GOOD.split_at(GOOD.find("sites:").unwrap());
    let at = folder.path().join("policy");
    fs::create_dir(&at).unwrap();
    fs::write(at.join("10-head.yaml"), head).unwrap();
    fs::write(at.join("20-sites.yaml"), format!("version: 1\n{sites}")).unwrap();
    fs::write(at.join("notes.txt"), "no policy at all").unwrap();
    let finished = run_in(folder.path(), &["check", "policy"]);
    assert_eq!(finished.code, 0, "{finished:?}");
    fs::write(at.join("30-again.yaml"), "version: 1\nupstreams:\n  app: { servers: [\"127.0.0.1:6000\"] }\n")
        .unwrap();
    let finished = run_in(folder.path(), &["check", "policy"]);
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(said(&finished).contains("30-again.yaml:3:3: "), "{finished:?}");
    let missing = run_in(folder.path(), &["check", "nowhere.yaml"]);
    assert_eq!(missing.code, 1, "{missing:?}");
}

#[test]
fn check_loads_what_run_would_load() {
    let certificate = Certificate::localhost();
    let with = |cert: &Path, key: &Path| {
        check(&GOOD.replace(
            "  - address: 127.0.0.1:0\n",
            &format!(
                "  - address: 127.0.0.1:0\n    tls: {{ certificates: [{{ cert: \"{}\", key: \"{}\" }}] }}\n",
                cert.display(),
                key.display()
            ),
        ))
    };
    assert_eq!(with(&certificate.cert(), &certificate.key()).code, 0);
    let other = Certificate::localhost();
    assert_eq!(with(&certificate.cert(), &other.key()).code, 1, "a key of another certificate");
    assert_eq!(with(&certificate.key(), &certificate.key()).code, 1, "no certificate");
    let missing = with(Path::new("/nowhere/cert.pem"), &certificate.key());
    assert_eq!(missing.code, 1);
    assert!(
        said(&missing).contains("policy.yaml:4:") && said(&missing).contains("/nowhere/cert.pem"),
        "{missing:?}"
    );
    let secret = GOOD.replace(
        "upstreams:",
        "identities:\n  user:\n    jwt: { keys: [{ alg: HS256, secret: \"@env:NOT_SET_ANYWHERE\" }] }\nupstreams:",
    );
    let finished = check(&secret);
    assert_eq!(finished.code, 1, "{finished:?}");
    problem_at(&finished, &place(&secret, "\"@env:NOT_SET_ANYWHERE\""));
}

#[test]
fn warnings_go_to_standard_error_and_fail_nothing() {
    let open = GOOD.replace("        upstream: app\n        auth: none\n", "        upstream: app\n");
    let finished = check(&open);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stderr.contains("policy.yaml:") && finished.stderr.contains("auth"), "{finished:?}");
    assert!(finished.stdout.starts_with("policy.yaml: ok ("), "{finished:?}");
    let ending = Certificate::ending_in(10);
    let text = GOOD.replace(
        "  - address: 127.0.0.1:0\n",
        &format!(
            "  - address: 127.0.0.1:0\n    tls: {{ certificates: [{{ cert: \"{}\", key: \"{}\" }}] }}\n",
            ending.cert().display(),
            ending.key().display()
        ),
    );
    let finished = check(&text);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stderr.contains("cert"), "{finished:?}");
    let weaker = GOOD.replace(
        "      - path: /hello\n",
        "      - path: /api/special\n        methods: [POST]\n        auth: { identity: user }\n        upstream: app\n      - path: /hello\n",
    );
    let weaker = weaker.replace(
        "upstreams:",
        "identities:\n  user:\n    jwt: { keys: [{ alg: HS256, secret: \"@env:WECARD_JWT_KEY\" }] }\nupstreams:",
    );
    let finished = check(&weaker);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stderr.contains("/api/special"), "methods fall to a weaker route: {finished:?}");
}

#[test]
fn a_bomb_of_aliases_is_an_error_and_soon() {
    let mut text = "version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", ")));
    }
    let asked = Instant::now();
    let finished = check(&text);
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(said(&finished).len() < 100_000);
}

#[test]
fn explain_says_what_a_request_would_meet() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("policy.yaml"), GOOD).unwrap();
    let plain = run_in(folder.path(), &["explain", "-c", "policy.yaml", "GET", "http://localhost/api/cards"]);
    assert_eq!(plain.code, 0, "{plain:?}");
    assert!(plain.stdout.contains("/api/*") && plain.stdout.contains("app"), "{plain:?}");
    let arguments =
        ["explain", "-c", "policy.yaml", "GET", "http://localhost/a/../hello", "-H", "X-A: b", "--json"];
    let json = run_in(folder.path(), &arguments);
    let told: Value = serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}: {json:?}"));
    assert!(told.to_string().contains("/hello"), "{told}");
    let nowhere = run_in(folder.path(), &["explain", "-c", "policy.yaml", "GET", "http://localhost/nowhere"]);
    assert!(said(&nowhere).contains("route.not_found"), "{nowhere:?}");
    let wrong = run_in(folder.path(), &["explain", "-c", "policy.yaml", "GET", "not a url"]);
    assert!(wrong.code == 1 || wrong.code == 2, "{wrong:?}");
}

#[test]
fn explain_tells_the_verdicts_that_the_head_decides() {
    let folder = TempDir::new().unwrap();
    let policy = root().join("policies/wecard.yaml").canonicalize().unwrap();
    let policy = policy.to_str().unwrap();
    let url = "http://card.example.com:8080/api/cards";
    let missing = run_in(folder.path(), &["explain", "-c", policy, "GET", url]);
    assert!(said(&missing).contains("auth.missing"), "{missing:?}");
    let token = harness::token::of("alice", "t-acme");
    let header = format!("Authorization: Bearer {token}");
    let other = run_in(
        folder.path(),
        &["explain", "-c", policy, "GET", url, "-H", &header, "-H", "X-Tenant-ID: t-beta"],
    );
    assert!(said(&other).contains("tenant.mismatch"), "{other:?}");
    let fine = run_in(folder.path(), &["explain", "-c", policy, "GET", url, "-H", &header]);
    assert!(said(&fine).contains("t-acme") && !said(&fine).contains(&token), "{fine:?}");
}

#[test]
fn versions_tests_and_wrong_usage_have_their_codes() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("policy.yaml"), GOOD).unwrap();
    fs::write(folder.path().join("wrong.yaml"), "version: 1\nwrong: true\n").unwrap();
    let code = |arguments: &[&str]| run_in(folder.path(), arguments).code;
    assert_eq!(code(&["-t", "-c", "policy.yaml"]), 0);
    assert_eq!(code(&["-c", "policy.yaml", "-t"]), 0);
    assert_eq!(code(&["-t", "-c", "wrong.yaml"]), 1);
    assert_eq!(code(&["run", "-c", "wrong.yaml"]), 1);
    assert_eq!(code(&["run", "-c", "nowhere.yaml"]), 1);
    for arguments in [
        vec!["unknown"],
        vec!["--unknown"],
        vec!["check"],
        vec!["check", "--format", "xml", "policy.yaml"],
        vec!["explain", "-c", "policy.yaml"],
        vec!["-s", "dance", "-c", "policy.yaml"],
    ] {
        let finished = run_in(folder.path(), &arguments);
        assert_eq!(finished.code, 2, "{arguments:?}: {finished:?}");
        assert_eq!(finished.stdout, "", "{arguments:?}");
        assert!(!finished.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [["-v"], ["--version"]] {
        let finished = run_in(folder.path(), &arguments);
        assert_eq!(finished.code, 0, "{arguments:?}: {finished:?}");
        assert!(said(&finished).contains(env!("CARGO_PKG_VERSION")), "{arguments:?}: {finished:?}");
    }
    let help = run_in(folder.path(), &["--help"]);
    assert_eq!(help.code, 0);
    for word in ["run", "check", "explain", "schema", "demo", "reload", "quit", "stop"] {
        assert!(help.stdout.contains(word), "{word}: {help:?}");
    }
}

#[test]
fn the_policies_that_ship_are_good() {
    let folder = TempDir::new().unwrap();
    let certificate = Certificate::localhost();
    let mut seen = 0;
    for entry in fs::read_dir(root().join("policies")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        seen += 1;
        let mut command = harness::process::command(harness::gateway::binary());
        command.arg("check").arg(&path).current_dir(folder.path());
        command.env("WECARD_JWT_KEY", harness::token::KEY).env("DESK_JWT_KEY", harness::token::KEY);
        command.env("DESK_CERT", certificate.cert()).env("DESK_KEY", certificate.key());
        let finished = harness::process::finish("menshen", command);
        assert_eq!(finished.code, 0, "{}: {finished:?}", path.display());
        assert!(
            finished.stderr.lines().all(|line| line.starts_with("warning: ")),
            "{}: {finished:?}",
            path.display()
        );
        assert!(!finished.stderr.contains("insecure_"), "{}: {finished:?}", path.display());
    }
    assert!(seen >= 3, "quickstart, wecard and smart-desk ship, but {seen} are there");
}

/// Says where a value is not what a JSON Schema asks for.
///
/// # Panics
/// At a keyword that this does not know, so that none is passed over.
fn mismatch(schema: &Value, value: &Value, at: &str) -> Option<String> {
    let Some(rules) = schema.as_object() else {
        return (schema == &Value::Bool(false)).then(|| format!("{at} must not be there"));
    };
    rules.iter().find_map(|(keyword, rule)| {
        let fails = |what: &str| Some(format!("{at}: {what} {rule}, but {value}"));
        match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" | "default" | "examples" => None,
            "type" => {
                let types = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                let fits = types.iter().any(|name| match name.as_str().expect("a type is a word") {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("{other} is no type"),
                });
                if fits { None } else { fails("type") }
            }
            "enum" => {
                if rule.as_array()?.contains(value) {
                    None
                } else {
                    fails("one of")
                }
            }
            "const" => {
                if rule == value {
                    None
                } else {
                    fails("only")
                }
            }
            "anyOf" => {
                let problems: Vec<_> =
                    rule.as_array()?.iter().filter_map(|schema| mismatch(schema, value, at)).collect();
                (problems.len() == rule.as_array()?.len()).then(|| problems.join(" | "))
            }
            "pattern" => {
                let text = value.as_str()?;
                let pattern = regex::Regex::new(rule.as_str()?).expect("the pattern is well formed");
                if pattern.is_match(text) { None } else { fails("pattern") }
            }
            "minimum" => {
                if value.as_f64()? >= rule.as_f64()? {
                    None
                } else {
                    fails("at least")
                }
            }
            "maximum" => {
                if value.as_f64()? <= rule.as_f64()? {
                    None
                } else {
                    fails("at most")
                }
            }
            "minLength" => {
                if value.as_str()?.chars().count() as u64 >= rule.as_u64()? {
                    None
                } else {
                    fails("length")
                }
            }
            "minItems" => {
                if value.as_array()?.len() as u64 >= rule.as_u64()? {
                    None
                } else {
                    fails("items")
                }
            }
            "items" => value
                .as_array()?
                .iter()
                .enumerate()
                .find_map(|(index, item)| mismatch(rule, item, &format!("{at}[{index}]"))),
            "required" => {
                let object = value.as_object()?;
                let missing = rule
                    .as_array()?
                    .iter()
                    .find(|key| !object.contains_key(key.as_str().unwrap_or_default()))?;
                Some(format!("{at}: {missing} is missing"))
            }
            "properties" => value.as_object()?.iter().find_map(|(key, inner)| {
                rule.get(key).and_then(|schema| mismatch(schema, inner, &format!("{at}.{key}")))
            }),
            "additionalProperties" => {
                let known = rules.get("properties").and_then(Value::as_object);
                value
                    .as_object()?
                    .iter()
                    .filter(|(key, _)| known.is_none_or(|known| !known.contains_key(*key)))
                    .find_map(|(key, inner)| mismatch(rule, inner, &format!("{at}.{key}")))
            }
            other => panic!("the schema uses {other}, which this test does not know"),
        }
    })
}

#[test]
fn the_schema_fits_the_policies_that_ship_and_no_others() {
    let folder = TempDir::new().unwrap();
    let finished = run_in(folder.path(), &["schema"]);
    assert_eq!(finished.code, 0, "{finished:?}");
    let schema: Value = serde_json::from_str(&finished.stdout).unwrap();
    for name in ["quickstart", "wecard", "smart-desk"] {
        let text = fs::read_to_string(root().join(format!("policies/{name}.yaml"))).unwrap();
        let policy: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(mismatch(&schema, &policy, name), None);
    }
    let good: Value = serde_saphyr::from_str(GOOD).unwrap();
    assert_eq!(mismatch(&schema, &good, "good"), None);
    for (from, to) in [
        ("upstreams:", "upstreem: {}\nupstreams:"),
        ("auth: none", "auth: nobody"),
        ("hosts: [localhost]", "hosts: 7"),
        ("status: 200", "status: 999"),
        ("version: 1", "version: 2"),
    ] {
        let wrong: Value = serde_saphyr::from_str(&GOOD.replacen(from, to, 1)).unwrap();
        assert!(mismatch(&schema, &wrong, "wrong").is_some(), "{to}");
    }
}
