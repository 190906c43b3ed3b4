//! `menshen explain`: what a request would meet, without sending it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use config::{Environment, Loaded};
use filters::explain::{Explanation, Outcome, Question, explain};
use filters::pipeline::{Pipeline, Stores};
use filters::upload::ScanPolicy;

use crate::command::{complain, print};
use crate::jwks;

/// What `--help` says beneath the options.
pub const EXAMPLES: &str = "\
Examples:
  menshen explain -c menshen.yaml GET http://localhost:8080/api/cards
  menshen explain -c menshen.yaml POST https://shop.example/api/orders \\
      -H \"Authorization: Bearer $TOKEN\" -H 'Content-Length: 2000000'
  menshen explain -c menshen.yaml GET wss://shop.example/ws -H 'Origin: https://shop.example'
  menshen explain -c menshen.yaml --json GET http://localhost:8080/ | jq .admitted

The request counts as HTTP/1.1 from 127.0.0.1. To ask for another client, name it with
-H 'X-Forwarded-For: 203.0.113.7'; then, if the policy trusts proxies, it counts as coming through
the first of them. What depends on the body, on earlier requests or on keys that are published
elsewhere is said to. Nothing is sent, nothing is counted, and no token is printed.

Exit code: 0 it would be admitted, 1 it would be refused, has no listener, or the policy is wrong,
2 wrong usage.";

/// The width of the text.
const WIDTH: usize = 80;

/// Where a step's text begins.
const INDENT: usize = 11;

/// What was asked on the command line.
#[derive(Debug)]
pub struct Options {
    /// The policy's files or folders.
    pub paths: Vec<PathBuf>,
    /// The request's method.
    pub method: String,
    /// Its URL.
    pub url: String,
    /// Its header lines, each `Name: value`.
    pub headers: Vec<String>,
    /// Whether to print one JSON object.
    pub json: bool,
}

/// Prints the journey of a request. The exit code is 0 when it would be admitted, 1 when it would not be or the policy
/// is wrong, 2 for wrong usage.
pub fn run(options: &Options) -> ExitCode {
    let question = match Question::parse(&options.method, &options.url, &options.headers, SystemTime::now()) {
        Ok(question) => question,
        Err(what) => {
            complain(&format!("error: {what}\n"));
            return ExitCode::from(2);
        }
    };
    let answered = config::load(&options.paths, &Environment::process()).and_then(|loaded| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return Err(vec![loaded.problem(
                "policy",
                "it cannot be looked at: no event loop can be made",
                "try again",
            )]);
        };
        runtime.block_on(answer(&loaded, &question))
    });
    let explanation = match answered {
        Ok(explanation) => explanation,
        Err(problems) => {
            problems.iter().for_each(|problem| complain(&format!("{problem}\n")));
            return ExitCode::FAILURE;
        }
    };
    match options.json {
        true => print(&format!("{:#}\n", serde_json::json!(explanation))),
        false => print(&page(&explanation)),
    }
    if explanation.admitted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn answer(loaded: &Loaded, question: &Question) -> Result<Explanation, Vec<config::Problem>> {
    let config = &loaded.config;
    let stores = Stores::local(ScanPolicy::from(&config.scanner));
    let pipeline = Pipeline::build(config, &stores)
        .map_err(|(key, what)| vec![loaded.problem(&key, what, "a value that can be used")])?;
    for (url, cell) in stores.key_sets.all() {
        match jwks::read_file(&url).await {
            Some(Ok(set)) => cell.put(set),
            Some(Err(what)) => complain(&format!("warning: {url}: {what}\n")),
            None => {}
        }
    }
    Ok(explain(config, &pipeline, question).await)
}

/// The explanation for people: a line for each step, then what the upstream is asked, then the end of it.
fn page(explanation: &Explanation) -> String {
    let mut page = format!("{} {}\n\n", explanation.method, explanation.url);
    for step in &explanation.steps {
        entry(&mut page, step.step, &step.line());
    }
    page.push('\n');
    if let Some(outcome) = &explanation.outcome {
        told(&mut page, outcome);
        page.push('\n');
    }
    entry(&mut page, "", &verdict(explanation));
    page
}

fn told(page: &mut String, outcome: &Outcome) {
    match outcome {
        Outcome::Upstream { name, servers, method, path, set, cut } => {
            entry(page, "upstream", &format!("{name} ({})", servers.join(", ")));
            entry(page, "is asked", &format!("{method} {path}"));
            for line in set {
                entry(page, "  set", &format!("{}: {}", line.name, line.value));
            }
            for name in cut {
                entry(page, "  cut", name);
            }
        }
        Outcome::Redirect { status, location } => entry(page, "redirect", &format!("{status} to {location}")),
        Outcome::Respond { status } => entry(page, "respond", &status.to_string()),
    }
}

fn verdict(explanation: &Explanation) -> String {
    match (explanation.admitted, explanation.status, explanation.code) {
        (false, Some(status), Some(code)) => format!("Refused: {status} {code}."),
        (false, ..) => "Nobody listens there.".to_owned(),
        (true, ..) if explanation.depends_on.is_empty() => "Admitted.".to_owned(),
        (true, ..) => {
            format!(
                "Admitted as far as the head tells; it depends on {}.",
                explanation.depends_on.join(" and on ")
            )
        }
    }
}

/// A name in front of a text, which is broken between words.
fn entry(page: &mut String, name: &str, text: &str) {
    let indent = if name.is_empty() { 0 } else { INDENT };
    page.push_str(&format!("{name:<indent$}"));
    let mut used = indent;
    for (at, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if at > 0 && used + 1 + width > WIDTH {
            page.push_str(&format!("\n{:indent$}", ""));
            used = indent;
        } else if at > 0 {
            page.push(' ');
            used += 1;
        }
        page.push_str(word);
        used += width;
    }
    page.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
version: 1
listeners:
  - address: 127.0.0.1:8080
identities:
  staff:
    jwt: { keys: [{ jwks: "https://login.example/keys" }] }
upstreams:
  app: { servers: ["127.0.0.1:5000"] }
sites:
  - hosts: [shop.example]
    routes:
      - { path: /staff/*, upstream: app, auth: { identity: staff } }
      - path: /*
        upstream: app
        auth: none
        limits: { body: 1MB, rate: [{ by: ip, limit: 60/min, burst: 20 }] }
"#;

    async fn explained(method: &str, url: &str, headers: &[&str]) -> Explanation {
        let loaded = config::load_text("menshen.yaml", POLICY, &Environment::empty()).unwrap();
        let headers: Vec<String> = headers.iter().map(|one| (*one).to_owned()).collect();
        let question = Question::parse(method, url, &headers, SystemTime::now()).unwrap();
        answer(&loaded, &question).await.unwrap()
    }

    #[tokio::test]
    async fn prints_a_line_for_each_step_in_80_columns() {
        let explanation = explained("POST", "http://shop.example:8080/a//b", &["X-Tenant-Id: t"]).await;
        let text = page(&explanation);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        for line in [
            "POST http://shop.example:8080/a//b\n\nlistener   passes: address 127.0.0.1:8080\n",
            "\nroute      passes: site shop.example; pattern /*\n",
            "\nbody       depends on the body: limit 1MB\n",
            "\nupstream   app (127.0.0.1:5000)\nis asked   POST /a/b\n",
            "\n  cut      X-Tenant-Id\n",
            "\nAdmitted as far as the head tells; it depends on the body and on what was\ncounted before.\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn prints_how_it_ends() {
        let end = async |url: &str| {
            page(&explained("GET", url, &[]).await).trim_end().lines().last().unwrap().to_owned()
        };
        assert_eq!(end("http://shop.example/").await, "Nobody listens there.");
        assert_eq!(end("http://other.example:8080/").await, "Refused: 404 route.not_found.");
        assert_eq!(end("http://shop.example:8080/staff/").await, "Refused: 401 auth.missing.");
    }

    #[tokio::test]
    async fn keys_that_are_published_elsewhere_leave_it_open() {
        let token = "Authorization: Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1In0.AAAA";
        let explanation = explained("GET", "http://shop.example:8080/staff/", &[token]).await;
        let text = page(&explanation);
        assert!(explanation.admitted, "{text}");
        assert!(text.contains("\nidentity   depends on the published keys: identities staff;"), "{text}");
        assert!(!text.contains("eyJ"), "{text}");
    }
}
