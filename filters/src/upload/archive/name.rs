//! Where a member would be unpacked to.

use sha2::{Digest, Sha256};

use super::Fault;

/// Bytes of a member's name, with its folders.
pub(super) const MAX_NAME: usize = 1024;

/// Lets a name pass that leads to a place below the folder it is unpacked in, whoever unpacks it.
pub(super) fn judge(name: &[u8]) -> Result<(), Fault> {
    let drive = matches!(name, [letter, b':', ..] if letter.is_ascii_alphabetic());
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Fault::Broken("a member without a name, or with one over 1,024 bytes"));
    }
    if name.starts_with(b"/") || drive {
        return Err(Fault::Astray("a member whose name begins at the root"));
    }
    if name.iter().any(|&byte| byte == b'\\' || byte < 0x20 || byte == 0x7f) {
        return Err(Fault::Astray("a member whose name has a backslash or a control character"));
    }
    // Windows drops dots and spaces at the end of a name.
    let climbs = |part: &[u8]| part.starts_with(b"..") && bare(part).is_empty();
    match name.split(|&byte| byte == b'/').any(climbs) {
        true => Err(Fault::Astray("a member whose name climbs")),
        false => Ok(()),
    }
}

/// The same for two names that some system keeps in one place.
pub(super) fn place(name: &[u8]) -> [u8; 32] {
    let mut sum = Sha256::new();
    let folded = match std::str::from_utf8(name) {
        Ok(text) => text.to_lowercase().into_bytes(),
        Err(_) => name.to_ascii_lowercase(),
    };
    for part in folded.split(|&byte| byte == b'/').map(bare).filter(|part| !part.is_empty()) {
        sum.update(part);
        sum.update(b"/");
    }
    sum.finalize().into()
}

fn bare(part: &[u8]) -> &[u8] {
    let end = part.iter().rposition(|byte| !b". ".contains(byte)).map_or(0, |last| last + 1);
    &part[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_names_pass_that_stay_below() {
        for name in ["a", "a/b.txt", "./a", "a/..b", "...a", "报告/图.png", "a b/c", "dir/", "12:30", "etc."]
        {
            assert_eq!(judge(name.as_bytes()), Ok(()), "{name}");
        }
        assert_eq!(judge(b"\xb1\xa8\xb8\xe6.txt"), Ok(()), "a Chinese name in GBK");
    }

    #[test]
    fn refuses_names_that_lead_elsewhere() {
        for name in [
            "..", "../a", "a/../b", "a/..", "/a", "//a", "C:a", "c:/a", "a\\b", "..\\a", "a\0b", "a\n",
            ".. /a", "... /a", "",
        ] {
            assert!(judge(name.as_bytes()).is_err(), "{name:?}");
        }
        assert!(judge(&[b'a'; 1025]).is_err());
    }

    #[test]
    fn knows_one_place_by_its_names() {
        for (a, b) in [("a/b", "A/B"), ("a", "a/"), ("a", "./a"), ("a", "a. "), ("a//b", "a/b"), ("Ä", "ä")]
        {
            assert_eq!(place(a.as_bytes()), place(b.as_bytes()), "{a} {b}");
        }
        assert_ne!(place(b"ab"), place(b"a/b"));
    }
}
