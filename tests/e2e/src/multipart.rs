//! Forms as a browser sends them (RFC 7578).

/// A `multipart/form-data` body in the making.
pub struct Form {
    body: Vec<u8>,
}

const BOUNDARY: &str = "----menshenformboundary7MA4YWxkTrZu0gW";

impl Form {
    /// With nothing in it.
    #[expect(clippy::new_without_default, reason = "an empty form is no sensible default of anything")]
    pub fn new() -> Self {
        Self { body: Vec::new() }
    }

    /// With one file, in the field `file`.
    pub fn of(filename: &str, content_type: &str, content: &[u8]) -> Self {
        Self::new().file("file", filename, content_type, content)
    }

    /// A text field.
    pub fn text(self, name: &str, value: &str) -> Self {
        self.part(&format!("Content-Disposition: form-data; name=\"{name}\"\r\n"), value.as_bytes())
    }

    /// A file.
    pub fn file(self, name: &str, filename: &str, content_type: &str, content: &[u8]) -> Self {
        let head = format!(
            "Content-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\nContent-Type: {content_type}\r\n"
        );
        self.part(&head, content)
    }

    /// A part whose head is these lines.
    pub fn part(mut self, head: &str, content: &[u8]) -> Self {
        self.body.extend_from_slice(format!("--{BOUNDARY}\r\n{head}\r\n").as_bytes());
        self.body.extend_from_slice(content);
        self.body.extend_from_slice(b"\r\n");
        self
    }

    /// The whole body.
    pub fn body(mut self) -> Vec<u8> {
        self.body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.body
    }

    /// The value of `Content-Type`.
    pub fn content_type() -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }
}
