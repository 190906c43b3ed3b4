//! `X-Upload-Files`: what the upstream is told of the files it gets.

use http::{HeaderName, HeaderValue};

use crate::denial::{Denial, Reason};
use crate::filter::FileReport;

/// The header's name.
pub(super) const NAME: HeaderName = HeaderName::from_static("x-upload-files");
/// Bytes of the header's value. Apps commonly take 8 to 16 KiB for a line.
const MAX_LENGTH: usize = 16 * 1024;

/// The header's value: a JSON array in ASCII, keys in the order of [`FileReport`]. Refuses a list that is too long to
/// be told, because an app that is not told of a file takes it for unchecked, or worse, does not.
pub(super) fn value(files: &[FileReport]) -> Result<HeaderValue, Denial> {
    let too_long = || Denial::new(Reason::UploadTooManyFiles, "the list of files is too long for a header");
    let json = serde_json::to_string(files).map_err(|_| too_long())?;
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' => ascii.push(c),
            _ => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| ascii.push_str(&format!("\\u{unit:04x}")))
            }
        }
        if ascii.len() > MAX_LENGTH {
            return Err(too_long());
        }
    }
    HeaderValue::try_from(ascii).map_err(|_| too_long())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(filename: &str) -> FileReport {
        FileReport {
            field: "file".into(),
            filename: filename.into(),
            size: 68,
            media_type: "image/png".into(),
            class: "image".into(),
            sha256: "00ff".into(),
            scan: "clean",
            engine: "clamav",
            duplicate_of: None,
        }
    }

    #[test]
    fn writes_the_keys_in_their_order_and_ascii_alone() {
        assert_eq!(
            value(&[file("图\u{1f600}\"\u{7f}.png")]).unwrap().to_str().unwrap(),
            "[{\"field\":\"file\",\"filename\":\"\\u56fe\\ud83d\\ude00\\\"\\u007f.png\",\"size\":68,\
             \"type\":\"image/png\",\"class\":\"image\",\"sha256\":\"00ff\",\"scan\":\"clean\",\"engine\":\"clamav\"}]"
        );
        assert_eq!(value(&[]).unwrap(), "[]");
    }

    #[test]
    fn refuses_a_list_that_is_too_long() {
        let files = vec![file(&"长".repeat(85)); 40];
        assert_eq!(value(&files).unwrap_err().reason, Reason::UploadTooManyFiles);
    }
}
