//! Requests, as a worker hands them to the pipeline.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use filters::exchange::{Arrival, Exchange};
use filters::pipeline::Pipeline;
use futures_util::FutureExt;
use http::{HeaderValue, Version};
use jsonwebtoken::{EncodingKey, Header};
use pingora_http::RequestHeader;
use serde_json::json;

use crate::policy::SECRET;

/// The seconds since 1970 at which every request is read.
pub const NOW: u64 = 1_800_000_000;

/// A request that has been received.
pub struct Asked {
    header: RequestHeader,
    raw: Bytes,
}

impl Asked {
    /// A browser's request for `target` at `host`, with these further fields.
    pub fn browser(method: &str, host: &str, target: &str, fields: &[(&str, &str)]) -> Self {
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n\
             User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36\r\n\
             Accept: application/json, text/plain, */*\r\nAccept-Language: zh-CN,zh;q=0.9,en;q=0.8\r\n\
             Accept-Encoding: gzip, deflate, br\r\nReferer: https://{host}/cards\r\nSec-Fetch-Mode: cors\r\n\
             Cookie: theme=dark; _ga=GA1.1.1098765432.1719999999\r\nConnection: keep-alive\r\n"
        );
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Self::parse(head.into())
    }

    /// Reads a head as pingora does: names in their own case, values shared with the bytes received.
    fn parse(raw: Bytes) -> Self {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut fields);
        request.parse(&raw).unwrap();
        let (method, path) = (request.method.unwrap(), request.path.unwrap());
        let mut header = RequestHeader::build(method, path.as_bytes(), Some(request.headers.len())).unwrap();
        header.set_version(Version::HTTP_11);
        for field in request.headers {
            let name = raw.slice_ref(field.name.as_bytes());
            let value = HeaderValue::from_maybe_shared(raw.slice_ref(field.value)).unwrap();
            header.append_header(name, value).unwrap();
        }
        Self { header, raw }
    }

    /// The parsed head, for one admission: it is edited on the way.
    pub fn header(&self) -> RequestHeader {
        self.header.clone()
    }

    /// When, from where, and as which bytes it came.
    pub fn arrival(&self) -> Arrival<'_> {
        Arrival {
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(NOW),
            peer: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
            https: true,
            port: 443,
            raw_head: Some(&self.raw),
            random: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
        }
    }
}

/// The head as it came, the one for the app, and what is known.
pub type Admitted = (RequestHeader, Vec<u8>, Exchange);

/// Admits a request that must pass, as it must before an app is asked, and gives back all that was made on the way.
///
/// # Panics
/// When the policy refuses the request or has to wait for something.
pub fn admit(pipeline: &Pipeline, asked: &Asked, mut header: RequestHeader) -> Admitted {
    let arrival = asked.arrival();
    let mut exchange = Exchange::begin(&arrival);
    let admitted = pipeline.admit(&mut header, &arrival, &mut exchange).now_or_never();
    let outgoing = admitted
        .expect("nothing here is asked over the network")
        .and_then(|route| pipeline.outgoing(&header, route, &arrival, &exchange))
        .map(|head| head.to_wire())
        .unwrap_or_else(|denial| panic!("refused: {}", denial.detail));
    (header, outgoing, exchange)
}

/// A good token of a member of this tenant, with as many claims as a real one.
pub fn token(tenant: &str) -> String {
    let claims = json!({
        "iss": "bench", "sub": "user-4711", "tenant_id": tenant, "iat": NOW - 60, "exp": NOW + 3600,
        "role": ["editor"], "permission": ["card:read", "card:write", "asset:read", "asset:write"],
        "jti": "0b1f6f7e-5b0a-4a52-9b1e-6d5f2a9f3c11",
    });
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}
