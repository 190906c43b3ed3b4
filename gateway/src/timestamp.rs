//! Points in time as text, always UTC, without a calendar library.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// From 1 January 1970.
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// RFC 3339 with milliseconds, `2026-11-21T07:20:28.123Z`: 24 bytes. Times before 1970 are written as 1970.
pub fn push_rfc3339(time: SystemTime, line: &mut Vec<u8>) {
    let civil = Civil::of(time);
    push_digits(civil.year, 4, line);
    for (separator, value) in
        [(b'-', civil.month), (b'-', civil.day), (b'T', civil.hour), (b':', civil.minute)]
    {
        line.push(separator);
        push_digits(value, 2, line);
    }
    line.push(b':');
    push_digits(civil.second, 2, line);
    line.push(b'.');
    push_digits(civil.millisecond, 3, line);
    line.push(b'Z');
}

/// As [`push_rfc3339`], as a string of its own.
pub fn rfc3339(time: SystemTime) -> String {
    let mut text = Vec::with_capacity(24);
    push_rfc3339(time, &mut text);
    String::from_utf8(text).expect("digits and punctuation are ASCII")
}

/// Nginx's `$time_local`, `21/Nov/2026:07:20:28 +0000`.
pub fn push_common(time: SystemTime, line: &mut Vec<u8>) {
    let civil = Civil::of(time);
    push_digits(civil.day, 2, line);
    line.push(b'/');
    line.extend_from_slice(MONTHS[civil.month as usize - 1].as_bytes());
    line.push(b'/');
    push_digits(civil.year, 4, line);
    for value in [civil.hour, civil.minute, civil.second] {
        line.push(b':');
        push_digits(value, 2, line);
    }
    line.extend_from_slice(b" +0000");
}

/// As a `Date` field has it, `Sat, 21 Nov 2026 07:20:28 GMT` (RFC 9110 section 5.6.7).
pub fn push_http_date(time: SystemTime, line: &mut Vec<u8>) {
    let civil = Civil::of(time);
    let days = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400;
    line.extend_from_slice(DAYS[(days % 7) as usize].as_bytes());
    line.extend_from_slice(b", ");
    push_digits(civil.day, 2, line);
    line.push(b' ');
    line.extend_from_slice(MONTHS[civil.month as usize - 1].as_bytes());
    line.push(b' ');
    push_digits(civil.year, 4, line);
    for (separator, value) in [(b' ', civil.hour), (b':', civil.minute), (b':', civil.second)] {
        line.push(separator);
        push_digits(value, 2, line);
    }
    line.extend_from_slice(b" GMT");
}

struct Civil {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    millisecond: u32,
}

impl Civil {
    /// Days to year, month and day by eras of 400 years that begin in March.
    fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        // The year 9999 is the last with four digits.
        let seconds = since.as_secs().min(253_402_300_799);
        let day_second = (seconds % 86_400) as u32;
        let days = seconds / 86_400 + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Self {
            year: (year_of_era + era * 400 + u64::from(month <= 2)) as u32,
            month: month as u32,
            day: (of_year - (153 * march_month + 2) / 5 + 1) as u32,
            hour: day_second / 3600,
            minute: day_second / 60 % 60,
            second: day_second % 60,
            millisecond: since.subsec_millis(),
        }
    }
}

fn push_digits(value: u32, width: usize, line: &mut Vec<u8>) {
    let mut digits = [b'0'; 4];
    let mut rest = value;
    for digit in digits[..width].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    line.extend_from_slice(&digits[..width]);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn writes_days_of_every_kind() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (1_740_787_200_000, "2025-03-01T00:00:00.000Z"),
            (4_107_542_400_001, "2100-03-01T00:00:00.001Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn writes_what_nginx_writes() {
        let mut line = Vec::new();
        push_common(UNIX_EPOCH + Duration::from_secs(951_827_696), &mut line);
        assert_eq!(line, b"29/Feb/2000:12:34:56 +0000");
    }

    #[test]
    fn writes_dates_of_http() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"),
        ] {
            let mut line = Vec::new();
            push_http_date(UNIX_EPOCH + Duration::from_secs(seconds), &mut line);
            assert_eq!(String::from_utf8(line).unwrap(), text);
        }
    }
}
