//! Numbers that are somebody's: mobile numbers, identity cards and bank cards.
//!
//! A number must stand alone: not among other digits, and not among letters that make the whole a hex string.
//! Groups may be set apart by one space or one hyphen in the ways these numbers are written.

use super::{Kind, Span};

/// Lengths of the groups in which numbers are written.
const GROUPINGS: [&[usize]; 9] = [
    &[3, 4, 4],
    &[4, 4, 4, 4],
    &[4, 4, 4, 4, 1],
    &[4, 4, 4, 4, 2],
    &[4, 4, 4, 4, 3],
    &[4, 6, 5],
    &[6, 8, 4],
    &[6, 13],
    &[6, 4, 4, 4],
];

/// Groups looked at together.
const MOST_GROUPS: usize = 8;

/// Finds them all; linear in the length of the text.
pub(super) fn find(text: &[u8], spans: &mut Vec<Span>) {
    let mut at = 0;
    while at < text.len() {
        if !text[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let mut groups = [(0, 0); MOST_GROUPS];
        let mut count = 0;
        loop {
            let start = at;
            while at < text.len() && text[at].is_ascii_digit() {
                at += 1;
            }
            groups[count] = (start, at);
            count += 1;
            let goes_on =
                matches!(text.get(at), Some(b' ' | b'-')) && text.get(at + 1).is_some_and(u8::is_ascii_digit);
            if !goes_on || count == MOST_GROUPS {
                break;
            }
            at += 1;
        }
        judge(text, &groups[..count], spans);
    }
}

fn judge(text: &[u8], groups: &[(usize, usize)], spans: &mut Vec<Span>) {
    for (index, &(start, end)) in groups.iter().enumerate() {
        single(text, start, end, spans);
        for grouping in GROUPINGS {
            let Some(window) = groups.get(index..index + grouping.len()) else { continue };
            if !window.iter().zip(grouping).all(|((start, end), length)| end - start == *length) {
                continue;
            }
            let last = window[window.len() - 1].1;
            let digits: Vec<u8> = text[start..last].iter().copied().filter(u8::is_ascii_digit).collect();
            if let Some(kind) = kind_of(&digits)
                && stands_alone(text, start, last)
            {
                spans.push(Span { start, end: last, kind });
            }
        }
    }
}

fn single(text: &[u8], start: usize, end: usize, spans: &mut Vec<Span>) {
    let digits = &text[start..end];
    if digits.len() < 11 {
        return;
    }
    let ends_in_x = digits.len() == 17
        && matches!(text.get(end), Some(b'x' | b'X'))
        && !text.get(end + 1).is_some_and(u8::is_ascii_alphanumeric);
    if ends_in_x && has_birthday(digits, 6, 4) && stands_alone(text, start, end + 1) {
        spans.push(Span { start, end: end + 1, kind: Kind::IdCard });
        return;
    }
    let is_fraction = start >= 2 && text[start - 1] == b'.' && text[start - 2].is_ascii_digit();
    if let Some(kind) = kind_of(digits)
        && !is_fraction
        && stands_alone(text, start, end)
    {
        spans.push(Span { start, end, kind });
    }
}

fn kind_of(digits: &[u8]) -> Option<Kind> {
    let phone = [&b""[..], b"0", b"86", b"086", b"0086"]
        .into_iter()
        .any(|prefix| digits.strip_prefix(prefix).is_some_and(is_phone));
    if phone {
        return Some(Kind::Phone);
    }
    match digits.len() {
        18 if has_birthday(digits, 6, 4) => Some(Kind::IdCard),
        15 if has_birthday(digits, 6, 2) => Some(Kind::IdCard),
        13..=19 if is_issued(digits) && passes_luhn(digits) => Some(Kind::Card),
        _ => None,
    }
}

/// `1[3-9]` and nine more.
fn is_phone(digits: &[u8]) -> bool {
    matches!(digits, [b'1', b'3'..=b'9', rest @ ..] if rest.len() == 9)
}

/// Whether a region is followed by a day of birth: what tells an identity card from a long id. The check digit
/// is not asked for, because a mistyped number is somebody's too, and one long id in eleven has the right one.
fn has_birthday(digits: &[u8], from: usize, year_digits: usize) -> bool {
    let number = |at: usize, length: usize| {
        digits[at..at + length].iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'))
    };
    let month = from + year_digits;
    matches!(digits[0], b'1'..=b'9')
        && (year_digits == 2 || (1880..=2099).contains(&number(from, 4)))
        && (1..=12).contains(&number(month, 2))
        && (1..=31).contains(&number(month + 2, 2))
}

/// Whether issuers give out numbers that begin like this: keeps one time stamp in ten from being a card.
fn is_issued(digits: &[u8]) -> bool {
    match digits {
        [b'3'..=b'6', ..] => true,
        [b'2', b'2'..=b'7', ..] => digits.len() == 16,
        [b'8', b'1', ..] | [b'9', ..] => digits.len() >= 16,
        _ => false,
    }
}

/// ISO/IEC 7812-1 annex B.
fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let value = u32::from(digit - b'0') << (index % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn stands_alone(text: &[u8], start: usize, end: usize) -> bool {
    let before = text[..start].iter().rev().take(64).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let after = text[end..].iter().take(64).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let around = text[start - before..start].iter().chain(&text[end..end + after]);
    before + after == 0 || around.clone().any(|byte| byte.is_ascii_alphabetic() && !byte.is_ascii_hexdigit())
}
