//! Where a request carries its credential, and what the app behind is told of it.
//!
//! Only the places on the identities' `accept` lists are looked at. A credential in a query parameter is cut from the
//! request's address in any case, also when the request is refused, so that nothing later can see or write it. Two
//! different credentials, or two `Authorization` lines, are a malformed request: the app behind might read the other
//! one. A route without `auth` never comes here; its requests keep what they carry.

use std::borrow::Cow;

use config::CredentialPlace;
use http::HeaderValue;
use http::header::{AUTHORIZATION, COOKIE};
use pingora_http::RequestHeader;
use url::form_urlencoded;

use crate::denial::{Denial, Reason};
use crate::exchange::text;
use crate::facts::Token;

/// The one credential of a request and every accepted place where it stood.
#[derive(Debug)]
pub struct Credential<'p> {
    /// As it was found, nothing of it verified.
    pub token: Token,
    place: &'p CredentialPlace,
    others: Vec<&'p CredentialPlace>,
}

impl Credential<'_> {
    /// Whether it stood here, among other places perhaps.
    pub fn stood_in(&self, place: &CredentialPlace) -> bool {
        self.place == place || self.others.contains(&place)
    }
}

/// Finds the credential in the places given and cuts it from the query. `websocket` is what the subprotocol offered,
/// cut out already. None when no place has one; refuses when there is more than one.
pub fn take<'p>(
    places: &'p [CredentialPlace],
    request: &mut RequestHeader,
    websocket: Option<&str>,
) -> Result<Option<Credential<'p>>, Denial> {
    let mut search = Search { found: None, conflict: false };
    // The query first: it is cut whatever the other places bring.
    for place in places {
        if let CredentialPlace::Query(name) = place {
            cut_from_query(request, name, |token| search.add(place, token))?;
        }
    }
    let mut lines = request.headers.get_all(AUTHORIZATION).iter();
    let authorization = lines.next();
    if lines.next().is_some() {
        return Err(Denial::new(Reason::RequestMalformed, "two Authorization headers"));
    }
    for place in places {
        match place {
            CredentialPlace::Query(_) => {}
            CredentialPlace::Header => {
                if let Some(token) = authorization.and_then(|value| bearer(value.as_bytes())) {
                    search.add(place, text(token));
                }
            }
            CredentialPlace::Cookie(name) => {
                for value in cookies(request, name) {
                    if let Some(token) = cookie_token(value) {
                        search.add(place, token);
                    }
                }
            }
            CredentialPlace::WebSocket(_) => {
                if let Some(token) = websocket {
                    search.add(place, Cow::Borrowed(token));
                }
            }
        }
    }
    if search.conflict {
        return Err(Denial::new(Reason::RequestMalformed, "two different credentials"));
    }
    Ok(search.found)
}

/// Tells the app behind who asks: `Authorization: Bearer TOKEN`, whatever stood there before.
pub fn forward(request: &mut RequestHeader, token: &str) -> Result<(), Denial> {
    if request
        .headers
        .get(AUTHORIZATION)
        .is_some_and(|own| own.as_bytes().strip_prefix(b"Bearer ") == Some(token.as_bytes()))
    {
        return Ok(());
    }
    let unwritable = |_| Denial::new(Reason::RequestMalformed, "the credential cannot stand in a header");
    let mut value = HeaderValue::try_from(["Bearer ", token].concat()).map_err(unwritable)?;
    value.set_sensitive(true);
    request
        .insert_header(AUTHORIZATION, value)
        .map_err(|_| Denial::new(Reason::RequestMalformed, "the credential cannot stand in a header"))
}

/// Keeps the credential from the app behind: takes it out of `Authorization` and of the cookies on the list.
pub fn withhold(request: &mut RequestHeader, places: &[CredentialPlace]) -> Result<(), Denial> {
    request.remove_header(&AUTHORIZATION);
    let names = || {
        places.iter().filter_map(|place| match place {
            CredentialPlace::Cookie(name) => Some(name.as_str()),
            _ => None,
        })
    };
    if names().all(|name| cookies(request, name).next().is_none()) {
        return Ok(());
    }
    let ours = |pair: &[u8]| names().any(|name| split_pair(pair).0 == name.as_bytes());
    let kept: Vec<Vec<u8>> = request
        .headers
        .get_all(COOKIE)
        .iter()
        .map(|line| {
            let pairs: Vec<&[u8]> = pairs(line.as_bytes()).filter(|pair| !ours(pair)).collect();
            pairs.join(&b"; "[..])
        })
        .filter(|line| !line.is_empty())
        .collect();
    request.remove_header(&COOKIE);
    for line in kept {
        let mut value = HeaderValue::try_from(line).map_err(|_| unreadable_cookies())?;
        value.set_sensitive(true);
        request.append_header(COOKIE, value).map_err(|_| unreadable_cookies())?;
    }
    Ok(())
}

struct Search<'p> {
    found: Option<Credential<'p>>,
    conflict: bool,
}

impl<'p> Search<'p> {
    fn add(&mut self, place: &'p CredentialPlace, token: Cow<'_, str>) {
        match &mut self.found {
            None => {
                let token = Token(token.into_owned());
                self.found = Some(Credential { token, place, others: Vec::new() });
            }
            Some(found) if found.token.0 != token => self.conflict = true,
            Some(found) if !found.stood_in(place) => found.others.push(place),
            Some(_) => {}
        }
    }
}

/// What follows the scheme `Bearer`, in any case of letters (RFC 9110 section 11.1). None for another scheme, or when
/// nothing follows.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let token = rest.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && rest.first() == Some(&b' ') && !token.is_empty())
        .then_some(token)
}

fn cookies<'r>(request: &'r RequestHeader, name: &'r str) -> impl Iterator<Item = &'r [u8]> {
    request.headers.get_all(COOKIE).iter().flat_map(|line| pairs(line.as_bytes())).filter_map(move |pair| {
        let (own, value) = split_pair(pair);
        (own == name.as_bytes()).then_some(value)
    })
}

fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    let middle = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
    (pair[..middle].trim_ascii_end(), pair.get(middle + 1..).unwrap_or_default().trim_ascii_start())
}

/// The token in a cookie's value, which may be quoted (RFC 6265 section 4.1.1), percent-encoded, and led by `Bearer`.
/// Empty, `false`, `null` and `undefined` are what front ends leave behind after a logout: no credential.
fn cookie_token(value: &[u8]) -> Option<Cow<'_, str>> {
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    match percent_decoded(quoted.unwrap_or(value)) {
        Cow::Borrowed(value) => plain_cookie_token(value).map(text),
        Cow::Owned(value) => plain_cookie_token(&value).map(|token| Cow::Owned(text(token).into_owned())),
    }
}

fn plain_cookie_token(value: &[u8]) -> Option<&[u8]> {
    let token = bearer(value).unwrap_or(value.trim_ascii());
    let left_over: [&[u8]; 5] = [b"", b"false", b"null", b"undefined", b"Bearer"];
    (!left_over.contains(&token)).then_some(token)
}

fn percent_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(decoded)
}

/// Takes every parameter of this name, however it is spelt, out of the request's address; the others stay as written.
fn cut_from_query(
    request: &mut RequestHeader,
    name: &str,
    mut found: impl FnMut(Cow<'_, str>),
) -> Result<(), Denial> {
    let target = request.raw_path();
    let Some(mark) = target.iter().position(|byte| *byte == b'?') else { return Ok(()) };
    let (path, query) = (&target[..mark], &target[mark + 1..]);
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut cut = false;
    for part in query.split(|byte| *byte == b'&') {
        match form_urlencoded::parse(part).next() {
            Some((own, value)) if own == name => {
                cut = true;
                if !value.is_empty() {
                    found(value);
                }
            }
            _ => kept.push(part),
        }
    }
    if !cut {
        return Ok(());
    }
    let mut target = path.to_vec();
    if !kept.is_empty() {
        target.push(b'?');
        target.extend_from_slice(&kept.join(&b'&'));
    }
    request.set_raw_path(&target).map_err(|_| {
        Denial::new(Reason::RequestMalformed, "the address cannot be read without its credential")
    })
}

fn unreadable_cookies() -> Denial {
    Denial::new(Reason::RequestMalformed, "the cookies cannot be written without the credential")
}

#[cfg(test)]
mod tests {
    use super::*;
    use CredentialPlace::{Cookie, Header, Query, WebSocket};

    fn request(target: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        for (name, value) in headers {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn nuxt() -> CredentialPlace {
        Cookie("auth._token.local".to_owned())
    }

    fn taken(
        places: &[CredentialPlace],
        request: &mut RequestHeader,
        websocket: Option<&str>,
    ) -> Result<Option<String>, Reason> {
        take(places, request, websocket)
            .map(|found| found.map(|found| found.token.0))
            .map_err(|denial| denial.reason)
    }

    fn in_header(value: &str) -> Option<String> {
        taken(&[Header], &mut request("/", &[("authorization", value)]), None).unwrap()
    }

    fn in_cookie(value: &str) -> Option<String> {
        let line = format!("theme=dark; auth._token.local={value}; x=1");
        taken(&[nuxt()], &mut request("/", &[("cookie", &line)]), None).unwrap()
    }

    #[test]
    fn finds_a_bearer_header_in_any_case() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c "] {
            assert_eq!(in_header(value).as_deref(), Some("a.b.c"), "{value}");
        }
    }

    #[test]
    fn other_schemes_are_no_credential() {
        for value in ["Basic eDp5", "Bearera.b.c", "Bearer", "Bearer ", "Bear", ""] {
            assert_eq!(in_header(value), None, "{value}");
        }
    }

    #[test]
    fn finds_a_cookie_as_frameworks_write_it() {
        for value in
            ["a.b.c", "\"a.b.c\"", "Bearer%20a.b.c", "bearer a.b.c", "\"Bearer%20a.b.c\"", "a%2Eb%2ec"]
        {
            assert_eq!(in_cookie(value).as_deref(), Some("a.b.c"), "{value}");
        }
    }

    #[test]
    fn what_a_logout_leaves_in_a_cookie_is_no_credential() {
        for value in ["", "false", "null", "undefined", "\"\"", "Bearer%20"] {
            assert_eq!(in_cookie(value), None, "{value}");
        }
    }

    #[test]
    fn looks_only_where_it_may() {
        let mut elsewhere = request("/?token=q.q.q", &[("cookie", "auth._token.local=c.c.c")]);
        assert_eq!(taken(&[Header], &mut elsewhere, Some("w.w.w")), Ok(None));
        assert_eq!(elsewhere.raw_path(), b"/?token=q.q.q");
        let mut other_name = request("/", &[("cookie", "xauth._token.local=c.c.c; AUTH._TOKEN.LOCAL=d")]);
        assert_eq!(taken(&[nuxt()], &mut other_name, None), Ok(None));
    }

    #[test]
    fn cuts_every_spelling_of_the_parameter_and_nothing_else() {
        for (target, left) in [
            ("/ws?token=a.b.c", "/ws"),
            ("/ws?a=1&token=a.b.c&b=%20x", "/ws?a=1&b=%20x"),
            ("/ws?tok%65n=a.b.c&tokens=1&Token=2", "/ws?tokens=1&Token=2"),
            ("/ws?token=a.b.c&token=a%2Eb.c&x", "/ws?x"),
        ] {
            let mut request = request(target, &[]);
            assert_eq!(
                taken(&[Query("token".into())], &mut request, None),
                Ok(Some("a.b.c".into())),
                "{target}"
            );
            assert_eq!(request.raw_path(), left.as_bytes(), "{target}");
            assert_eq!(request.uri.to_string(), left);
        }
    }

    #[test]
    fn cuts_the_parameter_of_a_refused_request_too() {
        let places = [Header, Query("token".into())];
        let mut two = request("/?token=a.b.c", &[("authorization", "Bearer x.y.z")]);
        assert_eq!(taken(&places, &mut two, None), Err(Reason::RequestMalformed));
        assert_eq!(two.raw_path(), b"/");
        let mut lines = request("/?token=", &[("authorization", "Bearer x"), ("authorization", "Bearer x")]);
        assert_eq!(taken(&places, &mut lines, None), Err(Reason::RequestMalformed));
        assert_eq!(lines.raw_path(), b"/");
    }

    #[test]
    fn takes_one_credential_from_several_places_and_refuses_two() {
        let places = [Header, nuxt(), WebSocket("bearer".into())];
        let both = |cookie| request("/", &[("authorization", "Bearer a.b.c"), ("cookie", cookie)]);
        let same = taken(&places, &mut both("auth._token.local=Bearer%20a.b.c"), Some("a.b.c"));
        assert_eq!(same, Ok(Some("a.b.c".into())));
        let refused = Err(Reason::RequestMalformed);
        assert_eq!(taken(&places, &mut both("auth._token.local=x.y.z"), None), refused);
        assert_eq!(taken(&places, &mut both("a=b"), Some("x.y.z")), refused);
        let mut cookies =
            request("/", &[("cookie", "auth._token.local=a"), ("cookie", "auth._token.local=b")]);
        assert_eq!(taken(&places, &mut cookies, None), refused);
    }

    #[test]
    fn tells_the_app_by_one_authorization_header() {
        let mut basic = request("/", &[("authorization", "Basic eDp5")]);
        forward(&mut basic, "a.b.c").unwrap();
        let lines: Vec<_> = basic.headers.get_all("authorization").iter().collect();
        assert_eq!(lines, ["Bearer a.b.c"]);
        let mut lower = request("/", &[("authorization", "bearer a.b.c")]);
        forward(&mut lower, "a.b.c").unwrap();
        assert_eq!(lower.headers["authorization"], "Bearer a.b.c");
        assert!(forward(&mut lower, "a\nb").is_err());
    }

    #[test]
    fn withholds_the_credential_and_leaves_other_cookies() {
        let mut some = request(
            "/",
            &[
                ("authorization", "Bearer a"),
                ("cookie", "x=1; auth._token.local=a; y=\"2\""),
                ("cookie", "auth._token.local=a"),
            ],
        );
        withhold(&mut some, &[Header, nuxt()]).unwrap();
        assert!(!some.headers.contains_key("authorization"));
        let lines: Vec<_> = some.headers.get_all("cookie").iter().collect();
        assert_eq!(lines, ["x=1; y=\"2\""]);
        let mut none = request("/", &[("cookie", "a=1;b=2")]);
        withhold(&mut none, &[nuxt()]).unwrap();
        assert_eq!(none.headers["cookie"], "a=1;b=2");
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_never_leaves_the_parameter(
            query in "[a-z%0-9=&;+?#.]{0,60}", header in "[ -~]{0,40}", cookie in "[ -~]{0,60}"
        ) {
            let target = format!("/p?{query}&tok%65n=secret");
            let Ok(mut request) = RequestHeader::build("GET", target.as_bytes(), None) else { return Ok(()) };
            request.append_header("authorization", header.as_str()).unwrap();
            request.append_header("cookie", cookie.as_str()).unwrap();
            let places = [Header, nuxt(), Query("token".into())];
            let _ = taken(&places, &mut request, None);
            proptest::prop_assert!(!request.raw_path().ends_with(b"secret"));
            let _ = withhold(&mut request, &places);
        }
    }
}
