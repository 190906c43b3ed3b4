//! What a refusal looks like on the wire. Pure: whoever calls this sends the result and nothing else.
//!
//! The client is shown the texts of the table, its own field and file names, and nothing from the inside: a
//! [`Denial`]'s `detail` is not read here.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use config::{ErrorFormat, Errors};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Serialize;

use crate::denial::{Denial, Extra, FieldProblem, Reason, Row};
use crate::language::{Tongue, wants_page};

/// A refusal, ready to be sent.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The status of the reason.
    pub status: StatusCode,
    /// Every header line but `Date` and `Connection`; `Content-Length` among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Empty in answer to HEAD, though `Content-Length` is what GET would have got.
    pub body: Bytes,
}

/// Puts a denial into the shape and the language that the policy and the client ask for.
///
/// `now` is only what the envelope's `timestamp` says.
pub fn render(
    denial: &Denial,
    errors: &Errors,
    accept_language: Option<&str>,
    accept: Option<&str>,
    method: &Method,
    request_id: &str,
    now: SystemTime,
) -> Rendered {
    let row = denial.reason.row();
    let tongue = Tongue::choose(errors.language, accept_language);
    let fields = denial.extra.as_deref().map_or(&[][..], |extra| &extra.errors);
    let answer = Answer { row, sentence: sentence(row, tongue), tongue, request_id, fields };
    let (media_type, body) = if accept.is_some_and(wants_page) {
        ("text/html; charset=utf-8", answer.page())
    } else {
        match errors.format {
            ErrorFormat::Problem => ("application/problem+json", answer.problem()),
            ErrorFormat::Envelope => ("application/json", answer.envelope(now)),
        }
    };

    let mut headers = Vec::with_capacity(12);
    headers.push((header::CONTENT_TYPE, HeaderValue::from_static(media_type)));
    headers.push((header::CONTENT_LENGTH, HeaderValue::from(body.len())));
    headers.push((header::CONTENT_LANGUAGE, HeaderValue::from_static(tongue.tag())));
    headers.push((header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
    headers.push((header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
    if media_type.starts_with("text/html") {
        headers.push((header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'")));
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.push((HeaderName::from_static("x-request-id"), value));
    }
    if let Some(challenge) = challenge(denial) {
        headers.push((header::WWW_AUTHENTICATE, challenge));
    }
    if let Some(extra) = denial.extra.as_deref() {
        add_extra(extra, &mut headers);
    }

    let status = StatusCode::from_u16(row.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = if method == Method::HEAD { Bytes::new() } else { Bytes::from(body) };
    Rendered { status, headers, body }
}

fn sentence(row: &'static Row, tongue: Tongue) -> &'static str {
    match tongue {
        Tongue::En => row.en,
        Tongue::Zh => row.zh,
    }
}

/// `WWW-Authenticate` (RFC 6750 section 3): on every 401, and on the 403 that a wider token would pass. A refusal
/// that brings no parameters of its own gets the ones the RFC names for its reason.
fn challenge(denial: &Denial) -> Option<HeaderValue> {
    let own = denial.extra.as_deref().and_then(|extra| extra.challenge.as_deref());
    let parameters = match (own, denial.reason) {
        (Some(parameters), _) => parameters,
        (None, Reason::AuthInvalid | Reason::AuthExpired) => "error=\"invalid_token\"",
        (None, Reason::AuthForbidden) => "error=\"insufficient_scope\"",
        (None, reason) if reason.status() == 401 => "",
        (None, _) => return None,
    };
    let bare = HeaderValue::from_static("Bearer");
    if parameters.is_empty() {
        return Some(bare);
    }
    Some(HeaderValue::from_str(&format!("Bearer {parameters}")).unwrap_or(bare))
}

fn add_extra(extra: &Extra, headers: &mut Vec<(HeaderName, HeaderValue)>) {
    if let Some(wait) = extra.retry_after {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
    }
    if !extra.allow.is_empty() {
        let names: Vec<&str> = extra.allow.iter().map(Method::as_str).collect();
        if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
            headers.push((header::ALLOW, value));
        }
    }
    headers.extend(extra.headers.iter().cloned());
}

/// What every shape of body says.
struct Answer<'a> {
    row: &'static Row,
    sentence: &'static str,
    tongue: Tongue,
    request_id: &'a str,
    fields: &'a [FieldProblem],
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'static str,
    code: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldProblem],
}

#[derive(Serialize)]
struct Envelope<'a> {
    code: u32,
    message: &'static str,
    data: (),
    errors: &'a [FieldProblem],
    request_id: &'a str,
    timestamp: u64,
}

impl Answer<'_> {
    /// RFC 9457. `errors` is there only when something is to be said of single fields.
    fn problem(&self) -> String {
        json(&Problem {
            r#type: "about:blank",
            title: self.row.title,
            status: self.row.status,
            detail: self.sentence,
            code: self.row.code,
            request_id: self.request_id,
            errors: self.fields,
        })
    }

    /// The shape of apps that wrap every answer. Every member is always there.
    fn envelope(&self, now: SystemTime) -> String {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        json(&Envelope {
            code: self.row.number,
            message: self.sentence,
            data: (),
            errors: self.fields,
            request_id: self.request_id,
            timestamp: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// A page without script, style or link.
    fn page(&self) -> String {
        let (lang, status, sentence, code) =
            (self.tongue.tag(), self.row.status, self.sentence, self.row.code);
        let title = match self.tongue {
            Tongue::En => self.row.title,
            Tongue::Zh => sentence.trim_end_matches('。'),
        };
        let label = match self.tongue {
            Tongue::En => "Request",
            Tongue::Zh => "请求编号",
        };
        let mut page = format!(
            "<!doctype html>\n<html lang=\"{lang}\">\n<head><meta charset=\"utf-8\"><title>{status} {title}</title></head>\n\
             <body>\n<h1>{status} {title}</h1>\n<p>{sentence}</p>\n"
        );
        if !self.fields.is_empty() {
            page.push_str("<ul>\n");
            for problem in self.fields {
                page.push_str("<li>");
                for part in [problem.field.as_deref(), problem.filename.as_deref()].into_iter().flatten() {
                    escape_html(part, &mut page);
                    page.push_str(": ");
                }
                page.push_str(problem.code);
                page.push_str("</li>\n");
            }
            page.push_str("</ul>\n");
        }
        page.push_str("<p><small>");
        page.push_str(code);
        page.push_str(" · ");
        page.push_str(label);
        page.push(' ');
        escape_html(self.request_id, &mut page);
        page.push_str("</small></p>\n</body>\n</html>\n");
        page
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("structs of strings and numbers always serialise")
}

fn escape_html(text: &str, page: &mut String) {
    for c in text.chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            c if c.is_control() => page.push(' '),
            c => page.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use config::Language;
    use serde_json::{Value, json};

    use super::*;

    const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

    struct Ask<'a> {
        format: ErrorFormat,
        accept: Option<&'a str>,
        language: Option<&'a str>,
        method: Method,
    }

    impl Default for Ask<'_> {
        fn default() -> Self {
            Self { format: ErrorFormat::Problem, accept: None, language: None, method: Method::GET }
        }
    }

    impl Ask<'_> {
        fn answer(&self, denial: &Denial) -> Rendered {
            let errors = Errors { format: self.format, language: Language::Auto };
            let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
            render(denial, &errors, self.language, self.accept, &self.method, "r-1", now)
        }
    }

    fn value<'a>(rendered: &'a Rendered, name: &str) -> Option<&'a str> {
        rendered.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.to_str().unwrap())
    }

    fn body(rendered: &Rendered) -> Value {
        serde_json::from_slice(&rendered.body).unwrap()
    }

    fn infected() -> Denial {
        Denial::new(Reason::UploadInfected, "10.0.0.7 /spool/x").with_field(FieldProblem {
            field: Some("file".into()),
            filename: Some("<b>&\"a.png".into()),
            code: "upload.infected",
            ..FieldProblem::default()
        })
    }

    #[test]
    fn a_problem_has_the_members_of_the_contract_in_order() {
        let answer = Ask::default().answer(&Denial::new(Reason::AuthForbidden, "secret inside"));
        assert_eq!(answer.status, 403);
        assert_eq!(value(&answer, "content-type"), Some("application/problem+json"));
        assert_eq!(
            String::from_utf8_lossy(&answer.body),
            r#"{"type":"about:blank","title":"Forbidden","status":403,"detail":"You are not allowed to do this.","code":"auth.forbidden","request_id":"r-1"}"#
        );
    }

    #[test]
    fn a_problem_names_the_fields_that_were_refused() {
        let answer = Ask::default().answer(&infected());
        let entry = json!([{"field": "file", "filename": "<b>&\"a.png", "code": "upload.infected"}]);
        assert_eq!(body(&answer)["errors"], entry);
    }

    #[test]
    fn an_envelope_has_every_member_always() {
        let ask = Ask { format: ErrorFormat::Envelope, language: Some("zh-CN"), ..Ask::default() };
        let answer = ask.answer(&Denial::new(Reason::AuthForbidden, "x"));
        assert_eq!(value(&answer, "content-type"), Some("application/json"));
        assert_eq!(value(&answer, "content-language"), Some("zh"));
        assert_eq!(
            String::from_utf8_lossy(&answer.body),
            r#"{"code":40301,"message":"您没有执行此操作的权限。","data":null,"errors":[],"request_id":"r-1","timestamp":1700000000123}"#
        );
    }

    #[test]
    fn a_page_escapes_what_the_client_sent() {
        let ask = Ask { accept: Some(BROWSER), ..Ask::default() };
        let answer = ask.answer(&infected());
        let page = String::from_utf8(answer.body.to_vec()).unwrap();
        assert_eq!(value(&answer, "content-type"), Some("text/html; charset=utf-8"));
        assert!(page.contains("&lt;b&gt;&amp;&quot;a.png") && !page.contains("<b>"), "{page}");
        assert!(page.contains("<html lang=\"en\">") && page.contains("r-1"), "{page}");
    }

    #[test]
    fn a_page_speaks_chinese() {
        let ask = Ask { accept: Some(BROWSER), language: Some("zh-CN"), ..Ask::default() };
        let answer = ask.answer(&Denial::new(Reason::RouteNotFound, ""));
        let page = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(
            page.contains("<html lang=\"zh\">") && page.contains("<h1>404 请求的地址不存在</h1>"),
            "{page}"
        );
    }

    #[test]
    fn head_gets_the_length_and_no_body() {
        let denial = Denial::new(Reason::RouteNotFound, "");
        let get = Ask::default().answer(&denial);
        let head = Ask { method: Method::HEAD, ..Ask::default() }.answer(&denial);
        assert!(head.body.is_empty());
        assert_eq!(value(&head, "content-length"), Some(get.body.len().to_string().as_str()));
    }

    #[test]
    fn carries_the_headers_of_every_refusal() {
        for reason in Reason::ALL {
            let answer = Ask::default().answer(&Denial::new(reason, "inside"));
            assert_eq!(answer.status.as_u16(), reason.status());
            assert_eq!(value(&answer, "x-request-id"), Some("r-1"));
            assert_eq!(value(&answer, "cache-control"), Some("no-store"));
            assert_eq!(value(&answer, "x-content-type-options"), Some("nosniff"));
            assert_eq!(
                value(&answer, "www-authenticate").is_some(),
                matches!(answer.status.as_u16(), 401) || reason == Reason::AuthForbidden
            );
            assert!(!String::from_utf8_lossy(&answer.body).contains("inside"));
        }
    }

    #[test]
    fn challenges_as_rfc_6750_says() {
        let said =
            |denial: &Denial| value(&Ask::default().answer(denial), "www-authenticate").map(str::to_owned);
        assert_eq!(said(&Denial::new(Reason::AuthMissing, "")).unwrap(), "Bearer");
        assert_eq!(said(&Denial::new(Reason::AuthInvalid, "")).unwrap(), "Bearer error=\"invalid_token\"");
        assert_eq!(
            said(&Denial::new(Reason::AuthForbidden, "")).unwrap(),
            "Bearer error=\"insufficient_scope\""
        );
        let own =
            Denial::new(Reason::AuthForbidden, "").challenge("error=\"insufficient_scope\", scope=\"a\"");
        assert_eq!(said(&own).unwrap(), "Bearer error=\"insufficient_scope\", scope=\"a\"");
        let broken = Denial::new(Reason::AuthMissing, "").challenge("a\r\nSet-Cookie: b");
        assert_eq!(said(&broken).unwrap(), "Bearer");
        assert_eq!(said(&Denial::new(Reason::IpDenied, "")), None);
    }

    #[test]
    fn says_when_to_come_back_and_what_is_allowed() {
        let denial = Denial::new(Reason::RateLimited, "")
            .retry_after(Duration::from_millis(1001))
            .allow(vec![Method::GET, Method::HEAD])
            .header(HeaderName::from_static("ratelimit"), HeaderValue::from_static("\"a\";r=0"));
        let answer = Ask::default().answer(&denial);
        assert_eq!(value(&answer, "retry-after"), Some("2"));
        assert_eq!(value(&answer, "allow"), Some("GET, HEAD"));
        assert_eq!(value(&answer, "ratelimit"), Some("\"a\";r=0"));
    }

    #[test]
    fn leaves_out_a_request_id_that_is_no_header_value() {
        let errors = Errors { format: ErrorFormat::Problem, language: Language::En };
        let denial = Denial::new(Reason::Internal, "");
        let answer = render(&denial, &errors, None, None, &Method::GET, "a\nb", UNIX_EPOCH);
        assert_eq!(value(&answer, "x-request-id"), None);
    }
}
