//! The error log: every line that our own code and the libraries log, scrubbed, one line each, and panics.
//!
//! `2026-11-21T07:20:28.123Z warn gateway::upstream the message`. Libraries never log below `warn`, whatever the
//! policy's level: their finer lines show requests as they came in.

use std::any::Any;
use std::io;
use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use config::LogLevel;
use filters::scrub::Scrubber;
use log::{Level, LevelFilter, Log, Metadata};

use crate::log_file::LogFile;
use crate::timestamp::push_rfc3339;

/// Bytes of one message, after scrubbing; what is longer is cut.
const LONGEST: usize = 8 * 1024;
/// First parts of the targets that are ours.
const OURS: [&str; 4] = ["menshen", "gateway", "filters", "config"];

static INSTALLED: OnceLock<ErrorLog> = OnceLock::new();

/// The process's error log.
#[derive(Debug)]
pub struct ErrorLog {
    sink: ArcSwap<LogFile>,
    scrubber: ArcSwap<Scrubber>,
}

impl ErrorLog {
    /// Makes this the process's logger and takes over panics. The first call wins; further ones configure.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub fn install(policy: &config::Log, scrubber: Arc<Scrubber>) -> io::Result<&'static Self> {
        if let Some(installed) = INSTALLED.get() {
            installed.configure(policy, scrubber)?;
            return Ok(installed);
        }
        let sink = Arc::new(LogFile::open(&policy.error)?);
        let log = INSTALLED.get_or_init(|| Self::on(sink, scrubber));
        log::set_max_level(filter_of(policy.level));
        if log::set_logger(log).is_ok() {
            std::panic::set_hook(Box::new(report_panic));
        }
        Ok(log)
    }

    /// The process's logger, once there is one.
    pub fn installed() -> Option<&'static Self> {
        INSTALLED.get()
    }

    /// Applies a new policy: level, place and patterns. On an error nothing changes.
    ///
    /// # Errors
    /// When the log cannot be opened at its new place.
    pub fn configure(&self, policy: &config::Log, scrubber: Arc<Scrubber>) -> io::Result<()> {
        if *self.sink.load().target() != policy.error {
            self.sink.store(Arc::new(LogFile::open(&policy.error)?));
        }
        self.scrubber.store(scrubber);
        log::set_max_level(filter_of(policy.level));
        Ok(())
    }

    /// Opens the file anew, on USR1.
    pub fn reopen(&self) {
        self.sink.load().reopen();
    }

    /// Waits until every line is written, `limit` at most.
    pub fn write_out(&self, limit: Duration) -> bool {
        self.sink.load().flush(limit)
    }

    /// Lines lost so far.
    pub fn lost(&self) -> u64 {
        self.sink.load().lost()
    }

    fn on(sink: Arc<LogFile>, scrubber: Arc<Scrubber>) -> Self {
        Self { sink: ArcSwap::new(sink), scrubber: ArcSwap::new(scrubber) }
    }
}

impl Log for ErrorLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let crate_name = metadata.target().split("::").next().unwrap_or_default();
        metadata.level() <= log::max_level()
            && (metadata.level() <= Level::Warn || OURS.contains(&crate_name))
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = record.args().to_string();
        let mut line = Vec::with_capacity(message.len() + 80);
        push_rfc3339(SystemTime::now(), &mut line);
        line.push(b' ');
        line.extend_from_slice(name_of(record.level()).as_bytes());
        line.push(b' ');
        line.extend_from_slice(record.target().as_bytes());
        line.push(b' ');
        push_visible(&self.scrubber.load().scrub(&message), &mut line);
        line.push(b'\n');
        self.sink.load().append_now(|buffer| buffer.extend_from_slice(&line));
    }

    fn flush(&self) {
        self.write_out(Duration::from_secs(1));
    }
}

fn filter_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    }
}

fn name_of(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// A panic's place, and its message only when the message is part of the program: one that was put together while
/// running may hold a piece of a request.
fn report_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    log::error!(target: "menshen::panic", "thread {name} panicked at {place}: {}", fixed_message(info.payload()));
    log::logger().flush();
}

fn fixed_message(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(its message is not shown)")
}

/// Escapes everything that could end the line, move the cursor or turn the direction of the text.
fn push_visible(text: &str, line: &mut Vec<u8>) {
    let text = &text[..text.floor_char_boundary(LONGEST.min(text.len()))];
    for c in text.chars() {
        let unsafe_mark = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if c == '\\' || c.is_control() || unsafe_mark {
            line.extend(c.escape_default().map(|escaped| escaped as u8));
        } else {
            line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use config::LogTarget;

    use super::*;

    const CANARY: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl-canary";

    fn written(lines: &[(Level, &str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.log");
        let sink = Arc::new(LogFile::open(&LogTarget::File(path.clone())).unwrap());
        let log = ErrorLog::on(sink, Arc::default());
        log::set_max_level(LevelFilter::Debug);
        for (level, target, message) in lines {
            log.log(
                &log::Record::builder().level(*level).target(target).args(format_args!("{message}")).build(),
            );
        }
        assert!(log.write_out(Duration::from_secs(10)));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_line_is_time_level_target_and_message() {
        let text = written(&[(Level::Warn, "gateway::serve", "门神 is up")]);
        assert_eq!(&text[24..], " warn gateway::serve 门神 is up\n");
    }

    #[test]
    fn a_message_cannot_begin_a_line_of_its_own() {
        let text = written(&[(Level::Error, "h2", "a\r\n2026 error x \u{1b}[2J \u{202e} \\n")]);
        assert_eq!(text.lines().count(), 1);
        assert!(text.ends_with(" a\\r\\n2026 error x \\u{1b}[2J \\u{202e} \\\\n\n"), "{text}");
    }

    #[test]
    fn hides_what_libraries_say() {
        let message = format!("bad request \"GET /?x={CANARY}\" cookie: sid=1");
        let text = written(&[(Level::Error, "pingora_core::protocols", &message)]);
        assert!(!text.contains("eyJ") && !text.contains("sid=1"), "{text}");
    }

    #[test]
    fn libraries_are_quiet_below_warn() {
        let text = written(&[
            (Level::Info, "rustls::server", "one"),
            (Level::Warn, "rustls::server", "two"),
            (Level::Debug, "gateway::serve", "three"),
            (Level::Trace, "gateway::serve", "four"),
        ]);
        let messages: Vec<&str> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(messages, ["two", "three"]);
    }

    #[test]
    fn a_panic_shows_no_message_that_was_put_together_while_running() {
        let fixed: Box<dyn Any + Send> = Box::new("no route");
        let formatted: Box<dyn Any + Send> = Box::new(format!("no route {CANARY}"));
        assert_eq!(fixed_message(&*fixed), "no route");
        assert_eq!(fixed_message(&*formatted), "(its message is not shown)");
    }
}
