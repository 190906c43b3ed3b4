use super::*;

/// A compound file with these entries below its root, of which the first has 4,096 bytes that begin as given.
fn compound(names: &[&str], start: &[u8]) -> Vec<u8> {
    compound_of(names, start, 4096)
}

/// The same with streams of so many bytes each; short ones are in small sectors of the root's stream.
fn compound_of(names: &[&str], start: &[u8], size: u32) -> Vec<u8> {
    let mut header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    header.resize(24, 0);
    header.extend_from_slice(&[0x3e, 0, 3, 0, 0xfe, 0xff, 9, 0, 6, 0]);
    header.resize(48, 0);
    header.extend_from_slice(&1u32.to_le_bytes());
    let list = (names.len() + 1).div_ceil(4) as u32;
    header.resize(60, 0);
    header.extend_from_slice(&(9 + list).to_le_bytes());
    header.resize(68, 0);
    header.extend_from_slice(&END_OF_CHAIN.to_le_bytes());
    header.resize(76, 0);
    header.extend_from_slice(&0u32.to_le_bytes());
    header.resize(512, 0xff);
    let chain =
        |first: u32, count: u32| (1..=count).map(move |n| if n == count { END_OF_CHAIN } else { first + n });
    let mut table: Vec<u32> = [0xffff_fffd]
        .into_iter()
        .chain(chain(1, list))
        .chain(chain(1 + list, 8))
        .chain(chain(9 + list, 1))
        .collect();
    table.resize(128, 0xffff_ffff);
    let mut directory = Vec::new();
    for (at, name) in ["Root Entry"].iter().chain(names).enumerate() {
        let mut entry: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let length = entry.len() as u16 + 2;
        entry.resize(64, 0);
        entry.extend_from_slice(&length.to_le_bytes());
        entry.push(if at == 0 { 5 } else { 2 });
        entry.resize(76, 0xff);
        entry.extend_from_slice(&if name.ends_with("Pool") { 1 } else { NO_STREAM }.to_le_bytes());
        entry.resize(116, 0);
        let in_root = at > 0 && size < SMALL;
        entry.extend_from_slice(&if in_root { 0 } else { 1 + list }.to_le_bytes());
        entry.extend_from_slice(&if at > 0 { size } else { 4096 }.to_le_bytes());
        entry.resize(ENTRY, 0);
        directory.extend_from_slice(&entry);
    }
    directory.resize(512 * list as usize, 0);
    let mut stream = start.to_vec();
    stream.resize(4096, 0);
    let mut small: Vec<u8> = chain(0, 64).flat_map(u32::to_le_bytes).collect();
    small.resize(512, 0xff);
    [header, table.into_iter().flat_map(u32::to_le_bytes).collect(), directory, stream, small].concat()
}

#[test]
fn lets_documents_pass_as_what_they_are() {
    assert_eq!(judge(&compound(&["WordDocument", "1Table", "ObjectPoolx"], b""), "doc"), Ok(()));
    assert_eq!(
        judge(&compound(&["Workbook", "a", "b", "c", "d", "e"], b"\x09\x08\x04\0abcd"), "xls"),
        Ok(())
    );
    assert!(matches!(judge(&compound(&["Workbook"], b""), "doc"), Err(Fault::Mismatch(_))));
}

#[test]
fn refuses_macros_objects_and_encryption() {
    for name in [
        "Macros",
        "VBA",
        "_VBA_PROJECT_CUR",
        "_VBA_PROJECT",
        "ObjectPool",
        "\u{1}Ole10Native",
        "MBD00012345",
        "EncryptionInfo",
        "EncryptedPackage",
    ] {
        let file = compound(&["WordDocument", "a", "b", name], b"");
        assert!(matches!(judge(&file, "doc"), Err(Fault::Active(_))), "{name}");
    }
    let word = compound(&["WordDocument"], &[0xec, 0xa5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert!(matches!(judge(&word, "doc"), Err(Fault::Active(_))));
    let excel = compound(&["Workbook"], b"\x09\x08\x02\0ab\x2f\0\x02\0xx");
    assert!(matches!(judge(&excel, "xls"), Err(Fault::Active(_))));
    for (kind, passes) in [(0, true), (1, false), (2, true), (6, false)] {
        let sheets =
            [b"\x09\x08\x02\0ab\x85\0\x08\0\0\0\0\0\0".as_slice(), &[kind, 0, 0, 10, 0, 0, 0]].concat();
        assert_eq!(judge(&compound(&["Workbook"], &sheets), "xls").is_ok(), passes, "{kind}");
    }
}

#[test]
fn judges_every_stream_that_a_reader_may_take_for_the_workbook() {
    let sheets = |kind: u8| {
        [b"\x09\x08\x02\0ab\x85\0\x08\0\0\0\0\0\0".as_slice(), &[kind, 0, 0, 10, 0, 0, 0]].concat()
    };
    let behind_an_end = [b"\x09\x08\x02\0ab\x0a\0\0\0".as_slice(), &sheets(1)].concat();
    assert!(matches!(judge(&compound(&["Workbook"], &behind_an_end), "xls"), Err(Fault::Active(_))));
    for size in [100, 200, 4095] {
        let small = |kind: u8| compound_of(&["Workbook"], &sheets(kind), size);
        assert_eq!(judge(&small(0), "xls"), Ok(()), "{size}");
        assert!(matches!(judge(&small(1), "xls"), Err(Fault::Active(_))), "{size}");
    }
    // Two that are good, of which one is then made to begin where there is a sheet of macros.
    let mut two = compound(&["Book", "a", "Workbook"], &sheets(0));
    assert_eq!(judge(&two, "xls"), Ok(()));
    let evil = ((two.len() - 512) / 512) as u32;
    let mut stream = sheets(1);
    stream.resize(512, 0);
    two.extend_from_slice(&stream);
    two[512 + 4 * evil as usize..][..4].copy_from_slice(&END_OF_CHAIN.to_le_bytes());
    two[1024 + 3 * ENTRY + 116..][..4].copy_from_slice(&evil.to_le_bytes());
    assert!(matches!(judge(&two, "xls"), Err(Fault::Active(_))));
    let many = compound(&["Workbook", "Book", "Workbook", "Book", "Workbook"], &sheets(0));
    assert!(matches!(judge(&many, "xls"), Err(Fault::Mismatch(_))));
}

#[test]
fn finds_the_program_of_a_presentation() {
    for place in [0, 100, 505, 4000] {
        for (flag, passes) in [(0, true), (1, false)] {
            let mut stream = vec![0x55; place];
            stream.extend_from_slice(PROGRAM);
            stream.extend_from_slice(&[9, 0, 0, 0, flag, 0, 0, 0, 2, 0, 0, 0]);
            let file = compound(&["PowerPoint Document"], &stream);
            assert_eq!(judge(&file, "ppt").is_ok(), passes, "{place} {flag}");
        }
    }
}

#[test]
fn refuses_what_is_broken_and_ends_in_circles() {
    let good = compound(&["WordDocument"], b"");
    for cut in [0, 8, 511, 512, 1000, 1100] {
        assert!(judge(&good[..cut], "doc").is_err(), "{cut}");
    }
    // The last sector, of one byte, follows itself; each reading of it gives one byte more.
    for (name, extension) in [("Workbook", "xls"), ("PowerPoint Document", "ppt")] {
        let mut circle = compound(&[name], b"");
        let last = (circle.len() / 512 - 1) as u32;
        circle.push(1);
        let place = 512 + 4 * last as usize;
        circle[place..place + 4].copy_from_slice(&last.to_le_bytes());
        let start = 1024 + ENTRY + 116;
        circle[start..start + 4].copy_from_slice(&last.to_le_bytes());
        assert_eq!(judge(&circle, extension), Err(BROKEN), "{name}");
    }
    let mut circle = good.clone();
    circle[512 + 4..512 + 8].copy_from_slice(&1u32.to_le_bytes());
    assert_eq!(judge(&circle, "doc"), Err(BROKEN));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(changes in proptest::collection::vec((0..6000usize, 0..=255u8), 0..20)) {
        let mut file = compound(&["WordDocument", "a", "b", "c", "d"], b"");
        for (at, byte) in changes {
            let length = file.len();
            file[at % length] = byte;
        }
        let _ = judge(&file, "doc");
    }
}
