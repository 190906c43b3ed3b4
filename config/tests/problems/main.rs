//! Each kind of problem and warning, with its place and its words.

mod keys;
mod sense;
mod values;
mod warnings;

use config::{Environment, load_text};

/// A policy in which nothing is wrong; tests spoil one line of it.
const SOUND: &str = r#"version: 1
listeners:
  - address: 127.0.0.1:8080
admin: { address: "127.0.0.1:9901" }
identities:
  user:
    jwt:
      keys: [{ alg: HS256, secret: "@env:KEY" }]
    claims: { tenant: tid, roles: role }
tenants:
  resolve: [claim]
  directory: [{ id: a }, { id: b, name: bee }]
upstreams:
  app: { servers: ["127.0.0.1:5000"] }
sites:
  - hosts: [example.com]
    routes:
      - path: /files/{tenant}/*
        upstream: app
        auth: { identity: user }
        tenant: { required: true, must_equal: path:tenant }
        limits: { rate: [{ by: ip, limit: 10/s }] }
"#;

fn environment() -> Environment {
    Environment::of([
        ("KEY", "0123456789abcdef0123456789abcdef"),
        ("SHORT", "hunter2"),
        ("EMPTY", ""),
        ("CANARY", "c4n4ry"),
    ])
}

/// All problems of a text, as printed, without the file's name.
fn problems(text: &str) -> Vec<String> {
    match load_text("p", text, &environment()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|problem| problem.to_string()[2..].to_owned()).collect(),
    }
}

fn warnings(text: &str) -> Vec<String> {
    let loaded = load_text("p", text, &environment()).unwrap_or_else(|problems| panic!("{problems:?}"));
    loaded.warnings.iter().map(|warning| warning.to_string()[2..].to_owned()).collect()
}

fn spoiled(from: &str, to: &str) -> String {
    assert_eq!(SOUND.matches(from).count(), 1, "{from:?} stands once in the sound policy");
    SOUND.replace(from, to)
}

#[track_caller]
fn wrong(from: &str, to: &str, expected: &[&str]) {
    assert_eq!(problems(&spoiled(from, to)), expected);
}

#[track_caller]
fn doubtful(from: &str, to: &str, expected: &[&str]) {
    assert_eq!(warnings(&spoiled(from, to)), expected);
}

#[test]
fn a_sound_policy_has_none() {
    assert_eq!(problems(SOUND), [""; 0]);
    assert_eq!(warnings(SOUND), [""; 0]);
}

#[test]
fn defaults_are_told_of_once() {
    wrong(
        "    routes:\n",
        "    defaults: { upstream: ap, limts: {}, audit: 1 }\n    routes:\n      - { path: /a, auth: none }\n      - { path: /b, auth: none }\n",
        &[
            r#"17:27: sites[0].defaults.upstream: there is no upstream "ap"; did you mean "app"?"#,
            r#"17:31: sites[0].defaults.limts: the key "limts" is not known here; did you mean "limits"?"#,
            r#"17:49: sites[0].defaults.audit: "1" is not a truth value; write true or false, without quotes"#,
        ],
    );
}

#[test]
fn problems_beyond_a_thousand_are_not_told() {
    let text = format!("{SOUND}{}", "      - { path: /x, upstream: nope, auth: none }\n".repeat(3000));
    let told = problems(&text);
    assert_eq!(told.len(), 1001);
    assert!(told.iter().any(|problem| problem.contains("there may be more")));
}
