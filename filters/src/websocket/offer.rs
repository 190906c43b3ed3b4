//! A credential among the subprotocols that a WebSocket handshake offers: browsers let a page set no other field.
//!
//! With the marker `bearer` it is a pair `bearer, TOKEN`, one element `bearer.TOKEN`, or
//! `base64url.bearer.B64URL(TOKEN)`. The app sees what else is offered, and never the credential.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::denial::{Denial, Reason};
use crate::facts::Token;
use crate::headers::{set_request, set_response};

/// What was offered, without its credential.
#[derive(Debug)]
pub struct Offer {
    /// The credential. Visible ASCII, never empty.
    pub token: Option<Token>,
    /// How the 101 has to answer.
    pub answer: PairAnswer,
}

/// What the 101 may select.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairAnswer {
    /// What the app was offered.
    offered: Vec<String>,
    /// The marker of a pair: selected when the app selects nothing, because a browser gives up a handshake that
    /// offers protocols and gets none.
    marker: Option<String>,
}

impl PairAnswer {
    /// Whether the 101 selects the marker when the app selects nothing.
    pub fn selects_marker(&self) -> bool {
        self.marker.is_some()
    }

    /// Brings the selection of a 101 in order: one protocol that the app was offered stays; anything else is dropped,
    /// and the marker of a pair takes its place. What is selected was never part of a credential.
    pub fn settle(&self, response: &mut ResponseHeader) {
        let mut selected = response.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let one = selected.next().filter(|_| selected.next().is_none());
        if one.is_some_and(|one| self.offered.iter().any(|offered| offered.as_bytes() == one.as_bytes())) {
            return;
        }
        response.remove_header(&SEC_WEBSOCKET_PROTOCOL);
        if let Some(marker) = self.marker.as_deref().and_then(|marker| HeaderValue::from_str(marker).ok()) {
            set_response(response, SEC_WEBSOCKET_PROTOCOL, marker);
        }
    }
}

/// Reads the offer and cuts the credential out of it; the field is removed when nothing else was offered. `marker` is
/// that of the identity, `None` when none takes credentials here.
///
/// 400 for two credentials, a marker or a form without its token, and elements that are no tokens.
pub fn take(request: &mut RequestHeader, marker: Option<&str>) -> Result<Offer, Denial> {
    let malformed = |detail: &'static str| Denial::new(Reason::RequestMalformed, detail);
    if !request.headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Ok(Offer { token: None, answer: PairAnswer::default() });
    }
    let mut elements: Vec<String> = Vec::new();
    for line in request.headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let line = line.to_str().map_err(|_| malformed("a subprotocol that is no token"))?;
        elements.extend(
            line.split(',')
                .map(|element| element.trim_matches([' ', '\t']))
                .filter(|e| !e.is_empty())
                .map(String::from),
        );
    }
    if !elements.iter().all(|element| element.bytes().all(is_token_byte)) {
        return Err(malformed("a subprotocol that is no token"));
    }
    let Some(marker) = marker else {
        return Ok(Offer { token: None, answer: PairAnswer { offered: elements, marker: None } });
    };
    let mut token: Option<String> = None;
    let mut answer = PairAnswer::default();
    let mut elements = elements.into_iter();
    while let Some(element) = elements.next() {
        let found = match Form::of(&element, marker) {
            Form::Protocol => {
                answer.offered.push(element);
                continue;
            }
            Form::Marker => {
                answer.marker = Some(element);
                let next = elements.next().filter(|next| matches!(Form::of(next, marker), Form::Protocol));
                next.ok_or_else(|| malformed("a credential marker without a token of its own"))?
            }
            Form::Dotted(rest) => rest.to_owned(),
            Form::Encoded(rest) => decode(rest)
                .ok_or_else(|| malformed("an encoded credential that is not base64url of visible text"))?,
        };
        if found.is_empty() {
            return Err(malformed("an empty credential"));
        }
        if token.replace(found).is_some() {
            return Err(malformed("two credentials among the subprotocols"));
        }
    }
    if answer.offered.is_empty() {
        request.remove_header(&SEC_WEBSOCKET_PROTOCOL);
    } else {
        let left = HeaderValue::from_str(&answer.offered.join(", ")).expect("tokens make a header value");
        set_request(request, SEC_WEBSOCKET_PROTOCOL, left);
    }
    Ok(Offer { token: token.map(Token), answer })
}

/// What an element is to the gateway.
enum Form<'a> {
    Protocol,
    Marker,
    Dotted(&'a str),
    Encoded(&'a str),
}

impl<'a> Form<'a> {
    fn of(element: &'a str, marker: &str) -> Self {
        let dotted = |text: &'a str| text.strip_prefix(marker).and_then(|rest| rest.strip_prefix('.'));
        if element == marker {
            return Form::Marker;
        }
        if let Some(rest) = dotted(element) {
            return Form::Dotted(rest);
        }
        match element.strip_prefix("base64url.").and_then(dotted) {
            Some(rest) => Form::Encoded(rest),
            None => Form::Protocol,
        }
    }
}

fn decode(encoded: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
    text.bytes().all(|byte| byte.is_ascii_graphic()).then_some(text)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(lines: &[&str]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/ws", None).unwrap();
        for line in lines {
            request.append_header("Sec-WebSocket-Protocol", *line).unwrap();
        }
        request
    }

    /// The token, what the app is offered, and whether the marker is to be selected.
    fn taken(lines: &[&str]) -> Result<(Option<String>, Option<String>, bool), Reason> {
        let mut request = request(lines);
        let offer = take(&mut request, Some("bearer")).map_err(|denial| denial.reason)?;
        let left =
            request.headers.get(SEC_WEBSOCKET_PROTOCOL).map(|value| value.to_str().unwrap().to_owned());
        assert!(request.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().count() <= 1);
        Ok((offer.token.map(|token| token.0), left, offer.answer.selects_marker()))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn takes_a_credential_in_each_form() {
        assert_eq!(taken(&["bearer, a.b.c, chat.v1"]), Ok((some("a.b.c"), some("chat.v1"), true)));
        assert_eq!(taken(&["bearer, a.b.c"]), Ok((some("a.b.c"), None, true)));
        assert_eq!(
            taken(&["chat.v1, bearer.a.b.c, chat.v2"]),
            Ok((some("a.b.c"), some("chat.v1, chat.v2"), false))
        );
        assert_eq!(taken(&["base64url.bearer.YS9iPQ, chat.v1"]), Ok((some("a/b="), some("chat.v1"), false)));
        assert_eq!(taken(&["bearer", "a.b.c", "chat.v1"]), Ok((some("a.b.c"), some("chat.v1"), true)));
    }

    #[test]
    fn leaves_an_offer_without_one_alone() {
        assert_eq!(taken(&["chat.v1, chat.v2"]), Ok((None, some("chat.v1, chat.v2"), false)));
        assert_eq!(taken(&["Bearer.x, bearers"]), Ok((None, some("Bearer.x, bearers"), false)));
        assert_eq!(taken(&[]), Ok((None, None, false)));
        let mut request = request(&["bearer, x"]);
        assert!(take(&mut request, None).unwrap().token.is_none());
        assert_eq!(request.headers[SEC_WEBSOCKET_PROTOCOL], "bearer, x");
    }

    #[test]
    fn two_credentials_or_half_of_one_are_malformed() {
        for line in [
            "bearer, a, bearer, b",
            "bearer, a, bearer.b",
            "bearer.a, bearer.b",
            "bearer.a, bearer.a",
            "bearer.a, base64url.bearer.YQ",
            "bearer, bearer.a",
            "bearer, bearer, a",
            "bearer, base64url.bearer.YQ",
            "bearer",
            "chat, bearer",
            "bearer.",
            "base64url.bearer.",
            "base64url.bearer.YQ==",
            "base64url.bearer.!",
            "base64url.bearer.YQo",
            "base64url.bearer._w",
            "chat v1",
            "a/b",
            "bearer, a=b",
        ] {
            assert_eq!(taken(&[line]), Err(Reason::RequestMalformed), "{line}");
        }
    }

    fn answered(offer: &str, selected: &[&str]) -> Option<String> {
        let answer = take(&mut request(&[offer]), Some("bearer")).unwrap().answer;
        let mut response = ResponseHeader::build(101, None).unwrap();
        for protocol in selected {
            response.append_header("Sec-WebSocket-Protocol", *protocol).unwrap();
        }
        answer.settle(&mut response);
        response.headers.get(SEC_WEBSOCKET_PROTOCOL).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_pair_is_answered_with_its_marker_when_the_app_selects_nothing() {
        assert_eq!(answered("bearer, a.b.c", &[]), some("bearer"));
        assert_eq!(answered("bearer, a.b.c, chat.v1", &[]), some("bearer"));
        assert_eq!(answered("bearer, a.b.c, chat.v1", &["chat.v1"]), some("chat.v1"));
        assert_eq!(answered("bearer.a.b.c, chat.v1", &[]), None);
        assert_eq!(answered("chat.v1", &["chat.v1"]), some("chat.v1"));
    }

    #[test]
    fn what_was_not_offered_is_not_selected() {
        assert_eq!(answered("bearer, a.b.c, chat.v1", &["a.b.c"]), some("bearer"));
        assert_eq!(answered("bearer.a.b.c", &["bearer.a.b.c"]), None);
        assert_eq!(answered("chat.v1", &["chat.v2"]), None);
        assert_eq!(answered("chat.v1, chat.v2", &["chat.v1", "chat.v2"]), None);
        assert_eq!(answered("chat.v1, chat.v2", &["chat.v1, chat.v2"]), None);
    }

    proptest! {
        #[test]
        fn the_credential_is_left_nowhere(
            token in "[A-Za-z0-9_-]{8,20}\\.[A-Za-z0-9_-]{8,20}",
            form in 0..3,
            before in prop::collection::vec("[a-z]{1,5}\\.v[0-9]", 0..3),
            after in prop::collection::vec("[a-z]{1,5}\\.v[0-9]", 0..3),
        ) {
            prop_assume!(!token.starts_with("bearer."));
            let credential = match form {
                0 => format!("bearer, {token}"),
                1 => format!("bearer.{token}"),
                _ => format!("base64url.bearer.{}", URL_SAFE_NO_PAD.encode(&token)),
            };
            let mut parts = before.clone();
            parts.push(credential);
            parts.extend(after.clone());
            let (found, left, pair) = taken(&[&parts.join(", ")]).unwrap();
            prop_assert_eq!(found, Some(token));
            let rest: Vec<String> = before.into_iter().chain(after).collect();
            prop_assert_eq!(left, (!rest.is_empty()).then(|| rest.join(", ")));
            prop_assert_eq!(pair, form == 0);
        }
    }
}
