//! What is taken and probably not meant.

use super::{SOUND, doubtful, warnings};

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
fn an_archive_that_is_never_opened_is_warned_of() {
    let route = "      - path: /x\n        upstream: app\n        auth: none\n        \
                 upload: { classes: { packed: { extensions: [zip, 7Z], max_size: 5MB } } }\n";
    let expected = "26:58: sites[0].routes[1].upload.classes.packed.extensions[1]: what is in 7z files is not looked into: \
                    all are refused unless \"scanner.on_unscanned\" is allow; offer zip, gz or tar instead, or see docs/uploads.md";
    assert_eq!(warnings(&format!("{SOUND}{route}")), [expected]);
}

#[test]
fn a_tenant_that_nobody_can_say_is_warned_of() {
    let text = format!("{SOUND}      - {{ path: /x, upstream: app, auth: none, tenant: required }}\n");
    let warnings = warnings(&text);
    assert_eq!(warnings.len(), 1);
    let begin = "23:56: sites[0].routes[1].tenant: a tenant is required, but only a claim says it";
    assert!(warnings[0].starts_with(begin), "{warnings:?}");
}
