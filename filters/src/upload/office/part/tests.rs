use super::*;

fn judged(text: &[u8]) -> Option<&'static str> {
    let mut verdicts = [1, 7, 4096].map(|piece| {
        let mut part = Part::default();
        text.chunks(piece).for_each(|piece| part.push(piece));
        part.end()
    });
    verdicts.sort_unstable();
    assert_eq!(verdicts[0], verdicts[2], "the same in any pieces");
    verdicts[0]
}

fn field(instructions: &[&str]) -> String {
    let texts: String =
        instructions.iter().map(|text| format!("<w:instrText>{text}</w:instrText>")).collect();
    format!(
        "<w:document><w:fldChar w:fldCharType=\"begin\"/>{texts}<w:fldChar w:fldCharType=\"end\"/></w:document>"
    )
}

#[test]
fn lets_ordinary_parts_pass() {
    let hyperlink = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/hyperlink";
    let image = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/image";
    for text in [
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?><w:document/>".to_owned(),
        field(&[" PAGE "]),
        field(&[&" ".repeat(5000), "PAGE"]),
        field(&[" HYPERLINK ", &"x".repeat(5000)]),
        field(&[" HYPER", "LINK \"http://example.com/DDE\" "]),
        field(&[" REF _DDE_LINK1 \\h "]),
        "<w:p><w:t>DDEAUTO is a word</w:t></w:p>".to_owned(),
        format!("<Relationship Type=\"{hyperlink}\" Target=\"file://x\" TargetMode=\"External\"/>"),
        format!("<Relationship Type=\"{image}\" Target=\"https://x/y.png\" TargetMode=\"External\"/>"),
        format!("<Relationship Type=\"{image}\" Target=\"media/image1.png\"/>"),
        "<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\"><svg><fldSimple instr='DDE'/></svg>".to_owned(),
        "<Default Extension=\"png\" ContentType=\"image/png\"/>".to_owned(),
        "\u{feff}\n<a/>".to_owned(),
    ] {
        assert_eq!(judged(text.as_bytes()), None, "{text}");
    }
    assert_eq!(judged(b"\x89PNG<Relationship TargetMode='External'/>"), None, "no XML");
    assert_eq!(judged(b""), None);
}

#[test]
fn lets_links_pass_that_open_nothing_but_pages_and_files() {
    let base = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let link = |target: &str| {
        format!("<Relationship Type='{base}/hyperlink' Target='{target}' TargetMode='External'/>")
    };
    for target in [
        "http://x",
        "HTTPS://x",
        "mailto:a@b",
        "tel:+1",
        "#a",
        "#a:b",
        "b.docx",
        "a/b:c",
        "C:\\x",
        "\\\\h\\x",
        "",
        "file:///C:/x",
        "1.2:3",
    ] {
        assert_eq!(judged(link(target).as_bytes()), None, "{target}");
    }
    for target in [
        "ms-msdt:/id x",
        "mhtml:http://x!y",
        "javascript:x",
        " search-ms:x",
        "java&#10;script:x",
        "ms-word:x",
    ] {
        assert!(judged(link(target).as_bytes()).is_some(), "{target}");
    }
    let click = |action: &str| format!("<p:x><a:hlinkClick r:id='' action='{action}'/></p:x>");
    assert_eq!(judged(click("ppaction://hlinksldjump").as_bytes()), None);
    assert!(judged(click("ppaction://program").as_bytes()).is_some());
    assert!(judged(click("ppaction://macro?name=x").as_bytes()).is_some());
    let chunk = format!("<Relationship Type='{base}/aFChunk' Target='/word/a.html'/>");
    assert!(judged(chunk.as_bytes()).is_some());
}

#[test]
fn lets_fields_in_fields_pass() {
    let text = "<a><fldChar fldCharType='begin'/><instrText> IF </instrText><fldChar fldCharType='begin'/>\
                    <instrText> MERGEFIELD x </instrText><fldChar fldCharType='end'/><instrText> = 1 </instrText>\
                    <fldChar fldCharType='separate'/><fldChar fldCharType='begin'/><instrText>PAGE</instrText>\
                    <fldChar fldCharType='end'/><fldChar fldCharType='end'/></a>";
    assert_eq!(judged(text.as_bytes()), None);
}

#[test]
fn refuses_fields_that_start_programs_however_they_are_written() {
    for text in [
        field(&["DDEAUTO c:\\\\windows\\\\system32\\\\cmd.exe \"/k calc\""]),
        field(&[" dde excel x y"]),
        field(&["  DD", "EAUTO c:\\\\x"]),
        field(&["D<!-- -->DE<![CDATA[AUTO x]]>"]),
        field(&["&#68;&#x44;E x"]),
        field(&["LINK Excel.Sheet.12 x"]),
        field(&[" INCLUDETEXT \\\\host\\x "]),
        field(&["DATABASE \\d x"]),
        field(&[&format!("{}DDE x", "&#32;".repeat(2000))]),
        field(&[&format!("DD&#{}69; x", "0".repeat(300))]),
        "<w:fldSimple w:instr=\"DDEAUTO c:\\\\x\"/>".to_owned(),
        "<w:instrText>DDE x</w:instrText>".to_owned(),
        "<a><fldChar fldCharType='begin'/><instrText>DD</instrText><fldChar fldCharType='begin'/>\
             <instrText>QUOTE 69</instrText><fldChar fldCharType='end'/></a>"
            .to_owned(),
        "<ddeLink ddeService=\"cmd\" ddeTopic=\"/c calc\"/>".to_owned(),
    ] {
        assert!(judged(text.as_bytes()).is_some(), "{text}");
    }
}

#[test]
fn refuses_fields_of_which_a_reader_may_pass_over_a_part() {
    let mark = |kind: &str| format!("<w:r><w:fldChar w:fldCharType=\"{kind}\"/></w:r>");
    let dde = "<w:instrText>DDEAUTO c:\\x</w:instrText>";
    let quote = "<w:instrText>QUOTE </w:instrText>";
    let whole = |inside: &str| {
        let (begin, end) = (mark("begin"), mark("end"));
        format!("<w:document xmlns:w='urn:w' xmlns:ig='urn:x'>{begin}{inside}{end}</w:document>")
    };
    for inside in [
        format!("<ig:instrText>QUOTE </ig:instrText>{dde}"),
        format!("<x xmlns:w='urn:x'>{quote}</x>{dde}"),
        format!("<w:x xmlns:w='urn:x'/>{dde}"),
        format!("<AlternateContent><Choice>{quote}</Choice><Fallback>{dde}</Fallback></AlternateContent>"),
        format!("<Choice>{}{quote}</Choice><Fallback>{dde}</Fallback>", mark("begin")),
        format!("<Choice>{}</Choice>{quote}{}{dde}", mark("end"), mark("begin")),
        format!("<w:del><w:delInstrText>QUOTE </w:delInstrText></w:del>{dde}"),
        "<w:instrText>\u{200b}DDE x</w:instrText>".to_owned(),
        "<w:instrText>\u{feff}&#x200b;D\u{ad}DE x</w:instrText>".to_owned(),
        format!("<w:instrText>DD</w:instrText>{}<w:instrText>E x</w:instrText>", mark("none")),
        "<w:fldChar ig:fldCharType='begin' w:fldCharType='end'/>".to_owned(),
    ] {
        assert!(judged(whole(&inside).as_bytes()).is_some(), "{inside}");
    }
    for inside in [
        format!("{quote}<w:p xmlns:w='urn:w' xmlns:ig='urn:y'/>{quote}"),
        format!("<w:del><w:delInstrText>PAGE </w:delInstrText></w:del>{quote}"),
        format!(
            "{quote}{}<mc:AlternateContent><mc:Choice>{begin}{quote}{end}</mc:Choice><mc:Fallback>{begin}\
                 {quote}{end}</mc:Fallback></mc:AlternateContent>",
            mark("separate"),
            begin = mark("begin"),
            end = mark("end"),
        ),
    ] {
        assert_eq!(judged(whole(&inside).as_bytes()), None, "{inside}");
    }
}

#[test]
fn refuses_what_is_fetched_and_what_acts() {
    let base = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    for kind in ["attachedTemplate", "oleObject", "frame", "subDocument", "externalLinkPath", "aFChunk", "x"]
    {
        let text = format!("<Relationship Type='{base}/{kind}' Target='http://x' TargetMode='External'/>");
        assert!(judged(text.as_bytes()).is_some(), "{kind}");
    }
    for text in [
        format!("<r:Relationship Type='{base}/image' Target='\\\\host\\a' TargetMode='External'/>"),
        "<Relationship Target='http://x' TargetMode='Ext&#101;rnal'/>".to_owned(),
        "<Relationship Type='http://schemas.microsoft.com/office/2006/relationships/vbaProject'/>".to_owned(),
        "<Override ContentType='application/vnd.ms-word.document.macroEnabled.main+xml'/>".to_owned(),
        "<Default ContentType=\"application/vnd.ms-office.VbaProject\"/>".to_owned(),
        "<!DOCTYPE a [<!ENTITY b 'DDE'>]><a/>".to_owned(),
        "<!DOCTYPE svg><document/>".to_owned(),
        "<?xml version='1.0' encoding='UTF-7'?><a/>".to_owned(),
        "{\\rtf1 }".to_owned(),
    ] {
        assert!(judged(text.as_bytes()).is_some(), "{text}");
    }
    assert!(judged(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1").is_some());
    assert!(judged(b"\xff\xfe<\0a\0/\0>\0").is_some());
    assert!(judged(b"<\0a\0/\0>\0").is_some());
}
