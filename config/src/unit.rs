//! Sizes, durations and rates.

use std::time::Duration;

/// What is wrong with a quantity, and what to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misread {
    pub(crate) what: &'static str,
    pub(crate) remedy: String,
}

/// `512B`, `64KB`, `5MB`, `1GB`, `2TB`, by 1024; without a unit bytes.
pub(crate) fn size(text: &str) -> Result<u64, Misread> {
    let form = || misread("is not a size", "write a whole number with B, KB, MB or GB, as in 64KB");
    let (number, unit) = split(text).ok_or_else(form)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        other => {
            let unit = match other.trim_start().to_ascii_uppercase().as_str() {
                "B" => "B",
                "K" | "KB" | "KIB" => "KB",
                "M" | "MB" | "MIB" => "MB",
                "G" | "GB" | "GIB" => "GB",
                "T" | "TB" | "TIB" => "TB",
                _ => return Err(form()),
            };
            return Err(misread("is not a size", &format!("write {number}{unit}")));
        }
    };
    let too_large = || misread("is too large a size", "write at most 1024TB");
    let size =
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(too_large)?;
    if size <= 1 << 50 { Ok(size) } else { Err(too_large()) }
}

/// `500ms`, `10s`, `15m`, `2h`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, Misread> {
    let form = || misread("is not a duration", "write a whole number with ms, s, m, h or d, as in 10s");
    let (number, unit) = split(text).ok_or_else(form)?;
    let factor: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        other => {
            let unit = match other.trim_start().to_ascii_lowercase().as_str() {
                "" => {
                    return Err(misread(
                        "has no unit",
                        &format!("write {number}s for seconds, or ms, m, h, d"),
                    ));
                }
                "ms" | "msec" | "millis" => "ms",
                "s" | "sec" | "secs" | "second" | "seconds" => "s",
                "m" | "min" | "mins" | "minute" | "minutes" => "m",
                "h" | "hour" | "hours" => "h",
                "d" | "day" | "days" => "d",
                _ => return Err(form()),
            };
            return Err(misread("is not a duration", &format!("write {number}{unit}")));
        }
    };
    let too_long = || misread("is too long a duration", "write at most 36500d");
    let millis =
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(too_long)?;
    if millis <= 36_500 * 86_400_000 { Ok(Duration::from_millis(millis)) } else { Err(too_long()) }
}

/// `10/s`, `60/min`, `1000/h`: at least 1.
pub(crate) fn rate(text: &str) -> Result<(u32, Duration), Misread> {
    let form = || misread("is not a rate", "write a whole number with /s, /min or /h, as in 60/min");
    let (number, unit) = split(text).ok_or_else(form)?;
    let per = match unit {
        "/s" => 1,
        "/min" => 60,
        "/h" => 3_600,
        other => {
            let unit = match other.replace(' ', "").to_ascii_lowercase().as_str() {
                "/s" | "/sec" | "/second" | "r/s" => "/s",
                "/m" | "/min" | "/minute" | "r/m" => "/min",
                "/h" | "/hour" => "/h",
                _ => return Err(form()),
            };
            return Err(misread("is not a rate", &format!("write {number}{unit}")));
        }
    };
    match number.parse::<u32>() {
        Ok(0) => Err(misread("lets nothing pass", "write at least 1, or use deny_ips or respond")),
        Ok(number) if number <= 1_000_000_000 => Ok((number, Duration::from_secs(per))),
        _ => Err(misread("is too high a rate", "write at most 1000000000")),
    }
}

/// `500/s`, `1KB/s`: bytes a second.
pub(crate) fn byte_rate(text: &str) -> Result<u64, Misread> {
    text.strip_suffix("/s")
        .and_then(|number| size(number).ok())
        .ok_or_else(|| misread("is no number of bytes a second", "write it as in 500/s or 1KB/s"))
}

/// The digits in front, of which there is at least one, and what follows them.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn misread(what: &'static str, remedy: &str) -> Misread {
    Misread { what, remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_by_1024() {
        assert_eq!(size("512B"), Ok(512));
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("64KB"), Ok(65_536));
        assert_eq!(size("5MB"), Ok(5 << 20));
        assert_eq!(size("1GB"), Ok(1 << 30));
    }

    #[test]
    fn wrong_sizes_say_the_right_one() {
        assert_eq!(size("64K").unwrap_err().remedy, "write 64KB");
        assert_eq!(size("64 kb").unwrap_err().remedy, "write 64KB");
        for wrong in ["", "MB", "-1MB", "1.5MB", "1XB", "MB5"] {
            assert_eq!(size(wrong).unwrap_err().what, "is not a size", "{wrong}");
        }
        for large in ["18446744073709551616", "18014398509481984KB", "99999999999999999999GB", "1025TB"] {
            assert_eq!(size(large).unwrap_err().what, "is too large a size", "{large}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("10").unwrap_err().what, "has no unit");
        assert_eq!(duration("10min").unwrap_err().remedy, "write 10m");
        assert_eq!(duration("s").unwrap_err().what, "is not a duration");
        assert_eq!(duration("99999999999999999999d").unwrap_err().what, "is too long a duration");
    }

    #[test]
    fn rates_have_a_period() {
        assert_eq!(rate("10/s"), Ok((10, Duration::from_secs(1))));
        assert_eq!(rate("60/min"), Ok((60, Duration::from_secs(60))));
        assert_eq!(rate("1000/h"), Ok((1000, Duration::from_secs(3600))));
        assert_eq!(rate("60/m").unwrap_err().remedy, "write 60/min");
        assert_eq!(rate("0/s").unwrap_err().what, "lets nothing pass");
        assert_eq!(rate("4294967296/s").unwrap_err().what, "is too high a rate");
        assert_eq!(rate("10").unwrap_err().what, "is not a rate");
    }

    #[test]
    fn bytes_a_second() {
        assert_eq!(byte_rate("500/s"), Ok(500));
        assert_eq!(byte_rate("1KB/s"), Ok(1024));
        assert!(byte_rate("1KB").is_err());
    }
}
