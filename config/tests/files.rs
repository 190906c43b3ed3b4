//! Policies on disk: folders, secrets and other files that belong to them.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::fs;
use std::path::{Path, PathBuf};

use config::{ClamdAddress, Environment, JwtKey, Loaded, ScanCache, ScannerBackend, load};

const ONE: &str = "version: 1
listeners: [{ address: \"127.0.0.1:0\" }]
upstreams: { a: { servers: [\"127.0.0.1:1\"] } }
sites:
  - hosts: [a.example]
    routes: [{ path: /, upstream: b, auth: none }]
";
const TWO: &str = "version: 1
listeners: [{ address: \"127.0.0.1:0\" }]
upstreams: { b: { servers: [\"127.0.0.1:2\"] } }
sites:
  - hosts: [b.example]
    routes: [{ path: /, upstream: a, auth: none }]
";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| folder.write(name, text));
        folder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        self.permit(name, 0o600);
    }

    fn permit(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.0.path().to_owned() } else { self.0.path().join(name) }
    }

    fn load(&self, name: &str) -> Result<Loaded, Vec<String>> {
        let prefix = format!("{}/", self.0.path().display());
        load(&[self.path(name)], &Environment::empty()).map_err(|problems| {
            problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
        })
    }

    fn problems(&self, name: &str) -> Vec<String> {
        self.load(name).map(|_| Vec::new()).unwrap_or_else(|problems| problems)
    }
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.files.iter().filter_map(|file| file.file_name()?.to_str()).collect()
}

#[test]
fn the_files_of_a_folder_are_one_policy() {
    let folder = Folder::new(&[("1.yaml", ONE), ("2.yaml", TWO), ("notes.txt", "nonsense: [")]);
    let loaded = folder.load("").unwrap();
    assert_eq!(
        (loaded.config.sites.len(), loaded.config.upstreams.len(), loaded.config.listeners.len()),
        (2, 2, 2)
    );
    assert_eq!(loaded.files.len(), 3, "both files, and the folder for those to come");
    assert_eq!(names(&loaded)[1..], ["1.yaml", "2.yaml"]);
}

#[test]
fn what_is_written_twice_names_both_places() {
    let three = format!("{TWO}errors: {{ format: envelope }}\n");
    let four = "version: 1\nerrors: { format: problem }\nupstreams: { b: { servers: [\"127.0.0.1:3\"] } }\nsites: []\n";
    let folder = Folder::new(&[("1.yaml", ONE), ("3.yaml", &three), ("4.yaml", four)]);
    let place =
        folder.path("3.yaml").display().to_string().replace(&format!("{}/", folder.path("").display()), "");
    assert_eq!(
        folder.problems(""),
        [
            format!("4.yaml:2:1: errors: \"errors\" is already written at {place}:7:1; keep one of the two"),
            format!(
                "4.yaml:3:14: upstreams.b: \"b\" is already written at {place}:3:14; keep one of the two"
            ),
        ]
    );
}

#[test]
fn one_file_of_a_policy_has_the_version_and_all_problems_are_told() {
    let folder = Folder::new(&[
        ("1.yaml", &ONE.replace("upstream: b", "upstream: c")),
        ("2.yaml", &TWO.replace("version: 1\n", "")),
    ]);
    assert_eq!(
        folder.problems(""),
        ["1.yaml:6:35: sites[0].routes[0].upstream: there is no upstream \"c\"; write one of a, b"]
    );
    folder.write("1.yaml", &ONE.replace("version: 1\n", ""));
    assert_eq!(
        folder.problems(""),
        ["1.yaml:1:1: version: the key \"version\" is missing; begin the file with \"version: 1\""]
    );
    folder.write("2.yaml", &TWO.replace("version: 1", "version: 7"));
    assert!(
        folder
            .problems("")
            .iter()
            .any(|problem| problem.starts_with("2.yaml:1:10: version: \"7\" is out of range"))
    );
}

#[test]
fn a_missing_file_and_an_empty_folder_are_problems() {
    let folder = Folder::new(&[]);
    assert_eq!(
        folder.problems("none.yaml"),
        [
            "none.yaml:1:1: policy: the file does not exist; name a policy file of at most 4MB, or a folder of them"
        ]
    );
    assert!(folder.problems("")[0].contains("the folder has no *.yaml"));
}

#[test]
fn a_file_must_be_utf_8_and_not_huge() {
    let folder = Folder::new(&[("large.yaml", &"#".repeat((4 << 20) + 1))]);
    assert!(folder.problems("large.yaml")[0].contains("the file is larger than 4MB"));
    fs::write(folder.path("latin.yaml"), b"version: 1\n# caf\xe9\n").unwrap();
    assert_eq!(
        folder.problems("latin.yaml"),
        ["latin.yaml:2:6: policy: the file is not UTF-8 here; save it as UTF-8"]
    );
    folder.write("mark.yaml", &format!("\u{feff}{}", ONE.replace("upstream: b", "upstream: a")));
    folder.load("mark.yaml").unwrap();
}

fn with_secret(path: &str) -> String {
    format!("{ONE}identities: {{ u: {{ jwt: {{ keys: [{{ alg: HS256, secret: \"@file:{path}\" }}] }} }} }}\n")
        .replace("upstream: b", "upstream: a")
}

#[test]
fn a_secret_is_read_from_a_file_beside_the_policy() {
    let folder = Folder::new(&[
        ("p.yaml", &with_secret("jwt.key")),
        ("jwt.key", "0123456789abcdef0123456789abcdef\r\n"),
    ]);
    let loaded = folder.load("p.yaml").unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let JwtKey::Shared { secret, .. } = &loaded.config.identities["u"].jwt.keys[0] else { panic!() };
    assert_eq!(secret.expose(), b"0123456789abcdef0123456789abcdef");
    assert_eq!(names(&loaded), ["jwt.key", "p.yaml"]);

    folder.write("jwt.key", "fedcba9876543210fedcba9876543210");
    assert_ne!(folder.load("p.yaml").unwrap().digest, loaded.digest, "the secret counts for the digest");

    folder.permit("jwt.key", 0o644);
    let warning = folder.load("p.yaml").unwrap().warnings[0].to_string();
    assert!(
        warning.contains("every user of this machine may read the file of \"@file:jwt.key\""),
        "{warning}"
    );
}

#[test]
fn a_secret_whose_file_is_missing_is_a_problem() {
    let folder = Folder::new(&[("p.yaml", &with_secret("gone.key"))]);
    assert_eq!(
        folder.problems("p.yaml"),
        ["p.yaml:7:56: identities.u.jwt.keys[0].secret: the file of \"@file:gone.key\" does not exist; \
          write the path of a file this user may read"]
    );
}

#[test]
fn certificates_must_be_readable_and_are_watched() {
    let tls = ONE.replace("upstream: b", "upstream: a").replace(
        "{ address: \"127.0.0.1:0\" }",
        "{ address: \"127.0.0.1:0\", tls: { certificates: [{ cert: c.pem, key: k.pem }] } }",
    );
    let folder = Folder::new(&[("p.yaml", &tls), ("c.pem", "")]);
    assert_eq!(
        folder.problems("p.yaml"),
        ["p.yaml:2:81: listeners[0].tls.certificates[0].key: the file \"k.pem\" does not exist; \
          write the path of a file this user may read"]
    );
    folder.write("k.pem", "");
    assert_eq!(names(&folder.load("p.yaml").unwrap()), ["c.pem", "k.pem", "p.yaml"]);
}

#[test]
fn tenants_come_from_a_file_with_places_of_their_own() {
    let policy = format!("{ONE}tenants: {{ resolve: [{{ header: X-T }}], directory: {{ file: t.yaml }} }}\n")
        .replace("upstream: b", "upstream: a");
    let folder =
        Folder::new(&[("p.yaml", &policy), ("t.yaml", "- { id: a }\n- { id: b, upstreams: { a: a } }\n")]);
    let loaded = folder.load("p.yaml").unwrap();
    let tenants = loaded.config.tenants.as_ref().unwrap();
    assert_eq!(tenants.directory.len(), 2);
    assert_eq!(tenants.file.as_deref(), Some(Path::new(&folder.path("t.yaml"))));
    assert_eq!(names(&loaded), ["p.yaml", "t.yaml"]);

    folder.write("t.yaml", "- { id: a }\n- { id: a }\n- { id: c, statsu: active }\n");
    assert_eq!(
        folder.problems("p.yaml"),
        [
            "t.yaml:2:9: [1].id: another tenant has this as its id or name; give every tenant an id and a name of its own",
            "t.yaml:3:12: [2].statsu: the key \"statsu\" is not known here; did you mean \"status\"?",
        ]
    );
}

#[test]
fn ten_thousand_tenants_are_not_too_many() {
    let policy = format!("{ONE}tenants: {{ resolve: [{{ header: X-T }}], directory: {{ file: t.yaml }} }}\n")
        .replace("upstream: b", "upstream: a");
    let tenants: String = (0..10_000).map(|n| format!("- {{ id: t-{n}, name: name-{n} }}\n")).collect();
    let folder = Folder::new(&[("p.yaml", &policy), ("t.yaml", &tenants)]);
    assert_eq!(folder.load("p.yaml").unwrap().config.tenants.unwrap().directory.len(), 10_000);
}

fn with_scanner(scanner: &str) -> String {
    format!("{ONE}scanner: {scanner}\n").replace("upstream: b", "upstream: a")
}

#[test]
fn a_scanner_has_its_rules_and_its_list_in_files() {
    let sum = "0123456789ABCDEF".repeat(4);
    let folder = Folder::new(&[
        ("p.yaml", &with_scanner("{ backend: [clamd, builtin], rules: ., blocklist: bad.txt, cache: off }")),
        ("b.yara", "rule B { condition: true }"),
        ("a.yar", "rule A { condition: true }"),
        ("notes.txt", "no rule"),
        ("bad.txt", &format!("# one\n\n{sum}\r\n  {}  some file.pdf\n{sum}\n", "ff".repeat(32))),
    ]);
    let loaded = folder.load("p.yaml").unwrap();
    let scanner = &loaded.config.scanner;
    let [ScannerBackend::Clamd(addresses), ScannerBackend::Builtin(Some(rules))] =
        scanner.backends.as_slice()
    else {
        panic!("{:?}", scanner.backends)
    };
    assert_eq!(*addresses, [ClamdAddress::Tcp("127.0.0.1:3310".into())]);
    let texts: Vec<_> = rules.iter().map(|file| file.text.as_str()).collect();
    assert_eq!(
        texts,
        ["rule A { condition: true }", "rule B { condition: true }"],
        "in the order of their names"
    );
    assert_eq!(scanner.blocklist.len(), 2);
    assert_eq!(scanner.blocklist[0][..2], [0x01, 0x23]);
    assert_eq!(scanner.cache, None);
    for name in ["a.yar", "b.yara", "bad.txt"] {
        assert!(names(&loaded).contains(&name), "{name} is watched");
    }
    assert!(loaded.files.iter().any(|path| path.is_dir()), "and the folder is, for those to come");
    folder.write("a.yar", "rule A { condition: false }");
    assert_ne!(folder.load("p.yaml").unwrap().digest, loaded.digest);
}

#[test]
fn a_scanner_may_be_named_by_a_list_alone() {
    let folder = Folder::new(&[("p.yaml", &with_scanner("[clamd, builtin]"))]);
    let scanner = folder.load("p.yaml").unwrap().config.scanner;
    assert!(matches!(scanner.backends.as_slice(), [ScannerBackend::Clamd(_), ScannerBackend::Builtin(None)]));
    let hour = std::time::Duration::from_secs(3600);
    assert_eq!(scanner.cache, Some(ScanCache { entries: 100_000, lifetime: hour }));
    folder.write("p.yaml", &with_scanner("{ backend: clamd, address: [\"tcp://a:1\", \"unix:///run/c\"] }"));
    let [ScannerBackend::Clamd(addresses)] = &folder.load("p.yaml").unwrap().config.scanner.backends[..]
    else {
        panic!()
    };
    assert_eq!(*addresses, [ClamdAddress::Tcp("a:1".into()), ClamdAddress::Unix("/run/c".into())]);
}

#[test]
fn rules_and_lists_that_are_none_are_problems() {
    let folder = Folder::new(&[
        ("p.yaml", &with_scanner("{ rules: gone, blocklist: bad.txt }")),
        ("bad.txt", &format!("{}\nxyz\n{}0\n", "ff".repeat(32), "ff".repeat(32))),
    ]);
    let problems = folder.problems("p.yaml");
    assert_eq!(
        problems,
        [
            "bad.txt:2:1: scanner.blocklist: \"xyz\" is not a SHA-256 sum; write 64 hexadecimal digits, or # before a comment",
            &format!(
                "bad.txt:3:1: scanner.blocklist: \"{}…\" is not a SHA-256 sum; write 64 hexadecimal digits, or # before a comment",
                "f".repeat(60)
            ),
            "p.yaml:7:19: scanner.rules: the folder \"gone\" does not exist; \
             write the path of a folder with rules in files *.yar or *.yara",
        ]
    );
    fs::create_dir(folder.path("gone")).unwrap();
    folder.write("bad.txt", "");
    assert!(folder.problems("p.yaml")[0].contains("the folder \"gone\" has no *.yar or *.yara"));
    fs::write(folder.path("gone/a.yar"), b"\xff").unwrap();
    assert!(folder.problems("p.yaml")[0].contains("has a file \"a.yar\" that is not UTF-8"));
    folder.write("p.yaml", &with_scanner("{ backend: clamd, rules: gone }"));
    fs::write(folder.path("gone/a.yar"), "rule A { condition: true }").unwrap();
    assert!(folder.load("p.yaml").unwrap().warnings[0].to_string().contains("these rules are not used"));
}
