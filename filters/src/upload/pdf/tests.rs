use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};

use super::*;

fn judged(pdf: &[u8]) -> Option<&'static str> {
    let verdict = |piece| {
        let mut look = Pdf::default();
        pdf.chunks(piece).for_each(|piece| look.push(piece));
        look.end()
    };
    let whole = verdict(usize::MAX);
    for piece in [1, 2, 3, 7, 64, 4096] {
        assert_eq!(verdict(piece), whole, "in pieces of {piece}");
    }
    whole
}

fn packed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A document with one object, and what belongs around it.
fn document(object: &str) -> Vec<u8> {
    format!(
        "%PDF-1.7\n%\u{e2}\u{e3}\n1 0 obj\n{object}\nendobj\nxref\n0 2\n0000000000 65535 f \n\
        trailer\n<< /Size 2 /Root 1 0 R >>\nstartxref\n9\n%%EOF\n"
    )
    .into_bytes()
}

/// A document with one stream.
fn stream(dictionary: &str, data: &[u8]) -> Vec<u8> {
    let head = format!("%PDF-1.7\n5 0 obj\n<< {dictionary} /Length {} >>\nstream\r\n", data.len());
    [head.as_bytes(), data, b"\nendstream\nendobj\n"].concat()
}

/// A document with an object stream of these objects.
fn object_stream(objects: &[&str]) -> Vec<u8> {
    let (mut list, mut body) = (String::new(), String::new());
    for (number, object) in objects.iter().enumerate() {
        list.push_str(&format!("{} {} ", number + 10, body.len()));
        body.push_str(object);
        body.push('\n');
    }
    let dictionary = format!("/Type /ObjStm /N {} /First {} /Filter /FlateDecode", objects.len(), list.len());
    stream(&dictionary, &packed((list + &body).as_bytes()))
}

#[test]
fn lets_documents_pass_that_only_show_something() {
    for object in [
        "<< /Type /Catalog /Pages 2 0 R /OpenAction [3 0 R /XYZ null null 0] /Lang (en) >>",
        "<< /Type /Catalog /OpenAction << /S /GoTo /D [3 0 R /Fit] >> /PageMode /UseOutlines >>",
        "<< /Type /Catalog /OpenAction 4 0 R >>",
        "<< /Type /Annot /Subtype /Link /A << /S /URI /URI (https://example.com/JS/Launch/AA) >> >>",
        "<< /Type /Catalog /AcroForm << /Fields [7 0 R] /DA (/Helv 0 Tf) /NeedAppearances true >> >>",
        "<< /Title (all \\(about\\) /JavaScript and /Launch) /Author <FEFF0041> >>",
        "<< /Type /Encoding /Differences [39 /quotesingle 65 /AA /JS 70 /EF] >>",
        "<< /JSON 1 /AAA 2 /EFG 3 /Launchpad 4 /JavaScripted 5 /EncryptMetadata false >>",
        "<< /S /P /K [<< /MCID 0 >> << /MCID 1 >>] /T () /X <> /Y[[[]]] >>",
    ] {
        assert_eq!(judged(&document(object)), None, "{object}");
        assert_eq!(judged(&object_stream(&["42", object, "[1 2]", "(a)"])), None, "{object}");
    }
    let page = packed(b"BT /F1 12 Tf (see /JS) Tj /JS gs ET");
    assert_eq!(judged(&stream("/Filter /FlateDecode", &page)), None);
    assert_eq!(judged(&stream("", b"BT /F1 12 Tf (/JavaScript) Tj /JS (a) ET")), None);
    assert_eq!(judged(&stream("/Type /XRef /W [1 2 1] /Index [0 9] /Root 1 0 R", b"\x01\0\x02\0")), None);
    assert_eq!(judged(&object_stream(&[])), None);
}

#[test]
fn refuses_what_acts_in_plain_sight_and_packed() {
    for object in [
        "<< /S /JavaScript /JS (app.alert\\(1\\)) >>",
        "<< /S /JavaScript /JS 7 0 R >>",
        "<< /S/Java#53cript/J#53(a) >>",
        "<< /S /#4a#61#76#61#53#63#72#69#70#74 >>",
        "<< /X /Y /JS<61>>>",
        "<< /JS%comment\n(a) >>",
        "<< /JS\0(a) >>",
        "<< /Names << /JavaScript 5 0 R >> >>",
        "<< /S /Launch /F (cmd.exe) >>",
        "<< /Names << /EmbeddedFiles << /Names [(a) 5 0 R] >> >> >>",
        "<< /Type /Filespec /F (a) /EF << /F 5 0 R >> >>",
        "<< /Type /Page /AA << /O 5 0 R >> >>",
        "<< /Type /Page /AA 5 0 R >>",
        "<< /AcroForm << /XFA [(template) 5 0 R] >> >>",
        "<< /Subtype /RichMedia >>",
        "<< /S /SubmitForm /F (http://evil.example) >>",
        "<< /S /ImportData >>",
        "<< /S /GoToR /F (a.pdf) >>",
        "<< /S /GoToE >>",
        "<< /OpenAction << /S /URI /URI (http://evil.example) >> >>",
        "<< /OpenAction << /S /GoTo /D [1 0 R /Fit] /Next << /S /Named >> >> >>",
        "<< /A (unclosed ) ) /JS (a) >>",
        "<< /A <4z> /JS (a) >>",
        "<< /A <41(> /JS (a) >>",
        "<< /A <41(> /OpenAction <</S/JavaScript/JS<61>>> >>",
        "<< /A <41%> /AA 4 0 R >>",
        "<< /A <4z(> /S%\n/JavaScript >>",
        "<< /A <4z(> /JS%a\n(a) >>",
        "<< /A <(> /OpenAction%a\n5 0 R >>",
        "<< /AA +4 0 R >>",
        "[ /A ) << /JS (a) >> ]",
    ] {
        assert!(judged(&document(object)).is_some(), "{object}");
        assert!(judged(&object_stream(&["42", object])).is_some(), "{object}");
    }
    assert!(judged(b"%PDF-1.4 /JavaScript (a)").is_some());
    assert!(judged(b"%PDF-1.4 /JavaScript").is_some());
    assert!(judged(b"%PDF-1.4\n/Launch").is_some());
    assert!(judged(b"%PDF-1.4\n(/JavaScript)").is_none());
}

#[test]
fn refuses_objects_that_hide_in_strings_and_streams() {
    let evil = "<</S/JavaScript/JS(a)>>";
    for hidden in [
        format!("6 0 obj{evil}"),
        format!("6 0obj {evil}"),
        format!("6 0 %\nobj%\n{evil}"),
        format!("trailer{evil}"),
    ] {
        assert!(judged(&stream("", hidden.as_bytes())).is_some(), "{hidden}");
        assert!(judged(&document(&format!("({hidden})"))).is_some(), "{hidden}");
        assert!(judged(&document(&format!("(open {hidden}"))).is_some(), "{hidden}");
        assert!(judged(&document(&format!("% {hidden}"))).is_some(), "{hidden}");
        let ended_early = stream("", format!("endstream {evil}").as_bytes());
        assert!(judged(&ended_early).is_some());
    }
    for not_a_stream in [
        "<< /A << /B 1 >> stream\n/JS (a) >>",
        "[ << >> stream\n<< /JS (a) >> ]",
        "<< /A <4z >> stream\n/JS (a) >>",
        "<< /A 1 stream\n/JS (a) >>",
    ] {
        assert!(judged(&document(not_a_stream)).is_some(), "{not_a_stream}");
    }
}

#[test]
fn passes_over_the_dull_part_of_a_stream_alone() {
    for length in (0..70).chain([4090, 5000]) {
        let dull = "jmr obj".repeat(length / 7) + &"x".repeat(length % 7);
        let hidden = format!("{dull}6 0 obj<</S/JavaScript>>");
        assert!(judged(&stream("", hidden.as_bytes())).is_some(), "{length}");
        let behind = [stream("", dull.as_bytes()), b"6 0 obj<</S/JavaScript>>".to_vec()].concat();
        assert!(judged(&behind).is_some(), "{length}");
        let ended = format!("{dull}endstream /JavaScript");
        assert!(judged(&stream("", ended.as_bytes())).is_some(), "{length}");
        assert_eq!(judged(&stream("", format!("{dull} /JavaScript ").as_bytes())), None, "{length}");
    }
}

#[test]
fn refuses_what_it_cannot_look_into() {
    assert!(judged(&document("<< /Encrypt 5 0 R >>")).is_some());
    let trailer = b"%PDF-1.4\ntrailer << /Root 1 0 R /Encrypt << /Filter /Standard >> >>";
    assert!(judged(trailer).is_some());
    let plain = b"10 0 <</A 1>>";
    let data = packed(plain);
    let good = "/Type /ObjStm /N 1 /First 5 /Filter /FlateDecode";
    assert_eq!(judged(&stream(good, &data)), None);
    assert_eq!(judged(&stream("/N 1 /First 5 /Filter [/Fl]", &data)), None);
    assert_eq!(judged(&stream("/N 1 /First 5 /Filter /FlateDecode /DecodeParms null", &data)), None);
    for dictionary in [
        "/Type /ObjStm",
        "/Type /ObjStm /N 1 /First 5",
        "/Type /ObjStm /N 1 /First 5 /Filter /LZWDecode",
        "/Type /ObjStm /N 1 /First 5 /Filter [/ASCII85Decode /FlateDecode]",
        "/Type /ObjStm /N 1 /First 5 /Filter [/FlateDecode /FlateDecode]",
        "/Type /ObjStm /N 1 /First 5 /Filter 7 0 R",
        "/Type /ObjStm /N 1 /First 5 /Filter /FlateDecode /Filter /FlateDecode",
        "/Type /ObjStm /N 1 /First 5 /Filter /FlateDecode /DecodeParms << /Predictor 12 >>",
        "/Type /ObjStm /N 1 /First 5 /Filter /FlateDecode /DecodeParms 7 0 R",
        "/Type /ObjStm /N 1 /First 5 /Filter /FlateDecode /F (elsewhere)",
        "/Type /ObjStm /N 1 /First 7 0 R /Filter /FlateDecode",
        "/Type /ObjStm /N 1 /N 2 /First 5 /Filter /FlateDecode",
        "/Type /ObjStm /N 2 /First 5 /Filter /FlateDecode",
        "/Type /ObjStm /N 1 /First 3 /Filter /FlateDecode",
        "/Type /ObjStm /N 1 /First 6 /Filter /FlateDecode",
        "/Type /ObjStm /N 1 /First 99 /Filter /FlateDecode",
        "/Type /ObjStm /N 0 /First 5 /Filter /FlateDecode",
        "/Type /ObjStm /N 99999999999 /First 5 /Filter /FlateDecode",
        "/#54ype /#4fbjStm /N 1 /First 5 /Filter /LZWDecode",
        "/N 1 /First 5 /Filter /LZWDecode",
    ] {
        assert!(judged(&stream(dictionary, &data)).is_some(), "{dictionary}");
    }
    for bytes in [&data[..data.len() - 5], &data[1..], b"", &[data.as_slice(), b"more"].concat()] {
        let verdict = judged(&stream(good, bytes));
        assert_eq!(verdict.is_some(), !bytes.starts_with(&data), "{bytes:?}");
    }
    let cut = stream(good, &data);
    assert_eq!(judged(&cut[..cut.len() - 40]), Some(CUT));
    let mut lone = b"%PDF-1.7\n5 0 obj<</Type/ObjStm/N 1/First 5/Filter/FlateDecode>>stream\r".to_vec();
    lone.extend_from_slice(&data);
    assert!(judged(&lone).is_some());
}

#[test]
fn refuses_object_streams_whose_dictionary_readers_could_differ_on() {
    let data = packed(b"10 0 <</S/JavaScript/JS(a)>>");
    let good = "/Type /ObjStm /N 1 /First 5 /Filter /FlateDecode";
    for odd in ["/X }", "/X {", "/X {}", "/X )", "/X ]", "/X [", "/X > ", "/X <4(>", "/X <4z>", ">>"] {
        assert!(judged(&stream(&format!("{good} {odd}"), &data)).is_some(), "{odd}");
        assert!(judged(&stream(&format!("{odd} {good}"), &data)).is_some(), "{odd}");
    }
    for word in ["stream\x0c\n", "stream\0\n", "stream%\n", "null stream\n", "stream"] {
        let head = format!("%PDF-1.7\n5 0 obj\n<< {good} >>\n{word}");
        assert!(judged(&[head.as_bytes(), &data, b"\nendstream\n"].concat()).is_some(), "{word:?}");
    }
}

#[test]
fn refuses_objects_that_overlap_in_an_object_stream() {
    // The second object begins inside a comment of the first.
    let plain = b"10 0 11 5 <</A%(\n /JS (a) >>";
    let dictionary = "/Type /ObjStm /N 2 /First 10 /Filter /FlateDecode";
    assert!(judged(&stream(dictionary, &packed(plain))).is_some());
    let in_text = b"10 0 11 5 <</A (<</B/C>>) >>";
    assert!(judged(&stream(dictionary, &packed(in_text))).is_some());
    let in_word = b"10 0 11 2 1234 5678";
    assert!(judged(&stream(dictionary, &packed(in_word))).is_some());
    let apart = b"10 0 11 5 1234 5678";
    assert_eq!(judged(&stream(dictionary, &packed(apart))), None);
}

#[test]
fn refuses_an_opening_that_leads_elsewhere_by_reference() {
    let (root, uri) = ("<< /Type /Catalog /OpenAction 11 0 R >>", "<</S/URI/URI(http://evil.example)>>");
    let chain = "<< /S /GoTo /D [1 0 R /Fit] /Next 12 0 R >>";
    let fine = "<< /S /GoTo /D [1 0 R /Fit] >>";
    for (action, refused) in [(uri, true), (chain, true), (fine, false), ("[1 0 R /Fit]", false)] {
        let packed = object_stream(&[root, action, uri]);
        assert_eq!(judged(&packed).is_some(), refused, "{action}");
        assert_eq!(judged(&object_stream(&["1", action, root])).is_some(), refused, "{action}");
        let apart =
            format!("%PDF-1.4\n10 0 obj {root}\nendobj 11 0 obj\n{action} endobj\n12 0 obj{uri}endobj");
        assert_eq!(judged(apart.as_bytes()).is_some(), refused, "{action}");
        let mixed = [apart.as_bytes(), &object_stream(&[root])].concat();
        assert_eq!(judged(&mixed).is_some(), refused, "{action}");
        let cut = format!("%PDF-1.4\n11 0 obj {root}\n11 0 obj {action}");
        assert_eq!(judged(cut.as_bytes()).is_some(), refused, "{action}");
    }
    for action in ["<</S 13 0 R /URI(http://evil.example)>>", "12 0 R", "<</A <4(> /S%a\n/URI>>"] {
        let apart = format!("%PDF-1.4\n10 0 obj {root}\nendobj 11 0 obj\n{action}\nendobj 12 0 obj [/Fit]");
        assert!(judged(apart.as_bytes()).is_some(), "{action}");
    }
    // A number that cannot be told is taken for the one that is opened.
    let unknown = format!("%PDF-1.4\n9 0 obj {root} endobj 00000000000012 0 obj {uri} endobj");
    assert!(judged(unknown.as_bytes()).is_some());
    let links =
        format!("%PDF-1.4\n9 0 obj {root} endobj 12 0 obj <</A {uri} /Next 3 0 R>> endobj 13 0 obj {uri}");
    assert_eq!(judged(links.as_bytes()), None);
}

#[test]
fn refuses_object_streams_that_unpack_to_too_much() {
    let objects = |bytes: usize| {
        let object = format!("<< /A ({}) >>", "x".repeat(bytes));
        object_stream(&[object.as_str()])
    };
    assert_eq!(judged(&objects(900_000)), None);
    assert_eq!(judged(&objects(3_000_000)), Some("object streams that unpack to too much"));
    let stored = |bytes: usize| {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(format!("10 0 ({})", "x".repeat(bytes)).as_bytes()).unwrap();
        stream("/Type /ObjStm /N 1 /First 5 /Filter /FlateDecode", &encoder.finish().unwrap())
    };
    for (bytes, verdict) in [(15 << 20, None), (17 << 20, Some("object streams that unpack to too much"))] {
        let mut look = Pdf::default();
        look.push(&[stored(300_000), objects(bytes)].concat());
        assert_eq!(look.end(), verdict, "{bytes}");
    }
    let many = objects(300_000).repeat(5);
    assert_eq!(judged(&many), Some("object streams that unpack to too much"));
}

#[test]
fn finds_nothing_in_noise() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(8 << 20)
    .collect();
    for pdf in [
        stream("/Type /XObject /Subtype /Image /Filter /DCTDecode", &noise),
        [b"%PDF-1.7\n", noise.as_slice()].concat(),
    ] {
        let mut look = Pdf::default();
        look.push(&pdf);
        assert_eq!(look.end(), None);
    }
    let deep = "[".repeat(121);
    assert!(judged(&document(&deep)).is_some());
    assert_eq!(judged(&document(&format!("){deep}"))), None);
}
