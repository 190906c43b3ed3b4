use std::os::unix::fs::PermissionsExt;

use filters::FieldProblem;

use super::*;

const SOON: Duration = Duration::from_secs(10);
const CANARY: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl-canary";

fn counter() -> IntCounter {
    IntCounter::new("lost", "lost").unwrap()
}

fn open(path: &Path) -> Audit {
    Audit::open(path, Arc::default(), counter()).unwrap()
}

fn append(audit: &Audit, count: usize) {
    for index in 0..count {
        audit.append(Event::of("request", "passed", Actor::default()).text("index", &index.to_string()));
    }
    assert!(audit.flush(SOON));
}

fn check(path: &Path) -> Result<u64, Break> {
    verify(io::BufReader::new(fs::File::open(path).unwrap())).unwrap()
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn rewritten(change: impl FnOnce(&mut Vec<String>)) -> Result<u64, Break> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    append(&open(&path), 6);
    let mut all = lines(&path);
    change(&mut all);
    verify((all.join("\n") + "\n").as_bytes()).unwrap()
}

fn broken(line: u64, kind: Kind) -> Result<u64, Break> {
    Err(Break { line, kind })
}

#[test]
fn an_untouched_file_is_whole() {
    assert_eq!(rewritten(|_| {}), Ok(6));
}

#[test]
fn finds_what_was_done_to_a_file() {
    assert_eq!(rewritten(|all| all[2] = all[2].replace("passed", "denied")), broken(3, Kind::Changed));
    assert_eq!(rewritten(|all| all[2].truncate(40)), broken(3, Kind::Changed));
    assert_eq!(rewritten(|all| drop(all.remove(2))), broken(3, Kind::Removed));
    assert_eq!(rewritten(|all| drop(all.remove(0))), broken(1, Kind::Removed));
    assert_eq!(rewritten(|all| all.swap(2, 3)), broken(3, Kind::Reordered));
    assert_eq!(rewritten(|all| all.insert(4, all[1].clone())), broken(5, Kind::Reordered));
    assert_eq!(rewritten(|all| all[5].truncate(40)), broken(6, Kind::Torn));
    assert_eq!(rewritten(|all| all.insert(2, String::new())), broken(3, Kind::Changed));
}

#[test]
fn a_line_made_anew_does_not_carry_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.log");
    // Other content: the same events, written within the same millisecond, would make the same lines.
    let audit = open(&other);
    (0..6).for_each(|_| audit.append(Event::of("request", "forged", Actor::default())));
    assert!(audit.flush(SOON));
    let forged = lines(&other).swap_remove(2);
    assert_eq!(rewritten(|all| all[2] = forged), broken(3, Kind::Changed));
}

#[test]
fn goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    for _ in 0..3 {
        append(&open(&path), 2);
    }
    assert_eq!(check(&path), Ok(6));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn seals_a_torn_line_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    append(&open(&path), 3);
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 20).unwrap();
    assert_eq!(check(&path), broken(3, Kind::Torn));
    append(&open(&path), 1);
    assert_eq!(check(&path), Ok(5));
    assert!(lines(&path)[3].contains("\"event\":\"audit_sealed\",\"outcome\":\"torn\""));

    let torn = fs::read_to_string(&path).unwrap().replacen("\"index\":\"2\"", "\"index\":\"7\"", 1);
    assert_eq!(verify(torn.as_bytes()).unwrap(), broken(3, Kind::Changed));
}

#[test]
fn a_last_line_without_its_newline_is_not_torn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    append(&open(&path), 2);
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
    append(&open(&path), 1);
    assert_eq!(check(&path), Ok(3));
}

#[test]
fn links_the_new_file_to_the_old_one_after_a_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let old = folder.path().join("audit.log.1");
    let audit = open(&path);
    append(&audit, 2);
    fs::rename(&path, &old).unwrap();
    audit.reopen();
    append(&audit, 2);
    audit.reopen();
    append(&audit, 1);
    assert_eq!((check(&old), check(&path)), (Ok(2), Ok(4)));
    let end = lines(&old).pop().unwrap();
    let hash = &end[end.len() - 66..end.len() - 2];
    assert!(lines(&path)[0].contains(&format!("\"prev\":\"{hash}\"")));
    assert!(lines(&path)[0].contains("\"event\":\"audit_linked\""));
}

#[test]
fn a_second_process_waits_for_the_first_and_goes_on_with_its_chain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let first = open(&path);
    append(&first, 2);
    let second = open(&path);
    second.append(Event::of("reload", "accepted", Actor::default()));
    assert!(!second.flush(Duration::from_millis(150)));
    append(&first, 1);
    drop(first);
    assert!(second.flush(SOON));
    assert_eq!(check(&path), Ok(4));
}

#[test]
fn a_full_disk_loses_lines_and_counts_them() {
    let lost = counter();
    let audit = Audit::open(Path::new("/dev/full"), Arc::default(), lost.clone()).unwrap();
    for _ in 0..3 {
        audit.append(Event::of("request", "passed", Actor::default()));
    }
    assert!(audit.flush(SOON));
    assert_eq!((audit.lost(), lost.get()), (3, 3));
}

#[test]
fn tells_of_lines_that_were_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let audit = open(&path);
    audit.shared.lose(7);
    append(&audit, 1);
    let gap: Value = serde_json::from_str(&lines(&path)[0]).unwrap();
    assert_eq!((&gap["event"], &gap["lost"]), (&Value::from("audit_gap"), &Value::from(7)));
    assert_eq!(check(&path), Ok(2));
}

#[test]
fn says_who_what_and_whence_and_hides_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let audit = open(&path);
    let agent = format!("curl \"{CANARY}\"\n");
    let place = format!("/a/{CANARY}");
    let actor = Actor {
        client: Some([10, 0, 0, 7].into()),
        user_agent: Some(agent.as_bytes()),
        path: Some(place.as_bytes()),
        request_id: Some("r-1"),
        ..Actor::default()
    };
    let problem = FieldProblem {
        filename: Some(format!("{CANARY}.png")),
        code: "x",
        limit: Some(5),
        ..FieldProblem::default()
    };
    audit.append(Event::of("refusal", "denied", actor).text("detail", &agent).list("errors", &[problem]));
    assert!(audit.flush(SOON));
    let line = lines(&path).pop().unwrap();
    assert!(!line.contains("eyJ") && !line.contains("c2lnbmF0"), "{line}");
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["client"], "10.0.0.7");
    assert_eq!(value["path"], "/a/[scrubbed:jwt]");
    assert_eq!(value["errors"][0]["limit"], 5);
    let names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names[..4], ["seq", "time", "event", "outcome"]);
    assert_eq!(names[names.len() - 2..], ["prev", "hash"]);
}

#[test]
fn what_the_gateway_itself_counted_and_named_stays_readable() {
    let first = "0f9d3c1b7a5e4d2c8b6a9f8e7d6c5b4a";
    let problem = FieldProblem { duplicate_of: Some(first.into()), ..FieldProblem::default() };
    let event = Event::of("admin", "usage_set", Actor::default())
        .number("after", 13_800_138_000)
        .text("by", "13800138000")
        .list("errors", &[problem]);
    let line = String::from_utf8(event.members(&Scrubber::default(), SystemTime::now())).unwrap();
    let line: Value = serde_json::from_str(&format!("{{{line}}}")).unwrap();
    assert_eq!(line["after"], 13_800_138_000_u64);
    assert_eq!(line["by"], "[scrubbed:phone]");
    assert_eq!(line["errors"][0]["duplicate_of"], first);
}
