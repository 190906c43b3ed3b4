//! Parts that are right by themselves and do not fit together.

use super::wrong;

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
fn the_same_header_twice_is_refused_whatever_its_case() {
    wrong(
        "        limits: {",
        "        response_headers: { set: { X-A: a, x-a: b } }\n        limits: {",
        &["22:34: sites[0].routes[0].response_headers.set: the same header is written twice; \
           keep one of the two; case does not matter"],
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
