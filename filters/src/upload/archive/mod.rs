//! What archives hold: zip, gzip and tar, each inside the other, unpacked piece by piece and counted.
//!
//! No size that an archive declares is believed: what counts is what came out. A zip is read from its start, member by
//! member, and its list at the end must tell the same story, so that readers that follow either see the same files.
//!
//! Memory: 32 KiB and an inflater's window for each level, 150 bytes for each member. Work: [`Walker::step`] unpacks
//! 32 KiB at most, and a walk ends at the limits of the policy, whatever the archive would come to.
//!
//! What this does not protect from: archives that begin with something else (a self-extracting program), and those in
//! the formats of [`Format::Closed`], which are told of and not opened.

mod cursor;
mod format;
mod gzip;
mod limits;
mod member;
mod name;
#[cfg(test)]
pub(super) mod samples;
mod tar;
mod walker;
mod zip;

pub use format::Format;
pub use walker::{Contents, Progress, Walker};

/// Why an archive is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is broken, or two readers could unpack it differently.
    Broken(&'static str),
    /// It is over this limit of the policy.
    Over(&'static str, u64),
    /// A member would not become a plain file below the folder it is unpacked to.
    Astray(&'static str),
    /// An office file carries what acts, or fetches from elsewhere.
    Active(&'static str),
    /// It is no office file of the kind that its name says.
    Mismatch(&'static str),
}

/// Unpacks a whole archive at once: for tests and fuzz targets. The bytes go in by pieces of `piece`.
///
/// # Errors
/// Says what is wrong with it.
pub fn walk(bytes: &[u8], piece: usize, limits: config::rules::Archives) -> Result<Contents, Fault> {
    let Some(format) = Format::of(bytes) else { return Ok(Contents::default()) };
    let mut walker = Walker::new(format, bytes.len() as u64, limits);
    for piece in bytes.chunks(piece.max(1)) {
        walker.push(piece);
        while walker.step()? == Progress::Working {}
    }
    walker.close();
    while walker.step()? == Progress::Working {}
    Ok(walker.contents())
}

#[cfg(test)]
mod tests;
