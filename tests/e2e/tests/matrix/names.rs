//! Names that are more than names, and extensions that are not on the list.

use harness::sample::PNG;

use super::case::{Case, Evil, Place};

const DENIED: &str = "upload.filename_denied";
const UNLISTED: &str = "upload.extension_denied";
const PLACES: [Place; 4] = [Place::Only, Place::Second, Place::Last, Place::Posted];

/// Technique, name.
const NAMES: &[(&str, &str)] = &[
    ("path-up", "../a.png"),
    ("path-up-far", "../../../../etc/cron.d/a.png"),
    ("path-absolute", "/etc/a.png"),
    ("path-folder", "folder/a.png"),
    ("path-backslash", "..\\a.png"),
    ("path-drive", "C:\\a.png"),
    ("path-drive-relative", "C:a.png"),
    ("path-share", "\\\\host\\share\\a.png"),
    ("path-only-dots", ".."),
    ("path-division-slash", "a\u{2215}b.png"),
    ("path-fraction-slash", "a\u{2044}b.png"),
    ("path-full-width-slash", "a\u{ff0f}b.png"),
    ("path-full-width-backslash", "a\u{ff3c}b.png"),
    ("path-big-solidus", "a\u{29f8}b.png"),
    ("path-percent-slash", "..%2fa.png"),
    ("path-percent-backslash", "..%5ca.png"),
    ("path-percent-dots", "%2e%2e%2fa.png"),
    ("hidden-file", ".htaccess"),
    ("hidden-file-with-extension", ".a.png"),
    ("hidden-by-spaces", "  .a.png"),
    ("hidden-full-width-dot", "\u{ff0e}a.png"),
    ("dot-at-the-end", "a.png."),
    ("dots-at-the-end", "a.php..."),
    ("space-at-the-end", "a.png "),
    ("wide-space-at-the-end", "a.png\u{3000}"),
    ("stream-data", "a.png::$DATA"),
    ("stream-named", "a.png:evil.exe"),
    ("device-con", "con.png"),
    ("device-nul", "NUL.tar.png"),
    ("device-com", "Com1.png"),
    ("device-lpt", "lpt9.png"),
    ("device-superscript", "com\u{b9}.png"),
    ("device-aux-space", "aux .png"),
    ("double-php", "a.php.jpg"),
    ("double-php-capitals", "a.PhP.jpg"),
    ("double-php5", "a.php5.png"),
    ("double-phtml-semicolon", "a.phtml;.png"),
    ("double-asp-semicolon", "a.asp;.jpg"),
    ("double-aspx", "a.aspx.png"),
    ("double-jsp", "a.jsp.png"),
    ("double-html", "a.html.png"),
    ("double-js", "a.js.png"),
    ("double-exe", "invoice.exe.pdf"),
    ("double-sh", "a.sh.txt"),
    ("double-in-the-middle", "a.php.b.c.png"),
    ("double-php-space", "a.php .jpg"),
    ("double-php-underscore", "a.php_.jpg"),
    ("percent-nul", "a.php%00.jpg"),
    ("percent-nul-at-the-end", "a.png%00"),
    ("percent-dot", "a%2ephp.jpg"),
    ("percent-letter", "a.p%68p.png"),
    ("percent-not-utf-8", "a%ff.png"),
    ("percent-line-break", "a%0d%0aX-Evil: 1.png"),
    ("full-width-php", "a.\u{ff50}\u{ff48}\u{ff50}.jpg"),
    ("ideographic-full-stop", "a\u{3002}php.jpg"),
    ("one-dot-leader", "a\u{2024}php.jpg"),
    ("direction-override", "a\u{202e}gnp.exe.png"),
    ("direction-isolate", "a\u{2066}b.png"),
    ("direction-mark", "a\u{200f}b.png"),
    ("zero-width-space", "a\u{200b}.png"),
    ("zero-width-joiner-inside", "a.ph\u{200d}p.png"),
    ("byte-order-mark", "a\u{feff}.png"),
    ("soft-hyphen", "a.ph\u{ad}p.png"),
    ("tag-character", "a\u{e0041}.png"),
    ("next-line", "a\u{85}.png"),
];

/// Names that are good, but for what their last extension says the file is.
const EXTENSIONS: &[&str] = &[
    "a.php",
    "a.jpg.php",
    "a.phtml",
    "a.jsp",
    "a.aspx",
    "a.exe",
    "a.png.exe",
    "a.html",
    "a.js",
    "a.sh",
    "a.bat",
    "a.hta",
    "a.lnk",
    "a.jar",
    "a.docm",
    "a.xlsm",
    "a.dotm",
    "a.svgz",
    "a.iso",
    "a.swf",
    "README",
    "a.png\u{301}",
    "a.pn\u{261}",
    "a.\u{ff50}\u{ff4e}\u{ff47}",
];

/// Names that are others once letters are folded, or percent signs decoded twice.
const FOLDED: &[(&str, &str)] = &[
    ("circled-php", "a.\u{24df}\u{24d7}\u{24df}.jpg"),
    ("long-s", "a.a\u{17f}p.jpg"),
    ("kelvin-sign", "a.\u{212a}sh.jpg"),
    ("mathematical-php", "a.\u{1d429}\u{1d421}\u{1d429}.png"),
    ("percent-percent", "a%252ephp.jpg"),
    ("percent-percent-slash", "..%252fa.png"),
];

pub(super) fn cases() -> Vec<Case> {
    let named = |(technique, name): &(&str, &str)| Evil::new(format!("name/{technique}"), name, PNG, DENIED);
    let long = [
        Evil::new("name/256-bytes", &format!("{}.png", "a".repeat(252)), PNG, DENIED),
        Evil::new("name/4096-bytes", &format!("{}.png", "长".repeat(1364)), PNG, DENIED),
    ];
    let listed = |name: &&str| Evil::new(format!("extension/{name}"), name, PNG, UNLISTED);
    NAMES
        .iter()
        .map(named)
        .chain(long)
        .chain(EXTENSIONS.iter().map(listed))
        .chain(FOLDED.iter().map(named))
        .flat_map(|evil| Case::places(evil, &PLACES))
        .collect()
}
