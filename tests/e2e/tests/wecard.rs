//! WeCard behind its own policy: the real API, the real pages, a real browser.

use harness::http::{Answer, get, post};
use harness::sample::{self, PNG, sha256};
use harness::{Browser, Clamd, Form, Gateway, SOON, WeCard, policy, token, until};
use serde_json::{Value, json};

/// Uploads one file as alice.
fn upload(gateway: &Gateway, filename: &str, content_type: &str, content: &[u8]) -> Answer {
    post("/api/v1/assets")
        .bearer(&token::of("alice", "t-acme"))
        .body(&Form::content_type(), Form::of(filename, content_type, content).body())
        .send(gateway.address())
}

/// Tries to log in, from an address of its own.
fn log_in(gateway: &Gateway, from: &str, username: &str, password: &str) -> Answer {
    post("/api/v1/auth/login")
        .header("x-forwarded-for", from)
        .json(&json!({ "username": username, "password": password }))
        .send(gateway.address())
}

#[test]
fn the_page_renders_in_a_browser_and_works_through_the_gateway() {
    let app = WeCard::with_pages();
    let gateway = policy::wecard(&app).env("WECARD_NUXT", app.pages()).start();
    let browser = Browser::start();
    browser.open(&gateway.url("/"));
    assert_eq!(browser.title(), "WeCard");
    browser.wait_for_text("#health", |text| text == "up");

    browser.enter("#username", "alice");
    browser.enter("#password", "wrong");
    browser.click("#login");
    browser.wait_for_text("#session", |text| text.starts_with("401"));
    browser.enter("#password", "alice-password");
    browser.click("#login");
    browser.wait_for_text("#session", |text| text == "logged in as alice");
    let cards = browser.wait_for_text("#cards", |text| !text.is_empty());
    assert!(cards.contains("Alice Chen, Sales Director, Acme"), "{cards}");
    assert!(!cards.contains("Bob Li"), "another tenant's card: {cards}");

    let image = gateway.folder().join("photo.png");
    std::fs::write(&image, PNG).unwrap();
    browser.enter("#file", image.to_str().unwrap());
    browser.click("#upload");
    browser.wait_for_text("#result", |text| text.starts_with("201"));
    let stored = get("/api/v1/assets").bearer(&token::of("alice", "t-acme")).send(gateway.address()).json();
    assert_eq!(stored["data"][0]["sha256"], sha256(PNG));

    let program = gateway.folder().join("program.png");
    std::fs::write(&program, sample::PHP).unwrap();
    browser.open(&gateway.url("/"));
    browser.enter("#username", "alice");
    browser.enter("#password", "alice-password");
    browser.click("#login");
    browser.wait_for_text("#session", |text| text == "logged in as alice");
    browser.enter("#file", program.to_str().unwrap());
    browser.click("#upload");
    browser.wait_for_text("#result", |text| text.starts_with("415 upload."));
}

#[test]
fn pages_carry_the_headers_of_the_policy() {
    let app = WeCard::with_pages();
    let gateway = policy::wecard(&app).env("WECARD_NUXT", app.pages()).start();
    let page = get("/").send(gateway.address());
    page.is(200);
    assert_eq!(page.header("x-frame-options"), Some("SAMEORIGIN"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert!(page.text().contains("WeCard"));
}

#[test]
fn a_login_gives_a_token_that_opens_the_api() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let login = log_in(&gateway, "192.0.2.1", "alice", "alice-password");
    login.is(200);
    let token = login.json()["data"]["token"].as_str().unwrap().to_owned();
    let me = get("/api/me").bearer(&token).send(gateway.address());
    me.is(200);
    assert_eq!(me.json()["data"]["X-Auth-Subject"], "alice");
    assert_eq!(me.json()["data"]["X-Tenant-Id"], "t-acme");
    assert_eq!(me.json()["data"]["X-Auth-Roles"], "member");
    assert_eq!(me.json()["data"]["X-Auth-Permissions"], "asset:write");
}

#[test]
fn a_token_in_the_cookie_reaches_the_app_as_authorization() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let token = token::of("alice", "t-acme");
    let seen = get("/api/echo")
        .header("cookie", format!("theme=dark; auth._token.local={token}"))
        .send(gateway.address());
    seen.is(200);
    let headers = &seen.json()["data"]["headers"];
    assert_eq!(headers["authorization"], format!("Bearer {token}"));
    get("/api/echo")
        .header("cookie", format!("auth._token.local={token}"))
        .bearer(&token::of("carol", "t-acme"))
        .send(gateway.address())
        .refused(400, "request.malformed");
}

#[test]
fn an_upload_arrives_byte_for_byte_with_what_was_found() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let form = Form::new().text("note", "hello").file("file", "photo.png", "image/png", PNG).body();
    let answer = post("/api/v1/assets")
        .bearer(&token::of("alice", "t-acme"))
        .header("x-upload-files", "forged")
        .body(&Form::content_type(), form.clone())
        .send(gateway.address());
    answer.is(201);
    let data = &answer.json()["data"];
    assert_eq!(data["body"]["sha256"], sha256(&form));
    assert_eq!(data["body"]["length"], form.len());
    assert_eq!(data["files"][0]["sha256"], sha256(PNG));
    let said = data["upload_files_header"].as_str().expect("the app is told of the file");
    assert!(said.is_ascii());
    let said: Value = serde_json::from_str(said).unwrap();
    assert_eq!(
        said,
        json!([{
            "field": "file", "filename": "photo.png", "size": PNG.len(), "type": "image/png", "class": "image",
            "sha256": sha256(PNG), "scan": "clean", "engine": "builtin"
        }])
    );
    let path = data["files"][0]["path"].as_str().unwrap();
    let stored = get(path).bearer(&token::of("alice", "t-acme")).send(gateway.address());
    assert_eq!(stored.is(200).body, PNG);
}

#[test]
fn a_file_name_beyond_ascii_is_told_in_ascii() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let answer = upload(&gateway, "名片.png", "image/png", PNG);
    let header = answer.is(201).json()["data"]["upload_files_header"].as_str().unwrap().to_owned();
    assert!(header.is_ascii(), "{header}");
    assert_eq!(serde_json::from_str::<Value>(&header).unwrap()[0]["filename"], "名片.png");
}

#[test]
fn clamd_finds_the_test_malware_over_tcp_and_over_its_socket() {
    let app = WeCard::start();
    let clamd = Clamd::start();
    for address in [clamd.tcp(), clamd.unix()] {
        let gateway =
            policy::wecard(&app).env("WECARD_SCANNER", "clamd").env("WECARD_CLAMD", &address).start();
        let before = app.log().mark();
        let infected = upload(&gateway, "report.pdf", "application/pdf", &sample::infected_pdf());
        infected.refused(422, "upload.infected");
        assert_eq!(infected.json()["errors"][0]["filename"], "report.pdf");
        assert_eq!(app.log().since(before), Vec::<Value>::new());
        let clean = upload(&gateway, "report.pdf", "application/pdf", &sample::pdf());
        let said = clean.is(201).json()["data"]["upload_files_header"].as_str().unwrap().to_owned();
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            (said[0]["scan"].as_str(), said[0]["engine"].as_str()),
            (Some("clean"), Some("clamav")),
            "{said}"
        );
    }
}

#[test]
fn the_built_in_scanner_finds_the_test_malware() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let before = app.log().mark();
    let infected = upload(&gateway, "report.pdf", "application/pdf", &sample::infected_pdf());
    infected.refused(422, "upload.infected");
    assert_eq!(infected.json()["errors"][0]["field"], "file");
    assert_eq!(infected.json()["errors"][0]["code"], "upload.infected");
    assert_eq!(app.log().since(before), Vec::<Value>::new());
}

#[test]
fn one_bad_file_refuses_the_whole_form() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let before = app.log().mark();
    let form = Form::new()
        .file("file", "good.png", "image/png", PNG)
        .file("file", "bad.pdf", "application/pdf", &sample::infected_pdf())
        .body();
    let answer = post("/api/v1/assets")
        .bearer(&token::of("alice", "t-acme"))
        .body(&Form::content_type(), form)
        .send(gateway.address());
    answer.refused(422, "upload.infected");
    assert_eq!(answer.json()["errors"][0]["filename"], "bad.pdf");
    assert_eq!(app.log().since(before), Vec::<Value>::new());
}

#[test]
fn a_program_named_as_an_image_is_refused() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let before = app.log().mark();
    upload(&gateway, "photo.png", "image/png", sample::PHP).refused(415, "upload.type_mismatch");
    upload(&gateway, "notes.txt", "image/png", PNG).refused(415, "upload.extension_denied");
    assert_eq!(upload(&gateway, "program.php", "image/png", PNG).status, 415);
    upload(&gateway, "a.php.png", "image/png", PNG).refused(415, "upload.filename_denied");
    upload(&gateway, "../a.png", "image/png", PNG).refused(415, "upload.filename_denied");
    let mut hidden = PNG.to_vec();
    hidden.extend_from_slice(sample::PHP);
    let answer = upload(&gateway, "photo.png", "image/png", &hidden);
    answer.refused(422, "upload.content_denied");
    assert_eq!(app.log().since(before), Vec::<Value>::new());
}

#[test]
fn an_image_beyond_its_class_is_refused_with_the_limit() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let before = app.log().mark();
    let answer = upload(&gateway, "big.png", "image/png", &sample::png_of(6 * 1024 * 1024));
    answer.refused(413, "upload.too_large");
    let error = &answer.json()["errors"][0];
    assert_eq!(error["field"], "file");
    assert_eq!(error["filename"], "big.png");
    assert_eq!(error["limit"], 5 * 1024 * 1024);
    assert_eq!(app.log().since(before), Vec::<Value>::new());
    upload(&gateway, "fits.png", "image/png", &sample::png_of(4 * 1024 * 1024)).is(201);
}

#[test]
fn nobody_acts_for_another_tenant() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let before = app.log().mark();
    let alice = token::of("alice", "t-acme");
    get("/api/cards")
        .bearer(&alice)
        .header("x-tenant-id", "t-beta")
        .send(gateway.address())
        .refused(403, "tenant.mismatch");
    get("/api/cards")
        .bearer(&alice)
        .host("beta.card.example.com")
        .send(gateway.address())
        .refused(403, "tenant.mismatch");
    assert_eq!(app.log().since(before), Vec::<Value>::new());
    let seen = get("/api/echo").bearer(&alice).host("acme.card.example.com").send(gateway.address());
    assert_eq!(seen.is(200).json()["data"]["headers"]["x-tenant-id"], "t-acme");
}

#[test]
fn suspended_and_unknown_tenants_are_turned_away() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let login = log_in(&gateway, "192.0.2.9", "gone", "gone-password");
    let token = login.is(200).json()["data"]["token"].as_str().unwrap().to_owned();
    let before = app.log().mark();
    get("/api/me").bearer(&token).send(gateway.address()).refused(403, "tenant.suspended");
    let nowhere = token::of("nobody", "t-nowhere");
    get("/api/me").bearer(&nowhere).send(gateway.address()).refused(404, "tenant.unknown");
    let tenantless = token::operator();
    get("/api/me").bearer(&tenantless).send(gateway.address()).refused(400, "tenant.missing");
    assert_eq!(app.log().since(before), Vec::<Value>::new());
}

#[test]
fn without_a_good_token_the_answer_says_how_to_ask() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let before = app.log().mark();
    let ask = |token: Option<&str>| match token {
        Some(token) => get("/api/me").bearer(token).send(gateway.address()),
        None => get("/api/me").send(gateway.address()),
    };
    let missing = ask(None);
    missing.refused(401, "auth.missing");
    assert!(missing.must("www-authenticate").starts_with("Bearer"));
    let wrong = ask(Some(&token::mint_with(
        "another key, of the same length as the right one is, of no use",
        json!({ "iss": "wecard", "sub": "alice", "tenant_id": "t-acme" }),
    )));
    wrong.refused(401, "auth.invalid");
    assert!(wrong.must("www-authenticate").contains("error=\"invalid_token\""), "{wrong:?}");
    ask(Some(&token::expired("alice", "t-acme"))).refused(401, "auth.expired");
    ask(Some("e30.e30.")).refused(401, "auth.invalid");
    let other_issuer = token::mint(json!({ "iss": "elsewhere", "sub": "alice", "tenant_id": "t-acme" }));
    ask(Some(&other_issuer)).refused(401, "auth.invalid");
    assert_eq!(app.log().since(before), Vec::<Value>::new());
}

#[test]
fn only_those_allowed_may_store_and_administer() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let before = app.log().mark();
    post("/api/v1/assets")
        .bearer(&token::powerless("carol", "t-acme"))
        .body(&Form::content_type(), Form::of("a.png", "image/png", PNG).body())
        .send(gateway.address())
        .refused(403, "auth.forbidden");
    get("/api/admin/tenants")
        .bearer(&token::of("alice", "t-acme"))
        .send(gateway.address())
        .refused(403, "auth.forbidden");
    get("/api/admin/tenants").send(gateway.address()).refused(401, "auth.missing");
    assert_eq!(app.log().since(before), Vec::<Value>::new());
    let tenants = get("/api/admin/tenants").bearer(&token::operator()).send(gateway.address());
    assert_eq!(tenants.is(200).json()["data"].as_array().unwrap().len(), 3);
}

#[test]
fn stored_files_are_read_by_their_tenant_alone() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let stored = upload(&gateway, "card.png", "image/png", PNG);
    let path = stored.is(201).json()["data"]["files"][0]["path"].as_str().unwrap().to_owned();
    assert!(path.starts_with("/uploads/t-acme/"));
    get(&path).bearer(&token::of("alice", "t-acme")).send(gateway.address()).is(200);
    let before = app.log().mark();
    let bob = token::of("bob", "t-beta");
    get(&path).bearer(&bob).send(gateway.address()).refused(403, "tenant.mismatch");
    get(&path).send(gateway.address()).refused(401, "auth.missing");
    let around = path.replacen("/t-acme/", "/t-beta/../t-acme/", 1);
    get(&around).bearer(&bob).send(gateway.address()).refused(403, "tenant.mismatch");
    let encoded = path.replacen("/t-acme/", "/t-beta/%2e%2e/t-acme/", 1);
    get(&encoded).bearer(&bob).send(gateway.address()).refused(403, "tenant.mismatch");
    assert_eq!(app.log().since(before), Vec::<Value>::new());
}

#[test]
fn too_many_logins_are_told_when_to_come_again() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let mut passed = 0;
    let refused = loop {
        let answer = log_in(&gateway, "192.0.2.44", "alice", "alice-password");
        if answer.status != 200 {
            break answer;
        }
        passed += 1;
        assert!(answer.must("ratelimit-policy").contains("q=20;w=60"), "{answer:?}");
        assert!(answer.must("ratelimit").contains("r="), "{answer:?}");
        // One more becomes free every three seconds.
        assert!(passed < 16, "no limit after {passed}");
    };
    assert!(passed >= 11, "one and a burst of ten, but only {passed}");
    refused.refused(429, "rate.limited");
    let wait: u64 = refused.must("retry-after").parse().unwrap();
    assert!((1..=3).contains(&wait), "{wait}");
    assert!(refused.must("ratelimit").contains("r=0"), "{refused:?}");
    assert!(refused.must("ratelimit-policy").contains("q=20;w=60"), "{refused:?}");
    log_in(&gateway, "192.0.2.45", "alice", "alice-password").is(200);
}

#[test]
fn wrong_passwords_lock_that_user_at_that_address() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    for _ in 0..5 {
        log_in(&gateway, "192.0.2.70", "alice", "guess").is(401);
    }
    let before = app.log().mark();
    let locked = log_in(&gateway, "192.0.2.70", "alice", "alice-password");
    locked.refused(429, "auth.locked");
    let wait: u64 = locked.must("retry-after").parse().unwrap();
    assert!((1..=30 * 60).contains(&wait), "{wait}");
    assert_eq!(app.log().since(before), Vec::<Value>::new());
    log_in(&gateway, "192.0.2.70", "bob", "bob-password").is(200);
    log_in(&gateway, "192.0.2.71", "alice", "alice-password").is(200);
    let audited = |event: &str| gateway.audit().iter().filter(|line| line["event"] == event).count();
    until("the lock to be audited", SOON, || (audited("lockout") > 0).then_some(()));
    assert_eq!((audited("login_failure"), audited("lockout")), (5, 1));
}

#[test]
fn a_right_password_clears_what_was_counted() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    for round in 0..2 {
        for _ in 0..4 {
            log_in(&gateway, "192.0.2.80", "alice", "guess").is(401);
        }
        log_in(&gateway, "192.0.2.80", "alice", "alice-password").is(200);
        assert!(round < 2);
    }
}

#[test]
fn what_the_client_claims_to_be_is_not_believed() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let seen = get("/api/echo")
        .bearer(&token::of("alice", "t-acme"))
        .header("x-auth-subject", "root")
        .header("x-auth-roles", "platform_admin")
        .header("X_Auth_Roles", "platform_admin")
        .header("x-auth-permissions", "everything")
        .header("x_tenant_id", "t-beta")
        .header("x-upload-files", "[]")
        .header("x-real-ip", "203.0.113.5")
        .header("x-webhook-app", "forged")
        .header("x-deployment-id", "forged")
        .send(gateway.address());
    let headers = seen.is(200).json()["data"]["headers"].clone();
    assert_eq!(headers["x-auth-subject"], "alice");
    assert_eq!(headers["x-auth-roles"], "member");
    assert_eq!(headers["x-auth-permissions"], "asset:write");
    assert_eq!(headers["x-auth-identity"], "user");
    assert_eq!(headers["x-tenant-id"], "t-acme");
    for absent in ["x_auth_roles", "x_tenant_id", "x-upload-files", "x-webhook-app", "x-deployment-id"] {
        assert!(headers.get(absent).is_none(), "{absent}: {headers}");
    }
    assert_ne!(headers["x-real-ip"], "203.0.113.5");
}

#[test]
fn a_refusal_speaks_the_client_s_language() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let ask = |language: &str| get("/api/me").header("accept-language", language).send(gateway.address());
    let english = ask("en-US,en;q=0.9");
    english.refused(401, "auth.missing");
    assert_eq!(english.header("content-type"), Some("application/problem+json"));
    let body = english.json();
    assert_eq!(body["type"], "about:blank");
    assert_eq!(body["status"], 401);
    assert_eq!(body["title"], "Unauthorized");
    assert!(body["detail"].as_str().unwrap().is_ascii());
    assert_eq!(body["request_id"], english.must("x-request-id"));
    let chinese = ask("zh-CN,zh;q=0.9,en;q=0.5").json();
    assert_eq!(chinese["code"], "auth.missing");
    assert!(chinese["detail"].as_str().unwrap().contains("登录"), "{chinese}");
    assert!(ask("fr").json()["detail"].as_str().unwrap().is_ascii());
}

#[test]
fn the_other_shape_of_a_refusal_is_an_envelope() {
    let app = WeCard::start();
    let text = policy::shipped("wecard") + "\nerrors: { format: envelope, language: zh }\n";
    let gateway = policy::wecard(&app).policy(text).start();
    let answer = get("/api/me").header("accept-language", "en").send(gateway.address());
    assert_eq!(answer.is(401).header("content-type"), Some("application/json"));
    assert!(answer.must("www-authenticate").starts_with("Bearer"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    assert_eq!(body["code"], 40101);
    assert!(body["message"].as_str().unwrap().contains("登录"), "{body}");
    assert_eq!(body["data"], Value::Null);
    assert_eq!(body["request_id"], answer.must("x-request-id"));
    let at = body["timestamp"].as_u64().unwrap();
    assert!(at.abs_diff(token::now() * 1000) < 60_000, "{at} is no time in milliseconds");
    let infected = upload(&gateway, "report.pdf", "application/pdf", &sample::infected_pdf()).json();
    assert_eq!(infected["code"], 42201);
    assert_eq!(infected["errors"][0]["filename"], "report.pdf");
}

#[test]
fn a_browser_is_shown_a_page() {
    let app = WeCard::start();
    let gateway = policy::wecard(&app).start();
    let page = get("/uploads/t-acme/none/a.png")
        .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header("user-agent", "Mozilla/5.0")
        .send(gateway.address());
    page.is(401);
    assert!(page.must("content-type").starts_with("text/html"), "{page:?}");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let text = page.text();
    assert!(text.contains("<html") && text.contains(page.must("x-request-id")), "{text}");
    for inside in ["menshen", "/uploads/", "127.0.0.1", "flask", env!("CARGO_PKG_VERSION")] {
        assert!(!text.to_lowercase().contains(inside), "{inside} is shown in {text}");
    }
}
