//! Keys and words, and the shapes of what they stand for.

use super::wrong;

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
