//! Secrets that are known by how they look, and the encodings they hide in.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{Kind, Span};

/// Tokens that begin or are introduced at this word: JWTs, `Bearer`/`Basic` credentials, `whk_`/`dw_` keys.
pub(super) fn find_in_word(text: &[u8], start: usize, end: usize, spans: &mut Vec<Span>) {
    let word = &text[start..end];
    // The capital is rare in words; looking for it first is what makes ordinary text cheap.
    if word.len() >= 6
        && word.contains(&b'J')
        && let Some(offset) = memchr::memmem::find(word, b"eyJ")
        && let Some(end) = jwt_end(text, start + offset, end)
    {
        spans.push(Span { start: start + offset, end, kind: Kind::Jwt });
    }
    match word[0] {
        b'b' | b'B' if word.eq_ignore_ascii_case(b"bearer") || word.eq_ignore_ascii_case(b"basic") => {
            spans.extend(credential_after(text, end));
        }
        b'd' | b'w' | b'D' | b'W' => {
            let prefix = [&b"dw_"[..], b"whk_"].into_iter().find(|prefix| {
                word.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
            });
            if prefix.is_some_and(|prefix| word.len() >= prefix.len() + 8) {
                spans.push(Span { start, end, kind: Kind::Key });
            }
        }
        _ => {}
    }
}

/// Where the token that begins at `start` ends: two to five parts, or one that is long enough to be a header.
/// In the middle of a word (`keyJson.parse`) only when its second part looks like one too.
fn jwt_end(text: &[u8], start: usize, first_end: usize) -> Option<usize> {
    let mut end = first_end;
    let mut parts = 1;
    while parts < 5 && text.get(end) == Some(&b'.') {
        let next = end + 1;
        let length = text[next..].iter().take_while(|byte| is_base64url(**byte)).count();
        if length == 0 {
            break;
        }
        end = next + length;
        parts += 1;
    }
    let whole_word = start == 0 || !text[start - 1].is_ascii_alphanumeric();
    let second_is_json = text[first_end..].starts_with(b".eyJ");
    match parts {
        1 => (whole_word && first_end - start >= 16).then_some(end),
        _ => (whole_word || second_is_json).then_some(end),
    }
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Words that follow `Bearer` or `Basic` in prose and in challenges.
const NOT_CREDENTIALS: [&[u8]; 14] = [
    b"token",
    b"tokens",
    b"auth",
    b"authentication",
    b"authorization",
    b"challenge",
    b"realm",
    b"error",
    b"scope",
    b"scheme",
    b"header",
    b"credential",
    b"credentials",
    b"format",
];

fn credential_after(text: &[u8], word_end: usize) -> Option<Span> {
    let separators = text[word_end..]
        .iter()
        .take(4)
        .take_while(|byte| {
            matches!(byte, b' ' | b'\t' | b',' | b':' | b'=' | b'"' | b'\'' | b'+' | b'.' | b'/')
        })
        .count();
    let start = word_end + separators;
    let length = text[start..]
        .iter()
        .take_while(|byte| is_base64url(**byte) || matches!(byte, b'.' | b'~' | b'+' | b'/' | b'=' | b'%'))
        .count();
    let credential = &text[start..start + length];
    let word = &credential[..credential.iter().take_while(|byte| **byte != b'=').count()];
    let plain = NOT_CREDENTIALS.iter().any(|known| word.eq_ignore_ascii_case(known));
    (separators > 0 && length >= 4 && !plain).then_some(Span {
        start,
        end: start + length,
        kind: Kind::Credential,
    })
}

/// Whether a word looks random, not written. Between two characters of a word the kind (digit, small, capital)
/// changes, or does not; a capital followed by a small letter begins a word and is no change. A piece between `-`
/// and `_` is mixed when it has 3 letters or more and a change. The word looks random when its mixed pieces are
/// 16 characters or more, or two thirds of it, and change 3 times or more and at least every 8 characters.
/// The caller sees to it that the word has 20 characters or more and a digit. Of random hex of 32 characters none
/// is missed in thousands, of random base64url about one in a hundred.
///
/// So `canary-7f3a90c4…` and random base64url are; `annual-report-2024-final-v2`, `IMG_20240115_123456_HDR` and
/// `getUserProfileById2` are not. A UUID is not, nor a word with one at its end, nor pure hex that is introduced
/// as an id or a digest (`request_id=…`): these are how requests are found again.
pub(super) fn looks_random(text: &[u8], start: usize, end: usize) -> bool {
    let word = without_uuid(&text[start..end]);
    let (mut mixed, mut changes) = (0, 0);
    for piece in word.split(|byte| matches!(byte, b'-' | b'_')) {
        let letters = piece.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
        let own = kind_changes(piece);
        if letters >= 3 && own >= 1 {
            mixed += piece.len();
            changes += own;
        }
    }
    (mixed >= 16 || mixed * 3 >= word.len() * 2)
        && changes >= 3
        && changes * 8 >= mixed
        && !is_introduced_as_id(text, start, end)
}

fn kind_changes(piece: &[u8]) -> usize {
    let mut changes = 0;
    for (index, pair) in piece.windows(2).enumerate() {
        let (a, b) = (pair[0], pair[1]);
        changes += usize::from(match (a.is_ascii_digit(), b.is_ascii_digit()) {
            (true, true) => false,
            (false, false) => {
                let begins_a_word = piece.get(index + 2).is_some_and(u8::is_ascii_lowercase);
                a.is_ascii_lowercase() && b.is_ascii_uppercase() && !begins_a_word
            }
            _ => true,
        });
    }
    changes
}

fn without_uuid(word: &[u8]) -> &[u8] {
    let Some(front) = word.len().checked_sub(36) else { return word };
    let is_uuid = word[front..].iter().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    if is_uuid { &word[..front] } else { word }
}

const IDS: [&[u8]; 5] = [b"request_id", b"trace_id", b"span_id", b"sha256", b"digest"];

fn is_introduced_as_id(text: &[u8], start: usize, end: usize) -> bool {
    if !text[start..end].iter().all(u8::is_ascii_hexdigit) {
        return false;
    }
    let front = text[..start].trim_ascii_end();
    let front = front.strip_suffix(b"\"").unwrap_or(front);
    let Some((b'=' | b':', front)) = front.split_last() else { return false };
    let front = front.strip_suffix(b"\"").unwrap_or(front);
    IDS.iter().any(|id| {
        front
            .strip_suffix(*id)
            .is_some_and(|rest| matches!(rest.last(), None | Some(b' ' | b'"' | b'{' | b',')))
    })
}

/// `name@host.tld`: the name. Not `logo@2x.png`, `@scope/name`, `name@1.2.3`.
pub(super) fn find_emails(text: &[u8], spans: &mut Vec<Span>) {
    for at in memchr::memchr_iter(b'@', text) {
        let local = text[..at]
            .iter()
            .rev()
            .take_while(|byte| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte))
            .count();
        let domain = text[at + 1..]
            .iter()
            .take(255)
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
            .count();
        if local > 0 && is_domain(&text[at + 1..at + 1 + domain]) {
            spans.push(Span { start: at - local, end: at, kind: Kind::Email });
        }
    }
}

fn is_domain(domain: &[u8]) -> bool {
    let domain = domain.strip_suffix(b".").unwrap_or(domain);
    let mut labels = domain.rsplit(|byte| *byte == b'.');
    let top = labels.next().unwrap_or_default();
    let first = domain.split(|byte| *byte == b'.').next().unwrap_or_default();
    let is_pixel_ratio = matches!(first, [b'0'..=b'9', b'x' | b'X']);
    labels.next().is_some_and(|label| !label.is_empty())
        && top.len() >= 2
        && top.iter().all(u8::is_ascii_alphabetic)
        && !is_pixel_ratio
}

/// The text that this base64 (of either alphabet, without its padding) stands for, or `None` when it is no
/// text. Ordinary words fail within their first characters.
pub(super) fn decode_text(encoded: &[u8]) -> Option<Vec<u8>> {
    if !begins_as_text(encoded) {
        return None;
    }
    let engine = if memchr::memchr2(b'+', b'/', encoded).is_some() { &STANDARD_ENGINE } else { &URL_ENGINE };
    // One character more than whole bytes need belongs to nothing.
    let whole = if encoded.len() % 4 == 1 { encoded.len() - 1 } else { encoded.len() };
    let decoded = engine.decode(&encoded[..whole]).ok()?;
    let is_text = !decoded.iter().any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace());
    (is_text && std::str::from_utf8(&decoded).is_ok()).then_some(decoded)
}

/// Whether the first characters decode to what a text may begin with.
fn begins_as_text(encoded: &[u8]) -> bool {
    let mut decoded = [0; 9];
    for (three, four) in decoded.chunks_exact_mut(3).zip(encoded.chunks_exact(4)) {
        let bits = four.iter().fold(0_u32, |bits, byte| bits << 6 | u32::from(SEXTET[usize::from(*byte)]));
        three.copy_from_slice(&bits.to_be_bytes()[1..]);
        if three.iter().any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace()) {
            return false;
        }
    }
    std::str::from_utf8(&decoded).err().is_none_or(|error| error.error_len().is_none())
}

/// What a character of either alphabet stands for; others never get here.
const SEXTET: [u8; 256] = {
    let mut table = [0; 256];
    let mut value = 0;
    while value < 64 {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        table[letters[value] as usize] = value as u8;
        value += 1;
    }
    table[b'+' as usize] = 62;
    table[b'/' as usize] = 63;
    table
};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const URL_ENGINE: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);
const STANDARD_ENGINE: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);

/// The bytes with one level of percent-encoding taken off, and where each came from; one place more for the end.
/// `None` when there is no escape.
pub(super) fn percent_decode(text: &[u8]) -> Option<(Vec<u8>, Vec<usize>)> {
    let first = memchr::memchr_iter(b'%', text).find(|at| escape(text, *at).is_some())?;
    let mut decoded = Vec::with_capacity(text.len());
    let mut origin = Vec::with_capacity(text.len() + 1);
    decoded.extend_from_slice(&text[..first]);
    origin.extend(0..first);
    let mut at = first;
    while at < text.len() {
        origin.push(at);
        match escape(text, at) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(text[at]);
                at += 1;
            }
        }
    }
    origin.push(text.len());
    Some((decoded, origin))
}

fn escape(text: &[u8], at: usize) -> Option<u8> {
    let [b'%', high, low] = *text.get(at..at + 3)? else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}
