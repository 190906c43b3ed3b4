use config::rules::Archives;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;
use std::io::Write;

use super::samples::{Entry, deflated, end, gzip, tar, tar_member, zip, zip_of};
use super::*;

const LIMITS: Archives =
    Archives { max_members: 50, max_member: 3 << 20, max_total: 8 << 20, max_ratio: 100, max_depth: 3 };

fn judged(bytes: &[u8]) -> Result<Contents, Fault> {
    walk(bytes, 10_000, LIMITS)
}

fn counted(bytes: &[u8]) -> (u64, u64) {
    let contents = judged(bytes).unwrap();
    assert_eq!((contents.closed, contents.infected), (None, None));
    (contents.members, contents.unpacked)
}

/// Steps of a walk to its end, and how it ended.
fn steps(bytes: &[u8], limits: Archives) -> (u64, Result<(), Fault>) {
    let mut walker = Walker::new(Format::of(bytes).unwrap(), bytes.len() as u64, limits);
    walker.push(bytes);
    walker.close();
    for step in 1.. {
        match walker.step() {
            Ok(Progress::Done) => return (step, Ok(())),
            Ok(_) => {}
            Err(fault) => return (step, Err(fault)),
        }
    }
    unreachable!("a walk ends")
}

/// Zeros, deflated twice as well as usual: about a thousandth.
fn zeros(length: usize) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    for _ in 0..length.div_ceil(1 << 16) {
        encoder.write_all(&[0; 1 << 16]).unwrap();
    }
    encoder.finish().unwrap()
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 7u32;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn lets_a_zip_pass_in_every_form_that_tools_write() {
    let text = b"some text, some text, some text".as_slice();
    let both = |entry: Entry| zip(&[entry, Entry::new("z.txt", text)]);
    for file in [
        both(Entry::new("a.txt", text)),
        both(Entry::stored("a.txt", text)),
        both(Entry::new("a.txt", text).streamed()),
        both(Entry::new("a.txt", text).streamed().with(|entry| entry.foretold = entry.size)),
        both(Entry::new("a.txt", text).with(|entry| entry.is_large = true)),
        both(Entry::new("a.txt", text).streamed().with(|entry| entry.is_large = true)),
        both(Entry::new("a.txt", b"")),
        both(Entry::stored("dir/", b"")),
        both(Entry::stored("dir/", b"").streamed()),
        both(Entry::new("\u{62a5}.txt", text)),
        both(Entry::new("a.txt", text).with(|entry| entry.mode = 0o100_644)),
        both(Entry::new("dir/", b"").with(|entry| entry.mode = 0o040_755)),
        both(Entry::new("a.txt", text).with(|entry| entry.extra = vec![0x55, 0x54, 1, 0, 3, 0, 0])),
        both(Entry::new("a.txt", text).with(|entry| (entry.flags, entry.name) = (0, b"\xb1\xa8".to_vec()))),
        both(Entry::new("a.bin", &noise(100_000))),
        [zip_of(&["a"])].concat(),
    ] {
        assert!(judged(&file).is_ok(), "{:?} {:?}", judged(&file), &file[..60]);
    }
    assert_eq!(counted(&end(0, 0, 0)), (0, 0));
    let mut commented = zip_of(&["a"]);
    let length = commented.len();
    commented[length - 2] = 5;
    commented.extend_from_slice(b"hello");
    assert!(judged(&commented).is_ok());
}

#[test]
fn lets_zip64_ends_pass_that_agree() {
    let entry = Entry::new("a", b"text");
    let file = zip(&[entry]);
    let (body, last) = file.split_at(file.len() - 22);
    let (length, start) = (u64::from(cursor::u32_at(last, 12)), u64::from(cursor::u32_at(last, 16)));
    let end64 = |entries: u64, start: u64| {
        let numbers = [entries, entries, length, start].map(u64::to_le_bytes).concat();
        [b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0".as_slice(), &numbers].concat()
    };
    let locator =
        |at: usize| [b"PK\x06\x07\0\0\0\0".as_slice(), &(at as u64).to_le_bytes(), &[1, 0, 0, 0]].concat();
    let full = [b"PK\x05\x06\0\0\0\0".as_slice(), &[0xff; 12], &[0, 0]].concat();
    for last in [last.to_vec(), full] {
        assert!(judged(&[body, &end64(1, start), &locator(body.len()), &last].concat()).is_ok());
        for bad in [
            [body, &end64(2, start), &locator(body.len()), &last].concat(),
            [body, &end64(1, start + 1), &locator(body.len()), &last].concat(),
            [body, &end64(1, start), &locator(body.len() + 1), &last].concat(),
            [body, &end64(1, start), &last].concat(),
        ] {
            assert!(matches!(judged(&bad), Err(Fault::Broken(_))));
        }
    }
}

#[test]
fn refuses_a_zip_that_two_readers_could_read_differently() {
    let text = b"some text, some text".as_slice();
    let good = zip(&[Entry::new("a.txt", text), Entry::stored("b.txt", text)]);
    let hidden = [&good[..], &zip_of(&["evil"])].concat();
    let with = |change: fn(&mut Entry)| zip(&[Entry::new("a.txt", text).with(change)]);
    for bad in [
        [b"x", &good[..]].concat(),
        [&good[..], b"x"].concat(),
        [&good[..], &good[..]].concat(),
        hidden,
        with(|entry| entry.crc ^= 1),
        with(|entry| entry.size += 1),
        with(|entry| (entry.flags, entry.foretold) = (8, 7)),
        with(|entry| entry.size -= 1),
        with(|entry| entry.packed.push(0)),
        with(|entry| entry.packed.truncate(5)),
        with(|entry| (entry.flags, entry.name) = (0x0800, b"\xff".to_vec())),
        with(|entry| entry.extra = vec![1, 2, 9, 0]),
        with(|entry| entry.extra = [b"\x75\x70\x06\0\x01\0\0\0\0".as_slice(), b"b"].concat()),
        zip(&[Entry::stored("a.txt", text).streamed()]),
        zip(&[Entry::new("a.txt", text), Entry::new("A.TXT", text)]),
        zip(&[Entry::new("a", text), Entry::new("a/", b"")]),
        zip(&[Entry::new("a/", text)]),
    ] {
        if Format::of(&bad).is_some() {
            assert!(matches!(judged(&bad), Err(Fault::Broken(_))), "{:?} {bad:?}", judged(&bad));
        }
    }
    for cut in 4..good.len() {
        assert!(judged(&good[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn compares_second_names() {
    let named = |name: &[u8], second: &str| {
        let length = (5 + second.len() as u16).to_le_bytes();
        Entry::new("", b"x").with(|entry| {
            (entry.flags, entry.name) = (0, name.to_vec());
            entry.extra = [b"\x75\x70".as_slice(), &length, &[1, 0, 0, 0, 0], second.as_bytes()].concat();
        })
    };
    let good = zip(&[named(b"\x82.txt", "\u{e9}.txt"), named(b"\x83.txt", "b.txt"), named(b"c", "c")]);
    assert!(judged(&good).is_ok());
    let second = good.windows(5).rposition(|five| five == b"b.txt").unwrap();
    let change = |to: &[u8]| [&good[..second], to, &good[second + 5..]].concat();
    assert!(matches!(judged(&change(b"a.exe")), Err(Fault::Broken(_))), "the list says another");
    let twice = zip(&[named(b"\x82.txt", "a.txt"), named(b"\x83.txt", "a.txt")]);
    assert!(matches!(judged(&twice), Err(Fault::Broken(_))));
    let taken = zip(&[Entry::new("a.txt", b"x"), named(b"\x83.txt", "A.txt")]);
    assert!(matches!(judged(&taken), Err(Fault::Broken(_))));
}

#[test]
fn reads_tars_whose_sums_take_bytes_for_signed() {
    let mut file = tar(&[tar_member("\u{e9}.zip", b'0', &zip_of(&["a"]))]);
    file[257..262].fill(0);
    let sum = |value: fn(u8) -> i32, file: &[u8]| {
        file[..148].iter().chain(&file[156..512]).map(|&byte| value(byte)).sum::<i32>() + 8 * 32
    };
    let sums = [sum(i32::from, &file), sum(|byte| i32::from(byte.cast_signed()), &file)];
    assert_ne!(sums[0], sums[1]);
    for sum in sums {
        file[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(counted(&gzip(&file)).0, 3, "the packed tar, its member, and the zip's");
    }
}

#[test]
fn refuses_a_list_that_lies() {
    let good = zip(&[Entry::new("a.txt", b"some text"), Entry::stored("b.txt", b"more")]);
    let list = good.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    // Flags, method, sum, sizes, name, disk, offset; and at the end numbers, length and start.
    let places = [8, 10, 16, 20, 24, 28, 34, 42, 46].map(|at| list + at);
    let ends = [4, 6, 8, 10, 12, 16, 20].map(|at| good.len() - 22 + at);
    for at in places.into_iter().chain(ends) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(judged(&bad).is_err(), "{}", at - list);
    }
    // A member that the list leaves out.
    let (first, second) = (Entry::new("a", b"x"), Entry::new("b", b"y"));
    let (one, two) = (zip(std::slice::from_ref(&first)), zip(&[first, second]));
    let body = two.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    let entry = one.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    let entry = &one[entry..one.len() - 22];
    let short = [&two[..body], entry, &end(1, entry.len() as u64, body as u64)].concat();
    assert!(matches!(judged(&short), Err(Fault::Broken(_))));
}

#[test]
fn refuses_links_and_names_that_lead_elsewhere() {
    for name in ["../a", "/a", "a/../../b", "C:\\a", "a\\b"] {
        assert!(matches!(judged(&zip_of(&[name])), Err(Fault::Astray(_))), "{name}");
    }
    for mode in [0o120_777, 0o020_666, 0o010_644, 0o140_777] {
        let file = zip(&[Entry::new("a", b"/etc/passwd").with(|entry| entry.mode = mode)]);
        assert!(matches!(judged(&file), Err(Fault::Astray(_))), "{mode:o}");
    }
    for kind in [b'1', b'2', b'3', b'4', b'6', b'K'] {
        assert!(matches!(judged(&tar(&[tar_member("a", kind, b"")])), Err(Fault::Astray(_))));
    }
    assert!(matches!(judged(&tar(&[tar_member("../a", b'0', b"x")])), Err(Fault::Astray(_))));
}

#[test]
fn tells_of_what_it_cannot_open() {
    let encrypted = |entry: Entry| entry.with(|entry| entry.flags |= 1);
    let own = |entry: Entry| entry.with(|entry| entry.method = 14);
    for file in [
        zip(&[encrypted(Entry::new("a", b"secret")), Entry::new("b", b"text")]),
        zip(&[own(Entry::new("a", b"lzma"))]),
        zip(&[Entry::stored("a.rar", b"Rar!\x1a\x07\x01\0")]),
        gzip(b"7z\xbc\xaf\x27\x1c and so on"),
        b"\xfd7zXZ\0\0".to_vec(),
    ] {
        assert!(judged(&file).unwrap().closed.is_some());
    }
    assert!(judged(&zip(&[encrypted(Entry::new("a", b"secret")).streamed()])).is_err());
}

#[test]
fn walks_archives_in_archives() {
    let text = b"text".as_slice();
    let inner = zip(&[Entry::new("a", text)]);
    assert_eq!(
        counted(&zip(&[Entry::new("i.bin", &inner), Entry::new("b", text)])),
        (3, inner.len() as u64 + 8)
    );
    let tarred =
        tar(&[tar_member("d/", b'5', b""), tar_member("d/a", b'0', &inner), tar_member("b", 0, text)]);
    assert_eq!(counted(&gzip(&tarred)).0, 5);
    assert_eq!(counted(&gzip(text)), (1, 4));
    assert_eq!(counted(&tarred).0, 4);
    let broken = zip(&[Entry::new("a", &inner[..inner.len() - 1])]);
    assert!(matches!(judged(&broken), Err(Fault::Broken(_))));
    let mut wrong = gzip(text);
    wrong.push(0);
    assert!(judged(&wrong).is_err());
    assert!(judged(&[gzip(text), gzip(text)].concat()).is_err());
}

#[test]
fn reads_the_long_names_of_tars() {
    let long = "d/".repeat(80) + "a";
    let pax = format!("{} path={long}\n", 8 + long.len() + 2);
    let member = tar_member("short", b'0', b"data");
    assert!(judged(&tar(&[tar_member("x", b'x', pax.as_bytes()), member.clone()])).is_ok());
    assert!(judged(&tar(&[tar_member("x", b'L', long.as_bytes()), member.clone()])).is_ok());
    for bad in
        ["14 path=../ab\n", "9 size=4\n", "15 linkpath=abc\n", "99 path=a\n", "x", "22 GNU.sparse.major=1\n"]
    {
        assert!(judged(&tar(&[tar_member("x", b'x', bad.as_bytes()), member.clone()])).is_err(), "{bad}");
    }
    assert!(judged(&tar(&[tar_member("x", b'S', b""), member.clone()])).is_err());
    assert!(judged(&tar(&[member.clone(), member.clone()])).is_err(), "one name twice");
    assert!(judged(&member).is_err(), "no end");
    assert!(judged(&[tar(std::slice::from_ref(&member)), b"x".to_vec()].concat()).is_err());
}

#[test]
fn refuses_a_tar_that_only_some_readers_take_for_one() {
    let good = tar(&[tar_member("a.txt", b'0', b"a")]);
    let mut bad = good.clone();
    bad[148..154].copy_from_slice(b"000000");
    assert!(matches!(judged(&bad), Err(Fault::Broken(_))));
    assert!(matches!(judged(&gzip(&bad)), Err(Fault::Broken(_))));
    let packed = |inside: &[u8]| {
        let file = gzip(inside);
        let mut walker = Walker::new(Format::Gzip, file.len() as u64, LIMITS).holding_tar();
        walker.push(&file);
        walker.close();
        loop {
            match walker.step() {
                Ok(Progress::Done) => return Ok(()),
                Ok(_) => {}
                Err(fault) => return Err(fault),
            }
        }
    };
    assert_eq!(packed(&good), Ok(()));
    for inside in [b"a line of text".to_vec(), Vec::new(), gzip(&good), [vec![0; 512], good].concat()] {
        assert!(matches!(packed(&inside), Err(Fault::Broken(_))));
    }
}

#[test]
fn refuses_more_than_each_limit() {
    let over = |file: &[u8]| match judged(file) {
        Err(Fault::Over(_, limit)) => limit,
        other => panic!("{other:?}"),
    };
    let names: Vec<String> = (0..51).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(over(&zip_of(&names)), LIMITS.max_members);
    assert!(judged(&zip_of(&names[..50])).is_ok());
    let large = noise((3 << 20) + 1);
    assert_eq!(over(&zip(&[Entry::stored("a", &large)])), LIMITS.max_member);
    assert!(judged(&zip(&[Entry::stored("a", &large[1..])])).is_ok());
    let three = ["a", "b", "c"].map(|name| Entry::stored(name, &large[1..]));
    assert_eq!(over(&zip(&three)), LIMITS.max_total);
    assert_eq!(over(&gzip(&vec![0; 2 << 20])), LIMITS.max_ratio);
    assert!(judged(&gzip(&vec![0; 1 << 20])).is_ok(), "small files may shrink as they like");
    let nested =
        |depth: usize| (1..depth).fold(zip_of(&["a"]), |inner, _| zip(&[Entry::new("i.zip", &inner)]));
    assert!(judged(&nested(3)).is_ok());
    assert_eq!(over(&nested(4)), LIMITS.max_depth as u64);
    assert_eq!(over(&nested(20)), LIMITS.max_depth as u64);
}

#[test]
fn sizes_that_are_declared_count_for_nothing() {
    let packed = zeros(40 << 20);
    let bomb = |size: u64| Entry { packed: packed.clone(), size, crc: 0, ..Entry::new("a", b"") };
    for size in [0, 10, 40 << 20] {
        for entry in [bomb(size), bomb(size).streamed()] {
            let (steps, verdict) = steps(&zip(&[entry]), LIMITS);
            assert!(matches!(verdict, Err(Fault::Over(..))), "{verdict:?}");
            assert!(steps < 300, "{steps} steps of 32 KiB");
        }
    }
}

#[test]
fn ends_soon_with_a_bomb_of_many_layers() {
    // Like 42.zip: sixteen of sixteen of sixteen of what is nothing but zeros.
    let sixteen = |inner: &[u8]| {
        let names: Vec<String> = (0..16).map(|n| format!("lib {n}.zip")).collect();
        zip(&names.iter().map(|name| Entry::new(name, inner)).collect::<Vec<_>>())
    };
    let zero = Entry { packed: zeros(2 << 20), size: 2 << 20, ..Entry::new("0.dll", b"") };
    let mut sum = flate2::Crc::new();
    (0..32).for_each(|_| sum.update(&[0; 1 << 16]));
    let bottom = zip(&[Entry { crc: sum.sum(), ..zero }]);
    let bomb = sixteen(&sixteen(&bottom));
    let (steps, verdict) = steps(&bomb, Archives { max_members: 100_000, max_depth: 16, ..LIMITS });
    assert!(matches!(verdict, Err(Fault::Over(..))), "{verdict:?}");
    assert!(steps < 2_000, "{steps}");
}

#[test]
fn ends_soon_with_members_that_overlap() {
    // As Fifield's: each member's data is a stored block that quotes the next header, then one kernel for all.
    let kernel = zeros(1 << 20);
    let mut sum = flate2::Crc::new();
    (0..16).for_each(|_| sum.update(&[0; 1 << 16]));
    let count = 200;
    let (mut body, mut list) = (Vec::new(), Vec::new());
    for n in 0..count {
        let entry = Entry {
            packed: kernel.clone(),
            size: 1 << 20,
            crc: sum.sum(),
            ..Entry::new(&n.to_string(), b"")
        };
        let single = zip(&[entry]);
        let at = single.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        let mut central = single[at..single.len() - 22].to_vec();
        central[42..46].copy_from_slice(&(body.len() as u32).to_le_bytes());
        list.extend(central);
        body.extend_from_slice(&single[..30 + n.to_string().len()]);
    }
    body.extend_from_slice(&kernel);
    let bomb = [&body[..], &list, &end(count, list.len() as u64, body.len() as u64)].concat();
    let (steps, verdict) = steps(&bomb, LIMITS);
    assert!(matches!(verdict, Err(Fault::Broken(_))), "{verdict:?}");
    assert!(steps < 300, "{steps}");
}

#[test]
fn ends_with_a_zip_that_holds_itself() {
    // What a quine unpacks to is itself, for ever. Here the same at any depth that is asked for.
    let deep = (0..400).fold(zip_of(&["a"]), |inner, _| zip(&[Entry::stored("r.zip", &inner)]));
    let (steps, verdict) = steps(&deep, Archives { max_depth: 16, ..LIMITS });
    assert!(matches!(verdict, Err(Fault::Over(_, 16))), "{verdict:?}");
    assert!(steps < 300, "{steps}");
}

#[test]
fn reads_a_row_of_empty_fields_once() {
    let extra = [vec![0; 65_400], vec![0x99, 0x99, 0, 0]].concat();
    let names: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let entries: Vec<Entry> = names
        .iter()
        .map(|name| Entry::new(name, b"x").with(|entry| entry.extra.clone_from(&extra)))
        .collect();
    let file = zip(&entries);
    let start = std::time::Instant::now();
    assert_eq!(counted(&file), (40, 40));
    // Less than a second on a machine that does nothing else; many minutes when each field is looked for anew.
    assert!(start.elapsed() < std::time::Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn looks_at_every_member_at_every_level() {
    use crate::upload::builtin::{BlockList, MemberScan, tests::eicar};
    let found = |file: &[u8]| {
        let mut walker = Walker::new(Format::of(file).unwrap(), file.len() as u64, LIMITS)
            .scanning(|| MemberScan::new(BlockList::default()));
        walker.push(file);
        walker.close();
        while walker.step().unwrap() != Progress::Done {}
        walker.contents().infected.is_some()
    };
    let last = [noise(100_000), eicar()].concat();
    assert!(found(&zip(&[Entry::new("a", b"x"), Entry::new("b", &last)])));
    assert!(found(&gzip(&tar(&[tar_member("a", b'0', &zip(&[Entry::stored("b", &last)]))]))));
    assert!(!found(&zip(&[Entry::new("a", &eicar()[1..]), Entry::new("b", &last[..100_000])])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_pieces_give_the_same_verdict(
        piece in 1..5000usize,
        which in 0..4usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let text = noise(3_000);
        let inner = zip(&[Entry::new("a", &text).streamed(), Entry::stored("b", b"[Content_Types].xml")]);
        let mut file = match which {
            0 => inner,
            1 => gzip(&tar(&[tar_member("a", b'0', &inner)])),
            2 => zip(&[Entry::new("i", &inner), Entry::new("[Content_Types].xml", b"<a/>").streamed()]),
            _ => tar(&[tar_member("x", b'x', b"11 a=bcdef\n"), tar_member("a", b'0', &gzip(&text))]),
        };
        for (place, byte) in changes {
            let place = place.index(file.len());
            file[place] = byte;
        }
        let whole = walk(&file, usize::MAX, LIMITS);
        prop_assert_eq!(&walk(&file, piece, LIMITS), &whole);
        prop_assert_eq!(&walk(&file, 1, LIMITS), &whole);
    }
}

#[test]
fn an_empty_deflate_stream_is_a_folder_all_the_same() {
    assert_eq!(deflated(b""), [3, 0]);
    assert!(judged(&zip(&[Entry::new("d/", b"")])).is_ok());
}
