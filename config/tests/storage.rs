//! Plans, what tenants store, and files that were stored before.

use std::time::Duration;

use config::rules::{Dedupe, DedupeMode};
use config::{Environment, Loaded, Plan, load_text};

/// A policy in which nothing is wrong; tests spoil one line of it.
const SOUND: &str = r#"version: 1
listeners: [{ address: "127.0.0.1:8080" }]
tenants:
  resolve: [{ header: X-T }]
  plans:
    free: { storage: 100MB, uploads: [image], max_size: { image: 1MB } }
    pro: { uploads: [image, video] }
  directory: [{ id: a, plan: free }, { id: b, plan: pro }]
upstreams:
  app: { servers: ["127.0.0.1:5000"] }
sites:
  - hosts: [example.com]
    defaults: { upstream: app, auth: none, tenant: required }
    routes:
      - path: /files
        methods: [POST]
        upload:
          classes: { image: { extensions: [png], max_size: 5MB }, video: { extensions: [mp4], max_size: 9MB } }
          dedupe: reject
          quota: tenant
      - { path: /files/*, methods: [DELETE], quota: { release: "header:X-Freed-Bytes" } }
"#;

fn loaded(text: &str) -> Loaded {
    load_text("p", text, &Environment::of([("CANARY", "c4n4ry")])).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())
    })
}

fn spoiled(from: &str, to: &str) -> String {
    assert_eq!(SOUND.matches(from).count(), 1, "{from:?} stands once in the sound policy");
    SOUND.replace(from, to)
}

#[track_caller]
fn wrong(from: &str, to: &str, expected: &[&str]) {
    let environment = Environment::of([("CANARY", "c4n4ry")]);
    let Err(problems) = load_text("p", &spoiled(from, to), &environment) else { panic!("nothing is wrong") };
    let told: Vec<String> = problems.iter().map(|problem| problem.to_string()[2..].to_owned()).collect();
    assert_eq!(told, expected);
}

#[track_caller]
fn doubtful(from: &str, to: &str, expected: &str) {
    let warnings = loaded(&spoiled(from, to)).warnings;
    let told: Vec<String> = warnings.iter().map(|problem| problem.to_string()[2..].to_owned()).collect();
    assert!(told.iter().any(|one| one == expected), "{told:#?}");
}

#[test]
fn plans_are_what_their_tenants_may_store() {
    let config = loaded(SOUND).config;
    let directory = config.tenants.unwrap().directory;
    let [free, pro] = [0, 1].map(|at: usize| directory[at].plan.clone().unwrap());
    let max_size = [("image".to_owned(), 1 << 20)].into();
    let uploads = Some(vec!["image".to_owned()]);
    assert_eq!(*free, Plan { name: "free".into(), storage: Some(100 << 20), uploads, max_size });
    assert_eq!((free.limit("image", 5), free.limit("image", 5 << 20)), (Some(5), Some(1 << 20)));
    assert_eq!((free.limit("video", 5), pro.limit("video", 5), pro.storage), (None, Some(5), None));
    let routes = &config.sites[0].routes;
    let upload = routes[0].upload.as_ref().unwrap();
    let remember = Duration::from_secs(30 * 86_400);
    assert_eq!(upload.dedupe, Some(Dedupe { mode: DedupeMode::Reject, remember }));
    assert!(upload.quota && routes[0].release.is_none());
    assert_eq!(routes[1].release.as_ref().unwrap(), "x-freed-bytes");
}

#[test]
fn what_is_not_written_asks_nothing() {
    let text =
        spoiled("          dedupe: reject\n          quota: tenant\n", "").replace("storage: 100MB, ", "");
    let config = loaded(&text).config;
    let upload = config.sites[0].routes[0].upload.clone().unwrap();
    assert_eq!((upload.dedupe, upload.quota), (None, false));
    let every = Plan { name: "p".into(), storage: None, uploads: None, max_size: Default::default() };
    assert_eq!(every.limit("any", 7), Some(7));
    let nothing = loaded(&spoiled("uploads: [image, video]", "uploads: []")).config.tenants.unwrap();
    assert_eq!(nothing.directory[1].plan.as_ref().unwrap().limit("image", 7), None);
}

#[test]
fn duplicates_are_remembered_as_long_as_is_written() {
    for (written, mode) in [
        ("off", None),
        ("annotate", Some(DedupeMode::Annotate)),
        ("{ mode: annotate }", Some(DedupeMode::Annotate)),
    ] {
        let config = loaded(&spoiled("dedupe: reject", &format!("dedupe: {written}"))).config;
        let dedupe = config.sites[0].routes[0].upload.as_ref().unwrap().dedupe;
        let remember = Duration::from_secs(30 * 86_400);
        assert_eq!(dedupe, mode.map(|mode| Dedupe { mode, remember }), "{written}");
    }
    let config = loaded(&spoiled("dedupe: reject", "dedupe: { mode: reject, remember: 7d }")).config;
    let dedupe = config.sites[0].routes[0].upload.as_ref().unwrap().dedupe.unwrap();
    assert_eq!((dedupe.mode, dedupe.remember), (DedupeMode::Reject, Duration::from_secs(7 * 86_400)));
    wrong(
        "dedupe: reject",
        "dedupe: deny",
        &[
            r#"19:19: sites[0].routes[0].upload.dedupe: "deny" is not known here; write one of off, annotate, reject"#,
        ],
    );
    wrong(
        "dedupe: reject",
        "dedupe: { mode: off, remember: 0s }",
        &[
            r#"19:27: sites[0].routes[0].upload.dedupe.mode: "off" is not known here; write one of annotate, reject"#,
            r#"19:42: sites[0].routes[0].upload.dedupe.remember: "0s" leaves no time; write a longer time, as in 10s"#,
        ],
    );
}

#[test]
fn plans_and_classes_that_are_spoken_of_exist() {
    wrong(
        "id: a, plan: free",
        "id: a, plan: fre",
        &[r#"8:30: tenants.directory[0].plan: there is no plan "fre"; did you mean "free"?"#],
    );
    wrong(
        "uploads: [image, video]",
        "uploads: [image, vidoe]",
        &[r#"7:29: tenants.plans.pro.uploads[1]: no route has a class "vidoe"; did you mean "video"?"#],
    );
    wrong(
        "uploads: [image, video]",
        "uploads: [image, \"${CANARY}\"]",
        &[
            r#"7:29: tenants.plans.pro.uploads[1]: no route has a class "${CANARY}"; write one of image, video"#,
        ],
    );
    wrong(
        "max_size: { image: 1MB }",
        "max_size: { video: 1MB }",
        &[
            r#"6:57: tenants.plans.free.max_size: the plan does not have the class "video"; add it to "uploads", or take it away"#,
        ],
    );
    wrong(
        "uploads: [image], max_size: { image: 1MB }",
        "max_size: { imge: 1MB }",
        &[r#"6:47: tenants.plans.free.max_size.imge: no route has a class "imge"; did you mean "image"?"#],
    );
    wrong(
        "storage: 100MB,",
        "storrage: 100MB,",
        &[
            r#"6:13: tenants.plans.free.storrage: the key "storrage" is not known here; did you mean "storage"?"#,
        ],
    );
    let none = "  directory: [{ id: a, plan: free }, { id: b }]\n";
    let text = SOUND.lines().filter(|line| !line.contains("uploads:") && !line.contains("plans:"));
    let text = text.map(|line| format!("{line}\n")).collect::<String>();
    let text = text.replace("  directory: [{ id: a, plan: free }, { id: b, plan: pro }]\n", none);
    let problems = load_text("p", &text, &Environment::empty()).map(drop).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        r#"p:5:30: tenants.directory[0].plan: there is no plan "free"; add it to "plans""#
    );
}

#[test]
fn what_counts_or_frees_storage_needs_a_tenant_and_an_app() {
    wrong(
        "        methods: [POST]\n",
        "        methods: [POST]\n        tenant: optional\n",
        &[
            r#"21:18: sites[0].routes[0].upload.quota: a request without a tenant would not be counted; write "tenant: required", or take this away"#,
        ],
    );
    wrong(
        "methods: [DELETE], quota",
        "methods: [DELETE], tenant: none, quota",
        &[
            r#"21:67: sites[0].routes[1].quota: this route knows no tenant to give space back to; write "tenant: required", or take this away"#,
        ],
    );
    wrong(
        "methods: [DELETE], quota",
        "methods: [DELETE], respond: { status: 204 }, quota",
        &[
            r#"21:79: sites[0].routes[1].quota: there is no app behind this route to say what it no longer stores; add "upstream: NAME""#,
        ],
    );
    wrong(
        "header:X-Freed-Bytes",
        "X-Freed-Bytes",
        &[
            r#"21:64: sites[0].routes[1].quota.release: "X-Freed-Bytes" names no header; write it as in header:X-Freed-Bytes"#,
        ],
    );
    wrong(
        "header:X-Freed-Bytes",
        "header:Content-Length",
        &[r#"21:64: sites[0].routes[1].quota.release: only the gateway sets "content-length"; take it away"#],
    );
    wrong(
        "quota: tenant",
        "quota: tennant",
        &[r#"20:18: sites[0].routes[0].upload.quota: "tennant" is not known here; did you mean "tenant"?"#],
    );
}

#[test]
fn what_a_plan_leaves_open_is_warned_of() {
    assert_eq!(loaded(SOUND).warnings, []);
    doubtful(
        "{ id: b, plan: pro }",
        "{ id: b }",
        r#"8:38: tenants.directory[1].plan: this tenant has no plan, and may store anything; add "plan: NAME""#,
    );
    doubtful(
        "          quota: tenant\n",
        "",
        r#"6:22: tenants.plans.free.storage: no route counts what tenants store; add "quota: tenant" to the "upload" of a route"#,
    );
    doubtful(
        "max_size: { image: 1MB }",
        "max_size: { image: 5MB }",
        "6:66: tenants.plans.free.max_size.image: no route takes more than this of the class anyway; write less, or take it away",
    );
}
