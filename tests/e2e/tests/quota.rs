//! What tenants may store, and what they stored before: WeCard's real API, two plans, two gateways on one Redis.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use harness::http::{Answer, Call, call, get, post};
use harness::origin::Then;
use harness::sample::{self, another_png_of, sha256};
use harness::{Form, Gateway, Origin, Raw, Redis, SOON, WeCard, policy, token, until};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
/// What the plan `free` may store.
const FREE: u64 = 100 * MIB;
/// A reservation whose gateway is dead stands for 30 s.
const FORGOTTEN: Duration = Duration::from_secs(45);

fn bob() -> String {
    token::of("bob", "t-beta")
}

fn uploading(query: &str, filename: &str, content_type: &str, content: &[u8]) -> Call {
    let form = Form::of(filename, content_type, content).body();
    post(&format!("/api/v1/assets{query}")).bearer(&bob()).body(&Form::content_type(), form)
}

/// Uploads an image of `size` bytes as bob; another one for every seed.
fn upload(gateway: &Gateway, query: &str, size: u64, seed: u64) -> Answer {
    let image = another_png_of(usize::try_from(size).unwrap(), seed);
    uploading(query, "photo.png", "image/png", &image).send(gateway.address())
}

/// Used and reserved bytes of bob's tenant.
fn usage(gateway: &Gateway) -> (u64, u64) {
    let said = gateway.ask("/tenants/t-beta/usage").is(200).json();
    (said["used_bytes"].as_u64().unwrap(), said["reserved_bytes"].as_u64().unwrap())
}

fn set_usage(gateway: &Gateway, used: u64) -> Answer {
    post("/tenants/t-beta/usage").json(&json!({ "used_bytes": used })).send(gateway.admin())
}

/// The app's own list of what bob's tenant stores.
fn stored(gateway: &Gateway) -> Vec<Value> {
    let listed = get("/api/v1/assets").bearer(&bob()).send(gateway.address());
    listed.is(200).json()["data"].as_array().unwrap().clone()
}

fn stored_bytes(gateway: &Gateway) -> u64 {
    stored(gateway).iter().map(|asset| asset["size"].as_u64().unwrap()).sum()
}

/// How often the app was asked to store something.
fn asked(app: &WeCard) -> usize {
    app.log().entries().iter().filter(|entry| entry["method"] == "POST").count()
}

fn audit_line(gateway: &Gateway, what: &str) -> Value {
    until(&format!("the audit to tell of {what}"), SOON, || {
        gateway.audit().into_iter().find(|line| line["outcome"] == what || line["code"] == what)
    })
}

#[test]
fn a_plan_has_its_kinds_of_file() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let film = sample::mp4_of(200_000);
    let refused = uploading("", "film.mp4", "video/mp4", &film).send(gateway.address());
    refused.refused(415, "upload.extension_denied");
    assert_eq!(refused.json()["errors"][0]["filename"], "film.mp4");
    let of_pro = uploading("", "film.mp4", "video/mp4", &film);
    let alice = token::of("alice", "t-acme");
    let form = Form::of("film.mp4", "video/mp4", &film).body();
    let passed = post("/api/v1/assets").bearer(&alice).body(&Form::content_type(), form);
    passed.send(gateway.address()).is(201);
    of_pro.send(gateway.address()).refused(415, "upload.extension_denied");
    upload(&gateway, "", 1000, 1).is(201);
    assert_eq!(stored_bytes(&gateway), 1000);
    let said = gateway.ask("/tenants/t-acme/usage").json();
    let (limit, used) = (10 * 1024 * MIB, film.len());
    let expected = json!({
        "tenant": "t-acme", "plan": "pro", "limit_bytes": limit, "used_bytes": used, "reserved_bytes": 0
    });
    assert_eq!(said, expected);
}

#[test]
fn a_full_storage_refuses_and_a_deleted_file_makes_room() {
    let app = WeCard::start();
    let gateway = policy::wecard_storage(&app, None).start();
    let kept = upload(&gateway, "", 3 * MIB, 1);
    kept.is(201);
    assert_eq!(usage(&gateway), (3 * MIB, 0));
    let asset = kept.json()["data"]["files"][0]["id"].as_str().unwrap().to_owned();
    set_usage(&gateway, FREE - MIB).is(200);

    let before = asked(&app);
    let refused = upload(&gateway, "", MIB + 1, 2);
    refused.refused(413, "upload.quota_exceeded");
    let entry = &refused.json()["errors"][0];
    assert_eq!(entry["code"], "upload.quota_exceeded");
    assert_eq!(
        (&entry["used"], &entry["limit"], &entry["plan"]),
        (&json!(FREE - MIB), &json!(FREE), &json!("free"))
    );
    assert_eq!(asked(&app), before, "the app was not asked");
    let line = audit_line(&gateway, "upload.quota_exceeded");
    assert_eq!((&line["tenant"], &line["errors"][0]["used"]), (&json!("t-beta"), &json!(FREE - MIB)));
    let said = uploading("", "photo.png", "image/png", &another_png_of(2 << 20, 9))
        .header("accept-language", "zh-CN")
        .send(gateway.address());
    assert_eq!(said.json()["detail"], "存储空间不足。");
    upload(&gateway, "", MIB, 3).is(201);
    assert_eq!(usage(&gateway), (FREE, 0), "to the last byte");

    let delete = |asset: &str| {
        call("DELETE", &format!("/api/v1/assets/{asset}")).bearer(&bob()).send(gateway.address())
    };
    let deleted = delete(&asset);
    assert_eq!(deleted.is(200).header("x-freed-bytes"), None, "that is said to the gateway alone");
    assert_eq!(usage(&gateway), (FREE - 3 * MIB, 0));
    delete(&asset).is(404);
    assert_eq!(usage(&gateway), (FREE - 3 * MIB, 0));
    upload(&gateway, "", 3 * MIB, 4).is(201);
}

#[test]
fn what_the_app_does_not_store_takes_no_storage() {
    let app = WeCard::start();
    let gateway = policy::wecard_storage(&app, None).start();
    upload(&gateway, "?fail=500", 1000, 1).is(500);
    upload(&gateway, "?fail=302", 1000, 1).is(302);
    assert_eq!(usage(&gateway), (0, 0));
    upload(&gateway, "", 1000, 1).is(201);
    assert_eq!(usage(&gateway), (1000, 0), "and it is no duplicate of what was not stored");
    uploading("", "report.pdf", "application/pdf", &sample::infected_pdf())
        .send(gateway.address())
        .refused(422, "upload.infected");
    assert_eq!(usage(&gateway), (1000, 0));
    drop(app);
    upload(&gateway, "", 1000, 2).refused(502, "upstream.unavailable");
    assert_eq!(usage(&gateway), (1000, 0));
}

/// Sends an upload, all but the last `kept` bytes of it, and gives the open connection.
fn begin(gateway: &Gateway, query: &str, size: usize, seed: u64, kept: usize) -> Raw {
    let form = Form::of("photo.png", "image/png", &another_png_of(size, seed)).body();
    let (length, kind, token) = (form.len(), Form::content_type(), bob());
    let head = format!(
        "POST /api/v1/assets{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    Raw::sending(gateway.address(), [head.as_bytes(), &form[..length - kept]].concat())
}

#[test]
fn a_client_that_hangs_up_is_counted_by_what_the_app_did() {
    let app = WeCard::start();
    let gateway = policy::wecard_storage(&app, None).start();
    let reserved = |bytes: u64| {
        until("the space to be reserved", SOON, || (usage(&gateway).1 == bytes).then_some(()));
    };
    drop(begin(&gateway, "", 200_000, 1, 10));
    let waiting = begin(&gateway, "?wait=700", 3000, 2, 0);
    reserved(3000);
    drop(waiting);
    until("the upload to be counted", SOON, || (usage(&gateway) == (3000, 0)).then_some(()));
    assert_eq!(stored_bytes(&gateway), 3000, "the app stored it all the same");

    let waiting = begin(&gateway, "?wait=700&fail=500", 5000, 3, 0);
    reserved(5000);
    drop(waiting);
    reserved(0);
    assert_eq!(usage(&gateway), (3000, 0));
    assert_eq!(stored_bytes(&gateway), 3000);
}

#[test]
fn a_file_is_a_duplicate_at_every_gateway_and_for_its_tenant_alone() {
    let (app, redis) = (WeCard::start(), Redis::start());
    let one = policy::wecard_storage(&app, Some(&redis)).start();
    let envelope = policy::wecard_storage(&app, Some(&redis));
    let text = format!("{}\nerrors: {{ format: envelope }}\n", envelope.text());
    let two = envelope.policy(text).start();

    let first = "the-first-upload";
    let image = another_png_of(1000, 1);
    let named = uploading("", "card.png", "image/png", &image).header("x-request-id", first);
    named.send(one.address()).is(201);
    let again = upload(&one, "", 1000, 1);
    again.refused(409, "upload.duplicate");
    let entry = json!([{
        "field": "file", "filename": "photo.png", "code": "upload.duplicate", "duplicate_of": first
    }]);
    assert_eq!(again.json()["errors"], entry);
    let elsewhere = upload(&two, "", 1000, 1);
    assert_eq!(
        (elsewhere.is(409).json()["code"].clone(), elsewhere.json()["errors"].clone()),
        (json!(40901), entry)
    );
    assert_eq!(usage(&two), (1000, 0));
    assert_eq!(audit_line(&one, "upload.duplicate")["errors"][0]["duplicate_of"], first);

    let form = || Form::of("photo.png", "image/png", &image);
    let alice = post("/api/v1/assets").bearer(&token::of("alice", "t-acme"));
    alice.body(&Form::content_type(), form().body()).send(two.address()).is(201);
    let fresh = another_png_of(1000, 2);
    let both = Form::of("a.png", "image/png", &fresh).file("file", "b.png", "image/png", &fresh).body();
    let twice = post("/api/v1/assets").bearer(&bob()).body(&Form::content_type(), both).send(one.address());
    twice.refused(409, "upload.duplicate");
    assert_eq!(twice.json()["errors"][0]["duplicate_of"], twice.must("x-request-id"));
    assert_eq!(stored(&one).len(), 1);
}

#[test]
fn the_app_may_be_told_of_duplicates_instead() {
    let app = WeCard::start();
    let builder = policy::wecard_storage(&app, None);
    let text = policy::replaced(builder.text(), "dedupe: reject ", "dedupe: annotate ");
    let gateway = builder.policy(text).start();
    let told = |answer: &Answer| -> Value {
        let header = answer.is(201).json()["data"]["upload_files_header"].as_str().unwrap().to_owned();
        serde_json::from_str::<Value>(&header).unwrap()[0].clone()
    };
    let image = another_png_of(1000, 1);
    let first = uploading("", "card.png", "image/png", &image).header("x-request-id", "the-first-upload");
    assert_eq!(told(&first.send(gateway.address()))["duplicate_of"], Value::Null);
    let second = told(&upload(&gateway, "", 1000, 1));
    assert_eq!(second["duplicate_of"], "the-first-upload");
    assert_eq!(second["sha256"], sha256(&image));
    assert_eq!(usage(&gateway), (2000, 0), "the app stores both");
}

/// Uploads 40 images of 5 MB, all at once, half of them to each gateway; the answers.
fn forty(gateways: [&Gateway; 2], query: &str, seed: u64) -> Vec<Result<Answer, String>> {
    thread::scope(|scope| {
        let uploads: Vec<_> = (0..40_u64)
            .map(|n| {
                scope.spawn(move || {
                    let image = another_png_of(5 << 20, seed + n);
                    let to = gateways[(n % 2) as usize].address();
                    uploading(query, "photo.png", "image/png", &image).try_send(to)
                })
            })
            .collect();
        uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
    })
}

#[test]
fn forty_uploads_at_once_over_two_gateways_do_not_pass_the_limit() {
    let (app, redis) = (WeCard::start(), Redis::start());
    let gateways = [(); 2].map(|()| policy::wecard_storage(&app, Some(&redis)).start());
    let [one, two] = &gateways;
    let finished = AtomicBool::new(false);
    let answers = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !finished.load(Ordering::SeqCst) {
                let (used, reserved) = usage(one);
                assert!(used + reserved <= FREE, "{used} used and {reserved} reserved");
                most = most.max(used + reserved);
            }
            most
        });
        let answers = forty([one, two], "", 1);
        finished.store(true, Ordering::SeqCst);
        assert!(watch.join().unwrap() > 0);
        answers
    });
    let statuses: Vec<u16> = answers.into_iter().map(|answer| answer.unwrap().status).collect();
    let count = |wanted: u16| statuses.iter().filter(|&&status| status == wanted).count();
    assert_eq!((count(201), count(413)), (20, 20), "{statuses:?}");
    assert_eq!(usage(two), (FREE, 0));
    assert_eq!(stored_bytes(one), FREE, "the books agree with the app's list");
    println!(
        "40 x 5 MB into 100 MB over two gateways: 20 stored, 20 refused, {FREE} bytes in the books and the app"
    );
}

#[test]
fn the_books_outlive_a_gateway_that_is_killed_in_the_middle() {
    let (app, redis) = (WeCard::start(), Redis::start());
    let [mut one, two] = [(); 2].map(|()| policy::wecard_storage(&app, Some(&redis)).start());
    let (stored_ones, killed) = thread::scope(|scope| {
        let (first, second) = (one.address(), &two);
        let uploads: Vec<_> = (0..20_u64)
            .map(|n| {
                let to = if n % 2 == 0 { first } else { second.address() };
                scope.spawn(move || {
                    let image = another_png_of(5 << 20, n + 1);
                    uploading("?wait=300", "photo.png", "image/png", &image).try_send(to)
                })
            })
            .collect();
        until("half of the uploads to be under way or stored", SOON, || {
            let (used, reserved) = usage(second);
            assert!(used + reserved <= FREE);
            (used > 0 && reserved >= 10 * MIB).then_some(())
        });
        one.kill();
        let answers: Vec<_> = uploads.into_iter().map(|upload| upload.join().unwrap()).collect();
        let good = answers.iter().flatten().filter(|answer| answer.status == 201).count();
        (good, answers.iter().filter(|answer| answer.is_err()).count())
    });
    assert!(killed > 0, "the gateway was killed too late");
    until("what the dead gateway reserved to be free", FORGOTTEN, || (usage(&two).1 == 0).then_some(()));
    let (used, _) = usage(&two);
    let listed = stored_bytes(&two);
    // Everything that a client was told is stored is in the books, and nothing that the app does not have. Uploads whose
    // answer nobody was left to read may be in the app alone.
    assert!(used >= stored_ones as u64 * 5 * MIB && used <= listed && listed <= FREE, "{used} of {listed}");
    println!("killed with {killed} uploads under way: {used} bytes in the books, {listed} in the app");
    set_usage(&two, listed).is(200);
    assert_eq!(usage(&two), (listed, 0));
    let line = audit_line(&two, "usage_set");
    let said = (&line["tenant"], &line["before"], &line["after"]);
    assert_eq!(said, (&json!("t-beta"), &json!(used), &json!(listed)));
    for seed in 100..120 {
        upload(&two, "", 5 * MIB, seed);
    }
    assert_eq!((usage(&two), stored_bytes(&two)), ((FREE, 0), FREE));
}

#[test]
fn a_state_that_is_away_stores_nothing_uncounted() {
    let (app, mut redis) = (WeCard::start(), Redis::start());
    let gateway = policy::wecard_storage(&app, Some(&redis)).start();
    upload(&gateway, "", 1000, 1).is(201);
    redis.kill();
    let before = asked(&app);
    for seed in 2..5 {
        upload(&gateway, "", 1000, seed).refused(503, "state.unavailable");
    }
    gateway.ask("/tenants/t-beta/usage").is(503);
    set_usage(&gateway, 7).is(503);
    assert_eq!(asked(&app), before, "the app was not asked");
    assert!(gateway.metric(&["menshen_state_errors_total", "dedupe"]) >= 3.0);
    redis.restart();
    until("uploads to be taken again", SOON, || (upload(&gateway, "", 1000, 5).status == 201).then_some(()));

    let alone = policy::wecard_storage(&app, Some(&redis)).env("ON_FAILURE", "local").start();
    redis.kill();
    until("the gateway to count alone", SOON, || (upload(&alone, "", 1000, 6).status == 201).then_some(()));
    upload(&alone, "", 1000, 6).refused(409, "upload.duplicate");
    assert!(alone.metric(&["menshen_state_errors_total", "quota"]) >= 1.0);
    redis.restart();
    until("the app's own count to be taken", SOON, || (set_usage(&alone, FREE).status == 200).then_some(()));
    redis.kill();
    until("the gateway to count alone", SOON, || {
        (alone.ask("/tenants/t-beta/usage").status == 503).then_some(())
    });
    upload(&alone, "", 1000, 7).refused(413, "upload.quota_exceeded");
}

#[test]
fn a_policy_that_is_rejected_leaves_the_books_where_they_are() {
    let (app, redis) = (WeCard::start(), Redis::start());
    let gateway = policy::wecard_storage(&app, Some(&redis)).start();
    set_usage(&gateway, 4096).is(200);
    // What is wrong is found once the state is at hand.
    gateway.rewrite(|text| {
        let text = policy::replaced(text, "backend: ${WECARD_STATE:-memory}", "backend: memory");
        policy::replaced(text, "\"${DIR}/access.log\"", "/no/such/folder/access.log")
    });
    let told = post("/reload").send(gateway.admin());
    assert!(told.is(422).text().contains("log"), "{told:?}");
    assert_eq!(usage(&gateway), (4096, 0));
    upload(&gateway, "", 1000, 1).is(201);
    assert_eq!(usage(&gateway), (5096, 0));
}

/// Routes of an app that says how much it freed, once the test lets it.
const FREEING: &str = r#"      - { path: /free, auth: { identity: user }, tenant: required, quota: { release: header:X-Freed-Bytes } }
      - { path: /observed, auth: { identity: user }, tenant: required, observe: [upload], quota: { release: header:X-Freed-Bytes } }
      - path: /socket
        tenant: required
        quota: { release: header:X-Freed-Bytes }
"#;

#[test]
fn what_an_app_freed_is_counted_whoever_is_left_to_be_told() {
    let (go, wait) = channel::<&str>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |exchange| {
        if exchange.head.target == "/free?late" {
            assert!(!exchange.is_closed_within(Duration::from_millis(500)), "the gateway went away as well");
            return exchange.respond(200, "X-Freed-Bytes: 300\r\n", b"freed");
        }
        let freed = wait.lock().unwrap().recv().unwrap_or_default();
        if exchange.head.target == "/socket" {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
            exchange.raw(format!(
                "{head}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Freed-Bytes: {freed}\r\n\r\n"
            ));
            return Then::Close;
        }
        exchange.body();
        exchange.respond(200, &format!("X-Freed-Bytes: {freed}\r\n"), b"freed")
    });
    let text = policy::replaced(policy::GUARDED.to_owned(), "      - path: /socket\n", FREEING);
    let gateway = Gateway::builder().policy(text).env("APP", origin.address()).start();
    let request = |path: &str, more: &str| {
        let token = bob();
        format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{more}\r\n")
    };
    set_usage(&gateway, 1000).is(200);

    let waiting = Raw::sending(gateway.address(), request("/free?late", ""));
    origin.wait_for_requests(1);
    waiting.reset();
    until("the bytes to be free", SOON, || (usage(&gateway) == (700, 0)).then_some(()));

    let mut observed = Raw::sending(gateway.address(), request("/observed", ""));
    go.send("300").unwrap();
    let answer = observed.answer().unwrap();
    assert_eq!((answer.status, answer.header("x-freed-bytes")), (200, None));
    assert_eq!(usage(&gateway), (700, 0), "it is only observed");

    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://desk.example.com\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut socket = Raw::sending(gateway.address(), request("/socket", upgrade).replace("DELETE", "GET"));
    go.send("300").unwrap();
    let answer = socket.answer().unwrap();
    assert_eq!((answer.status, answer.header("x-freed-bytes")), (101, None), "{}", answer.head);
    assert_eq!(usage(&gateway), (700, 0), "a 101 frees nothing");

    let mut garbled = Raw::sending(gateway.address(), request("/free", ""));
    go.send("lots").unwrap();
    assert_eq!(garbled.answer().unwrap().status, 200);
    let line = until("the error log to tell whose bytes they are", SOON, || {
        let log = gateway.error_log();
        log.lines().find(|line| line.contains("tenant t-beta: the app says")).map(str::to_owned)
    });
    assert!(line.contains("upstream app: request_id="), "{line}");
}

#[test]
fn the_operator_sees_and_sets_what_is_used() {
    let app = WeCard::start();
    let gateway = policy::wecard_storage(&app, None).start();
    let said = gateway.ask("/tenants/t-beta/usage").is(200).json();
    let expected = json!({
        "tenant": "t-beta", "plan": "free", "limit_bytes": FREE, "used_bytes": 0, "reserved_bytes": 0
    });
    assert_eq!(said, expected);
    assert_eq!(set_usage(&gateway, 4096).is(200).json()["used_bytes"], 4096);
    assert_eq!(usage(&gateway), (4096, 0));
    gateway.ask("/tenants/t-nobody/usage").is(404);
    assert_eq!(gateway.ask("/tenants/beta/usage").is(200).json()["tenant"], "t-beta", "by its name too");
    gateway.ask("/tenants/t-beta/usage/usage").is(404);
    gateway.ask("/tenants/usage").is(404);
    let admin = gateway.admin();
    for body in [
        "",
        "{}",
        "[]",
        "7",
        r#"{"used_bytes":-1}"#,
        r#"{"used_bytes":"7"}"#,
        r#"{"used_bytes":1.5}"#,
        r#"{"used_bytes":7,"plan":"pro"}"#,
        r#"{"used_bytes":18446744073709551615}"#,
    ] {
        post("/tenants/t-beta/usage").body("application/json", body).send(admin).is(400);
    }
    let long = format!("{{\"used_bytes\":0}}{}", " ".repeat(20_000));
    let (length, first, rest) = (long.len(), &long[..16], &long[16..]);
    post("/tenants/t-beta/usage").body("application/json", long.clone()).send(admin).is(413);
    let chunks = format!("10\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n", length - 16);
    let head = "POST /tenants/t-beta/usage HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(Raw::sending(admin, format!("{head}{chunks}")).answer().unwrap().status, 413);
    assert_eq!(call("DELETE", "/tenants/t-beta/usage").send(admin).is(405).must("allow"), "GET, HEAD, POST");
    assert_eq!(usage(&gateway), (4096, 0));
    let line = audit_line(&gateway, "usage_set");
    assert_eq!((&line["event"], &line["before"], &line["after"]), (&json!("admin"), &json!(0), &json!(4096)));
    // A number that could be somebody's.
    set_usage(&gateway, 13_800_138_000).is(200);
    until("the audit to tell the number", SOON, || {
        gateway.audit().into_iter().find(|line| line["after"] == json!(13_800_138_000_u64))
    });
}
