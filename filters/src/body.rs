//! How large a body may be: `limits.body`.
//!
//! Passes a body whose declared length is within the limit, and one whose length is not declared: that one is counted
//! while it is received, before the upstream is asked.

use config::RuleName;
use http::header;
use pingora_http::RequestHeader;

use crate::denial::{Denial, Reason};
use crate::facts::Facts;
use crate::filter::{Filter, Judgement};

/// The limit of one route.
pub struct BodyLimit {
    bytes: u64,
}

impl BodyLimit {
    /// At most this many bytes.
    pub fn new(bytes: u64) -> Self {
        Self { bytes }
    }
}

impl Filter for BodyLimit {
    fn name(&self) -> RuleName {
        RuleName::Body
    }

    fn judge(&self, request: &mut RequestHeader, _facts: &Facts<'_>) -> Judgement {
        match declared_length(request) {
            Some(length) if length > self.bytes => {
                let detail = format!("{length} bytes declared, {} allowed", self.bytes);
                Judgement::deny(Denial::new(Reason::BodyTooLarge, detail))
            }
            _ => Judgement::PASS,
        }
    }
}

/// `Content-Length`, when there is one.
pub fn declared_length(request: &RequestHeader) -> Option<u64> {
    request.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use std::time::SystemTime;

    fn judged(length: &str) -> Judgement {
        let mut request = RequestHeader::build("POST", b"/", None).unwrap();
        request.insert_header("Content-Length", length).unwrap();
        let facts = Facts {
            request_id: "r-1",
            now: SystemTime::UNIX_EPOCH,
            client: [127, 0, 0, 1].into(),
            method: &Method::POST,
            host: "a",
            path: "/",
            route: "/",
            params: &[],
            caller: None,
            tenant: None,
        };
        BodyLimit::new(10).judge(&mut request, &facts)
    }

    #[test]
    fn passes_a_body_that_just_fits() {
        assert!(matches!(judged("10"), Judgement::Now(Ok(_))));
    }

    #[test]
    fn refuses_a_body_one_byte_too_large() {
        let Judgement::Now(Err(denial)) = judged("11") else { panic!("passed") };
        assert_eq!(denial.reason, Reason::BodyTooLarge);
    }
}
