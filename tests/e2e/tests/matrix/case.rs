//! One hostile upload: what is wrong with it, where in a request it stands, how it is sent, and what must come of it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use harness::http::{Answer, Call, Connection, Wire, call, post};
use harness::sample::{self, PNG};
use harness::{Form, Gateway};

/// A file that must be refused.
pub(super) struct Evil {
    /// The technique and what it is done to.
    pub(super) name: String,
    pub(super) filename: String,
    pub(super) content: Bytes,
    pub(super) code: &'static str,
    /// What the client says it is.
    declared: &'static str,
}

impl Evil {
    pub(super) fn new(
        name: impl Into<String>,
        filename: &str,
        content: impl Into<Bytes>,
        code: &'static str,
    ) -> Self {
        let extension = filename.rsplit('.').next().unwrap_or_default();
        Self {
            name: name.into(),
            filename: filename.to_owned(),
            content: content.into(),
            code,
            declared: media_type(extension),
        }
    }

    /// Said to be of this type.
    pub(super) fn declared(mut self, media_type: &'static str) -> Self {
        self.declared = media_type;
        self
    }
}

/// Where in a request a file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The one file of a form.
    Only,
    /// In front of a good file.
    First,
    /// Behind a good file.
    Second,
    /// The last part, behind fields and two good files.
    Last,
    /// Behind a good file of 5 MB.
    Far,
    /// The whole body of a PUT, named by the path.
    Put,
    /// The whole body of a POST, named by `Content-Disposition`.
    Posted,
}

/// A request that must be refused.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) code: &'static str,
    what: What,
    /// What `errors` must tell was passed.
    limit: Option<u64>,
}

enum What {
    File(Arc<Evil>, Place),
    Whole { call: Call, content_type: String, body: Bytes },
}

impl Case {
    /// A file in several places.
    pub(super) fn places(evil: Evil, places: &[Place]) -> Vec<Case> {
        let evil = Arc::new(evil);
        let case = |&place: &Place| Case {
            name: format!("{} [{place:?}]", evil.name),
            code: evil.code,
            what: What::File(Arc::clone(&evil), place),
            limit: None,
        };
        places.iter().map(case).collect()
    }

    /// A body that is no form, or more than one.
    pub(super) fn form(name: &str, content_type: &str, body: impl Into<Bytes>, code: &'static str) -> Case {
        Case::whole(name, post("/form"), content_type, body, code)
    }

    /// A request of any kind.
    pub(super) fn whole(
        name: &str,
        call: Call,
        content_type: &str,
        body: impl Into<Bytes>,
        code: &'static str,
    ) -> Case {
        let what = What::Whole { call, content_type: content_type.to_owned(), body: body.into() };
        Case { name: name.to_owned(), code, what, limit: None }
    }

    /// Refused for passing this.
    pub(super) fn over(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    fn call(&self, sender: Sender) -> Call {
        let (call, content_type, body) = match &self.what {
            What::Whole { call, content_type, body } => (call.clone(), content_type.clone(), body.clone()),
            What::File(evil, place) => evil.request(*place),
        };
        match sender {
            Sender::Bytewise => call.bytewise(&content_type, body),
            Sender::Whole | Sender::Http2 => call.body(&content_type, body),
        }
    }

    fn size(&self) -> usize {
        match &self.what {
            What::Whole { body, .. } => body.len(),
            What::File(_, Place::Far) => FAR,
            What::File(evil, _) => evil.content.len(),
        }
    }

    /// Says what is wrong with an answer.
    fn fault(&self, answer: &Answer) -> Option<String> {
        let expected = (status(self.code), self.code.to_owned());
        if answer.verdict() != expected {
            return Some(format!("{:?} instead of {expected:?}", answer.verdict()));
        }
        if answer.header("cache-control") != Some("no-store") || answer.header("x-request-id").is_none() {
            return Some("a refusal without its headers".to_owned());
        }
        let errors = answer.json()["errors"].clone();
        if self.limit.is_some() && errors[0]["limit"].as_u64() != self.limit {
            return Some(format!("errors do not tell the limit: {errors}"));
        }
        let What::File(evil, place) = &self.what else { return None };
        let field = (!matches!(place, Place::Put | Place::Posted)).then_some("file");
        let told = errors.as_array().is_some_and(|errors| {
            errors.iter().any(|error| {
                error["code"] == self.code
                    && error["filename"] == evil.filename.as_str()
                    && error["field"].as_str() == field
            })
        });
        (!told).then(|| format!("errors do not name the file: {errors}"))
    }
}

/// Bytes of the good file that [`Place::Far`] stands behind.
const FAR: usize = 5 << 20;

impl Evil {
    fn request(&self, place: Place) -> (Call, String, Bytes) {
        static FILM: OnceLock<Vec<u8>> = OnceLock::new();
        let form = |good: Form| {
            let form = good.file("file", &self.filename, self.declared, &self.content);
            (post("/form"), Form::content_type(), Bytes::from(form.body()))
        };
        let good = |form: Form, name: &str| form.file("file", name, "image/png", PNG);
        let raw = |call: Call| (call, self.declared.to_owned(), self.content.clone());
        match place {
            Place::Only => form(Form::new()),
            Place::First => {
                let evil = Form::new().file("file", &self.filename, self.declared, &self.content);
                (post("/form"), Form::content_type(), Bytes::from(good(evil, "good.png").body()))
            }
            Place::Second => form(good(Form::new(), "good.png")),
            Place::Last => {
                let fields = Form::new().text("title", "a title").text("note", "--\r\n--x\r\nmore");
                form(good(good(fields, "one.png").text("between", ""), "two.png"))
            }
            Place::Far => {
                let film = FILM.get_or_init(|| sample::mp4_of(FAR));
                form(Form::new().file("file", "good.mp4", "video/mp4", film))
            }
            Place::Put => raw(call("PUT", &format!("/raw/{}", percent_encoded(&self.filename)))),
            Place::Posted => {
                let named = format!("attachment; filename*=UTF-8''{}", percent_encoded(&self.filename));
                raw(post("/raw/unnamed").header("content-disposition", named))
            }
        }
    }
}

/// How a body travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    /// HTTP/1.1, its length told beforehand.
    Whole,
    /// HTTP/1.1, each byte a chunk.
    Bytewise,
    /// HTTP/2.
    Http2,
}

/// Bodies beyond this are not sent byte by byte.
const BYTEWISE: usize = 32 * 1024;

/// What came of all cases.
pub(super) struct Outcome {
    /// Requests that were sent.
    pub(super) sent: usize,
    /// Those that were not refused as they should be.
    pub(super) failed: Vec<Failure>,
}

/// A case that was not refused as it should be.
pub(super) struct Failure {
    name: String,
    sender: Sender,
    /// What came instead.
    came: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:?}: {}", self.name, self.sender, self.came)
    }
}

impl Outcome {
    /// Checks that all were refused.
    ///
    /// # Panics
    /// With every one that was not.
    pub(super) fn none_passed(&self) {
        let lines: String = self.failed.iter().map(|failure| format!("\n{failure}")).collect();
        assert!(self.failed.is_empty(), "{} are not refused as they should be:{lines}", self.failed.len());
    }
}

/// Sends every case in every way that suits it.
pub(super) fn send_all(cases: &[Case], gateway: &Gateway, http2: &Wire) -> Outcome {
    let jobs: Vec<(&Case, Sender)> = cases
        .iter()
        .flat_map(|case| {
            let senders = [Sender::Whole, Sender::Http2, Sender::Bytewise];
            let suits = |sender: &Sender| *sender != Sender::Bytewise || case.size() <= BYTEWISE;
            senders.into_iter().filter(suits).map(move |sender| (case, sender))
        })
        .collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut line = Line { to: gateway.secure(), wire: http2, connection: None };
                while let Some((case, sender)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let call = case.call(*sender);
                    let answer = match sender {
                        Sender::Http2 => line.exchange(&call),
                        Sender::Whole | Sender::Bytewise => call.try_send(gateway.address()),
                    };
                    let fault = match answer {
                        Ok(answer) => case.fault(&answer),
                        Err(error) => Some(error),
                    };
                    if let Some(came) = fault {
                        let failure = Failure { name: case.name.clone(), sender: *sender, came };
                        failed.lock().expect("nobody panics with this lock").push(failure);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("nobody panics with this lock");
    Outcome { sent: jobs.len(), failed }
}

/// An HTTP/2 connection that is opened anew when the gateway has ended it.
struct Line<'a> {
    to: SocketAddr,
    wire: &'a Wire,
    connection: Option<Connection>,
}

impl Line<'_> {
    fn exchange(&mut self, call: &Call) -> Result<Answer, String> {
        if let Some(connection) = &mut self.connection
            && let Ok(answer) = connection.exchange(call)
        {
            return Ok(answer);
        }
        let mut fresh = Connection::to(self.wire, self.to);
        let answer = fresh.exchange(call);
        self.connection = answer.is_ok().then_some(fresh);
        answer
    }
}

/// The status of a code, by the contract's table.
fn status(code: &str) -> u16 {
    match code {
        "upload.malformed" | "request.malformed" => 400,
        "upload.too_large" | "upload.too_many_files" | "body.too_large" => 413,
        "upload.extension_denied" | "upload.type_mismatch" | "upload.filename_denied" => 415,
        "upload.infected" | "upload.archive_denied" | "upload.content_denied" => 422,
        _ => panic!("{code} is no code of an upload"),
    }
}

/// Every byte but letters, digits and `-._` as `%` and two digits.
pub(super) fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'-' | b'.' | b'_' => encoded.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

/// What a browser declares for a file of this extension.
pub(super) fn media_type(extension: &str) -> &'static str {
    match extension.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "bmp" => "image/bmp",
        "tif" | "tiff" => "image/tiff",
        "ico" => "image/x-icon",
        "avif" => "image/avif",
        "svg" => "image/svg+xml",
        "mp4" | "m4v" => "video/mp4",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        "mpg" => "video/mpeg",
        "avi" => "video/x-msvideo",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "pdf" => "application/pdf",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "xls" => "application/vnd.ms-excel",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "txt" | "log" => "text/plain",
        "csv" => "text/csv",
        "json" => "application/json",
        // What browsers know no type for, they send as this.
        _ => "application/octet-stream",
    }
}
