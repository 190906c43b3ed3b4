//! Values that are not what a key takes.

use super::wrong;

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
