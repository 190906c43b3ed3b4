//! The only way to refuse: a reason from a closed table, plus detail that the client never sees.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde::Serialize;

/// A refusal. The client is shown the reason's texts and the public fields below; `detail` goes to the log.
#[derive(Debug, Clone)]
pub struct Denial {
    /// Which line of the table.
    pub reason: Reason,
    /// For the operator: what was wrong, scrubbed before it is written. Never sent to the client.
    pub detail: Cow<'static, str>,
    /// Everything that is answered only by some reasons; boxed, because most have none.
    pub extra: Option<Box<Extra>>,
}

/// What some refusals add to their answer.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    /// `Retry-After`, rounded up to whole seconds.
    pub retry_after: Option<Duration>,
    /// `Allow`
    pub allow: Vec<Method>,
    /// What follows `Bearer` in `WWW-Authenticate` (RFC 6750 section 3); the scheme alone is sent when empty.
    pub challenge: Option<Cow<'static, str>>,
    /// One line per refused file or field: the `errors` member of the body.
    pub errors: Vec<FieldProblem>,
    /// Header lines that the answer carries, such as `RateLimit`.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// The name of the rule that refused, where a route may have several. A metric label, never sent to the client.
    pub rule: Option<Arc<str>>,
}

/// One entry of `errors`.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
pub struct FieldProblem {
    /// The form field, or the path in a JSON body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The file's name as the client sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// The code of the reason.
    pub code: &'static str,
    /// The limit that was passed, in bytes or pieces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Bytes of it that are used already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// Whose limit it is: the tenant's plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The request by which the same file came first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<String>,
}

impl Denial {
    /// A refusal with nothing but its reason and a note for the operator.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into(), extra: None }
    }

    /// With `Retry-After`.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.extra_mut().retry_after = Some(wait);
        self
    }

    /// With `Allow`.
    pub fn allow(mut self, methods: Vec<Method>) -> Self {
        self.extra_mut().allow = methods;
        self
    }

    /// With parameters of the Bearer challenge, such as `error="invalid_token"`.
    pub fn challenge(mut self, parameters: impl Into<Cow<'static, str>>) -> Self {
        self.extra_mut().challenge = Some(parameters.into());
        self
    }

    /// With an entry of `errors`.
    pub fn with_field(mut self, problem: FieldProblem) -> Self {
        self.extra_mut().errors.push(problem);
        self
    }

    /// With a header line.
    pub fn header(mut self, name: http::HeaderName, value: http::HeaderValue) -> Self {
        self.extra_mut().headers.push((name, value));
        self
    }

    /// With the name of the rule that refused.
    pub fn rule(mut self, name: Arc<str>) -> Self {
        self.extra_mut().rule = Some(name);
        self
    }

    fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_with(Default::default)
    }
}

/// One line of the table of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the codes are the documentation")]
pub enum Reason {
    RequestMalformed,
    RequestHeadTooLarge,
    RequestUriTooLong,
    RequestTimeout,
    MethodNotAllowed,
    TenantMissing,
    TenantUnknown,
    TenantMismatch,
    TenantSuspended,
    AuthMissing,
    AuthInvalid,
    AuthExpired,
    AuthForbidden,
    AuthLocked,
    OriginDenied,
    IpDenied,
    RouteNotFound,
    BodyTooLarge,
    UploadMalformed,
    UploadDuplicate,
    UploadTooLarge,
    UploadQuotaExceeded,
    UploadTooManyFiles,
    UploadExtensionDenied,
    UploadTypeMismatch,
    UploadFilenameDenied,
    UploadInfected,
    UploadArchiveDenied,
    UploadContentDenied,
    RateLimited,
    Internal,
    UpstreamUnavailable,
    UpstreamTimeout,
    Draining,
    ScanUnavailable,
    StateUnavailable,
    SpoolExhausted,
}

/// What a reason says, everywhere it is said.
#[derive(Debug)]
pub struct Row {
    /// `code` of a problem, `code` label of metrics and log lines.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// `code` of an envelope.
    pub number: u32,
    /// `title` of a problem.
    pub title: &'static str,
    /// The sentence for the client, in English.
    pub en: &'static str,
    /// The sentence for the client, in Chinese.
    pub zh: &'static str,
}

impl Reason {
    /// Every reason, in the order of the table.
    pub const ALL: [Reason; 37] = [
        Reason::RequestMalformed,
        Reason::RequestHeadTooLarge,
        Reason::RequestUriTooLong,
        Reason::RequestTimeout,
        Reason::MethodNotAllowed,
        Reason::TenantMissing,
        Reason::TenantUnknown,
        Reason::TenantMismatch,
        Reason::TenantSuspended,
        Reason::AuthMissing,
        Reason::AuthInvalid,
        Reason::AuthExpired,
        Reason::AuthForbidden,
        Reason::AuthLocked,
        Reason::OriginDenied,
        Reason::IpDenied,
        Reason::RouteNotFound,
        Reason::BodyTooLarge,
        Reason::UploadMalformed,
        Reason::UploadDuplicate,
        Reason::UploadTooLarge,
        Reason::UploadQuotaExceeded,
        Reason::UploadTooManyFiles,
        Reason::UploadExtensionDenied,
        Reason::UploadTypeMismatch,
        Reason::UploadFilenameDenied,
        Reason::UploadInfected,
        Reason::UploadArchiveDenied,
        Reason::UploadContentDenied,
        Reason::RateLimited,
        Reason::Internal,
        Reason::UpstreamUnavailable,
        Reason::UpstreamTimeout,
        Reason::Draining,
        Reason::ScanUnavailable,
        Reason::StateUnavailable,
        Reason::SpoolExhausted,
    ];

    /// The stable name, `upload.infected` and the like.
    pub fn code(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// Everything the table says of this reason.
    pub fn row(self) -> &'static Row {
        macro_rules! row {
            ($code:literal, $status:literal, $number:literal, $title:literal, $en:literal, $zh:literal) => {
                &Row { code: $code, status: $status, number: $number, title: $title, en: $en, zh: $zh }
            };
        }
        match self {
            Reason::RequestMalformed => row!(
                "request.malformed",
                400,
                40000,
                "Bad Request",
                "The request is malformed.",
                "请求格式错误。"
            ),
            Reason::RequestHeadTooLarge => row!(
                "request.malformed",
                431,
                40000,
                "Request Header Fields Too Large",
                "The request's header fields are too large.",
                "请求头过大。"
            ),
            Reason::RequestUriTooLong => row!(
                "request.malformed",
                414,
                40000,
                "URI Too Long",
                "The request's address is too long.",
                "请求地址过长。"
            ),
            Reason::RequestTimeout => row!(
                "request.timeout",
                408,
                40801,
                "Request Timeout",
                "The request did not arrive in time.",
                "请求未能及时到达。"
            ),
            Reason::MethodNotAllowed => row!(
                "method.not_allowed",
                405,
                40501,
                "Method Not Allowed",
                "This address does not take that method.",
                "此地址不支持该请求方法。"
            ),
            Reason::TenantMissing => row!(
                "tenant.missing",
                400,
                40002,
                "Tenant Missing",
                "The request does not say which tenant it is for.",
                "请求未指明所属租户。"
            ),
            Reason::TenantUnknown => row!(
                "tenant.unknown",
                404,
                40402,
                "Tenant Unknown",
                "There is no such tenant.",
                "租户不存在。"
            ),
            Reason::TenantMismatch => row!(
                "tenant.mismatch",
                403,
                40303,
                "Tenant Mismatch",
                "The request names a tenant that is not yours.",
                "请求的租户与您的身份不符。"
            ),
            Reason::TenantSuspended => row!(
                "tenant.suspended",
                403,
                40304,
                "Tenant Suspended",
                "This tenant is suspended.",
                "该租户已被停用。"
            ),
            Reason::AuthMissing => {
                row!("auth.missing", 401, 40101, "Unauthorized", "Please sign in.", "请先登录。")
            }
            Reason::AuthInvalid => row!(
                "auth.invalid",
                401,
                40102,
                "Unauthorized",
                "The credential is not valid.",
                "登录凭证无效。"
            ),
            Reason::AuthExpired => row!(
                "auth.expired",
                401,
                40103,
                "Unauthorized",
                "The credential has expired. Please sign in again.",
                "登录已过期，请重新登录。"
            ),
            Reason::AuthForbidden => row!(
                "auth.forbidden",
                403,
                40301,
                "Forbidden",
                "You are not allowed to do this.",
                "您没有执行此操作的权限。"
            ),
            Reason::AuthLocked => row!(
                "auth.locked",
                429,
                42903,
                "Too Many Failures",
                "Too many failed attempts. Please try again later.",
                "失败次数过多，请稍后再试。"
            ),
            Reason::OriginDenied => row!(
                "origin.denied",
                403,
                40306,
                "Origin Denied",
                "This page may not open the connection.",
                "此页面无权建立该连接。"
            ),
            Reason::IpDenied => row!(
                "ip.denied",
                403,
                40307,
                "Address Denied",
                "Your network address is not allowed here.",
                "您的网络地址不允许访问。"
            ),
            Reason::RouteNotFound => row!(
                "route.not_found",
                404,
                40401,
                "Not Found",
                "There is nothing at this address.",
                "请求的地址不存在。"
            ),
            Reason::BodyTooLarge => row!(
                "body.too_large",
                413,
                41301,
                "Content Too Large",
                "The request's body is too large.",
                "请求内容过大。"
            ),
            Reason::UploadMalformed => row!(
                "upload.malformed",
                400,
                40003,
                "Bad Upload",
                "The upload is malformed.",
                "上传内容格式错误。"
            ),
            Reason::UploadDuplicate => row!(
                "upload.duplicate",
                409,
                40901,
                "Duplicate File",
                "A file was uploaded before.",
                "文件已上传过。"
            ),
            Reason::UploadTooLarge => row!(
                "upload.too_large",
                413,
                41302,
                "File Too Large",
                "A file is larger than allowed.",
                "文件大小超出限制。"
            ),
            Reason::UploadQuotaExceeded => row!(
                "upload.quota_exceeded",
                413,
                41303,
                "Storage Full",
                "There is not enough storage left for the upload.",
                "存储空间不足。"
            ),
            Reason::UploadTooManyFiles => row!(
                "upload.too_many_files",
                413,
                41304,
                "Too Many Files",
                "There are more files than allowed.",
                "文件数量超出限制。"
            ),
            Reason::UploadExtensionDenied => row!(
                "upload.extension_denied",
                415,
                41501,
                "File Extension Denied",
                "Files of this kind are not accepted.",
                "不支持该文件扩展名。"
            ),
            Reason::UploadTypeMismatch => row!(
                "upload.type_mismatch",
                415,
                41502,
                "File Type Mismatch",
                "A file's content is not what its name or its declared type says.",
                "文件内容与扩展名或声明的类型不符。"
            ),
            Reason::UploadFilenameDenied => row!(
                "upload.filename_denied",
                415,
                41503,
                "File Name Denied",
                "A file's name is not accepted.",
                "文件名不被允许。"
            ),
            Reason::UploadInfected => row!(
                "upload.infected",
                422,
                42201,
                "File Infected",
                "A file contains malware.",
                "文件包含恶意软件。"
            ),
            Reason::UploadArchiveDenied => row!(
                "upload.archive_denied",
                422,
                42202,
                "Archive Denied",
                "A file is an archive that cannot be accepted.",
                "文件是不被允许的压缩包。"
            ),
            Reason::UploadContentDenied => row!(
                "upload.content_denied",
                422,
                42203,
                "File Content Denied",
                "A file contains active content that is not accepted.",
                "文件包含不被允许的活动内容。"
            ),
            Reason::RateLimited => row!(
                "rate.limited",
                429,
                42901,
                "Too Many Requests",
                "Too many requests. Please slow down.",
                "请求过于频繁，请稍后再试。"
            ),
            Reason::Internal => {
                row!("internal", 500, 50001, "Internal Error", "Something went wrong here.", "服务内部错误。")
            }
            Reason::UpstreamUnavailable => row!(
                "upstream.unavailable",
                502,
                50201,
                "Bad Gateway",
                "The service is not reachable right now.",
                "服务暂时不可用。"
            ),
            Reason::UpstreamTimeout => row!(
                "upstream.timeout",
                504,
                50401,
                "Gateway Timeout",
                "The service did not answer in time.",
                "服务响应超时。"
            ),
            Reason::Draining => row!(
                "gateway.draining",
                503,
                50301,
                "Service Unavailable",
                "The service is restarting. Please try again.",
                "服务正在重启，请重试。"
            ),
            Reason::ScanUnavailable => row!(
                "scan.unavailable",
                503,
                50302,
                "Service Unavailable",
                "Files can't be checked right now. Please try again.",
                "暂时无法检查文件，请稍后重试。"
            ),
            Reason::StateUnavailable => row!(
                "state.unavailable",
                503,
                50303,
                "Service Unavailable",
                "The service is not available right now. Please try again.",
                "服务暂时不可用，请稍后重试。"
            ),
            Reason::SpoolExhausted => row!(
                "spool.exhausted",
                503,
                50304,
                "Service Unavailable",
                "There is no room for the upload right now. Please try again.",
                "暂无空间接收上传，请稍后重试。"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_starts_with_its_status() {
        for reason in Reason::ALL {
            let row = reason.row();
            let own = matches!(reason, Reason::RequestHeadTooLarge | Reason::RequestUriTooLong);
            assert!(own || row.number / 100 == u32::from(row.status), "{}", row.code);
        }
    }

    #[test]
    fn says_everything_in_both_languages() {
        for reason in Reason::ALL {
            let row = reason.row();
            assert!(row.en.is_ascii() && row.en.ends_with('.'), "{}", row.code);
            assert!(row.zh.ends_with('。'), "{}", row.code);
        }
    }
}
