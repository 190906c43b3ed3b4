//! What a file may be called.
//!
//! A name is judged as it came and as an app would read it that decodes percent signs or folds full-width letters.
//! What this does not protect from: an app that cuts or rewrites names in a way of its own.

use super::part::hex;

/// Bytes of a file name.
pub(super) const MAX_NAME: usize = 255;

/// Extensions that some server or desktop runs, wherever in a name they stand. `com` is missing, because
/// `example.com.png` is a common name and Windows runs only what *ends* in it.
const EXECUTABLE: &[&str] = &[
    "php", "php3", "php4", "php5", "php6", "php7", "php8", "phtml", "pht", "phps", "phpt", "phar", "pgif",
    "inc", "hphp", "ctp", "module", "asp", "aspx", "asa", "asax", "ascx", "ashx", "asmx", "cer", "cshtml",
    "vbhtml", "config", "jsp", "jspx", "jspf", "jsw", "jsv", "jhtml", "jtml", "war", "jar", "cfm", "cfml",
    "cfc", "cgi", "fcgi", "pl", "pm", "py", "pyc", "pyw", "rb", "erb", "lua", "sh", "bash", "zsh", "csh",
    "ksh", "shtml", "stm", "shtm", "exe", "dll", "scr", "pif", "bat", "cmd", "msi", "msp", "msc", "cpl",
    "hta", "vbs", "vbe", "js", "jse", "mjs", "wsf", "wsh", "ws", "ps1", "psm1", "psd1", "reg", "lnk", "url",
    "inf", "scf", "sct", "jnlp", "app", "elf", "so", "deb", "rpm", "apk", "dmg", "html", "htm", "xhtml",
    "xht", "mht", "mhtml", "htaccess", "htpasswd", "swf",
];

/// Names that Windows gives to devices, with any extension.
const DEVICES: &[&str] = &["con", "prn", "aux", "nul", "clock$", "conin$", "conout$"];

/// Says what is wrong with a name, if anything. Whether its last extension may come is for the policy's list to say,
/// not for this.
pub(super) fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("an empty name");
    }
    if name.len() > MAX_NAME {
        return Some("a name over 255 bytes");
    }
    reading_fault(name).or_else(|| {
        let decoded = percent_decoded(name)?;
        match std::str::from_utf8(&decoded) {
            Ok(text) => reading_fault(text),
            Err(_) => Some("a name that is not UTF-8 once its percent signs are decoded"),
        }
    })
}

/// Whether a name ends in an extension that some server or desktop runs: for names that no list is asked about.
pub(super) fn executable(name: &str) -> Option<&'static str> {
    let extension = extension(name)?;
    EXECUTABLE.contains(&extension.as_str()).then_some("an executable extension")
}

/// What follows the last dot, lower case; `None` unless it is letters and digits.
pub(super) fn extension(name: &str) -> Option<String> {
    let (stem, extension) = name.rsplit_once('.')?;
    let plain = !extension.is_empty() && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    (plain && !stem.is_empty()).then(|| extension.to_ascii_lowercase())
}

/// Judges one reading of a name.
fn reading_fault(name: &str) -> Option<&'static str> {
    for c in name.chars() {
        match c {
            '/' | '\\' | '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{29f5}' | '\u{fe68}' | '\u{ff0f}'
            | '\u{ff3c}' => {
                return Some("a path separator, or what folds to one");
            }
            ':' => return Some("a colon: a drive, a stream or a resource fork"),
            _ if c.is_control() => return Some("a control character"),
            _ if is_invisible(c) => {
                return Some("a character that is invisible or turns the direction of text");
            }
            _ => {}
        }
    }
    if name.ends_with('.') || name.ends_with(char::is_whitespace) {
        return Some("a dot or space at the end");
    }
    let folded: String = name.chars().map(fold).collect();
    let folded = folded.trim();
    if folded.starts_with('.') {
        return Some("a dot at the start");
    }
    let stem = folded.split('.').next().unwrap_or(folded).trim();
    let numbered = |prefix| {
        stem.strip_prefix(prefix).is_some_and(|rest: &str| {
            rest.chars().count() == 1 && rest.chars().all(|c| c.is_ascii_digit() || "¹²³".contains(c))
        })
    };
    if DEVICES.contains(&stem) || numbered("com") || numbered("lpt") {
        return Some("the name of a device");
    }
    let last = extension(name);
    let mut pieces = folded.split(['.', ';']).map(str::trim).skip(1).peekable();
    while let Some(piece) = pieces.next() {
        let is_last = pieces.peek().is_none();
        let exempt = is_last && last.as_deref() == Some(piece);
        // `php_` and `php~` are what editors and Apache's `AddHandler` make of `php`.
        let bare = piece.trim_end_matches(|c: char| !c.is_alphanumeric());
        if !exempt && EXECUTABLE.contains(&bare) {
            return Some("a hidden executable extension");
        }
    }
    None
}

/// As the bytes would read after one percent-decoding; `None` when that changes nothing. A percent sign that starts
/// no code stands for itself.
fn percent_decoded(name: &str) -> Option<Vec<u8>> {
    let bytes = name.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = match bytes[at..] {
            [b'%', high, low, ..] => hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        decoded.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    (decoded.len() != bytes.len()).then_some(decoded)
}

/// Lower case, with full-width forms and the dots of other scripts turned into ASCII.
fn fold(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(c as u32 - 0xfee0).map_or(c, |ascii| ascii.to_ascii_lowercase())
        }
        '\u{2024}' | '\u{3002}' | '\u{fe52}' | '\u{ff61}' => '.',
        _ => c.to_lowercase().next().unwrap_or(c),
    }
}

/// Characters that show nothing, or that change what the rest shows.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff9}'..='\u{fffc}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        || c as u32 & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_names_of_people_pass() {
        for name in [
            "a.png",
            "IMG_0001 (2).JPG",
            "合同：第1版（终稿）….pdf",
            "e\u{301}te\u{301}.png",
            "Screenshot 2024-01-01 at 1.23.45\u{202f}PM.png",
            "example.com.png",
            "v1.2.3.pdf",
            "100%.png",
            "50%25.png",
            "say %22hi%22.png",
            "❤\u{fe0f}.png",
            "console.png",
            "comic.png",
            "php.png",
            "app.js",
            // Not names to fear but extensions to refuse, unless the list has them.
            "card.exe",
            "a.jpg.php",
            &format!("{}.png", "a".repeat(251)),
        ] {
            assert_eq!(fault(name), None, "{name}");
        }
    }

    #[test]
    fn refuses_names_that_are_more_than_names() {
        for name in [
            "",
            "../a.png",
            "..",
            ".",
            "a/b.png",
            "a\\b.png",
            "C:a.png",
            "a.png::$DATA",
            "a.png:x",
            "a\u{ff0f}b.png",
            "a\u{2215}b.png",
            "a\0.png",
            "a\n.png",
            "a\u{85}.png",
            "a\u{7f}.png",
            "a\u{202e}gnp.exe.png",
            "a\u{200b}.png",
            "a\u{feff}.png",
            "a\u{2066}.png",
            "a\u{e0041}.png",
            ".htaccess",
            ".a.png",
            "  .a.png",
            "\u{ff0e}a.png",
            "a.png.",
            "a.png ",
            "a.png\u{3000}",
            "con.png",
            "CON",
            "nul.tar.png",
            "Com1.png",
            "lpt9.png",
            "com¹.png",
            "aux .png",
            "a.php.jpg",
            "a.PhP.jpg",
            "a.phtml;.png",
            "a.php;.jpg",
            "a.php .jpg",
            "a.php_.jpg",
            "a.php%00.jpg",
            "a%2ephp.jpg",
            "a.p%68p.png",
            "..%2fa.png",
            "a%5cb.png",
            "a.\u{ff50}\u{ff48}\u{ff50}.jpg",
            "a\u{3002}php.jpg",
            "a.asp;.jpg",
            "a.jsp.png",
            "a.html.png",
            "a.js.png",
            "a%ff.png",
        ] {
            assert!(fault(name).is_some(), "{name:?}");
        }
        assert!(fault(&format!("{}.png", "a".repeat(252))).is_some());
    }

    #[test]
    fn takes_the_extension_behind_the_last_dot() {
        assert_eq!(extension("a.tar.GZ").as_deref(), Some("gz"));
        for name in ["a", ".png", "a.", "a.pn\u{430}", "a.p g", "a.png\u{301}"] {
            assert_eq!(extension(name), None, "{name}");
        }
    }
}
