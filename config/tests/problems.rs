//! Each kind of problem and warning, with its place and its words.

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
fn unknown_keys_and_words_say_what_was_meant() {
    wrong(
        "address: 127.0.0.1:8080",
        "adress: 127.0.0.1:8080",
        &[
            r#"3:5: listeners[0].address: the key "address" is missing; add "address: …", IP:PORT to listen on; port 0 asks the system for a free one"#,
            r#"3:5: listeners[0].adress: the key "adress" is not known here; did you mean "address"?"#,
        ],
    );
    wrong(
        "by: ip",
        "by: ipp",
        &[r#"22:32: sites[0].routes[0].limits.rate[0].by: "ipp" is not known here; did you mean "ip"?"#],
    );
    wrong(
        "by: ip",
        "by: [ip, banana]",
        &[
            r#"22:37: sites[0].routes[0].limits.rate[0].by[1]: "banana" is not known here; write one of ip, tenant, subject, identity, route, header:NAME"#,
        ],
    );
    wrong(
        "alg: HS256",
        "alg: HS265",
        &[r#"8:21: identities.user.jwt.keys[0].alg: "HS265" is not known here; did you mean "HS256"?"#],
    );
    wrong(
        "identities:\n",
        "frobnicate: 1\nidentities:\n",
        &[
            r#"5:1: frobnicate: the key "frobnicate" is not known here; write one of version, server, listeners, admin, state, spool, scanner, errors, log, audit, identities, tenants, upstreams, sites"#,
        ],
    );
    wrong(
        "resolve: [claim]",
        "resolve: [{ haeder: X-T }]",
        &[r#"11:15: tenants.resolve[0].haeder: the key "haeder" is not known here; did you mean "header"?"#],
    );
    wrong(
        "resolve: [claim]",
        "resolve: [{ header: X-T, query: t }]",
        &[
            "11:13: tenants.resolve[0]: there are 2 keys where one belongs; write one of header, subdomain_of, query",
        ],
    );
}

#[test]
fn missing_keys_say_what_they_are_for() {
    wrong(
        "version: 1\n",
        "",
        &[r#"1:1: version: the key "version" is missing; begin the file with "version: 1""#],
    );
    wrong(
        "sites:\n  - hosts: [example.com]\n    routes:\n",
        "sites:\n  - routes:\n",
        &[
            r#"16:5: sites[0].hosts: the key "hosts" is missing; add "hosts: …", hosts: exact, *.wild.card, or "*" for all others"#,
        ],
    );
    wrong(
        ", limit: 10/s",
        "",
        &[
            r#"22:26: sites[0].routes[0].limits.rate[0].limit: the key "limit" is missing; add "limit: …", how many, as in 60/min"#,
        ],
    );
}

#[test]
fn wrong_shapes_say_the_right_one() {
    wrong(
        "hosts: [example.com]",
        "hosts: example.com",
        &["16:12: sites[0].hosts: a single value stands here; write a list, as in [a, b]"],
    );
    wrong(
        "auth: { identity: user }",
        "auth: [user]",
        &[
            "20:15: sites[0].routes[0].auth: a list stands here; write a single value or keys and values, as in {key: value}",
        ],
    );
    wrong(
        "auth: { identity: user }",
        "auth:",
        &["20:13: sites[0].routes[0].auth: nothing is written here; write a value, or take the key away"],
    );
    wrong(
        "limit: 10/s",
        "limit: { s: 10 }",
        &["22:43: sites[0].routes[0].limits.rate[0].limit: keys and values stand here; write a single value"],
    );
    wrong(
        "hosts: [example.com]",
        "hosts: []",
        &["16:12: sites[0].hosts: the list is empty; write at least one item"],
    );
    wrong(
        r#"servers: ["127.0.0.1:5000"]"#,
        "servers: 5",
        &["14:19: upstreams.app.servers: a single value stands here; write a list, as in [a, b]"],
    );
}

#[test]
fn wrong_values_are_quoted_as_written() {
    wrong("version: 1\n", "version: 2\n", &[r#"1:10: version: "2" is out of range; write 1"#]);
    wrong(
        "version: 1\n",
        "version: \"1\"\n",
        &[r#"1:10: version: "1" is not a whole number; write 1, without quotes"#],
    );
    wrong(
        "limit: 10/s",
        "limit: 10/m",
        &[r#"22:43: sites[0].routes[0].limits.rate[0].limit: "10/m" is not a rate; write 10/min"#],
    );
    wrong(
        "limit: 10/s",
        "limit: 10/s, burst: many",
        &[
            r#"22:56: sites[0].routes[0].limits.rate[0].burst: "many" is not a whole number; write a number from 0 to 1000000000, without quotes"#,
        ],
    );
    wrong(
        "limit: 10/s",
        "limit: 0/s",
        &[
            r#"22:43: sites[0].routes[0].limits.rate[0].limit: "0/s" lets nothing pass; write at least 1, or use deny_ips or respond"#,
        ],
    );
    wrong(
        "  - address: 127.0.0.1:8080\n",
        "  - address: 127.0.0.1:8080\n    proxy_protocol: yes\n",
        &[
            r#"4:21: listeners[0].proxy_protocol: "yes" is not a truth value; write true or false, without quotes"#,
        ],
    );
    wrong(
        "  - address: 127.0.0.1:8080\n",
        "  - address: localhost:8080\n",
        &[
            r#"3:14: listeners[0].address: "localhost:8080" is not an address to listen on; write IP:PORT, as in 127.0.0.1:8080, or 0.0.0.0:80 for every interface"#,
        ],
    );
    wrong(
        "identities:\n",
        "state: { timeout: 10 }\nidentities:\n",
        &[r#"5:19: state.timeout: "10" has no unit; write 10s for seconds, or ms, m, h, d"#],
    );
    wrong(
        "identities:\n",
        "state: { timeout: 0s }\nidentities:\n",
        &[r#"5:19: state.timeout: "0s" leaves no time; write a longer time, as in 10s"#],
    );
    wrong(
        "identities:\n",
        "spool: { memory: 64K }\nidentities:\n",
        &[r#"5:18: spool.memory: "64K" is not a size; write 64KB"#],
    );
    wrong(
        "identities:\n",
        "spool: { max_total: 99999999999999999999GB }\nidentities:\n",
        &[r#"5:21: spool.max_total: "99999999999999999999GB" is too large a size; write at most 1024TB"#],
    );
    wrong(
        "identities:\n",
        "server: { workers: 0, trusted_proxies: [10.0.0.0/33] }\nidentities:\n",
        &[
            r#"5:20: server.workers: "0" is out of range; write a number from 1 to 1024"#,
            r#"5:41: server.trusted_proxies[0]: "10.0.0.0/33" is not a network; write an address with the bits that count, as in 10.0.0.0/8, or a single address"#,
        ],
    );
    wrong(
        "identities:\n",
        "server: { max_header_size: 1GB }\nidentities:\n",
        &[r#"5:28: server.max_header_size: "1GB" is out of range; write from 1KB to 1MB"#],
    );
    wrong(
        "identities:\n",
        "scanner: { backend: clamd, address: 127.0.0.1:3310 }\nidentities:\n",
        &[
            r#"5:37: scanner.address: "127.0.0.1:3310" is not an address of clamd; write tcp://HOST:PORT or unix:/path"#,
        ],
    );
    wrong(
        "identities:\n",
        "scanner: { backend: [clamd, clamd], address: [\"unix:/run/c\", \"clamd:3310\"], cache: on }\nidentities:\n",
        &[
            r#"5:21: scanner.backend: a scanner is named twice; name each once"#,
            r#"5:62: scanner.address[1]: "clamd:3310" is not an address of clamd; write tcp://HOST:PORT or unix:/path"#,
            r#"5:84: scanner.cache: "on" is not known here; write "off""#,
        ],
    );
    wrong(
        "identities:\n",
        "scanner: [clamav]\nidentities:\n",
        &[r#"5:11: scanner[0]: "clamav" is not known here; did you mean "clamd"?"#],
    );
    wrong(
        "identities:\n",
        "scanner: { cache: { entries: 0, lifetime: 0s } }\nidentities:\n",
        &[
            r#"5:30: scanner.cache.entries: "0" is out of range; write a number from 1 to 10000000"#,
            r#"5:43: scanner.cache.lifetime: "0s" leaves no time; write a longer time, as in 10s"#,
        ],
    );
    wrong(
        "identities:\n",
        "state: { backend: redis, url: \"http://x\" }\nidentities:\n",
        &["5:31: state.url: this is not the URL of a Redis server; begin it with redis:// or rediss://"],
    );
    wrong(
        "identities:\n",
        "log: { scrub: { patterns: [{ name: a, regex: '[' }, { name: b, regex: 'x*' }, { name: c, regex: '(a{1000}){1000}' }] } }\nidentities:\n",
        &[
            r#"5:46: log.scrub.patterns[0].regex: "[" is not a regular expression: unclosed character class; mend it, or escape with \"#,
            r#"5:71: log.scrub.patterns[1].regex: "x*" matches the empty text; use + instead of *, so that something must match"#,
            r#"5:97: log.scrub.patterns[2].regex: "(a{1000}){1000}" is too large a pattern; use fewer or smaller repetitions"#,
        ],
    );
    wrong(
        r#"servers: ["127.0.0.1:5000"]"#,
        r#"servers: ["http://127.0.0.1:5000"]"#,
        &[
            r#"14:20: upstreams.app.servers[0]: "http://127.0.0.1:5000" is not the address of a server; write HOST:PORT without a scheme, as in 127.0.0.1:5000"#,
        ],
    );
    wrong(
        "tenant: tid",
        "tenant: true",
        &[
            r#"9:23: identities.user.claims.tenant: "true" is a truth value, not text; write "true" in quotes, if that is the text"#,
        ],
    );
}

#[test]
fn paths_hosts_and_origins_have_a_syntax() {
    wrong(
        "path: /files/{tenant}/*",
        "path: files/*",
        &[
            r#"18:15: sites[0].routes[0].path: "files/*" does not begin with a slash; write a path, as in /api/*"#,
        ],
    );
    wrong(
        "path: /files/{tenant}/*",
        "path: /a/../{tenant}",
        &[
            r#"18:15: sites[0].routes[0].path: "/a/../{tenant}" has a segment "." or ".."; write the path that it leads to"#,
        ],
    );
    wrong(
        "path: /files/{tenant}/*",
        "path: /a//{tenant}",
        &[
            r#"18:15: sites[0].routes[0].path: "/a//{tenant}" holds two slashes in a row; write one; requests are matched with one"#,
        ],
    );
    wrong(
        "path: /files/{tenant}/*",
        "path: /a/*/{tenant}",
        &[
            r#"18:15: sites[0].routes[0].path: "/a/*/{tenant}" has a star that is not its whole last segment; write * only as in /prefix/*"#,
        ],
    );
    wrong(
        "path: /files/{tenant}/*",
        "path: /{tenant}/{tenant*}",
        &[
            r#"18:15: sites[0].routes[0].path: "/{tenant}/{tenant*}" has the same name twice; give every {name} a name of its own"#,
        ],
    );
    wrong(
        "path: /files/{tenant}/*",
        "path: /{tenant}?x=1",
        &[
            r#"18:15: sites[0].routes[0].path: "/{tenant}?x=1" holds more than a path; leave out what begins with ? or #"#,
        ],
    );
    wrong(
        "path: /files/{tenant}/*",
        "path: '/{tenant}#x'",
        &[
            r#"18:15: sites[0].routes[0].path: "/{tenant}#x" holds more than a path; leave out what begins with ? or #"#,
        ],
    );
    wrong(
        "hosts: [example.com]",
        r#"hosts: ["https://example.com", "a:80"]"#,
        &[
            r#"16:13: sites[0].hosts[0]: "https://example.com" is not a host; write the name alone, as in card.example.com"#,
            r#"16:36: sites[0].hosts[1]: "a:80" holds a port; write the name alone; the port does not matter to which site answers"#,
        ],
    );
    wrong(
        "hosts: [example.com]",
        "hosts: [*]",
        &[
            r#"16:13: sites[0].hosts[0]: this is not YAML: while scanning an anchor or alias, did not find expected alphabetic or numeric character; put text that begins with "*" or "&" in quotes, as in hosts: ["*"]"#,
        ],
    );
    wrong(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n        websocket: { origins: [\"wss://a.b\"] }\n",
        &[
            r#"23:32: sites[0].routes[0].websocket.origins[0]: "wss://a.b" has the scheme of a socket, where browsers send the page's; write https:// for wss://, http:// for ws://"#,
        ],
    );
    wrong(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n        methods: [get, CONNECT]\n",
        &[
            r#"23:19: sites[0].routes[0].methods[0]: "get" is not known here; did you mean "GET"?"#,
            r#"23:24: sites[0].routes[0].methods[1]: "CONNECT" is not known here; write one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, QUERY, PROPFIND, PROPPATCH, MKCOL, COPY, MOVE, LOCK, UNLOCK, REPORT, SEARCH, PURGE"#,
        ],
    );
}

#[test]
fn names_that_are_referred_to_exist() {
    wrong(
        "upstream: app",
        "upstream: ap",
        &[r#"19:19: sites[0].routes[0].upstream: there is no upstream "ap"; did you mean "app"?"#],
    );
    wrong(
        "upstream: app",
        "upstream: { tenant: other }",
        &[r#"19:29: sites[0].routes[0].upstream.tenant: there is no upstream "other"; write "app""#],
    );
    wrong(
        "auth: { identity: user }",
        "auth: { identity: [user, usr] }",
        &[r#"20:34: sites[0].routes[0].auth.identity[1]: there is no identity "usr"; did you mean "user"?"#],
    );
    wrong(
        "{ id: a }",
        "{ id: a, upstreams: { app: eu, ap: app } }",
        &[
            r#"12:42: tenants.directory[0].upstreams.app: there is no upstream "eu"; write "app""#,
            r#"12:50: tenants.directory[0].upstreams.ap: there is no upstream "ap" to replace; did you mean "app"?"#,
        ],
    );
    wrong(
        "path:tenant",
        "path:tennant",
        &[
            "21:47: sites[0].routes[0].tenant.must_equal: the path has no part of this name; did you mean path:tenant?",
        ],
    );
    wrong(
        "path: /files/{tenant}/*",
        "path: /files/*",
        &[
            "21:47: sites[0].routes[0].tenant.must_equal: the path has no part of this name; write the path with {name}, as in /uploads/{tenant}/*",
        ],
    );
}

#[test]
fn things_that_clash_name_both_places() {
    wrong(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n      - path: /files/{other}/{rest*}\n        methods: [GET]\n        upstream: app\n        auth: none\n",
        &[
            r#"23:9: sites[0].routes[1]: "/files/{other}/{rest*}" with the same methods is already at p:18:9, sites[0].routes[0]; give them different methods, or keep one of the two"#,
        ],
    );
    wrong(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n  - hosts: [EXAMPLE.com]\n    routes: [{ path: /, auth: none, upstream: app }]\n",
        &[
            r#"23:13: sites[1].hosts[0]: the host "EXAMPLE.com" is already at p:16:13, sites[0].hosts[0]; keep one of the two, or make one site of both"#,
        ],
    );
    wrong(
        "  - address: 127.0.0.1:8080\n",
        "  - address: 127.0.0.1:8080\n  - address: 127.0.0.1:8080\n",
        &[
            r#"4:14: listeners[1].address: "127.0.0.1:8080" is already listened on by listeners[0].address at p:3:14; give each listener an address of its own"#,
        ],
    );
    wrong(
        "127.0.0.1:9901",
        "127.0.0.1:8080",
        &[
            r#"4:19: admin.address: "127.0.0.1:8080" is already listened on by listeners[0].address at p:3:14; give each listener an address of its own"#,
        ],
    );
    wrong(
        "{ id: b, name: bee }",
        "{ id: b, name: a }",
        &[
            "12:41: tenants.directory[1].name: another tenant has this as its id or name; give every tenant an id and a name of its own",
        ],
    );
    wrong(
        "version: 1\n",
        "version: 1\nversion: 1\n",
        &[r#"2:1: version: "version" is already written on line 1; keep one of the two"#],
    );
    wrong(
        "        upstream: app\n",
        "        upstream: app\n        respond: { status: 204 }\n",
        &[
            "20:18: sites[0].routes[0].respond: a route does one thing only; keep one of upstream, redirect and respond",
        ],
    );
    wrong(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n        upload: { classes: { a: { extensions: [png], max_size: 1MB }, b: { extensions: [PNG], max_size: 1MB } } }\n",
        &[
            r#"23:28: sites[0].routes[0].upload.classes: the extension "png" is in a and in b; keep it in one class"#,
        ],
    );
    wrong(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n        upload: { declared_type: macth, max_field_size: 0, classes: { a: { extensions: [png], max_size: 1MB } } }\n",
        &[
            r#"23:34: sites[0].routes[0].upload.declared_type: "macth" is not known here; did you mean "match"?"#,
            r#"23:57: sites[0].routes[0].upload.max_field_size: "0" is out of range; write from 1B to 1GB"#,
        ],
    );
    wrong(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n        upload: { classes: { a: { extensions: [zip], max_size: 1MB } }, archives: { max_depth: 0, max_meber: 1MB } }\n",
        &[
            r#"23:96: sites[0].routes[0].upload.archives.max_depth: "0" is out of range; write a number from 1 to 16"#,
            r#"23:99: sites[0].routes[0].upload.archives.max_meber: the key "max_meber" is not known here; did you mean "max_member"?"#,
        ],
    );
}

#[test]
fn what_cannot_work_is_refused() {
    wrong(
        "        upstream: app\n",
        "",
        &[
            r#"18:9: sites[0].routes[0].upstream: the route does nothing; add "upstream: NAME", "redirect: URL" or "respond: {status: …}""#,
        ],
    );
    wrong(
        "  - address: 127.0.0.1:8080\n",
        "  - address: 127.0.0.1:8080\n    redirect: https\n",
        &[
            r#"3:5: listeners[0]: redirect: https leads nowhere, as no listener has tls; add a listener with tls, or take "redirect" away"#,
        ],
    );
    wrong(
        "127.0.0.1:9901",
        "0.0.0.0:9901",
        &[
            r#"4:19: admin.address: the admin listener can be reached from outside and asks for no token; listen on 127.0.0.1, or add "token: '@env:NAME'""#,
        ],
    );
    wrong(
        "auth: { identity: user }",
        "auth: { identity: user, require: { any: [a] } }",
        &[
            r#"20:42: sites[0].routes[0].auth.require: no claim says the permissions of "user"; add "permissions" to the claims of the identity, or take this away"#,
        ],
    );
    wrong(
        "tenant: tid, ",
        "",
        &[
            r#"11:12: tenants.resolve: no identity has a claim that says the tenant; add "tenant" to the claims of an identity, or take "claim" away"#,
        ],
    );
    wrong(
        "limit: 10/s }] }\n",
        "limit: 10/s }, { by: subject, limit: 1/s }] }\n      - { path: /b, auth: none, upstream: app, limits: { rate: [{ by: subject, limit: 1/s }] } }\n",
        &[
            r#"23:64: sites[0].routes[1].limits.rate: this route knows nobody to count by; count by ip, or add "auth: {identity: NAME}""#,
        ],
    );
    wrong(
        "tenants:\n  resolve: [claim]\n  directory: [{ id: a }, { id: b, name: bee }]\n",
        "",
        &[
            r#"18:17: sites[0].routes[0].tenant: the policy has no tenants; add "tenants", or write "tenant: none""#,
        ],
    );
    wrong(
        "        tenant: { required: true, must_equal: path:tenant }\n        limits: { rate: [{ by: ip,",
        "        limits: { rate: [{ by: tenant,",
        &[
            r#"21:25: sites[0].routes[0].limits.rate: this route knows no tenant to count by; add "tenant: required" or "tenant: optional""#,
        ],
    );
    wrong(
        "required: true, must",
        "required: false, must",
        &[r#"21:29: sites[0].routes[0].tenant.required: must_equal needs a tenant; write "required: true""#],
    );
    wrong(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n        methods: [GET]\n        upload: { classes: { a: { extensions: [png], max_size: 1MB } } }\n",
        &[
            r#"23:18: sites[0].routes[0].methods: none of these methods carries files; add POST or PUT, or take "upload" away"#,
        ],
    );
    wrong(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n        methods: [POST]\n        websocket: { origins: [\"*\"] }\n",
        &[
            r#"23:18: sites[0].routes[0].methods: a WebSocket begins with GET; add GET, or take "websocket" away"#,
        ],
    );
    wrong(
        "        upstream: app\n",
        "        redirect: \"/x/{nope}\"\n",
        &[
            "19:19: sites[0].routes[0].redirect: the target has a brace that nothing fills in; fill in only {tenant}, {path}, {query}, {host}",
        ],
    );
    wrong(
        "        upstream: app\n",
        "        redirect: { to: //evil.example, status: 418 }\n",
        &[
            r#"19:25: sites[0].routes[0].redirect.to: "//evil.example" leads nowhere; write a path that begins with one slash, or https://HOST/PATH"#,
            r#"19:49: sites[0].routes[0].redirect.status: "418" is not known here; write one of 301, 302, 303, 307, 308"#,
        ],
    );
    wrong(
        "        upstream: app\n",
        "        respond: { status: 99 }\n",
        &[
            r#"19:28: sites[0].routes[0].respond.status: "99" is out of range; write a number from 200 to 599"#,
        ],
    );
    wrong(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n        request_headers: { set: { X_Tenant_Id: a, X-Ok: \"a\\tb\" }, remove: [X-Request-Id, Content-Length] }\n",
        &[
            r#"23:48: sites[0].routes[0].request_headers.set.X_Tenant_Id: only the gateway sets "x_tenant_id"; take it away"#,
            r#"23:57: sites[0].routes[0].request_headers.set.X-Ok: "a\u{9}b" cannot be a header's value; write one line without control characters"#,
            r#"23:76: sites[0].routes[0].request_headers.remove[0]: only the gateway sets "x-request-id"; take it away"#,
            r#"23:90: sites[0].routes[0].request_headers.remove[1]: only the gateway sets "content-length"; take it away"#,
        ],
    );
    wrong(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n        lockout: { key: [json:a], failures: 0, within: 1m, lock: 1m, failed_when: { status: [99] } }\n",
        &[
            r#"23:45: sites[0].routes[0].lockout.failures: "0" is out of range; write a number from 1 to 1000000"#,
            r#"23:94: sites[0].routes[0].lockout.failed_when.status[0]: "99" is out of range; write a number from 100 to 599"#,
        ],
    );
    wrong(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n        lockout: { key: [json], failures: 1, within: 1m, lock: 1m, failed_when: { status: [401], json: { a: 1 } } }\n",
        &[
            r#"23:26: sites[0].routes[0].lockout.key[0]: "json" is not known here; write one of ip, tenant, json:FIELD"#,
            "23:81: sites[0].routes[0].lockout.failed_when: there are 2 keys where one belongs; write one of status, json",
        ],
    );
    wrong(
        r#"alg: HS256, secret: "@env:KEY""#,
        r#"alg: none, secret: "@env:KEY""#,
        &[
            "8:21: identities.user.jwt.keys[0].alg: a token without a signature is never accepted; write the algorithm of the key, as in HS256",
        ],
    );
    wrong(
        r#"alg: HS256, secret: "@env:KEY""#,
        r#"alg: RS256, secret: "@env:KEY""#,
        &[
            r#"8:21: identities.user.jwt.keys[0].alg: this algorithm needs "public_key", and no other key; write {alg: HS256, secret: …}, {alg: RS256, public_key: …} or {jwks: URL}"#,
        ],
    );
    wrong(
        r#"alg: HS256, secret: "@env:KEY""#,
        "alg: ES256, public_key: hello",
        &[
            r#"8:40: identities.user.jwt.keys[0].public_key: this is not a PEM key or certificate; write "@file:path" of one that begins with -----BEGIN"#,
        ],
    );
    wrong(
        r#"alg: HS256, secret: "@env:KEY""#,
        r#"jwks: "ftp://x""#,
        &[
            r#"8:22: identities.user.jwt.keys[0].jwks: "ftp://x" is not the URL of a set of keys; write https://HOST/PATH, or file:PATH"#,
        ],
    );
}

#[test]
fn variables_and_secrets_must_be_there_and_are_not_shown() {
    wrong(
        "127.0.0.1:9901",
        "${NOPE}",
        &[r#"4:19: admin.address: the variable NOPE is not set; set NOPE, or write "${NOPE:-default}""#],
    );
    wrong(
        "127.0.0.1:9901",
        "${CANARY}",
        &[
            r#"4:19: admin.address: "${CANARY}" is not an address to listen on; write IP:PORT, as in 127.0.0.1:8080, or 0.0.0.0:80 for every interface"#,
        ],
    );
    wrong(
        "127.0.0.1:9901",
        "${CANARY:-x}",
        &[
            r#"4:19: admin.address: "${CANARY:-x}" is not an address to listen on; write IP:PORT, as in 127.0.0.1:8080, or 0.0.0.0:80 for every interface"#,
        ],
    );
    wrong(
        "limit: 10/s",
        r#"limit: "${CANARY}/s""#,
        &[
            r#"22:43: sites[0].routes[0].limits.rate[0].limit: "${CANARY}/s" is not a rate; set the variable to a value in the right form"#,
        ],
    );
    wrong(
        "upstream: app",
        "upstream: ${CANARY}",
        &[r#"19:19: sites[0].routes[0].upstream: there is no upstream "${CANARY}"; write "app""#],
    );
    wrong(
        "hosts: [example.com]",
        r#"hosts: ["${CANARY}:80"]"#,
        &[
            r#"16:13: sites[0].hosts[0]: "${CANARY}:80" holds a port; write the name alone; the port does not matter to which site answers"#,
        ],
    );
    wrong(
        "127.0.0.1:9901",
        "${CANARY",
        &[
            r#"4:19: admin.address: "${" has no closing "}"; write "${NAME}" or "${NAME:-default}", or "$${" for these two characters"#,
        ],
    );
    wrong(
        "@env:KEY",
        "@env:NOPE",
        &["8:36: identities.user.jwt.keys[0].secret: the variable NOPE is not set; set NOPE"],
    );
    wrong(
        "@env:KEY",
        "@env:EMPTY",
        &["8:36: identities.user.jwt.keys[0].secret: the secret is empty; put it where it is read from"],
    );
    wrong(
        "@env:KEY",
        "@secret:jwt",
        &[
            r#"8:36: identities.user.jwt.keys[0].secret: no secret file is configured; write "@env:NAME" or "@file:path""#,
        ],
    );
    wrong(
        "@env:KEY",
        "@file:jwt.key",
        &[
            r#"8:36: identities.user.jwt.keys[0].secret: the file of "@file:jwt.key" cannot be read from a text in memory; write the path of a file this user may read"#,
        ],
    );
    wrong(
        "example.com",
        r#""@env:KEY""#,
        &[
            r#"16:13: sites[0].hosts[0]: "@env:KEY" refers to a secret where none belongs; write the value, or "${NAME}" for a variable"#,
        ],
    );
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
fn yaml_itself_is_checked() {
    wrong(
        "by: ip",
        "by: *x",
        &[
            r#"22:32: sites[0].routes[0].limits.rate[0].by: this is not YAML: while parsing node, found unknown anchor; put text that begins with "*" or "&" in quotes, as in hosts: ["*"]"#,
        ],
    );
    wrong(
        "by: ip",
        "by: !ip ip",
        &[
            r#"22:32: sites[0].routes[0].limits.rate[0].by: tags have no meaning in a policy; take the "!…" away; put text that looks like something else in quotes"#,
        ],
    );
    wrong(
        "limit: 10/s }] }",
        "limit: 10/s ] }",
        &[
            "22:48: sites[0].routes[0].limits.rate[0]: this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'; look at the indentation, quotes and brackets here and above",
        ],
    );
    wrong(
        "    routes:\n",
        "\troutes:\n",
        &[
            "17:2: sites[0]: this is not YAML: tabs disallowed within this context (block indentation); indent with spaces",
        ],
    );
}

#[test]
fn what_weakens_is_warned_of() {
    doubtful(
        "        auth: { identity: user }\n        tenant: { required: true, must_equal: path:tenant }\n",
        "",
        &[
            r#"18:9: sites[0].routes[0].auth: the route says neither who may ask nor that everybody may; add "auth: {identity: NAME}" or "auth: none""#,
        ],
    );
    doubtful(
        "@env:KEY",
        "a literal secret of thirty-two bytes",
        &[
            r#"8:36: identities.user.jwt.keys[0].secret: a secret is written into the policy; write "@env:NAME" or "@file:path""#,
        ],
    );
    doubtful(
        "@env:KEY",
        "@env:SHORT",
        &[
            "8:36: identities.user.jwt.keys[0].secret: the secret is shorter than the algorithm's hash, and can be guessed more easily; use at least 32 random bytes for HS256, 48 for HS384, 64 for HS512",
        ],
    );
    doubtful(
        "@env:KEY",
        "${SHORT}",
        &[
            "8:36: identities.user.jwt.keys[0].secret: the secret is shorter than the algorithm's hash, and can be guessed more easily; use at least 32 random bytes for HS256, 48 for HS384, 64 for HS512",
        ],
    );
    doubtful(
        "identities:\n",
        "state: { backend: redis, url: \"redis://:pw@127.0.0.1/0\" }\nidentities:\n",
        &[
            r#"5:31: state.url: a password is written into the policy; write "@env:NAME" or "@file:path", or use "${NAME}""#,
        ],
    );
    doubtful(
        r#"alg: HS256, secret: "@env:KEY""#,
        r#"jwks: "http://keys.example.com/jwks""#,
        &[
            "8:22: identities.user.jwt.keys[0].jwks: keys come over a connection that anybody between can change; use https://",
        ],
    );
    doubtful(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n        methods: [POST]\n      - { path: /files/*, auth: none, upstream: app }\n",
        &[
            r#"18:9: sites[0].routes[0]: GET, PUT, PATCH, DELETE of "/files/{tenant}/*" fall to "/files/*" at line 24, which asks less; if that is not meant, add a route for them or take "methods" away"#,
        ],
    );
    doubtful(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n        methods: [POST]\n      - { path: /files/*, auth: { identity: user }, upstream: app }\n",
        &[
            r#"18:9: sites[0].routes[0]: GET, PUT, PATCH, DELETE of "/files/{tenant}/*" fall to "/files/*" at line 24, which asks less; if that is not meant, add a route for them or take "methods" away"#,
        ],
    );
    doubtful(
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n",
        "        limits: { rate: [{ by: ip, limit: 10/s }] }\n  - hosts: [b.example]\n    routes: [{ path: /a, methods: [POST], auth: { identity: user, roles: [x] }, upstream: app }, { path: /*, auth: { identity: user, roles: [x, y] }, upstream: app }]\n",
        &[
            r#"24:14: sites[1].routes[0]: GET, PUT, PATCH, DELETE of "/a" fall to "/*" at line 24, which asks less; if that is not meant, add a route for them or take "methods" away"#,
        ],
    );
}

#[test]
fn the_same_header_twice_is_refused_whatever_its_case() {
    wrong(
        "        limits: {",
        "        response_headers: { set: { X-A: a, x-a: b } }\n        limits: {",
        &["22:34: sites[0].routes[0].response_headers.set: the same header is written twice; \
           keep one of the two; case does not matter"],
    );
}

#[test]
fn problems_beyond_a_thousand_are_not_told() {
    let text = format!("{SOUND}{}", "      - { path: /x, upstream: nope, auth: none }\n".repeat(3000));
    let told = problems(&text);
    assert_eq!(told.len(), 1001);
    assert!(told.iter().any(|problem| problem.contains("there may be more")));
}

#[test]
fn a_tenant_that_nobody_can_say_is_warned_of() {
    let text = format!("{SOUND}      - {{ path: /x, upstream: app, auth: none, tenant: required }}\n");
    let warnings = warnings(&text);
    assert_eq!(warnings.len(), 1);
    let begin = "23:56: sites[0].routes[1].tenant: a tenant is required, but only a claim says it";
    assert!(warnings[0].starts_with(begin), "{warnings:?}");
}
