//! Kinds of content: which a file's extension stands for, and what others call them.
//!
//! The table of media types is ours. It holds the names that browsers, phones and libraries really send, so that a
//! declared type can be compared with what was found, and so that what `infer` and `file-format` say can be, too.

/// A kind of content, as far as the first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the formats' own")]
pub enum Family {
    Jpeg,
    Png,
    Gif,
    Webp,
    Bmp,
    Avif,
    Heic,
    Tiff,
    Icon,
    Photoshop,
    JpegXl,
    Jpeg2000,
    Svg,
    Mp4,
    Mov,
    Webm,
    Mkv,
    Avi,
    Mpeg,
    MpegTs,
    Ogg,
    Asf,
    Flv,
    Mp3,
    Wav,
    Flac,
    Aac,
    Aiff,
    Amr,
    Midi,
    Pdf,
    Docx,
    Xlsx,
    Pptx,
    OpenDocument,
    Epub,
    Ole,
    Rtf,
    Zip,
    Gzip,
    SevenZip,
    Rar,
    Bzip2,
    Xz,
    Zstd,
    Tar,
    Text,
    Csv,
    Json,
    Xml,
    Mail,
    Calendar,
    Card,
    Woff,
    Woff2,
    TrueType,
    OpenType,
    /// An extension that the table does not know; `infer` or `file-format` must.
    Other,
}

use Family::*;

/// The families a file with this extension may be of.
pub(super) fn expected(extension: &str) -> &'static [Family] {
    match extension {
        "jpg" | "jpeg" | "jpe" | "jfif" => &[Jpeg],
        "png" | "apng" => &[Png],
        "gif" => &[Gif],
        "webp" => &[Webp],
        "bmp" | "dib" => &[Bmp],
        "avif" => &[Avif],
        "heic" | "heif" => &[Heic],
        "tif" | "tiff" => &[Tiff],
        "ico" => &[Icon],
        "psd" | "psb" => &[Photoshop],
        "jxl" => &[JpegXl],
        "jp2" | "j2k" | "jpx" => &[Jpeg2000],
        "svg" => &[Svg],
        // One container under two names; phones and editors write either brand.
        "mp4" | "m4v" | "3gp" | "3g2" => &[Mp4, Mov],
        "mov" | "qt" => &[Mov, Mp4],
        "m4a" => &[Mp4],
        "webm" => &[Webm],
        "mkv" | "mka" => &[Mkv, Webm],
        "avi" => &[Avi],
        "mpg" | "mpeg" => &[Mpeg, MpegTs],
        "ts" | "mts" | "m2ts" => &[MpegTs],
        "ogg" | "oga" | "ogv" | "opus" | "spx" => &[Ogg],
        "wmv" | "wma" | "asf" => &[Asf],
        "flv" => &[Flv],
        "mp3" => &[Mp3],
        "wav" => &[Wav],
        "flac" => &[Flac],
        "aac" => &[Aac],
        "aif" | "aiff" => &[Aiff],
        "amr" => &[Amr],
        "mid" | "midi" => &[Midi],
        "pdf" => &[Pdf],
        "docx" => &[Docx],
        "xlsx" => &[Xlsx],
        "pptx" => &[Pptx],
        "odt" | "ods" | "odp" | "odg" => &[OpenDocument],
        "epub" => &[Epub],
        "doc" | "xls" | "ppt" => &[Ole],
        "rtf" => &[Rtf],
        "zip" => &[Zip],
        "gz" | "tgz" => &[Gzip],
        "7z" => &[SevenZip],
        "rar" => &[Rar],
        "bz2" => &[Bzip2],
        "xz" => &[Xz],
        "zst" => &[Zstd],
        "tar" => &[Tar],
        "txt" | "text" | "md" | "log" | "yaml" | "yml" | "toml" | "ini" | "srt" | "vtt" => &[Text],
        "csv" | "tsv" => &[Csv],
        "json" | "geojson" => &[Json],
        "xml" => &[Xml],
        "eml" => &[Mail],
        "ics" => &[Calendar],
        "vcf" => &[Card],
        "woff" => &[Woff],
        "woff2" => &[Woff2],
        "ttf" => &[TrueType],
        "otf" => &[OpenType, TrueType],
        _ => &[Other],
    }
}

impl Family {
    /// The MIME type of content that agreed with this extension.
    pub(super) fn media_type(self, extension: &str, head: &[u8]) -> String {
        let known = match self {
            Jpeg => "image/jpeg",
            Png => "image/png",
            Gif => "image/gif",
            Webp => "image/webp",
            Bmp => "image/bmp",
            Avif => "image/avif",
            Heic => "image/heic",
            Tiff => "image/tiff",
            Icon => "image/vnd.microsoft.icon",
            Photoshop => "image/vnd.adobe.photoshop",
            JpegXl => "image/jxl",
            Jpeg2000 => "image/jp2",
            Svg => "image/svg+xml",
            Mp4 => match extension {
                "m4a" => "audio/mp4",
                "3gp" => "video/3gpp",
                "3g2" => "video/3gpp2",
                _ => "video/mp4",
            },
            Mov => "video/quicktime",
            Webm => "video/webm",
            Mkv => "video/x-matroska",
            Avi => "video/x-msvideo",
            Mpeg => "video/mpeg",
            MpegTs => "video/mp2t",
            Ogg if extension == "ogv" => "video/ogg",
            Ogg => "audio/ogg",
            Asf if extension == "wma" => "audio/x-ms-wma",
            Asf => "video/x-ms-wmv",
            Flv => "video/x-flv",
            Mp3 => "audio/mpeg",
            Wav => "audio/wav",
            Flac => "audio/flac",
            Aac => "audio/aac",
            Aiff => "audio/aiff",
            Amr => "audio/amr",
            Midi => "audio/midi",
            Pdf => "application/pdf",
            Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Pptx => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            OpenDocument => open_document(extension),
            Epub => "application/epub+zip",
            Ole => match extension {
                "doc" => "application/msword",
                "xls" => "application/vnd.ms-excel",
                _ => "application/vnd.ms-powerpoint",
            },
            Rtf => "application/rtf",
            Zip => "application/zip",
            Gzip => "application/gzip",
            SevenZip => "application/x-7z-compressed",
            Rar => "application/vnd.rar",
            Bzip2 => "application/x-bzip2",
            Xz => "application/x-xz",
            Zstd => "application/zstd",
            Tar => "application/x-tar",
            Text => match extension {
                "md" => "text/markdown",
                "yaml" | "yml" => "application/yaml",
                _ => "text/plain",
            },
            Csv if extension == "tsv" => "text/tab-separated-values",
            Csv => "text/csv",
            Json => "application/json",
            Xml => "application/xml",
            Mail => "message/rfc822",
            Calendar => "text/calendar",
            Card => "text/vcard",
            Woff => "font/woff",
            Woff2 => "font/woff2",
            TrueType => "font/ttf",
            OpenType => "font/otf",
            Other => return file_format::FileFormat::from_bytes(head).media_type().to_owned(),
        };
        known.to_owned()
    }

    /// Whether a file of this family is text from end to end.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Text | Csv | Json | Xml | Mail | Calendar | Card | Svg | Rtf)
    }
}

/// The type that an OpenDocument file's first member holds (OpenDocument 1.3 part 2, section 3.3).
pub(super) fn open_document(extension: &str) -> &'static str {
    match extension {
        "odt" => "application/vnd.oasis.opendocument.text",
        "ods" => "application/vnd.oasis.opendocument.spreadsheet",
        "odp" => "application/vnd.oasis.opendocument.presentation",
        _ => "application/vnd.oasis.opendocument.graphics",
    }
}

/// The families that a media type, in lower case and without parameters, is a name of; `None` when the table has no
/// such type, and no family at all for types that no upload should have.
pub(super) fn named(media_type: &str) -> Option<&'static [Family]> {
    Some(match media_type {
        "image/jpeg" | "image/jpg" | "image/pjpeg" | "image/x-citrix-jpeg" => &[Jpeg],
        "image/png" | "image/x-png" | "image/apng" | "image/vnd.mozilla.apng" | "image/x-citrix-png" => {
            &[Png]
        }
        "image/gif" | "image/x-citrix-gif" => &[Gif],
        "image/webp" => &[Webp],
        "image/bmp" | "image/x-bmp" | "image/x-ms-bmp" | "image/x-windows-bmp" => &[Bmp],
        "image/avif" | "image/avif-sequence" => &[Avif],
        "image/heic" | "image/heif" | "image/heic-sequence" | "image/heif-sequence" => &[Heic],
        "image/tiff" | "image/x-tiff" | "image/tif" => &[Tiff],
        "image/vnd.microsoft.icon" | "image/x-icon" | "image/ico" => &[Icon],
        "image/vnd.adobe.photoshop" | "image/x-photoshop" | "application/x-photoshop" | "image/psd" => {
            &[Photoshop]
        }
        "image/jxl" => &[JpegXl],
        "image/jp2" | "image/jpx" | "image/jpm" => &[Jpeg2000],
        "image/svg+xml" | "image/svg" => &[Svg],
        "video/mp4" | "audio/mp4" | "audio/x-m4a" | "audio/m4a" | "video/x-m4v" | "application/mp4"
        | "video/quicktime" => &[Mp4, Mov],
        "video/3gpp" | "audio/3gpp" | "video/3gpp2" | "audio/3gpp2" => &[Mp4, Mov],
        "video/webm" | "audio/webm" | "video/x-matroska" | "audio/x-matroska" => &[Webm, Mkv],
        "video/x-msvideo" | "video/avi" | "video/msvideo" | "video/vnd.avi" => &[Avi],
        "video/mpeg" | "video/x-mpeg" | "video/mpg" => &[Mpeg, MpegTs],
        "video/mp2t" | "video/vnd.dlna.mpeg-tts" => &[MpegTs],
        "audio/ogg" | "video/ogg" | "application/ogg" | "audio/opus" | "audio/vorbis" | "audio/x-ogg"
        | "audio/x-opus+ogg" => &[Ogg],
        "video/x-ms-wmv" | "audio/x-ms-wma" | "video/x-ms-asf" | "application/vnd.ms-asf" => &[Asf],
        "video/x-flv" | "video/flv" => &[Flv],
        "audio/mpeg" | "audio/mp3" | "audio/x-mp3" | "audio/mpeg3" | "audio/x-mpeg-3" | "audio/x-mpeg"
        | "audio/mpg" => &[Mp3],
        "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" | "audio/x-pn-wav" => &[Wav],
        "audio/flac" | "audio/x-flac" => &[Flac],
        "audio/aac" | "audio/x-aac" | "audio/aacp" | "audio/vnd.dlna.adts" | "audio/x-hx-aac-adts" => &[Aac],
        "audio/aiff" | "audio/x-aiff" => &[Aiff],
        "audio/amr" | "audio/amr-wb" => &[Amr],
        "audio/midi" | "audio/x-midi" | "audio/mid" => &[Midi],
        "application/pdf" | "application/x-pdf" => &[Pdf],
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => &[Docx],
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => &[Xlsx],
        "application/vnd.openxmlformats-officedocument.presentationml.presentation" => &[Pptx],
        "application/vnd.oasis.opendocument.text"
        | "application/vnd.oasis.opendocument.spreadsheet"
        | "application/vnd.oasis.opendocument.presentation"
        | "application/vnd.oasis.opendocument.graphics" => &[OpenDocument],
        "application/epub+zip" => &[Epub],
        // What Windows says of a document depends on the office suite; of a CSV, too.
        "application/msword" => &[Ole, Docx, Rtf],
        "application/vnd.ms-excel" | "application/excel" | "application/x-msexcel" => &[Ole, Xlsx, Csv],
        "application/vnd.ms-powerpoint" | "application/mspowerpoint" => &[Ole, Pptx],
        "application/x-ole-storage" | "application/cdfv2" => &[Ole],
        "application/rtf" | "text/rtf" | "text/richtext" => &[Rtf],
        "application/zip" | "application/x-zip-compressed" | "application/x-zip" => {
            &[Zip, Docx, Xlsx, Pptx, OpenDocument, Epub]
        }
        "application/gzip"
        | "application/x-gzip"
        | "application/x-tgz"
        | "application/x-gtar"
        | "application/x-compressed-tar" => &[Gzip],
        "application/x-compressed" => &[Zip, Gzip, SevenZip, Rar],
        "application/x-7z-compressed" => &[SevenZip],
        "application/vnd.rar" | "application/x-rar-compressed" | "application/x-rar" | "application/rar" => {
            &[Rar]
        }
        "application/x-bzip2" | "application/x-bzip" => &[Bzip2],
        "application/x-xz" => &[Xz],
        "application/zstd" | "application/x-zstd" => &[Zstd],
        "application/x-tar" | "application/tar" => &[Tar],
        "text/plain" => &[Text, Csv, Json, Xml, Mail, Calendar, Card],
        "text/markdown"
        | "text/x-markdown"
        | "text/yaml"
        | "text/x-yaml"
        | "application/yaml"
        | "application/x-yaml"
        | "application/toml"
        | "application/x-subrip"
        | "text/vtt"
        | "text/x-log" => &[Text],
        "text/csv" | "text/comma-separated-values" | "application/csv" | "text/tab-separated-values" => {
            &[Csv, Text]
        }
        "application/json" | "text/json" | "application/geo+json" => &[Json, Text],
        "application/xml" | "text/xml" => &[Xml, Svg],
        "message/rfc822" => &[Mail],
        "text/calendar" | "application/ics" => &[Calendar],
        "text/vcard" | "text/x-vcard" | "text/directory" => &[Card],
        "font/woff" | "application/font-woff" | "application/x-font-woff" => &[Woff],
        "font/woff2" | "application/font-woff2" => &[Woff2],
        "font/ttf" | "application/x-font-ttf" | "application/font-sfnt" | "font/sfnt" => {
            &[TrueType, OpenType]
        }
        "font/otf" | "application/vnd.ms-opentype" | "application/x-font-otf" => &[OpenType, TrueType],
        "text/html" | "application/xhtml+xml" | "text/javascript" | "application/javascript" => &[],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_each_family_by_a_name_that_the_table_has() {
        let extensions = [
            "jpg", "png", "gif", "webp", "bmp", "avif", "heic", "tif", "ico", "psd", "jxl", "jp2", "svg",
            "mp4", "3gp", "3g2", "mov", "m4a", "webm", "mkv", "avi", "mpg", "ts", "ogg", "ogv", "opus",
            "wmv", "wma", "flv", "mp3", "wav", "flac", "aac", "aiff", "amr", "mid", "pdf", "docx", "xlsx",
            "pptx", "odt", "ods", "odp", "odg", "epub", "doc", "xls", "ppt", "rtf", "zip", "gz", "7z", "rar",
            "bz2", "xz", "zst", "tar", "txt", "md", "yaml", "csv", "tsv", "json", "xml", "eml", "ics", "vcf",
            "woff", "woff2", "ttf", "otf",
        ];
        for extension in extensions {
            for &family in expected(extension) {
                let own = family.media_type(extension, b"");
                assert!(named(&own).is_some_and(|families| families.contains(&family)), "{extension} {own}");
            }
        }
        assert_eq!(expected("xyz"), [Other]);
    }
}
