//! Space that an app no longer uses: `quota.release`.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use pingora_http::ResponseHeader;

use super::storage::OPERATION;
use crate::state::{Books, Quotas, Space};

/// What one answer may say of its tenant's storage. A 2xx answer that has the header once, with a whole number in it,
/// gives so many bytes back, never more than are used. The header does not go on to the client.
pub struct Release {
    header: HeaderName,
    tenant: Option<Arc<str>>,
    request_id: String,
    books: Books<dyn Quotas>,
}

impl Release {
    /// By this header, in the answer to this request, to this tenant; to nobody without one.
    pub(crate) fn new(
        header: HeaderName,
        tenant: Option<&str>,
        request_id: &str,
        books: Books<dyn Quotas>,
    ) -> Self {
        Self { header, tenant: tenant.map(Into::into), request_id: request_id.to_owned(), books }
    }

    /// Whether anything is counted.
    pub(crate) fn counts(&self) -> bool {
        self.tenant.is_some()
    }

    /// Reads the header and takes it out. An error says whose bytes were not counted, and why.
    pub(crate) async fn settle(self, head: &mut ResponseHeader, succeeded: bool) -> Result<(), String> {
        let freed = freed(head, &self.header);
        head.remove_header(&self.header);
        let (Some(tenant), true) = (self.tenant, succeeded) else { return Ok(()) };
        let fault = |what: &str| format!("request_id={}: tenant {tenant}: {what}", self.request_id);
        let bytes = freed.map_err(fault)?;
        if bytes == 0 {
            return Ok(());
        }
        let space = Space { tenant: Arc::clone(&tenant), bytes };
        match self.books.ask(OPERATION, |store| store.free(&space)).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(_) => {
                let what = format!("the shared state does not learn of {bytes} bytes that the app freed");
                Err(fault(&what))
            }
        }
    }
}

/// The bytes that the header says; none without it.
fn freed(head: &ResponseHeader, header: &HeaderName) -> Result<u64, &'static str> {
    let mut values = head.headers.get_all(header).iter();
    let (value, None) = (values.next(), values.next()) else {
        return Err("the app says twice how many bytes it freed");
    };
    let Some(value) = value else { return Ok(0) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or("the app says how many bytes it freed, but in no whole number")
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Release").field(&self.header).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::upload::Ledger;

    /// What is used of 100 bytes after an answer, and whether the header is gone from it.
    fn after(status: u16, values: &[&str], tenant: Option<&str>) -> (u64, Result<(), String>) {
        let ledger = Ledger::new();
        ledger.set("t-1", 100).now_or_never().unwrap().unwrap();
        let header = HeaderName::from_static("x-freed-bytes");
        let mut head = ResponseHeader::build(status, None).unwrap();
        for value in values {
            head.append_header(header.clone(), *value).unwrap();
        }
        let books = Books { local: ledger.clone() as _, shared: None };
        let release = Release::new(header.clone(), tenant, "r-1", books);
        assert_eq!(release.counts(), tenant.is_some());
        let settled = release.settle(&mut head, head_succeeded(status)).now_or_never().unwrap();
        assert!(!head.headers.contains_key(header), "it goes on to the client");
        (ledger.usage("t-1").now_or_never().unwrap().unwrap().used, settled)
    }

    fn head_succeeded(status: u16) -> bool {
        (200..300).contains(&status)
    }

    #[test]
    fn gives_back_what_a_good_answer_says() {
        assert_eq!(after(200, &["30"], Some("t-1")), (70, Ok(())));
        assert_eq!(after(204, &["101"], Some("t-1")), (0, Ok(())));
        assert_eq!(after(200, &["0"], Some("t-1")), (100, Ok(())));
        assert_eq!(after(200, &[], Some("t-1")), (100, Ok(())));
    }

    #[test]
    fn gives_nothing_back_for_a_failure_or_to_nobody() {
        assert_eq!(after(404, &["30"], Some("t-1")), (100, Ok(())));
        assert_eq!(after(500, &["thirty"], Some("t-1")), (100, Ok(())));
        assert_eq!(after(200, &["30"], None), (100, Ok(())));
    }

    #[test]
    fn ignores_what_is_no_whole_number_and_says_so() {
        for values in [
            &["-1"][..],
            &["+1"],
            &["1.5"],
            &["1 "],
            &[""],
            &["0x10"],
            &["18446744073709551616"],
            &["1", "1"],
        ] {
            let (used, settled) = after(200, values, Some("t-1"));
            assert_eq!(used, 100, "{values:?}");
            let fault = settled.unwrap_err();
            assert!(fault.starts_with("request_id=r-1: tenant t-1: the app says "), "{values:?}: {fault}");
        }
    }
}
