//! An archive and the archives in it, one level on the other.

use config::rules::Archives;

use super::cursor::{Event, Reader};
use super::gzip::Gzip;
use super::limits::Account;
use super::member::Member;
use super::tar::Tar;
use super::zip::Zip;
use super::{Fault, Format};
use crate::upload::builtin::MemberScan;
use crate::upload::office::{Kind, Office};

/// Bytes of the file that are taken at a time, whatever the pieces were in which they came.
const BLOCK: usize = 16 * 1024;
/// Bytes that one turn unpacks at most.
const OUTPUT: usize = 32 * 1024;

const NO_TAR: Fault = Fault::Broken("a packed tar without a tar in it");

/// Unpacks a file in small steps. Bytes go in with [`push`](Self::push), work is done by [`step`](Self::step) until it
/// asks for more, and after [`close`](Self::close) until it is done. The verdict is the same in whatever pieces the bytes
/// come.
pub struct Walker {
    account: Account,
    levels: Vec<Level>,
    /// Bytes of the file that are to come.
    waiting: Vec<u8>,
    is_closed: bool,
    output: Vec<u8>,
    kind: Option<Kind>,
    must_hold_tar: bool,
    scan: Option<Box<dyn Fn() -> MemberScan + Send>>,
    contents: Contents,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do with what was given.
    Working,
    /// All that was given is looked at.
    Hungry,
    /// The archive is whole, and nothing is wrong with it.
    Done,
}

/// What was found in an archive that is sound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// What the scan of the members found first.
    pub infected: Option<&'static str>,
    /// Something that could not be opened, so that nobody has counted what is in it.
    pub closed: Option<&'static str>,
    /// Members at all levels.
    pub members: u64,
    /// Bytes that came out at all levels.
    pub unpacked: u64,
}

/// One archive; the ones below it in the list are in its current member.
struct Level {
    reader: Box<dyn Reader>,
    input: Vec<u8>,
    /// Where in the input the reader is.
    at: usize,
    is_hungry: bool,
    has_ended: bool,
    member: Option<Member>,
    /// What is to be told once the levels below have looked at what came before it.
    fault: Option<Fault>,
    /// Only a zip can be an office file.
    office: Option<Office>,
}

impl Walker {
    /// For a file of `size` bytes that begins as `format`.
    pub fn new(format: Format, size: u64, limits: Archives) -> Self {
        let mut walker = Self {
            account: Account::new(limits, size),
            levels: Vec::new(),
            waiting: Vec::new(),
            is_closed: false,
            output: vec![0; OUTPUT],
            kind: None,
            must_hold_tar: false,
            scan: None,
            contents: Contents::default(),
        };
        match format {
            Format::Closed(name) => walker.contents.closed = Some(name),
            _ => walker.levels.extend(Level::new(format, Vec::new())),
        }
        walker
    }

    /// The file must be an office file of this kind.
    pub(in crate::upload) fn office(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// The file must be a packed tar: what is none to us may be one to a reader that skips to the next header.
    pub(in crate::upload) fn holding_tar(mut self) -> Self {
        self.must_hold_tar = true;
        self
    }

    /// Each member is looked at by one of these.
    pub(in crate::upload) fn scanning(mut self, scan: impl Fn() -> MemberScan + Send + 'static) -> Self {
        self.scan = Some(Box::new(scan));
        self
    }

    /// Takes bytes of the file. They wait in memory until the steps have come to them.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.levels.is_empty() {
            self.waiting.extend_from_slice(bytes);
        }
    }

    /// All bytes of the file have been given.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// What was found, once the walk is done.
    pub fn contents(self) -> Contents {
        let (members, unpacked) = self.account.counted();
        Contents { members, unpacked, ..self.contents }
    }

    /// Works off a little, less than a millisecond's worth.
    ///
    /// # Errors
    /// Says what is wrong with the archive; it is of no more use then.
    pub fn step(&mut self) -> Result<Progress, Fault> {
        // The lowest level that can go on does; one that waits is fed by the one above it.
        for depth in (0..self.levels.len()).rev() {
            let level = &mut self.levels[depth];
            if let Some(fault) = level.fault.take() {
                return Err(fault);
            }
            if !level.is_hungry {
                self.turn(depth)?;
                return Ok(Progress::Working);
            }
            if level.has_ended {
                self.leave(depth)?;
                return Ok(Progress::Working);
            }
        }
        let is_enough = self.is_closed || self.waiting.len() >= BLOCK;
        match self.levels.first_mut() {
            None if self.is_closed => Ok(Progress::Done),
            Some(file) if is_enough => {
                let rest = self.waiting.split_off(self.waiting.len().min(BLOCK));
                file.feed(&std::mem::replace(&mut self.waiting, rest));
                file.has_ended = self.is_closed && self.waiting.is_empty();
                Ok(Progress::Working)
            }
            _ => Ok(Progress::Hungry),
        }
    }

    fn turn(&mut self, depth: usize) -> Result<(), Fault> {
        let level = &mut self.levels[depth];
        let mut rest = &level.input[level.at..];
        let event = level.reader.turn(&mut rest, &mut self.output);
        level.at = level.input.len() - rest.len();
        match event? {
            Event::Hungry if level.at < level.input.len() => {
                return Err(Fault::Broken("an archive that cannot be unpacked"));
            }
            Event::Hungry => {
                level.input.clear();
                (level.at, level.is_hungry) = (0, true);
            }
            Event::Nothing => {}
            Event::Closed(why) => {
                self.contents.closed.get_or_insert(why);
            }
            Event::Begin(name) => {
                self.account.member()?;
                level.member = Some(Member::new(self.scan.as_ref().map(|scan| scan())));
                if let Some(office) = &mut level.office {
                    office.begin(&name);
                }
            }
            Event::Unpacked(length) => return self.unpacked(depth, length),
            Event::End => return self.end(depth),
        }
        Ok(())
    }

    /// The current member of a level gave so many bytes.
    fn unpacked(&mut self, depth: usize, length: usize) -> Result<(), Fault> {
        let level = &mut self.levels[depth];
        let Some(member) = &mut level.member else { return Ok(()) };
        let (length, fault) = self.account.unpacked(member.size, length);
        let bytes = &self.output[..length];
        level.fault = fault;
        if let Some(office) = &mut level.office {
            office.push(bytes);
        }
        let told = member.push(bytes);
        if member.is_archive {
            self.levels[depth + 1].feed(bytes);
        }
        self.enter(depth, told)
    }

    /// The current member of a level is whole.
    fn end(&mut self, depth: usize) -> Result<(), Fault> {
        let told = self.levels[depth].member.as_mut().and_then(Member::tell);
        self.enter(depth, told)?;
        let level = &mut self.levels[depth];
        if let Some(office) = &mut level.office {
            office.end();
        }
        let Some(member) = level.member.take() else { return Ok(()) };
        if depth == 0 && self.must_hold_tar && !member.is_archive {
            return Err(NO_TAR);
        }
        if member.is_archive {
            self.levels[depth + 1].has_ended = true;
        }
        if let Some(found) = member.end() {
            self.contents.infected.get_or_insert(found);
        }
        Ok(())
    }

    /// Begins a level when a member has turned out to be an archive.
    fn enter(&mut self, depth: usize, told: Option<(Format, Vec<u8>)>) -> Result<(), Fault> {
        let Some((format, bytes)) = told else { return Ok(()) };
        if depth == 0 && self.must_hold_tar && format != Format::Tar {
            return Err(NO_TAR);
        }
        if let Format::Closed(name) = format {
            self.contents.closed.get_or_insert(name);
            return Ok(());
        }
        self.account.level(depth + 1)?;
        self.levels.extend(Level::new(format, bytes));
        if let Some(member) = &mut self.levels[depth].member {
            member.is_archive = true;
        }
        Ok(())
    }

    /// A level has no more input.
    fn leave(&mut self, depth: usize) -> Result<(), Fault> {
        let level = &self.levels[depth];
        level.reader.end()?;
        if let Some(office) = &level.office {
            office.verdict(self.kind.filter(|_| depth == 0))?;
        }
        self.levels.truncate(depth);
        Ok(())
    }
}

impl Level {
    /// `None` for what cannot be opened.
    fn new(format: Format, input: Vec<u8>) -> Option<Self> {
        let reader: Box<dyn Reader> = match format {
            Format::Zip => Box::new(Zip::new()),
            Format::Gzip => Box::new(Gzip::new()),
            Format::Tar => Box::new(Tar::new()),
            Format::Closed(_) => return None,
        };
        let office = (format == Format::Zip).then(Office::default);
        let is_hungry = input.is_empty();
        Some(Self { reader, input, at: 0, is_hungry, has_ended: false, member: None, fault: None, office })
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.input.drain(..self.at);
        self.at = 0;
        self.input.extend_from_slice(bytes);
        self.is_hungry = self.input.is_empty() && self.is_hungry;
    }
}
