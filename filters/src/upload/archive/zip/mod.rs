//! zip (APPNOTE 6.3), from its start to its end.
//!
//! Members are read one behind the other, and their list must name each of them once, with the same name, method, sums
//! and sizes, at the place where it was found. So nothing can stand in front of the first member, between two, or behind
//! the end; members cannot overlap, and no reader finds one that another does not. What streams write is taken: sizes
//! behind the data, as long as the data says where it ends. Of zip64 the same is asked.

mod record;

use std::collections::{HashMap, HashSet};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use self::record::{CENTRAL, LOCAL, Record};
use super::Fault;
use super::cursor::{Cursor, Event, Reader, u16_at, u32_at, u64_at};
use super::name;

/// Bytes of a comment on the whole, as version control writes one.
const MAX_COMMENT: usize = 1024;
/// The end of the list, of its zip64 form, and the pointer to that.
const END: usize = 22;
const END64: usize = 56;
const LOCATOR: usize = 20;
/// Bytes that are behind the data of any member: the longest form of its sizes and a signature.
const BEHIND: usize = 28;

pub(super) struct Zip {
    state: State,
    cursor: Cursor,
    inflate: Decompress,
    crc: Crc,
    /// The member that is being read, and where it began.
    current: Option<(Record, u64)>,
    /// Members that the list has not named yet, by where they began.
    members: HashMap<u64, Record>,
    places: HashSet<[u8; 32]>,
    list: List,
}

/// What the end must say of the list.
#[derive(Default)]
struct List {
    entries: u64,
    start: u64,
    end: u64,
    /// Where the zip64 end is.
    end64: Option<u64>,
}

#[derive(Clone, Copy)]
enum State {
    Signature,
    Local,
    LocalNames(usize),
    Inflate,
    Stored { left: u64, closed: Option<&'static str> },
    Sizes,
    Central,
    CentralNames(usize),
    End64,
    Locator,
    End,
    Comment(usize),
    Done,
    Failed,
}

impl Zip {
    pub(super) fn new() -> Self {
        Self {
            state: State::Signature,
            cursor: Cursor::default(),
            inflate: Decompress::new(false),
            crc: Crc::new(),
            current: None,
            members: HashMap::new(),
            places: HashSet::new(),
            list: List::default(),
        }
    }

    fn signature(&mut self) -> Result<(), Fault> {
        let at = self.cursor.offset();
        let in_list = self.list.entries > 0;
        self.state = match self.cursor.held() {
            [b'P', b'K', 3, 4, ..] if !in_list => State::Local,
            [b'P', b'K', 1, 2, ..] if self.list.end64.is_none() => {
                if !in_list {
                    self.list.start = at;
                }
                State::Central
            }
            [b'P', b'K', 6, 6, ..] if self.list.end64.is_none() => State::End64,
            [b'P', b'K', 5, 6, ..] => State::End,
            _ => return Err(Fault::Broken("bytes that belong to no member of a zip")),
        };
        Ok(())
    }

    /// A member's own header is whole.
    fn begin(&mut self, header: &[u8], at: u64) -> Result<Event, Fault> {
        let (record, name) = record::local(header)?;
        let is_new = self.places.insert(name::place(&name));
        if !is_new || record.second.is_some_and(|second| !self.places.insert(second)) {
            return Err(Fault::Broken("two members of one name"));
        }
        self.crc.reset();
        self.state = match (record.is_encrypted(), record.method) {
            (false, 8) => {
                self.inflate.reset(false);
                State::Inflate
            }
            (false, 0) if record.packed != record.size => {
                return Err(Fault::Broken("a stored member with two sizes"));
            }
            (false, 0) => State::Stored { left: record.packed, closed: None },
            _ if record.is_streamed() && record.packed == 0 => {
                return Err(Fault::Broken("a member that cannot be unpacked and does not say where it ends"));
            }
            (true, _) => State::Stored { left: record.packed, closed: Some("an encrypted member") },
            (false, _) => {
                State::Stored { left: record.packed, closed: Some("a member packed by a method of its own") }
            }
        };
        if name.ends_with(b"/") && record.size != 0 {
            return Err(Fault::Broken("a folder with content"));
        }
        self.current = Some((record, at));
        Ok(Event::Begin(name))
    }

    fn inflate(&mut self, input: &mut &[u8], output: &mut [u8]) -> Event {
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(input, output, FlushDecompress::None);
        let taken = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(input.len());
        let unpacked = usize::try_from(self.inflate.total_out() - before_out).unwrap_or(output.len());
        *input = &input[taken..];
        self.cursor.passed(taken);
        self.crc.update(&output[..unpacked]);
        match status {
            Ok(Status::StreamEnd) => self.state = State::Sizes,
            Ok(_) if taken == 0 && unpacked == 0 => return Event::Hungry,
            Ok(_) => {}
            // What came out before the fault is looked at first.
            Err(_) => self.state = State::Failed,
        }
        Event::Unpacked(unpacked)
    }

    fn stored(
        &mut self,
        left: u64,
        closed: Option<&'static str>,
        input: &mut &[u8],
        output: &mut [u8],
    ) -> Event {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(output.len()).min(input.len());
        let (piece, rest) = input.split_at(most);
        *input = rest;
        self.cursor.passed(most);
        let left = left - most as u64;
        self.state = State::Stored { left, closed };
        if left == 0 {
            self.state = State::Sizes;
        } else if most == 0 {
            return Event::Hungry;
        }
        match closed {
            Some(why) => Event::Closed(why),
            None => {
                output[..most].copy_from_slice(piece);
                self.crc.update(piece);
                Event::Unpacked(most)
            }
        }
    }

    /// A member's data is over: compares what came out with what is said of it, before and behind.
    fn finish(&mut self) -> Result<Event, Fault> {
        let Some((mut record, at)) = self.current.take() else {
            return Err(Fault::Broken("sizes without a member"));
        };
        let is_closed = record.is_encrypted() || ![0, 8].contains(&record.method);
        let counted = match (is_closed, record.method) {
            (true, _) => (record.crc, record.packed, record.size),
            (false, 8) => (self.crc.sum(), self.inflate.total_in(), self.inflate.total_out()),
            (false, _) => (self.crc.sum(), record.packed, record.packed),
        };
        let said = (record.crc, record.packed, record.size);
        let wrong = Fault::Broken("a member whose checksum or size is wrong");
        if record.is_streamed() {
            let length = sizes(self.cursor.held(), counted).ok_or(wrong.clone())?;
            self.cursor.take(length);
            // Before the data writers leave zeros, but for what they know beforehand or go back to fill in.
            let is_open = |said: u64, counted: u64| said == 0 || said == counted;
            let fits = is_open(said.0.into(), counted.0.into())
                && is_open(said.1, counted.1)
                && is_open(said.2, counted.2);
            if !fits {
                return Err(wrong);
            }
        } else if said != counted {
            return Err(wrong);
        }
        (record.crc, record.packed, record.size) = counted;
        self.members.insert(at, record);
        self.state = State::Signature;
        Ok(Event::End)
    }

    fn entry(&mut self, entry: &[u8]) -> Result<(), Fault> {
        let (mut record, offset) = record::central(entry)?;
        // Some writers give the second name in the list alone.
        if self.members.get(&offset).is_some_and(|own| own.second.is_none())
            && let Some(second) = record.second.take()
            && !self.places.insert(second)
        {
            return Err(Fault::Broken("two members of one name"));
        }
        match self.members.remove(&offset) {
            Some(same) if same == record => {}
            _ => return Err(Fault::Broken("a list that names other members than there are")),
        }
        self.list.entries += 1;
        self.list.end = self.cursor.offset();
        self.state = State::Signature;
        Ok(())
    }

    /// Both ends of the list say how many entries it has, how long it is and where it begins.
    fn compare(&self, entries: u64, length: u64, start: u64) -> Result<(), Fault> {
        let List { entries: counted, start: began, end, .. } = self.list;
        let told = (entries, length, start) == (counted, end - began, began);
        match told && self.members.is_empty() {
            true => Ok(()),
            false => Err(Fault::Broken("an end that does not tell of the list before it")),
        }
    }

    fn end64(&mut self, end: &[u8], at: u64) -> Result<(), Fault> {
        if u64_at(end, 4) != (END64 - 12) as u64 || u64_at(end, 16) != 0 || u64_at(end, 24) != u64_at(end, 32)
        {
            return Err(Fault::Broken("a zip64 end of another kind"));
        }
        self.settle(at);
        self.compare(u64_at(end, 24), u64_at(end, 40), u64_at(end, 48))?;
        self.list.end64 = Some(at);
        self.state = State::Locator;
        Ok(())
    }

    fn locator(&mut self, locator: &[u8]) -> Result<(), Fault> {
        let points = Some(u64_at(locator, 8)) == self.list.end64;
        self.state = State::Signature;
        match locator.starts_with(b"PK\x06\x07")
            && u32_at(locator, 4) == 0
            && points
            && u32_at(locator, 16) == 1
        {
            true => Ok(()),
            false => Err(Fault::Broken("a zip64 end that is pointed to from nowhere")),
        }
    }

    fn close(&mut self, end: &[u8], at: u64) -> Result<(), Fault> {
        self.settle(at);
        let (entries, here) = (u16_at(end, 10), u16_at(end, 8));
        let (length, start) = (u32_at(end, 12), u32_at(end, 16));
        if u32_at(end, 4) != 0 || entries != here {
            return Err(Fault::Broken("a zip on several disks"));
        }
        // Beside a zip64 end, a number may be left to it.
        let large = self.list.end64.is_some();
        let left = |is_full: bool, told: u64, counted: u64| if large && is_full { counted } else { told };
        self.compare(
            left(entries == u16::MAX, entries.into(), self.list.entries),
            left(length == u32::MAX, length.into(), self.list.end - self.list.start),
            left(start == u32::MAX, start.into(), self.list.start),
        )?;
        self.state = match usize::from(u16_at(end, 20)) {
            0 => State::Done,
            length if length <= MAX_COMMENT => State::Comment(length),
            _ => return Err(Fault::Broken("a zip with a long comment")),
        };
        Ok(())
    }

    /// Without an entry the list is empty, and where it would be.
    fn settle(&mut self, at: u64) {
        if self.list.entries == 0 && self.list.end64.is_none() {
            (self.list.start, self.list.end) = (at, at);
        }
    }
}

impl Reader for Zip {
    fn turn(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<Event, Fault> {
        let at = self.cursor.offset();
        let needed = match self.state {
            State::Signature => 4,
            State::Local => LOCAL,
            State::LocalNames(length) | State::CentralNames(length) | State::Comment(length) => length,
            State::Sizes if self.current.as_ref().is_some_and(|(record, _)| record.is_streamed()) => BEHIND,
            State::Sizes | State::Done | State::Failed => 0,
            State::Central => CENTRAL,
            State::End64 => END64,
            State::Locator => LOCATOR,
            State::End => END,
            State::Inflate => return Ok(self.inflate(input, output)),
            State::Stored { left, closed } => return Ok(self.stored(left, closed, input, output)),
        };
        if !self.cursor.fill(input, needed) {
            return Ok(Event::Hungry);
        }
        let held = self.cursor.held();
        match self.state {
            State::Signature => self.signature()?,
            State::Local => {
                let names = usize::from(u16_at(held, 26)) + usize::from(u16_at(held, 28));
                self.state = State::LocalNames(LOCAL + names);
            }
            State::LocalNames(length) => {
                let header = self.cursor.take(length);
                return self.begin(&header, at);
            }
            State::Sizes => return self.finish(),
            State::Central => {
                let names = [28, 30, 32].iter().map(|&place| usize::from(u16_at(held, place))).sum::<usize>();
                self.state = State::CentralNames(CENTRAL + names);
            }
            State::CentralNames(length) => {
                let entry = self.cursor.take(length);
                self.entry(&entry)?;
            }
            State::End64 => {
                let end = self.cursor.take(END64);
                self.end64(&end, at)?;
            }
            State::Locator => {
                let locator = self.cursor.take(LOCATOR);
                self.locator(&locator)?;
            }
            State::End => {
                let end = self.cursor.take(END);
                self.close(&end, at)?;
            }
            State::Comment(length) => {
                // A reader that looks for the end from behind must not find another in it.
                if self.cursor.take(length).windows(2).any(|pair| pair == b"PK") {
                    return Err(Fault::Broken("a comment that may be taken for the end of a zip"));
                }
                self.state = State::Done;
            }
            State::Done if input.is_empty() => return Ok(Event::Hungry),
            State::Done => return Err(Fault::Broken("bytes behind a zip")),
            State::Failed => return Err(Fault::Broken("a member that cannot be unpacked")),
            State::Inflate | State::Stored { .. } => {}
        }
        Ok(Event::Nothing)
    }

    fn end(&self) -> Result<(), Fault> {
        match self.state {
            State::Done => Ok(()),
            _ => Err(Fault::Broken("a zip that is cut short")),
        }
    }
}

/// How long the sizes behind a member's data are, in whichever of their four forms they tell what was counted and are
/// followed by a header.
fn sizes(behind: &[u8], (crc, packed, size): (u32, u64, u64)) -> Option<usize> {
    [(true, 4), (true, 8), (false, 4), (false, 8)].into_iter().find_map(|(signed, width)| {
        let start = if signed { 4 } else { 0 };
        let length = start + 4 + 2 * width;
        let number = |at| if width == 4 { u64::from(u32_at(behind, at)) } else { u64_at(behind, at) };
        let tells = (!signed || behind.starts_with(b"PK\x07\x08"))
            && u32_at(behind, start) == crc
            && number(start + 4) == packed
            && number(start + 4 + width) == size;
        let next = behind.get(length..length + 4)?;
        (tells && (next == b"PK\x03\x04" || next == b"PK\x01\x02")).then_some(length)
    })
}
