//! The head of a request as an app gets it.

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use pingora_http::RequestHeader;

use crate::denial::{Denial, Reason};

/// More fields than the gateway ever adds.
const ADDED: usize = 16;

/// A head that is being written: the request's own method and target, and the fields in the order they were added. It is
/// a list, because it is written once and hardly ever searched: adding a field costs no hashing.
#[derive(Debug)]
pub struct OutgoingHead<'r> {
    method: &'r str,
    target: &'r [u8],
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl<'r> OutgoingHead<'r> {
    /// Without any field. Refuses a target that would end the line it stands in; none that was parsed does.
    pub(crate) fn new(request: &'r RequestHeader) -> Result<Self, Denial> {
        let target = request.raw_path();
        if target.is_empty() || target.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
            return Err(Denial::new(Reason::RequestMalformed, "a target that cannot be written"));
        }
        let fields = Vec::with_capacity(request.headers.len() + ADDED);
        Ok(Self { method: request.method.as_str(), target, fields })
    }

    /// Adds a field behind those that are there, also behind others of its name.
    pub fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.fields.push((name, value));
    }

    /// Puts a field in the place of all those of its name.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.remove(&name);
        self.add(name, value);
    }

    /// Takes away all fields of this name.
    pub fn remove(&mut self, name: &HeaderName) {
        self.fields.retain(|(own, _)| own != name);
    }

    /// Says how long the body is.
    pub fn set_length(&mut self, bytes: u64) {
        self.set(CONTENT_LENGTH, bytes.into());
    }

    /// The request's method.
    pub fn method(&self) -> &str {
        self.method
    }

    /// What is asked for, as it is written.
    pub fn target(&self) -> &[u8] {
        self.target
    }

    /// The fields, in the order they are written.
    pub fn fields(&self) -> &[(HeaderName, HeaderValue)] {
        &self.fields
    }

    /// The fields by name. Costs a map.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.fields.len());
        for (name, value) in &self.fields {
            headers.append(name, value.clone());
        }
        headers
    }

    /// The bytes of the head for HTTP/1.1 (RFC 9112 section 2.1), with the empty line. Names are written as HTTP/2 has
    /// them, in lower case, or in their usual capitals; RFC 9110 section 5.1 has both mean the same.
    pub fn to_wire(&self) -> Vec<u8> {
        let fields =
            self.fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
        let mut wire = Vec::with_capacity(fields + self.method.len() + self.target.len() + 16);
        wire.extend_from_slice(self.method.as_bytes());
        wire.push(b' ');
        wire.extend_from_slice(self.target);
        wire.extend_from_slice(b" HTTP/1.1\r\n");
        for (name, value) in &self.fields {
            wire.extend_from_slice(written(name.as_str()).as_bytes());
            wire.extend_from_slice(b": ");
            wire.extend_from_slice(value.as_bytes());
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"\r\n");
        wire
    }
}

/// The names that a server too simple for the standard may look for.
fn written(name: &str) -> &str {
    match name {
        "host" => "Host",
        "connection" => "Connection",
        "upgrade" => "Upgrade",
        "content-length" => "Content-Length",
        "content-type" => "Content-Type",
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &[u8]) -> RequestHeader {
        RequestHeader::build("GET", target, None).unwrap()
    }

    #[test]
    fn a_head_is_written_in_its_order() {
        let request = request(b"/a?b=%20");
        let mut head = OutgoingHead::new(&request).unwrap();
        let name = HeaderName::from_static;
        let value = HeaderValue::from_static;
        head.add(name("x-one"), value("1"));
        head.add(name("host"), value("a.example"));
        head.add(name("x-one"), value(""));
        head.add(name("content-length"), value("7"));
        head.set_length(5);
        assert_eq!(
            String::from_utf8(head.to_wire()).unwrap(),
            "GET /a?b=%20 HTTP/1.1\r\nx-one: 1\r\nHost: a.example\r\nx-one: \r\nContent-Length: 5\r\n\r\n"
        );
        head.set(name("x-one"), value("2"));
        head.remove(&name("host"));
        let left: Vec<_> = head.fields().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["content-length", "x-one"]);
        assert_eq!(head.headers()["x-one"], "2");
    }

    #[test]
    fn a_target_never_ends_its_line() {
        for bad in [&b"/a b"[..], b"/a\r\nX: y", b"/\0", b"/\x7f"] {
            let mut sent = request(b"/");
            // What Pingora refuses to hold needs no refusal here.
            if sent.set_raw_path(bad).is_ok() && sent.raw_path() == bad {
                assert_eq!(OutgoingHead::new(&sent).unwrap_err().reason, Reason::RequestMalformed);
            }
        }
    }
}
