//! JSON lines without a serialiser: for what is written once a request.

use std::net::IpAddr;

/// Appends `text` between quotes. Control characters, and those that some readers take for line ends or that turn
/// the direction of what follows, are escaped, so that one line stays one line.
pub fn push_string(text: &str, line: &mut Vec<u8>) {
    line.push(b'"');
    let bytes = text.as_bytes();
    // Without an early exit the compiler looks at sixteen bytes at a time.
    let odd =
        |odd: bool, byte: &u8| odd | (*byte < 0x20) | (*byte >= 0x7f) | (*byte == b'"') | (*byte == b'\\');
    if !bytes.iter().fold(false, odd) {
        line.extend_from_slice(bytes);
        line.push(b'"');
        return;
    }
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !MUST_ESCAPE[usize::from(byte)] {
            continue;
        }
        let width = match byte {
            0xc2 if bytes[at + 1] < 0xa0 => 2,
            0xc2 => continue,
            0xe2 if is_unsafe_mark(bytes[at + 1], bytes[at + 2]) => 3,
            0xe2 => continue,
            _ => 1,
        };
        line.extend_from_slice(&bytes[from..at]);
        push_escape(&bytes[at..at + width], line);
        from = at + width;
    }
    line.extend_from_slice(&bytes[from..]);
    line.push(b'"');
}

/// Appends a decimal number.
pub fn push_number(value: u64, line: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[at..]);
}

/// Appends an address without going through the formatter when it is the common kind.
pub fn push_address(address: IpAddr, line: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    line.push(b'.');
                }
                push_number(u64::from(octet), line);
            }
        }
        IpAddr::V6(address) => line.extend_from_slice(address.to_string().as_bytes()),
    }
}

/// Appends milliseconds with three places behind the point.
pub fn push_millis(duration: std::time::Duration, line: &mut Vec<u8>) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    push_number(micros / 1000, line);
    let rest = (micros % 1000) as u32;
    line.extend_from_slice(&[
        b'.',
        b'0' + (rest / 100) as u8,
        b'0' + (rest / 10 % 10) as u8,
        b'0' + (rest % 10) as u8,
    ]);
}

/// U+200E/F, U+2028/9, U+202A–202E, U+2066–2069 by the bytes behind 0xE2.
fn is_unsafe_mark(second: u8, third: u8) -> bool {
    matches!((second, third), (0x80, 0x8e | 0x8f | 0xa8..=0xae) | (0x81, 0xa6..=0xa9))
}

fn push_escape(character: &[u8], line: &mut Vec<u8>) {
    let short = match character {
        b"\"" => b'"',
        b"\\" => b'\\',
        b"\n" => b'n',
        b"\r" => b'r',
        b"\t" => b't',
        _ => {
            let code = match *character {
                [byte] => u32::from(byte),
                [first, second] => u32::from(first & 0x1f) << 6 | u32::from(second & 0x3f),
                _ => 0x2000 | u32::from(character[1] & 0x3f) << 6 | u32::from(character[2] & 0x3f),
            };
            line.extend_from_slice(b"\\u");
            for shift in [12, 8, 4, 0] {
                line.push(b"0123456789abcdef"[(code >> shift & 15) as usize]);
            }
            return;
        }
    };
    line.extend_from_slice(&[b'\\', short]);
}

/// Bytes to look at: controls, quote, backslash, DEL, and the first bytes of C1 controls and of the marks.
const MUST_ESCAPE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte < 0x20 || matches!(byte as u8, b'"' | b'\\' | 0x7f | 0xc2 | 0xe2);
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn string(text: &str) -> String {
        let mut line = Vec::new();
        push_string(text, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn escapes_what_could_break_a_line() {
        assert_eq!(string("a\"b\\c\r\n\u{0}\u{7f}\u{85}"), r#""a\"b\\c\r\n\u0000\u007f\u0085""#);
        assert_eq!(string("x\u{202e}y\u{2028}z\u{2066}"), r#""x\u202ey\u2028z\u2066""#);
        assert_eq!(string("门神 é – ©"), "\"门神 é – ©\"");
    }

    #[test]
    fn writes_numbers_as_everybody_does() {
        let mut line = Vec::new();
        push_number(0, &mut line);
        line.push(b' ');
        push_number(u64::MAX, &mut line);
        line.push(b' ');
        push_millis(Duration::from_micros(12_034), &mut line);
        for address in [" 10.200.0.7", " 2001:db8::1"] {
            line.push(b' ');
            push_address(address.trim().parse().unwrap(), &mut line);
        }
        assert_eq!(line, b"0 18446744073709551615 12.034 10.200.0.7 2001:db8::1");
    }

    proptest! {
        #[test]
        fn is_read_back_as_it_was(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&string(&text)).unwrap(), text);
        }
    }
}
