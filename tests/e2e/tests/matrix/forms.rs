//! Forms that two readers could read differently, and forms that are too much.

use harness::Form;
use harness::http::post;
use harness::sample::{PHP, PNG};

use super::case::{Case, media_type};

const MALFORMED: &str = "upload.malformed";
const TYPE: &str = "multipart/form-data; boundary=b";
const FILE: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"a.png\"";
const FIELD: &str = "Content-Disposition: form-data; name=\"note\"";

/// A part under the boundary `b`, without what ends it.
fn part(head: &str, content: &[u8]) -> Vec<u8> {
    [b"--b\r\n", head.as_bytes(), b"\r\n\r\n", content].concat()
}

/// One file under the boundary `b`, whose head ends in these lines.
fn file(lines: &str) -> Vec<u8> {
    closed(part(&format!("{FILE}{lines}"), PNG))
}

fn closed(part: Vec<u8>) -> Vec<u8> {
    [part, b"\r\n--b--\r\n".to_vec()].concat()
}

/// A form with one file in it, written with one text in place of another.
fn with(from: &str, to: &str) -> Vec<u8> {
    let body = file("\r\nContent-Type: image/png");
    let at = body.windows(from.len()).position(|window| window == from.as_bytes());
    let at = at.unwrap_or_else(|| panic!("the form has no {from:?}"));
    [&body[..at], to.as_bytes(), &body[at + from.len()..]].concat()
}

/// Technique and the value of `Content-Type`, for a body under the boundary `b`.
const TYPES: &[(&str, &str)] = &[
    ("no-boundary", "multipart/form-data"),
    ("empty-boundary", "multipart/form-data; boundary="),
    ("two-boundaries", "multipart/form-data; boundary=a; boundary=b"),
    ("two-spellings", "multipart/form-data; boundary=b; BOUNDARY=a"),
    ("continued-boundary", "multipart/form-data; boundary*0=b; boundary*1="),
    ("extended-boundary", "multipart/form-data; boundary*=utf-8''b"),
    ("open-quote", "multipart/form-data; boundary=\"b"),
    ("escaped-quote", "multipart/form-data; boundary=\"\\b\""),
    ("text-behind-the-quote", "multipart/form-data; boundary=\"b\"c"),
    ("space-before-equals", "multipart/form-data; boundary =b"),
    ("space-after-equals", "multipart/form-data; boundary= b"),
    ("tab", "multipart/form-data;\tboundary=b"),
    ("comma", "multipart/form-data; boundary=b, multipart/form-data; boundary=a"),
    ("second-type-in-front", "text/plain, multipart/form-data; boundary=b"),
    ("trailing-semicolon", "multipart/form-data; boundary=b;"),
    ("charset", "multipart/form-data; charset=utf-7; boundary=b"),
    ("charset-ebcdic", "multipart/form-data; charset=ibm037; boundary=b"),
    ("odd-parameter", "multipart/form-data; start=x; boundary=b"),
    ("mixed", "multipart/mixed; boundary=b"),
    ("related", "multipart/related; boundary=b"),
    ("no-semicolon", "multipart/form-data boundary=b"),
    ("url-encoded", "application/x-www-form-urlencoded"),
    ("text", "text/plain"),
    ("json", "application/json"),
];

/// Technique and a change of a good form.
const CHANGES: &[(&str, &str, &str)] = &[
    ("preamble", "--b\r\n", "preamble\r\n--b\r\n"),
    ("line-break-in-front", "--b\r\n", "\r\n--b\r\n"),
    ("space-behind-the-boundary", "--b\r\n", "--b \r\n"),
    ("tab-behind-the-boundary", "--b\r\n", "--b\t\r\n"),
    ("bare-lf-behind-the-boundary", "--b\r\n", "--b\n"),
    ("bare-cr-behind-the-boundary", "--b\r\n", "--b\r"),
    ("longer-boundary", "--b\r\n", "--bc\r\n"),
    ("bare-lf-in-the-head", "\r\nContent-Type", "\nContent-Type"),
    ("bare-cr-in-the-head", "\r\nContent-Type", "\rContent-Type"),
    ("bare-lf-before-the-body", "image/png\r\n\r\n", "image/png\n\n"),
    ("bare-lf-before-the-closing", "\r\n--b--", "\n--b--"),
    ("no-line-before-the-closing", "\r\n--b--", "--b--"),
    ("no-closing", "\r\n--b--\r\n", ""),
    ("half-a-closing", "\r\n--b--\r\n", "\r\n--b-"),
    ("another-boundary-instead-of-the-closing", "\r\n--b--\r\n", "\r\n--b\r\n"),
    ("epilogue", "--b--\r\n", "--b--\r\nepilogue"),
    ("epilogue-without-a-line", "--b--\r\n", "--b--epilogue"),
    (
        "part-in-the-epilogue",
        "--b--\r\n",
        "--b--\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.php\"\r\n\r\nx\r\n--b--\r\n",
    ),
    ("two-line-breaks-at-the-end", "--b--\r\n", "--b--\r\n\r\n"),
    ("boundary-in-mid-line", "\r\n--b--", "x--b\r\n\r\n--b--"),
    ("no-head", FILE, ""),
    ("no-disposition", FILE, "X-Nothing: here"),
    (
        "two-dispositions",
        FILE,
        "Content-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.php\"",
    ),
    (
        "two-dispositions-one-in-capitals",
        FILE,
        "Content-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nCONTENT-DISPOSITION: form-data; name=\"file\"; filename=\"a.php\"",
    ),
    ("disposition-of-a-mail", "form-data;", "attachment;"),
    ("disposition-odd", "form-data;", "form-data:"),
    ("two-file-names", "filename=\"a.png\"", "filename=\"a.png\"; filename=\"a.php\""),
    ("two-file-names-one-in-capitals", "filename=\"a.png\"", "filename=\"a.png\"; FILENAME=\"a.php\""),
    ("two-names", "name=\"file\"", "name=\"file\"; name=\"other\""),
    ("no-name", "name=\"file\"; ", ""),
    ("empty-name", "name=\"file\"", "name=\"\""),
    ("extended-name", "name=\"file\"", "name*=utf-8''file"),
    ("file-names-differ", "filename=\"a.png\"", "filename=\"a.png\"; filename*=utf-8''a.php"),
    ("file-name-continued", "filename=\"a.png\"", "filename*0=\"a.\"; filename*1=\"php\""),
    (
        "file-name-continued-beside-a-good-one",
        "filename=\"a.png\"",
        "filename=\"a.png\"; filename*0=\"a.php\"",
    ),
    ("file-name-in-gbk", "filename=\"a.png\"", "filename*=gbk''a.png"),
    ("file-name-in-utf-7", "filename=\"a.png\"", "filename*=utf-7''a.png"),
    ("file-name-without-charset", "filename=\"a.png\"", "filename*=''a.png"),
    ("file-name-extended-in-quotes", "filename=\"a.png\"", "filename*=\"utf-8''a.png\""),
    ("file-name-broken-percent", "filename=\"a.png\"", "filename*=utf-8''a%2.png"),
    ("file-name-percent-not-utf-8", "filename=\"a.png\"", "filename*=utf-8''a%ff.png"),
    ("file-name-encoded-word", "filename=\"a.png\"", "filename=\"=?utf-8?B?YS5waHA=?=\""),
    ("file-name-escaped-quote", "filename=\"a.png\"", "filename=\"a.php\\\".png\""),
    ("file-name-open-quote", "filename=\"a.png\"", "filename=\"a.png"),
    ("file-name-quote-and-more", "filename=\"a.png\"", "filename=\"a.php\".png"),
    ("file-name-without-quotes", "filename=\"a.png\"", "filename=a b.png"),
    ("file-name-in-single-quotes", "filename=\"a.png\"", "filename='a b.png'"),
    ("file-name-nul", "filename=\"a.png\"", "filename=\"a.php\0.png\""),
    ("file-name-line-break", "filename=\"a.png\"", "filename=\"a.php\r\n.png\""),
    ("file-name-folded", "; filename=\"a.png\"", ";\r\n filename=\"a.png\""),
    ("file-name-folded-with-a-tab", "; filename=\"a.png\"", ";\r\n\tfilename=\"a.png\""),
    ("tab-between-parameters", "; filename", ";\tfilename"),
    ("space-before-equals", "filename=", "filename ="),
    ("space-after-equals", "filename=", "filename= "),
    ("space-before-the-semicolon", "; filename", " ; filename"),
    ("semicolons", "; filename", ";; filename"),
    ("trailing-semicolon", "filename=\"a.png\"", "filename=\"a.png\";"),
    ("odd-parameter", "filename=", "size=3; filename="),
    ("space-before-the-colon", "Content-Disposition:", "Content-Disposition :"),
    ("space-before-the-name", "Content-Disposition:", " Content-Disposition:"),
    ("no-colon", "\r\nContent-Type", "\r\nnonsense\r\nContent-Type"),
    ("two-types", "image/png\r\n", "image/png\r\nContent-Type: text/html\r\n"),
    ("type-odd", "image/png", "image"),
    ("type-multipart", "image/png", "multipart/mixed; boundary=c"),
    ("type-in-utf-7", "image/png", "text/plain; charset=utf-7"),
    ("transfer-base64", "image/png", "image/png\r\nContent-Transfer-Encoding: base64"),
    ("transfer-quoted-printable", "image/png", "image/png\r\nContent-Transfer-Encoding: quoted-printable"),
    ("transfer-odd", "image/png", "image/png\r\nContent-Transfer-Encoding: x-uuencode"),
    ("part-encoded", "image/png", "image/png\r\nContent-Encoding: gzip"),
    ("part-range", "image/png", "image/png\r\nContent-Range: bytes 0-5/10"),
    ("length-too-long", "image/png", "image/png\r\nContent-Length: 100000"),
    ("length-too-short", "image/png", "image/png\r\nContent-Length: 5"),
    ("length-odd", "image/png", "image/png\r\nContent-Length: +69"),
    ("control-character-in-the-head", "image/png", "image/png\r\nX-Odd: \x01"),
];

pub(super) fn cases() -> Vec<Case> {
    let types = TYPES
        .iter()
        .map(|(technique, value)| Case::form(&format!("form-type/{technique}"), value, file(""), MALFORMED));
    let changes = CHANGES.iter().map(|(technique, from, to)| {
        Case::form(&format!("form/{technique}"), TYPE, with(from, to), MALFORMED)
    });
    types.chain(changes).chain(nested()).chain(headers()).chain(too_much()).collect()
}

/// Forms in forms, and files that are none.
fn nested() -> Vec<Case> {
    let inner = "--c\r\nContent-Disposition: attachment; filename=\"a.php\"\r\n\r\nx\r\n--c--";
    let mixed = format!("{FIELD}\r\nContent-Type: multipart/mixed; boundary=c");
    let malformed = |name: &str, body: Vec<u8>| Case::form(&format!("form/{name}"), TYPE, body, MALFORMED);
    let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
    let long_body = with("--b\r\n", &format!("--{}\r\n", "b".repeat(71)));
    let unlisted = Form::new().file("avatar", "a.png", "image/png", PNG).body();
    let charset =
        [part("Content-Disposition: form-data; name=\"_charset_\"", b"utf-7\r\n"), file("")].concat();
    vec![
        malformed("form-in-a-form", closed(part(&mixed, inner.as_bytes()))),
        malformed("file-without-a-name", closed(part(&format!("{FIELD}\r\nContent-Type: image/png"), PNG))),
        malformed(
            "file-as-octets-without-a-name",
            closed(part(&format!("{FIELD}\r\nContent-Type: application/octet-stream"), PHP)),
        ),
        malformed("empty-body", Vec::new()),
        malformed("nothing-of-the-kind", b"nothing of the kind".to_vec()),
        malformed(
            "head-not-utf-8",
            closed(
                [
                    b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\xff.png\"\r\n\r\n",
                    PNG,
                ]
                .concat(),
            ),
        ),
        Case::form("form-type/71-characters", &long, long_body, MALFORMED),
        malformed("charset-field", charset),
        Case::form("form/file-in-another-field", &Form::content_type(), unlisted, MALFORMED),
    ]
}

/// A good form under a head that makes another body of it.
fn headers() -> Vec<Case> {
    let with = |name: &str, header: &str, value: &str| {
        Case::whole(
            &format!("form-head/{name}"),
            post("/form").header(header, value),
            TYPE,
            file(""),
            MALFORMED,
        )
    };
    vec![
        with("two-types", "content-type", "multipart/form-data; boundary=c"),
        with("two-types-alike", "content-type", TYPE),
        with("packed", "content-encoding", "gzip"),
        with("packed-twice", "content-encoding", "identity, br"),
        with("range", "content-range", "bytes 0-99/200"),
    ]
}

/// Heads, parts, fields, files and bytes beyond their limits.
fn too_much() -> Vec<Case> {
    let (large, files) = ("upload.too_large", "upload.too_many_files");
    let form = |name: &str, body: Vec<u8>, code| {
        Case::form(&format!("limit/{name}"), &Form::content_type(), body, code)
    };
    let field = |form: Form, number: usize| form.text(&format!("field-{number}"), "x");
    let picture = |form: Form, _| form.file("file", "a.png", "image/png", PNG);
    let mut kinds = Vec::new();
    for (name, extension, size) in [("image", "png", 5 << 20), ("text", "txt", 1 << 20)] {
        let content = match extension {
            "png" => harness::sample::png_of(size + 1),
            _ => b"a line of text\n".repeat(size / 15 + 1),
        };
        let body = Form::of(&format!("a.{extension}"), media_type(extension), &content).body();
        kinds.push(form(&format!("{name}-one-byte-too-large"), body, large).over(size as u64));
    }
    let head = |lines: String| Form::new().part(&format!("{FILE}\r\n{lines}"), PNG).body();
    kinds.extend([
        form("head-of-9-KB", head(format!("X-Long: {}\r\n", "x".repeat(9 * 1024))), MALFORMED),
        form("head-of-100-lines", head((0..100).map(|n| format!("X-{n}: y\r\n")).collect()), MALFORMED),
        form("1000-fields", (0..1000).fold(Form::new(), field).body(), MALFORMED),
        form("four-files", (0..4).fold(Form::new(), picture).body(), files).over(3),
        form("field-over-1-MB", Form::new().text("note", &"x".repeat((1 << 20) + 1)).body(), large)
            .over(1 << 20),
        form("body-over-110-MB", vec![b'x'; (110 << 20) + 1], "body.too_large"),
    ]);
    kinds
}
