//! What a file may be called.
//!
//! A name is judged as it came and as an app would read it that decodes percent signs, once or again, folds letters to
//! their compatible forms (NFKC), or keeps of them what is ASCII or shows; and as one that resolves HTML's character
//! references.
//! What this does not protect from: an app that cuts or rewrites names in another way.

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

use super::part::hex;

/// How often a name is decoded; one that goes on changing is refused.
const MAX_DECODINGS: usize = 4;
/// Bytes of a file name.
pub(super) const MAX_NAME: usize = 255;

/// Extensions that some server or desktop runs, wherever in a name they stand. `com` is missing, because
/// `example.com.png` is a common name and Windows runs only what *ends* in it.
const EXECUTABLE: &[&str] = &[
    "php",
    "php3",
    "php4",
    "php5",
    "php6",
    "php7",
    "php8",
    "php9",
    "phtml",
    "pht",
    "phps",
    "phpt",
    "phar",
    "pgif",
    "inc",
    "hphp",
    "ctp",
    "module",
    "asp",
    "aspx",
    "asa",
    "asax",
    "ascx",
    "ashx",
    "asmx",
    "cer",
    "cshtml",
    "vbhtml",
    "config",
    "jsp",
    "jspx",
    "jspf",
    "jsw",
    "jsv",
    "jhtml",
    "jtml",
    "war",
    "jar",
    "cfm",
    "cfml",
    "cfc",
    "cgi",
    "fcgi",
    "pl",
    "pm",
    "py",
    "pyc",
    "pyw",
    "rb",
    "erb",
    "lua",
    "sh",
    "bash",
    "zsh",
    "csh",
    "ksh",
    "shtml",
    "stm",
    "shtm",
    "exe",
    "dll",
    "scr",
    "pif",
    "bat",
    "cmd",
    "msi",
    "msp",
    "msc",
    "cpl",
    "hta",
    "vbs",
    "vbe",
    "js",
    "jse",
    "mjs",
    "wsf",
    "wsh",
    "ws",
    "ps1",
    "psm1",
    "psd1",
    "reg",
    "lnk",
    "url",
    "inf",
    "scf",
    "sct",
    "jnlp",
    "app",
    "elf",
    "so",
    "deb",
    "rpm",
    "apk",
    "dmg",
    "html",
    "htm",
    "xhtml",
    "xht",
    "mht",
    "mhtml",
    "htaccess",
    "htpasswd",
    "swf",
    "class",
    "vb",
    "application",
    "gadget",
    "xll",
    "chm",
    "desktop",
    "command",
    "ps1xml",
    "psc1",
    "appx",
    "msix",
    "wasm",
    "phtm",
    "xhtm",
    "jspa",
    "svc",
    "svgz",
    "xsl",
    "xslt",
    "htc",
    "wsc",
    "diagcab",
    "library-ms",
    "searchconnector-ms",
    "settingcontent-ms",
    "appref-ms",
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
    let mut reading = name.to_owned();
    for _ in 0..MAX_DECODINGS {
        if let Some(fault) = reading_fault(&reading) {
            return Some(fault);
        }
        let resolved = references_resolved(&reading);
        if let Some(fault) = resolved.as_deref().and_then(reading_fault) {
            return Some(fault);
        }
        reading = match percent_decoded(&reading).map(String::from_utf8) {
            Some(Ok(text)) => text,
            Some(Err(_)) => return Some("a name that is not UTF-8 once its percent signs are decoded"),
            // No fault, when there is nothing to decode.
            None => resolved?,
        };
    }
    Some("a name with codes for codes, again and again")
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
    let compatible = case_folded(&ComposingNormalizerBorrowed::new_nfkc().normalize(name));
    if compatible.contains(['/', '\\']) {
        return Some("a path separator, or what folds to one");
    }
    // Werkzeug's `secure_filename` keeps the ASCII of this.
    let ascii = ascii_of(name);
    // Django keeps what shows, and of spaces only the common one.
    let shown: String = name.chars().filter(|&c| c == ' ' || !c.is_whitespace()).collect();
    for reading in [folded, &compatible, &ascii, &ascii_of(&shown)] {
        if is_device(reading) {
            return Some("the name of a device");
        }
        if hides_executable(reading, extension(name).as_deref()) {
            return Some("a hidden executable extension");
        }
    }
    None
}

/// What an app keeps of a name that keeps only ASCII, lower case.
fn ascii_of(name: &str) -> String {
    let decomposed = DecomposingNormalizerBorrowed::new_nfkd().normalize(name);
    case_folded(&decomposed).chars().filter(char::is_ascii).collect()
}

fn is_device(reading: &str) -> bool {
    let stem = reading.trim().split('.').next().unwrap_or_default().trim();
    let numbered = |prefix| {
        stem.strip_prefix(prefix).is_some_and(|rest: &str| {
            rest.chars().count() == 1 && rest.chars().all(|c| c.is_ascii_digit() || "¹²³".contains(c))
        })
    };
    DEVICES.contains(&stem) || numbered("com") || numbered("lpt")
}

/// Whether an executable extension stands in front of `last`, which the list judges.
fn hides_executable(reading: &str, last: Option<&str>) -> bool {
    let mut pieces = reading.split(['.', ';']).map(str::trim).skip(1).peekable();
    while let Some(piece) = pieces.next() {
        let exempt = pieces.peek().is_none() && last == Some(piece);
        // `php_` and `php~` are what editors and Apache's `AddHandler` make of `php`.
        let bare = piece.trim_end_matches(|c: char| !c.is_alphanumeric());
        if !exempt && [bare, address(piece), unnumbered(piece)].iter().any(|one| EXECUTABLE.contains(one)) {
            return true;
        }
    }
    false
}

/// What stands in front of a query, a fragment or a shell's next word. People write `&` and `,`, too, with a space.
fn address(piece: &str) -> &str {
    let ends = |&(at, c): &(usize, char)| match c {
        '?' | '#' | '|' => true,
        '&' | ',' => !piece[at + 1..].starts_with(char::is_whitespace),
        _ => false,
    };
    piece.char_indices().find(ends).map_or(piece, |(at, _)| &piece[..at]).trim_end()
}

/// `php` of `php_1` and `php(1)`, as apps tell files of one name apart.
fn unnumbered(piece: &str) -> &str {
    let word = piece.trim_end_matches(|c: char| !c.is_alphabetic());
    match piece[word.len()..].starts_with(['_', '-', '~', '(']) {
        true => word,
        false => piece,
    }
}

/// Lower case, by way of upper case: there are letters that only an upper case makes ASCII.
fn case_folded(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// As the bytes would read after one percent-decoding, `%uXXXX` included; `None` when that changes nothing. A percent
/// sign that starts no code stands for itself.
fn percent_decoded(name: &str) -> Option<Vec<u8>> {
    let bytes = name.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if let [b'%', b'u' | b'U', digits @ ..] = &bytes[at..]
            && let Some(character) = digits.get(..4).and_then(code_point)
        {
            decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            at += 6;
            continue;
        }
        let code = match bytes[at..] {
            [b'%', high, low, ..] => hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        decoded.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    (decoded.len() != bytes.len()).then_some(decoded)
}

/// As HTML would read it, which Django and multiparty take names for; `None` when that changes nothing.
fn references_resolved(name: &str) -> Option<String> {
    let (mut resolved, mut rest) = (String::new(), name);
    while let Some(at) = rest.find('&') {
        resolved.push_str(&rest[..at]);
        let (character, used) = reference(&rest[at..]).unwrap_or(('&', 1));
        resolved.push(character);
        rest = &rest[at + used..];
    }
    resolved.push_str(rest);
    (resolved.len() != name.len()).then_some(resolved)
}

/// The character of the reference that a text starts with, and its length. What is not known counts as NUL, which no name
/// may have.
fn reference(text: &str) -> Option<(char, usize)> {
    let (character, used) = match text.strip_prefix("&#") {
        Some(number) => {
            let radix = if number.starts_with(['x', 'X']) { 16 } else { 10 };
            let digits = if radix == 16 { &number[1..] } else { number };
            let count = digits.bytes().take_while(|&b| char::from(b).is_digit(radix)).count();
            let code = u32::from_str_radix(digits.get(..count).filter(|digits| !digits.is_empty())?, radix);
            let character = code.ok().and_then(char::from_u32).unwrap_or('\0');
            (character, text.len() - digits.len() + count)
        }
        // These need no semicolon, and are dropped from names.
        None if text.starts_with("&shy") => ('\u{ad}', 4),
        None if text.starts_with("&nbsp") => ('\u{a0}', 5),
        None => {
            let length = text.bytes().skip(1).take_while(u8::is_ascii_alphanumeric).count();
            let character = match &text[1..=length] {
                _ if !text[1 + length..].starts_with(';') => return None,
                "" => return None,
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => '\0',
            };
            (character, 1 + length)
        }
    };
    Some((character, used + usize::from(text[used..].starts_with(';'))))
}

/// The character of four hex digits.
fn code_point(digits: &[u8]) -> Option<char> {
    let number = digits.iter().try_fold(0, |number, &digit| Some(number << 4 | u32::from(hex(digit)?)))?;
    char::from_u32(number)
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
mod tests;
