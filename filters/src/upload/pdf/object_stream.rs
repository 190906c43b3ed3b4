//! An object stream (ISO 32000-2 section 7.5.7): many small objects, packed together.
//!
//! It starts with a list of pairs, an object's number and its place behind `/First`. Objects must begin where none is
//! open, so that the look at them in a row sees what a reader of any single one sees.

use flate2::{Decompress, FlushDecompress, Status};

use super::CUT;
use super::lexer::{Lexer, Number, StreamDictionary, is_space};
use super::opening::Openings;

/// Bytes that are unpacked together.
const BLOCK: usize = 4 * 1024;
/// Objects in one stream.
const MAX_OBJECTS: u64 = 1 << 16;
/// Bytes that all object streams of a file may unpack to, whatever they are packed to,
const FREE: u64 = 1 << 20;
/// how many for each packed byte,
const RATIO: u64 = 64;
/// and how many in all: what a large file saves up must not be spent at once.
const MOST: u64 = 16 << 20;

/// What the object streams of a file came to.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    packed: u64,
    plain: u64,
}

/// One object stream while it arrives.
pub(super) struct ObjectStream {
    inflate: Decompress,
    packed: Vec<u8>,
    objects: Objects,
    whole: bool,
}

impl ObjectStream {
    /// By its dictionary.
    pub(super) fn of(dictionary: &StreamDictionary) -> Result<Self, &'static str> {
        if dictionary.odd || dictionary.flate != 1 {
            return Err("an object stream that is packed in an odd way");
        }
        let (Number::Is(count), Number::Is(first)) = (dictionary.count, dictionary.first) else {
            return Err("an object stream whose list can be read in two ways");
        };
        if count > MAX_OBJECTS {
            return Err("an object stream with too many objects");
        }
        let objects = Objects {
            first,
            count,
            at: 0,
            numbers: 0,
            number: None,
            object: 0,
            places: Vec::new(),
            next: 0,
            current: None,
            lexer: Lexer::default(),
        };
        Ok(Self { inflate: Decompress::new(true), packed: Vec::with_capacity(BLOCK), objects, whole: false })
    }

    /// Takes the next byte. Whole blocks alone are unpacked, so that the verdict does not depend on how they came.
    pub(super) fn push(
        &mut self,
        byte: u8,
        unpacked: &mut Unpacked,
        openings: &mut Openings,
    ) -> Result<(), &'static str> {
        if self.whole {
            return Ok(());
        }
        self.packed.push(byte);
        match self.packed.len() == BLOCK {
            true => self.unpack(unpacked, openings),
            false => Ok(()),
        }
    }

    /// The stream's data ended.
    pub(super) fn end(
        mut self,
        unpacked: &mut Unpacked,
        openings: &mut Openings,
    ) -> Result<(), &'static str> {
        if !self.whole {
            self.unpack(unpacked, openings)?;
        }
        match self.whole {
            true => self.objects.end(openings),
            false => Err(CUT),
        }
    }

    fn unpack(&mut self, unpacked: &mut Unpacked, openings: &mut Openings) -> Result<(), &'static str> {
        unpacked.packed += self.packed.len() as u64;
        let mut rest = self.packed.as_slice();
        let mut plain = [0; BLOCK];
        loop {
            let (packed, produced) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(rest, &mut plain, FlushDecompress::None)
                .map_err(|_| "an object stream that cannot be unpacked")?;
            let used = usize::try_from(self.inflate.total_in() - packed).unwrap_or(rest.len());
            let got = usize::try_from(self.inflate.total_out() - produced).unwrap_or(plain.len());
            rest = &rest[used..];
            unpacked.plain += got as u64;
            if unpacked.plain > MOST.min(FREE + RATIO * unpacked.packed) {
                return Err("object streams that unpack to too much");
            }
            for &byte in &plain[..got] {
                self.objects.take(byte, openings)?;
            }
            self.whole = status == Status::StreamEnd;
            if self.whole || (used == 0 && got == 0) || (rest.is_empty() && got < plain.len()) {
                self.packed.clear();
                return Ok(());
            }
        }
    }
}

/// What an object stream holds.
struct Objects {
    first: u64,
    count: u64,
    /// Bytes taken.
    at: u64,
    /// Numbers of the list that have begun.
    numbers: u64,
    number: Option<u64>,
    /// The number of the object whose place comes next in the list.
    object: u64,
    /// Where objects begin, and their numbers; in the order of the list, then of the bytes.
    places: Vec<(u64, u64)>,
    next: usize,
    /// The object that is being read.
    current: Option<u64>,
    lexer: Lexer,
}

const ODD_LIST: &str = "an object stream whose list is odd";

impl Objects {
    fn take(&mut self, byte: u8, openings: &mut Openings) -> Result<(), &'static str> {
        if self.at < self.first {
            self.list(byte)?;
        } else {
            if self.at == self.first {
                self.end_list()?;
            }
            while let Some(&(place, number)) = self.places.get(self.next)
                && place == self.at
            {
                if !self.lexer.is_between_objects(byte) {
                    return Err("objects of a PDF that overlap");
                }
                // What was read belongs to the object before, and to none of those that begin together.
                self.lexer.end_word(byte)?;
                openings.note(self.current, std::mem::take(&mut self.lexer).opening());
                self.current = Some(number);
                self.next += 1;
            }
            self.lexer.step(byte)?;
        }
        self.at += 1;
        Ok(())
    }

    fn end(&self, openings: &mut Openings) -> Result<(), &'static str> {
        openings.note(self.current, self.lexer.opening());
        match self.at < self.first {
            true => Err(ODD_LIST),
            false => self.lexer.end(),
        }
    }

    fn list(&mut self, byte: u8) -> Result<(), &'static str> {
        match byte {
            b'0'..=b'9' => {
                self.numbers += u64::from(self.number.is_none());
                let number = self.number.unwrap_or(0) * 10 + u64::from(byte - b'0');
                if number > u64::from(u32::MAX) || self.numbers > 2 * self.count {
                    return Err(ODD_LIST);
                }
                self.number = Some(number);
                Ok(())
            }
            _ if is_space(byte) => {
                self.end_number();
                Ok(())
            }
            _ => Err(ODD_LIST),
        }
    }

    fn end_number(&mut self) {
        match self.number.take() {
            None => {}
            Some(place) if self.numbers.is_multiple_of(2) => {
                self.places.push((self.first + place, self.object))
            }
            Some(object) => self.object = object,
        }
    }

    fn end_list(&mut self) -> Result<(), &'static str> {
        self.end_number();
        self.places.sort_unstable();
        match self.numbers == 2 * self.count {
            true => Ok(()),
            false => Err(ODD_LIST),
        }
    }
}
