use super::*;

fn judged(inner: &str) -> Option<&'static str> {
    let document = format!("<svg xmlns=\"http://www.w3.org/2000/svg\">{inner}</svg>\n");
    assert!(starts(document.as_bytes()));
    let (mut whole, mut bytewise) = (Svg::default(), Svg::default());
    whole.push(document.as_bytes());
    document.as_bytes().chunks(1).for_each(|byte| bytewise.push(byte));
    assert_eq!(whole.fault(), bytewise.fault());
    whole.fault().or((!whole.is_whole()).then_some("open"))
}

#[test]
fn lets_drawings_pass() {
    for inner in [
        "<path d=\"M0 0 L1 1\"/>",
        "<defs><linearGradient id='a'><stop offset=\"0\" /></linearGradient></defs><rect fill=\"url(#a)\"/>",
        "<use xlink:href=\"#a\" href = '#b'/>",
        "<style type=\"text/css\"><![CDATA[.a{fill:red;src:url(data:font/woff2;base64,AAAA)}]]></style>",
        "<style>.a > .b { fill: url( '#x' ) }</style>",
        "<style/><style media=\"all\" /><g id=\"a\"><path/></g>",
        "<style><!-- .a{fill:red} --></style><text>an image(1) and a cross-fade(2)</text>",
        "<g xmlns:xml=\"http://www.w3.org/XML/1998/namespace\" xml:space=\"preserve\"/>",
        "<image href=\"data:image/png;base64,AAAA\"/>",
        "<text font-family=\"&quot;A&quot;\">on a script &lt;b&gt; 中文</text>",
        "<!-- onload=\"a\" <script> - -> -->",
        "<!----><!-- a-b -->",
        "<animate attributeName=\"opacity\" from=\"0\" to=\"1\"/>",
        "<g inkscape:export-filename=\"C:\\Users\\a.png\" fill=\"url(\n#a)\"/>",
        "<?xpacket begin=\"\" id=\"a\"?>",
    ] {
        assert_eq!(judged(inner), None, "{inner}");
    }
    let illustrator = b"\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!-- Generator -->\n\
        <!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd\">\n<svg/>";
    let mut svg = Svg::default();
    svg.push(illustrator);
    assert!(starts(illustrator) && svg.fault().is_none() && svg.is_whole());
}

#[test]
fn refuses_what_acts_or_leads_outside() {
    for inner in [
        "<script>alert(1)</script>",
        "<SCRIPT/>",
        "<x:script xmlns:x=\"http://www.w3.org/2000/svg\"/>",
        "<foreignObject><p/></foreignObject>",
        "<g onload=\"alert(1)\"/>",
        "<g\nonclick = 'a'/>",
        "<g/onload=\"a\"/>",
        "<a xlink:href=\"javascript:alert(1)\"/>",
        "<a href=\"java&#115;cript:alert(1)\"/>",
        "<a href=\" java\nscript:alert(1)\"/>",
        "<set attributeName=\"href\" to=\"javascript:alert(1)\"/>",
        "<set attributeName=\"onclick\" to=\"alert(1)\"/>",
        "<animate attributeName=\" xlink:href\" values=\"http://evil.example\"/>",
        "<g a=\"java&#10;script:alert(1)\"/>",
        "<rect fill=\"u\\72l(http://evil.example/)\"/>",
        "<rect style=\"fill:image-set('http://evil.example/' 1x)\"/>",
        "<title><img alt=\"\"/></title>",
        "<desc><p:textarea/></desc>",
        "<!--> <script>alert(1)</script> -->",
        "<!---> <script>alert(1)</script> -->",
        "<!-- --!> <script>alert(1)</script> -->",
        "<!-- a -- b -->",
        "<!DOCTYPE svg SYSTEM \"http://evil.example/a.dtd\">",
        "<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \"a.dtd\">",
        "<image href=\"http://evil.example/a.png\"/>",
        "<image href=\"//evil.example/a.png\"/>",
        "<use href=\"data:image/svg+xml;base64,AAAA\"/>",
        "<rect style=\"fill:url(http://evil.example/)\"/>",
        "<rect style=\"fill:u&#x72;l(http://evil.example/)\"/>",
        "<rect style=\"fill:u\\72l(http://evil.example/)\"/>",
        "<style>@import 'a.css';</style>",
        "<style>.a{background:url( \"//evil.example\" )}</style>",
        "<style>.a{background:url(",
        "<style>@im<!-- -->port 'a.css'</style>",
        "<style>@im<![CDATA[port 'a.css']]></style>",
        "<style><![CDATA[.a{background:u\\72l(//a)}]]></style>",
        "<style>&#64;import 'a.css'</style>",
        "<style>@im<g/>port \"http://evil.example\";</style>",
        "<style>.a{}<g></g>.b{background:u\\72l(//a)}</style>",
        "<style>.a{background:image('http://evil.example/')}</style>",
        "<style>.a{background:-webkit-cross-fade('http://evil.example/', red)}</style>",
        "<rect style=\"fill:image(&quot;http://evil.example/&quot;)\"/>",
        "<g xmlns:x=\"http://www.w3.org/XML/1998/namespace\" x:base=\"http://evil.example/\"/>",
        "<g / id=\"a\"/>",
        "<?xml-stylesheet href=\"a.xsl\"?>",
        "<!DOCTYPE svg [<!ENTITY a \"b\">]>",
        "<!DOCTYPE svg PUBLIC \"a>b\" [<!ENTITY a \"b\">]>",
        "<g a=\"&b;\"/>",
        "<g a=b/>",
        "<g a/>",
        "<g a=\"<script>\"/>",
        "<g xml:base=\"http://evil.example/\"/>",
        "<g a=\"",
        "< script>",
    ] {
        assert!(judged(inner).is_some(), "{inner}");
    }
    let mut svg = Svg::default();
    svg.push(b"<?xml version=\"1.0\" encoding=\"UTF-7\"?><svg/>");
    assert!(svg.fault().is_some());
    assert!(!starts(b"<html><svg></svg></html>"));
    assert!(starts(b"<!DOCTYPE svg [<!ENTITY a \"b\">]><svg>&a;</svg>"));
}
#[test]
fn lets_other_xml_pass_that_is_no_page() {
    let judged = |document: &str| {
        let mut look = Svg::data();
        look.push(document.as_bytes());
        look.fault().or((!look.is_whole()).then_some("open"))
    };
    for document in [
        "<?xml version='1.0' encoding='UTF-8'?><!DOCTYPE note><note><body a='javascript:'>&lt;b&gt;</body></note>",
        "<a:form xmlns:a=\"urn:a\" onload=\"x\" href=\"http://example.com\"><![CDATA[<script>]]></a:form>",
        "<?xml version=\"1.0\" encoding=\"GB2312\"?><a/>",
        "<gpx xmlns=\"http://www.topografix.com/GPX/1/1\"><link href=\"http://example.com\"/></gpx>",
    ] {
        assert_eq!(judged(document), None, "{document}");
    }
    for document in [
        "<a xmlns=\"http://www.w3.org/1999/xhtml\"/>",
        "<a><b xmlns:x = ' http&#58;//www.w3.org/1999/xhtml'/></a>",
        "<a xmlns:s=\"http://www.w3.org/2000/svg\"/>",
        "<?xml-stylesheet href=\"a.xsl\"?><a/>",
        "<!DOCTYPE a SYSTEM \"http://evil.example/a.dtd\"><a/>",
        "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>",
        "<?xml version=\"1.0\" encoding=\"utf-7\"?><a/>",
        "<a b=\"",
    ] {
        assert!(judged(document).is_some(), "{document}");
    }
}
