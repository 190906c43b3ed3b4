//! Files as the whole body, whose name is in the path or in `Content-Disposition`.

use harness::http::{Call, call, post};
use harness::sample::{PHP, PNG};

use super::case::Case;

const NAME: &str = "upload.filename_denied";
const EXTENSION: &str = "upload.extension_denied";
const MALFORMED: &str = "upload.malformed";

/// Technique, the path's last segment, and the code.
const PATHS: &[(&str, &str, &str)] = &[
    ("script", "a.php", EXTENSION),
    ("script-behind-a-picture", "a.png.php", EXTENSION),
    ("no-extension", "a", EXTENSION),
    ("double", "a.php.png", NAME),
    ("double-percent", "a%2ephp.png", NAME),
    ("double-percent-letters", "a.%70%68%70.png", NAME),
    ("hidden", ".png", NAME),
    ("hidden-settings", ".htaccess", NAME),
    ("device", "con.png", NAME),
    ("space-at-the-end", "a.png%20", NAME),
    ("dot-at-the-end", "a.png.", NAME),
    ("stream", "a.png:x", NAME),
    ("stream-percent", "a.png%3A%3A$DATA", NAME),
    ("direction", "a%E2%80%AEgnp.png", NAME),
    ("full-width-dot", "a%EF%BC%8Ephp.png", NAME),
    ("line-break", "a%0Ab.png", "request.malformed"),
];

/// Technique, `Content-Disposition`, and the code. `%` and two digits are the bytes they stand for.
const DISPOSITIONS: &[(&str, &str, &str)] = &[
    ("script", "attachment; filename=\"a.php\"", EXTENSION),
    ("double", "attachment; filename=\"a.php.png\"", NAME),
    ("path", "attachment; filename=\"../a.png\"", NAME),
    ("extended-script", "attachment; filename*=UTF-8''a.php", EXTENSION),
    ("differ", "attachment; filename=\"a.png\"; filename*=UTF-8''a.php", MALFORMED),
    ("twice", "attachment; filename=\"a.png\"; filename=\"a.php\"", MALFORMED),
    ("twice-in-capitals", "attachment; filename=\"a.png\"; FILENAME=\"a.php\"", MALFORMED),
    ("continued", "attachment; filename*0=\"a.\"; filename*1=\"php\"", MALFORMED),
    ("encoded-word", "attachment; filename=\"=?utf-8?B?YS5waHA=?=\"", MALFORMED),
    ("open-quote", "attachment; filename=\"a.png", MALFORMED),
    ("escaped-quote", "attachment; filename=\"a.php\\\".png\"", MALFORMED),
    ("odd-charset", "attachment; filename*=utf-7''a.png", MALFORMED),
    ("odd-kind", "whatever; filename=\"a.png\"", MALFORMED),
    ("no-kind", "filename=\"a.png\"", MALFORMED),
    ("tab", "attachment;\tfilename=\"a.png\"", MALFORMED),
    ("odd-parameter", "attachment; size=3; filename=\"a.png\"", MALFORMED),
];

pub(super) fn cases() -> Vec<Case> {
    let png = |name: String, call: Call, code| Case::whole(&name, call, "image/png", PNG, code);
    let paths = PATHS.iter().map(|(technique, segment, code)| {
        png(format!("raw-path/{technique}"), call("PUT", &format!("/raw/{segment}")), code)
    });
    let dispositions = DISPOSITIONS.iter().map(|(technique, value, code)| {
        let call = post("/raw/a.png").header("content-disposition", value);
        png(format!("raw-disposition/{technique}"), call, code)
    });
    let put = || call("PUT", "/raw/a.png");
    let named = |name| put().header("content-disposition", format!("attachment; filename=\"{name}\""));
    let others = [
        // The app may store by the path, whatever else is said.
        png(
            "raw/good-name-bad-path".into(),
            call("PUT", "/raw/a.php").header("content-disposition", "inline; filename=\"a.png\""),
            NAME,
        ),
        png("raw/bad-name-good-path".into(), named("a.php"), EXTENSION),
        png("raw/two-dispositions".into(), named("a.png").header("content-disposition", "inline"), MALFORMED),
        png("raw/packed".into(), put().header("content-encoding", "gzip"), MALFORMED),
        png("raw/range".into(), put().header("content-range", "bytes 0-68/100"), MALFORMED),
        Case::whole("raw/mixed", put(), "multipart/mixed; boundary=b", PNG, MALFORMED),
        Case::whole("raw/form-without-boundary", put(), "multipart/form-data", PNG, MALFORMED),
        Case::whole("raw/form-that-is-none", put(), "multipart/form-data; boundary=b", PNG, MALFORMED),
        Case::whole("raw/empty", put(), "image/png", Vec::new(), "upload.type_mismatch"),
        Case::whole("raw/script", put(), "image/png", PHP, "upload.type_mismatch"),
    ];
    paths.chain(dispositions).chain(others).collect()
}
