//! What a client declares a file to be: the part's `Content-Type`, or the request's when the file is the body.
//!
//! Apps keep this type and serve files by it, so that it must not contradict the content. Clients declare by the
//! extension and the tables of their system: equivalent names agree, and a type that says nothing contradicts nothing.

use super::family::{self, Family};

/// Types that say nothing of a file. The last is what `curl --data-binary` declares of any body.
const SILENT: &[&str] = &[
    "*/*",
    "application/octet-stream",
    "application/x-octet-stream",
    "binary/octet-stream",
    "application/binary",
    "application/unknown",
    "application/x-unknown",
    "unknown/unknown",
    "application/download",
    "application/x-download",
    "application/force-download",
    "application/x-www-form-urlencoded",
];
/// In the name of a type that is not in the table: something that a browser or server may run.
const ACTING: &[&str] = &[
    "html",
    "script",
    "java",
    "php",
    "jsp",
    "asp",
    "httpd",
    "cgi",
    "perl",
    "python",
    "ruby",
    "shell",
    "x-sh",
    "x-csh",
    "flash",
    "executable",
    "msdos",
    "msdownload",
    "x-bat",
    "hta",
    "xul",
    "xsl",
    "+xml",
    "macroenabled",
];

/// Whether a declared type contradicts a file of this family, whose own type is `own`.
pub(super) fn contradicts(declared: &str, family: Family, own: &str) -> bool {
    if declared == own || SILENT.contains(&declared) {
        return false;
    }
    if let Some(families) = family::named(declared) {
        return !families.contains(&family);
    }
    let kind = |text: &str| text.split('/').next().map(str::to_owned);
    family != Family::Other
        && (kind(declared) != kind(own) || ACTING.iter().any(|acting| declared.contains(acting)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(declared: &str, extension: &str) -> bool {
        let family = family::expected(extension)[0];
        contradicts(declared, family, &family.media_type(extension, b""))
    }

    #[test]
    fn lets_other_names_of_the_same_kind_pass() {
        for (declared, extension) in [
            ("image/png", "png"),
            ("image/x-png", "png"),
            ("image/jpg", "jpeg"),
            ("image/pjpeg", "jpg"),
            ("image/*", "png"),
            ("*/*", "png"),
            ("application/octet-stream", "docx"),
            ("binary/octet-stream", "mp4"),
            ("application/x-zip-compressed", "zip"),
            ("application/x-zip-compressed", "docx"),
            ("application/wps-office.docx", "docx"),
            ("application/kswps", "docx"),
            ("audio/x-wav", "wav"),
            ("application/vnd.ms-excel", "csv"),
            ("text/plain", "csv"),
            ("text/x-log", "log"),
            ("text/x-anything", "txt"),
            ("video/quicktime", "mp4"),
            ("audio/mp4", "m4a"),
            ("video/3gpp", "3gp"),
            ("text/xml", "xml"),
            ("image/vnd.microsoft.icon", "ico"),
            ("application/x-unheard-of", "unheard"),
        ] {
            assert!(!judged(declared, extension), "{declared} for {extension}");
        }
    }

    #[test]
    fn refuses_a_type_that_the_content_is_not() {
        for (declared, extension) in [
            ("text/html", "png"),
            ("text/html", "txt"),
            ("application/xhtml+xml", "xml"),
            ("application/mathml+xml", "xml"),
            ("image/svg+xml", "png"),
            ("image/gif", "png"),
            ("image/png", "jpg"),
            ("text/plain", "png"),
            ("text/plain", "svg"),
            ("text/x-php", "txt"),
            ("application/x-httpd-php", "png"),
            ("application/x-httpd-php", "docx"),
            ("application/java-archive", "zip"),
            ("application/x-shockwave-flash", "docx"),
            ("application/x-anything", "png"),
            ("video/anything", "png"),
            ("application/pdf", "docx"),
            ("application/javascript", "json"),
            ("text/html", "unheard"),
        ] {
            assert!(judged(declared, extension), "{declared} for {extension}");
        }
    }
}
