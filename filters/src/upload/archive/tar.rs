//! tar: POSIX ustar and pax, GNU tar, and the older form. Files and folders only.
//!
//! An extended header may give a long name and what does no harm; it may not give a size, a link or holes, which some
//! readers follow and others do not.

use std::collections::HashSet;

use super::Fault;
use super::cursor::{Cursor, Event, Reader};
use super::name;

const BLOCK: usize = 512;
/// Bytes of an extended header.
const MAX_EXTENDED: usize = 64 * 1024;

/// Whether a file begins with a header: by its magic, or by a right checksum, which the older form has alone. A header
/// that says it is one and whose sum is wrong is refused when it is read; readers pass over it and unpack what follows.
pub(super) fn begins(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
        || head.first_chunk::<BLOCK>().is_some_and(|block| block[0] != 0 && is_summed(block))
}

pub(super) struct Tar {
    state: State,
    cursor: Cursor,
    /// The name that an extended header gives to the member that follows.
    long_name: Option<Vec<u8>>,
    places: HashSet<[u8; 32]>,
}

#[derive(Clone, Copy)]
enum State {
    Header,
    Extended { length: usize, kind: u8 },
    Data { left: u64, padding: usize },
    End { padding: usize },
    Zeros,
}

impl Tar {
    pub(super) fn new() -> Self {
        Self { state: State::Header, cursor: Cursor::default(), long_name: None, places: HashSet::new() }
    }

    fn header(&mut self, block: &[u8]) -> Result<Event, Fault> {
        if block.iter().all(|&byte| byte == 0) {
            self.state = State::Zeros;
            return match self.long_name {
                None => Ok(Event::Nothing),
                Some(_) => Err(Fault::Broken("a long name for no member")),
            };
        }
        let size = octal(&block[124..136]).ok_or(Fault::Broken("a member whose size is no number"))?;
        if !is_summed(block) {
            return Err(Fault::Broken("a tar header whose checksum is wrong"));
        }
        let padding = usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or_default();
        match block[156] {
            kind @ (b'x' | b'g' | b'L') => {
                let length = usize::try_from(size).unwrap_or(usize::MAX);
                if length > MAX_EXTENDED {
                    return Err(Fault::Broken("a very long extended header"));
                }
                self.state = State::Extended { length: length + padding, kind };
                Ok(Event::Nothing)
            }
            b'0' | 0 | b'5' => {
                let name = self.long_name.take().unwrap_or_else(|| short_name(block));
                name::judge(&name)?;
                let is_folder = block[156] == b'5' || name.ends_with(b"/");
                if is_folder && size != 0 {
                    return Err(Fault::Broken("a folder with content"));
                }
                if !self.places.insert(name::place(&name)) && !is_folder {
                    return Err(Fault::Broken("two members of one name"));
                }
                self.state = State::Data { left: size, padding };
                Ok(Event::Begin(name))
            }
            b'1'..=b'4' | b'6' | b'K' => Err(Fault::Astray("a member that is a link or a device")),
            _ => Err(Fault::Broken("a member of a kind that not every reader knows")),
        }
    }

    fn extended(&mut self, data: &[u8], kind: u8) -> Result<(), Fault> {
        let long_name = match kind {
            b'L' => Some(data.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()),
            _ => pax(data)?,
        };
        match long_name {
            Some(_) if kind == b'g' => Err(Fault::Broken("one name for all members")),
            Some(_) if self.long_name.is_some() => Err(Fault::Broken("a member with two long names")),
            Some(name) => {
                self.long_name = Some(name);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Reader for Tar {
    fn turn(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<Event, Fault> {
        match self.state {
            State::Header => {
                if !self.cursor.fill(input, BLOCK) {
                    return Ok(Event::Hungry);
                }
                let block = self.cursor.take(BLOCK);
                return self.header(&block);
            }
            State::Extended { length, kind } => {
                if !self.cursor.fill(input, length) {
                    return Ok(Event::Hungry);
                }
                let data = self.cursor.take(length);
                self.extended(&data, kind)?;
                self.state = State::Header;
            }
            State::Data { left: 0, padding } => self.state = State::End { padding },
            State::Data { left, padding } => {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(output.len()).min(input.len());
                if most == 0 {
                    return Ok(Event::Hungry);
                }
                let (piece, rest) = input.split_at(most);
                output[..most].copy_from_slice(piece);
                *input = rest;
                self.state = State::Data { left: left - most as u64, padding };
                return Ok(Event::Unpacked(most));
            }
            State::End { padding } => {
                if !self.cursor.fill(input, padding) {
                    return Ok(Event::Hungry);
                }
                self.cursor.take(padding);
                self.state = State::Header;
                return Ok(Event::End);
            }
            State::Zeros => {
                if input.is_empty() {
                    return Ok(Event::Hungry);
                }
                if input.iter().any(|&byte| byte != 0) {
                    return Err(Fault::Broken("bytes behind a tar"));
                }
                *input = &[];
            }
        }
        Ok(Event::Nothing)
    }

    fn end(&self) -> Result<(), Fault> {
        match self.state {
            State::Zeros => Ok(()),
            _ => Err(Fault::Broken("a tar that is cut short")),
        }
    }
}

/// The sum of all bytes, those of the sum itself taken for spaces. Old writers took bytes for signed, and readers take
/// either sum.
fn is_summed(block: &[u8]) -> bool {
    let Some(told) = octal(&block[148..156]).and_then(|sum| i64::try_from(sum).ok()) else { return false };
    let sum = |value: fn(u8) -> i64| {
        let bytes = block[..148].iter().chain(&block[156..]);
        bytes.map(|&byte| value(byte)).sum::<i64>() + 8 * i64::from(b' ')
    };
    told == sum(i64::from) || told == sum(|byte| i64::from(byte.cast_signed()))
}

/// Octal digits, with spaces in front and a space or NUL behind. What is larger than 8 GiB is written otherwise.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if rest.iter().any(|byte| ![0, b' '].contains(byte)) || digits.iter().any(|&byte| byte > b'7') {
        return None;
    }
    Some(digits.iter().fold(0, |sum, &digit| sum << 3 | u64::from(digit - b'0')))
}

/// The name of a ustar header may be in two parts; GNU's form keeps times in the place of the first.
fn short_name(block: &[u8]) -> Vec<u8> {
    let text = |field: &[u8]| field.split(|&byte| byte == 0).next().unwrap_or_default().to_vec();
    let name = text(&block[..100]);
    let prefix = text(&block[345..500]);
    match &block[257..263] == b"ustar\0" && !prefix.is_empty() {
        true => [prefix, name].join(&b'/'),
        false => name,
    }
}

/// The name that a pax header gives, if it gives one.
fn pax(data: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let broken = || Fault::Broken("a broken extended header");
    let (mut rest, mut name) = (data, None);
    while rest.first().is_some_and(|&byte| byte != 0) {
        let space = rest.iter().take(8).position(|&byte| byte == b' ').ok_or_else(broken)?;
        let length = std::str::from_utf8(&rest[..space]).ok().and_then(|digits| digits.parse::<usize>().ok());
        let record = length.and_then(|length| rest.get(..length)).ok_or_else(broken)?;
        let text = record.get(space + 1..).and_then(|text| text.strip_suffix(b"\n")).ok_or_else(broken)?;
        let equals = text.iter().position(|&byte| byte == b'=').ok_or_else(broken)?;
        let (key, value) = (&text[..equals], &text[equals + 1..]);
        match key {
            b"path" if name.is_some() => return Err(Fault::Broken("a member with two long names")),
            b"path" => name = Some(value.to_vec()),
            b"size" | b"linkpath" => {
                return Err(Fault::Broken("an extended header that changes size or target"));
            }
            _ if key.starts_with(b"GNU.sparse") => return Err(Fault::Broken("a file with holes")),
            _ => {}
        }
        rest = &rest[record.len()..];
    }
    match rest.iter().all(|&byte| byte == 0) {
        true => Ok(name),
        false => Err(broken()),
    }
}
