//! gzip (RFC 1952): one member and nothing behind it.
//!
//! Several members in a row, which some readers join and others cut off, are refused.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::Fault;
use super::cursor::{Cursor, Event, Reader, u16_at, u32_at};
use super::name;

pub(super) struct Gzip {
    state: State,
    cursor: Cursor,
    flags: u8,
    name: Vec<u8>,
    inflate: Decompress,
    crc: Crc,
}

enum State {
    Header,
    ExtraLength,
    Extra(usize),
    Name,
    Comment,
    HeaderSum,
    Begin,
    Data,
    Trailer,
    Done,
    Failed,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            state: State::Header,
            cursor: Cursor::default(),
            flags: 0,
            name: Vec::new(),
            inflate: Decompress::new(false),
            crc: Crc::new(),
        }
    }

    /// Moves on to the next field that the flags announce.
    fn next(&mut self, after: u8) {
        let announced = [4u8, 8, 16, 2].into_iter().skip_while(|&flag| after != 0 && flag != after);
        let next = announced.skip(usize::from(after != 0)).find(|flag| self.flags & flag != 0);
        self.state = match next {
            Some(4) => State::ExtraLength,
            Some(8) => State::Name,
            Some(16) => State::Comment,
            Some(_) => State::HeaderSum,
            None => State::Begin,
        };
    }

    /// Takes text up to its NUL; `None` while that has not come.
    fn text(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        loop {
            let held = self.cursor.held().len();
            if self.cursor.held().last() == Some(&0) {
                let mut text = self.cursor.take(held);
                text.pop();
                return Ok(Some(text));
            }
            if held > name::MAX_NAME {
                return Err(Fault::Broken("a gzip header with a very long name"));
            }
            if !self.cursor.fill(input, held + 1) {
                return Ok(None);
            }
        }
    }
}

impl Reader for Gzip {
    fn turn(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<Event, Fault> {
        match self.state {
            State::Header => {
                if !self.cursor.fill(input, 10) {
                    return Ok(Event::Hungry);
                }
                let header = self.cursor.take(10);
                self.flags = header[3];
                if !header.starts_with(b"\x1f\x8b\x08") || self.flags & 0xe0 != 0 {
                    return Err(Fault::Broken("a gzip header that RFC 1952 does not know"));
                }
                self.next(0);
            }
            State::ExtraLength => {
                if !self.cursor.fill(input, 2) {
                    return Ok(Event::Hungry);
                }
                self.state = State::Extra(usize::from(u16_at(&self.cursor.take(2), 0)));
            }
            State::Extra(length) => {
                if !self.cursor.fill(input, length) {
                    return Ok(Event::Hungry);
                }
                self.cursor.take(length);
                self.next(4);
            }
            State::Name => {
                let Some(name) = self.text(input)? else { return Ok(Event::Hungry) };
                if !name.is_empty() {
                    name::judge(&name)?;
                }
                self.name = name;
                self.next(8);
            }
            State::Comment => {
                if self.text(input)?.is_none() {
                    return Ok(Event::Hungry);
                }
                self.next(16);
            }
            // Readers differ in whether they look at it, and none writes it.
            State::HeaderSum => return Err(Fault::Broken("a gzip header with a sum of its own")),
            State::Begin => {
                self.state = State::Data;
                return Ok(Event::Begin(std::mem::take(&mut self.name)));
            }
            State::Data => return self.data(input, output),
            State::Trailer => {
                if !self.cursor.fill(input, 8) {
                    return Ok(Event::Hungry);
                }
                let trailer = self.cursor.take(8);
                if u32_at(&trailer, 0) != self.crc.sum() || u32_at(&trailer, 4) != self.crc.amount() {
                    return Err(Fault::Broken("a gzip whose checksum or size is wrong"));
                }
                self.state = State::Done;
                return Ok(Event::End);
            }
            State::Done if input.is_empty() => return Ok(Event::Hungry),
            State::Done => return Err(Fault::Broken("bytes behind a gzip")),
            State::Failed => return Err(Fault::Broken("a gzip that cannot be unpacked")),
        }
        Ok(Event::Nothing)
    }

    fn end(&self) -> Result<(), Fault> {
        match self.state {
            State::Done => Ok(()),
            _ => Err(Fault::Broken("a gzip that is cut short")),
        }
    }
}

impl Gzip {
    fn data(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<Event, Fault> {
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(input, output, FlushDecompress::None);
        let taken = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(input.len());
        let unpacked = usize::try_from(self.inflate.total_out() - before_out).unwrap_or(output.len());
        *input = &input[taken..];
        self.cursor.passed(taken);
        self.crc.update(&output[..unpacked]);
        match status {
            Ok(Status::StreamEnd) => self.state = State::Trailer,
            Ok(_) if taken == 0 && unpacked == 0 => return Ok(Event::Hungry),
            Ok(_) => {}
            // What came out before the fault is looked at first.
            Err(_) => self.state = State::Failed,
        }
        Ok(Event::Unpacked(unpacked))
    }
}
