use super::*;

fn judged(family: Family, bytes: &[u8], piece: usize) -> Option<Fault> {
    let mut content = Content::of(family);
    bytes.chunks(piece).for_each(|piece| content.push(piece));
    content.end()
}

#[test]
fn finds_every_marker_at_any_division() {
    let shouted = [SERVER, MARKUP].concat().into_iter().map(<[u8]>::to_ascii_uppercase);
    let exact = [SERVER, MARKUP].concat().into_iter().map(<[u8]>::to_vec);
    let signed = APPENDED.iter().flat_map(|(start, rest)| match rest {
        [] => vec![start.to_vec()],
        rest => rest.iter().map(|rest| [*start, rest].concat()).collect(),
    });
    assert!([SERVER, MARKUP].concat().iter().all(|tag| tag.len() <= LONGEST_TAG));
    let wide = [SERVER, MARKUP].concat().into_iter().map(|tag| tag.iter().flat_map(|&b| [b, 0]).collect());
    for marker in shouted.chain(exact).chain(signed).chain(wide) {
        let image = [&[0xd8; 300][..], &marker, &[0xd8; 300]].concat();
        for piece in [1, 2, 7, 64, 10_000] {
            let fault = judged(Family::Jpeg, &image, piece);
            assert!(matches!(fault, Some(Fault::Active(_))), "{marker:?} {piece}");
        }
    }
    assert!(judged(Family::Pdf, b"%PDF-1.4\n<</S/Launch>>", 3).is_some());
    let ends_in_utf16 = b"\xd8\xd8\0<\0s\0c\0r\0i\0p\0t\0>";
    assert!(judged(Family::Jpeg, ends_in_utf16, 3).is_some());
    assert!(judged(Family::Text, b"see <script>alert(1)</script>", 3).is_some());
    assert!(judged(Family::Text, b"a\0b", 1).is_some());
}

#[test]
fn finds_what_stands_behind_a_picture_and_in_its_packed_texts() {
    let gif = b"GIF89a\x01\0\x01\0\0\0\0\x3b";
    let behind = |bytes: &[u8]| judged(Family::Gif, &[gif, bytes].concat(), 5);
    assert_eq!(behind(b"\0\0"), None);
    assert!(matches!(behind(b"\x1f\x8b\x08\0\0\0\0\0"), Some(Fault::Active(_))));
    assert!(matches!(behind(b"#!/bin/sh\n"), Some(Fault::Active(_))));
    let png = |data: &[u8]| {
        let head = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\0\0\0\0".as_slice();
        let length = u32::try_from(data.len() + 3).unwrap().to_be_bytes();
        [head, &length, b"zTXta\0\0", data, b"\0\0\0\0"].concat()
    };
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, b"<script>alert(1)</script>").unwrap();
    let script = encoder.finish().unwrap();
    assert!(matches!(judged(Family::Png, &png(&script), 7), Some(Fault::Active(_))));
}

#[test]
fn finds_short_tags_by_the_text_behind_them() {
    for code in [
        "<?=`id`?>",
        "<?=/**/system(\"id\")?>",
        "<? system($x) ?>",
        "<?\nexec('id');\n\n\n",
        "<?=`id`",
        "<%= `id` %>",
        "<% out.print(1); %>",
        "<%! int a; void b() {} %>",
    ] {
        for piece in [1, 5, 8192] {
            let image = [b"GIF89a\x01\x00\x01\x00".as_slice(), code.as_bytes()].concat();
            assert!(matches!(judged(Family::Gif, &image, piece), Some(Fault::Active(_))), "{code} {piece}");
            let more = [&image[..], &[0xd8; 100]].concat();
            let closed = code.ends_with("?>") || code.ends_with("%>") || code.len() > 3 + SHORT_RUN;
            assert_eq!(judged(Family::Gif, &more, piece).is_some(), closed, "{code} {piece}");
        }
    }
    assert_eq!(judged(Family::Jpeg, b"<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?>", 7), None);
}

#[test]
fn finds_code_without_a_space_and_attributes_that_act() {
    for code in [
        "<?system(getenv('X'));?>",
        "<?eval(end(getallheaders()));",
        "<?if(1){eval(current(x()));}",
        "<?/**/echo 1;?>          ",
        "<?php/**/eval(1);",
        "<?call_user_func_array($x, $y)",
        "<?$x=end(getallheaders());",
        "<%Runtime.getRuntime().exec(\"id\");%>",
        "<%out.print(1)%>",
        "<%Set x=CreateObject(\"WScript.Shell\")",
        "__HALT_COMPILER(); ?>",
        "$\0__HALT_COMPILER(); ?>",
        "<svg onload=alert(1)>",
        "<svg/onload=alert(1)>",
        "<img src='x'OnError =alert(1)>",
        "<x\ttabindex=1\nonfocus=alert(1)>",
        "<!--# exec cmd=\"id\"-->",
    ] {
        for piece in [1, 5, 8192] {
            let image = [&[0xd8; 300][..], code.as_bytes(), &[0xd8; 300]].concat();
            let fault = judged(Family::Jpeg, &image, piece);
            assert!(matches!(fault, Some(Fault::Active(_))), "{code} {piece}");
        }
    }
    for fine in [
        "<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?>",
        "<?adobe-xap-filters esc=\"CR\"?>",
        "<?xml version=\"1.0\"?><x:xmpmeta xmlns:x=\"adobe:ns:meta/\" x:xmptk=\"XMP (Core)\">",
        "<b>see online = yes</b> <rdf:li xml:lang=\"x-default\" one=\"1\">",
        "if a <b and (c > d) on time = 5",
    ] {
        assert_eq!(judged(Family::Jpeg, fine.as_bytes(), 7), None, "{fine}");
    }
}

#[test]
fn finds_zips_and_documents_whose_headers_are_odd() {
    let tail = [0xd8; 5000];
    let local = b"PK\x03\x04\x15\x07\0\0\x08\0abcdabcdabcdabcd\x08\0\0\0evil.exe";
    let listed = b"PK\x01\x02\xff\xff\x14\xff\0\0\x08\0abcdabcdabcdabcd\x08\0\0\0evil.exe";
    let evil: [&[u8]; 4] = [local, listed, b"%PDF-9.9\n", b"%PDF-\n"];
    let fine: [&[u8]; 3] = [
        b"PK\x03\x04\x15\x07\0\0\x08\x55abcdabcdabcdabcd\x08\0\0\0evil.exe",
        b"PK\x01\x02\xff\xff\xee\xff\0\0\x08\0abcdabcdabcdabcd\x08\0\0\0evil.exe",
        b"%PDF",
    ];
    for piece in [1, 7, 8192] {
        for bytes in evil {
            let image = [b"GIF89a\xff", bytes, &tail].concat();
            assert!(judged(Family::Jpeg, &image, piece).is_some(), "{bytes:?} {piece}");
        }
        for bytes in fine {
            let image = [b"GIF89a\xff", bytes, &tail].concat();
            assert_eq!(judged(Family::Jpeg, &image, piece), None, "{bytes:?} {piece}");
        }
        let late = [&tail, b"%PDF-9.9\n".as_slice()].concat();
        assert_eq!(judged(Family::Jpeg, &late, piece), None);
    }
}

#[test]
fn takes_no_ascii85_for_short_tags() {
    let armoured =
        b"%PDF-1.4\nstream\nGb\"0;<?=9ue;!;Sm[q#a\nl3<?\nK\"7Xa$Zk(8!<%=]tB2c)Lq,r7Y*k@~>\nendstream";
    assert_eq!(judged(Family::Pdf, armoured, 5), None);
    for code in ["<? echo 1 ?>", "<?=$x . shell()?>", "<?\n  exec('id');", "<%= run(c) %>"] {
        let pdf = format!("%PDF-1.4\nstream\n{code}    \nendstream");
        assert!(judged(Family::Pdf, pdf.as_bytes(), 5).is_some(), "{code}");
    }
}

#[test]
fn finds_nothing_in_noise_and_in_ordinary_text() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(8 << 20)
    .collect();
    assert_eq!(judged(Family::Jpeg, &noise, 8192), None);
    assert_eq!(judged(Family::Mp4, &noise, 8192), None);
    assert_eq!(judged(Family::Pdf, &noise, 8192), None);
    assert_eq!(judged(Family::Text, "if a < b && c > d: 价格 $_5 <?xml 5% of <b>".as_bytes(), 5), None);
}
