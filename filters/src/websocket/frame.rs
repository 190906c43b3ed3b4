//! WebSocket frames (RFC 6455 section 5), as far as somebody who passes them on must understand them.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of the longest frame header.
pub const MAX_HEADER: usize = 14;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the RFC's")]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    /// Close, ping and pong: short, whole, and allowed between the frames of a message.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// What stands before a frame's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether the message ends with this frame.
    pub fin: bool,
    /// The three reserved bits, which extensions such as compression use; RSV1 is 4.
    pub rsv: u8,
    /// What it carries.
    pub opcode: Opcode,
    /// Clients mask, servers do not.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload, below 2^63.
    pub length: u64,
}

impl FrameHeader {
    /// Reads a header from the start of `bytes`; with it, how many bytes it has. `None` until there are enough.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Breach> {
        let [first, second, ..] = *bytes else { return Ok(None) };
        let opcode = Opcode::of(first & 0x0f).ok_or(Breach::protocol("reserved opcode"))?;
        let (fin, short) = (first & 0x80 != 0, second & 0x7f);
        if opcode.is_control() && (!fin || short > 125) {
            return Err(Breach::protocol("control frame too long or fragmented"));
        }
        let wide = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let masked = second & 0x80 != 0;
        let end = 2 + wide + if masked { 4 } else { 0 };
        let Some(rest) = bytes.get(2..end) else { return Ok(None) };
        let (digits, key) = rest.split_at(wide);
        let length = match wide {
            0 => u64::from(short),
            _ => digits.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
        };
        let shortest = match wide {
            2 => length > 125,
            8 => length > u64::from(u16::MAX) && length >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(Breach::protocol("payload length not in its shortest form"));
        }
        Ok(Some((Self { fin, rsv: first >> 4 & 7, opcode, mask: key.try_into().ok(), length }, end)))
    }

    /// Writes the header in its shortest form.
    pub fn write(&self, out: &mut impl BufMut) {
        out.put_u8(u8::from(self.fin) << 7 | (self.rsv & 7) << 4 | self.opcode as u8);
        let masked = u8::from(self.mask.is_some()) << 7;
        match (u8::try_from(self.length), u16::try_from(self.length)) {
            (Ok(short @ ..=125), _) => out.put_u8(masked | short),
            (_, Ok(medium)) => {
                out.put_u8(masked | 126);
                out.put_u16(medium);
            }
            _ => {
                out.put_u8(masked | 127);
                out.put_u64(self.length);
            }
        }
        if let Some(key) = self.mask {
            out.put_slice(&key);
        }
    }
}

/// Why a socket must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breach {
    /// The code of the Close frame.
    pub code: u16,
    /// Its reason.
    pub reason: &'static str,
}

impl Breach {
    /// Nothing was said for longer than `idle_timeout`.
    pub const IDLE: Self = Self { code: 1001, reason: "idle" };
    /// The gateway ends.
    pub const SHUTDOWN: Self = Self { code: 1001, reason: "going away" };
    /// A message was larger than `max_message`.
    pub const TOO_BIG: Self = Self { code: 1009, reason: "message too big" };

    const fn protocol(reason: &'static str) -> Self {
        Self { code: 1002, reason }
    }
}

/// A whole Close frame. The reason is cut to 123 bytes at a character; `mask` is for the way to a server.
pub fn close_frame(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Bytes {
    let reason = &reason[..reason.floor_char_boundary(123)];
    let mut frame = BytesMut::with_capacity(MAX_HEADER + 2 + reason.len());
    let length = 2 + reason.len() as u64;
    FrameHeader { fin: true, rsv: 0, opcode: Opcode::Close, mask, length }.write(&mut frame);
    let start = frame.len();
    frame.put_u16(code);
    frame.put_slice(reason.as_bytes());
    if let Some(key) = mask {
        frame[start..].iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    }
    frame.freeze()
}

/// Who sends the frames that a `Watch` sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Must mask.
    Client,
    /// Must not.
    Server,
}

/// Follows one direction of a socket, in any division of its bytes, and allocates nothing.
///
/// A message counts by its bytes on the wire: with a compressing extension, before they are inflated. Bytes of a
/// header are held back until it is whole and judged, so that whoever is passed what comes out can always be sent a
/// Close frame at a boundary.
#[derive(Debug)]
pub struct Watch {
    sender: Sender,
    max_message: u64,
    extensions: bool,
    /// The beginning of a header.
    held: [u8; MAX_HEADER],
    held_len: usize,
    /// Payload of the current frame that is still to come.
    pending: u64,
    /// Bytes of the current message so far, while it goes on.
    message: Option<u64>,
    closed: bool,
}

/// A piece of what may be passed on.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A whole header: what it says. Its bytes follow from `FrameHeader::write`.
    Header(FrameHeader),
    /// Some payload, as it came: masked, when the sender masks.
    Payload(&'a [u8]),
}

impl Watch {
    /// `extensions` says whether the 101 agreed on any; without, reserved bits are a breach.
    pub fn new(sender: Sender, max_message: u64, extensions: bool) -> Self {
        Self {
            sender,
            max_message,
            extensions,
            held: [0; MAX_HEADER],
            held_len: 0,
            pending: 0,
            message: None,
            closed: false,
        }
    }

    /// Takes the next piece from the front of `input`; `None` when it is used up. After a breach the direction is
    /// dead: send Close frames, pass nothing on.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, Breach> {
        if input.is_empty() {
            return Ok(None);
        }
        if self.pending > 0 {
            let take = usize::try_from(self.pending).map_or(input.len(), |pending| pending.min(input.len()));
            let (payload, rest) = input.split_at(take);
            *input = rest;
            self.pending -= take as u64;
            return Ok(Some(Piece::Payload(payload)));
        }
        if self.closed {
            return Err(Breach::protocol("frame after close"));
        }
        let fill = (MAX_HEADER - self.held_len).min(input.len());
        self.held[self.held_len..self.held_len + fill].copy_from_slice(&input[..fill]);
        let Some((header, length)) = FrameHeader::parse(&self.held[..self.held_len + fill])? else {
            self.held_len += fill;
            *input = &input[fill..];
            return Ok(None);
        };
        *input = &input[length - self.held_len..];
        self.held_len = 0;
        self.admit(&header)?;
        self.pending = header.length;
        Ok(Some(Piece::Header(header)))
    }

    /// Passes `input` on to `out`, up to what must be held back. On a breach `out` holds everything that came before
    /// the frame at fault, and ends at the end of a frame.
    pub fn relay(&mut self, mut input: &[u8], out: &mut impl BufMut) -> Result<(), Breach> {
        while let Some(piece) = self.next(&mut input)? {
            match piece {
                Piece::Header(header) => header.write(out),
                Piece::Payload(payload) => out.put_slice(payload),
            }
        }
        Ok(())
    }

    /// Whether a frame may be inserted after what has been passed on.
    pub fn at_boundary(&self) -> bool {
        self.pending == 0
    }

    /// Payload that is missing until the next boundary, in bytes.
    pub fn until_boundary(&self) -> u64 {
        self.pending
    }

    /// Whether a Close frame has been passed on.
    pub fn closed(&self) -> bool {
        self.closed
    }

    fn admit(&mut self, header: &FrameHeader) -> Result<(), Breach> {
        if header.mask.is_some() != (self.sender == Sender::Client) {
            return Err(Breach::protocol("wrong masking"));
        }
        if header.rsv != 0 && (!self.extensions || header.opcode.is_control()) {
            return Err(Breach::protocol("reserved bits"));
        }
        match (header.opcode, self.message) {
            (Opcode::Close, _) if header.length == 1 => return Err(Breach::protocol("close code cut short")),
            (Opcode::Close, _) => self.closed = true,
            (Opcode::Ping | Opcode::Pong, _) => {}
            (Opcode::Continuation, None) => return Err(Breach::protocol("continuation of nothing")),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Breach::protocol("message within a message"));
            }
            (Opcode::Continuation | Opcode::Text | Opcode::Binary, so_far) => {
                let size = so_far.unwrap_or(0).saturating_add(header.length);
                if size > self.max_message {
                    return Err(Breach::TOO_BIG);
                }
                self.message = (!header.fin).then_some(size);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);

    fn frame(fin: bool, opcode: Opcode, mask: Option<[u8; 4]>, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        FrameHeader { fin, rsv: 0, opcode, mask, length: length as u64 }.write(&mut bytes);
        bytes.extend((0..length).map(|n| n as u8));
        bytes
    }

    fn client(max: u64) -> Watch {
        Watch::new(Sender::Client, max, false)
    }

    fn relayed(watch: &mut Watch, bytes: &[u8]) -> (Vec<u8>, Result<(), Breach>) {
        let mut out = Vec::new();
        let verdict = watch.relay(bytes, &mut out);
        (out, verdict)
    }

    #[test]
    fn a_header_is_read_as_it_is_written() {
        for length in [0, 1, 125, 126, 127, 65535, 65536, u64::MAX >> 1] {
            for mask in [None, KEY] {
                let header = FrameHeader { fin: length != 1, rsv: 4, opcode: Opcode::Binary, mask, length };
                let mut bytes = Vec::new();
                header.write(&mut bytes);
                assert_eq!(FrameHeader::parse(&bytes), Ok(Some((header, bytes.len()))));
                for end in 0..bytes.len() {
                    assert_eq!(FrameHeader::parse(&bytes[..end]), Ok(None));
                }
            }
        }
    }

    #[test]
    fn refuses_headers_that_the_rfc_forbids() {
        for bytes in [
            &[0x83, 0][..],
            &[0x8b, 0],
            &[0x09, 0],
            &[0x89, 126, 0, 126],
            &[0x81, 126, 0, 125],
            &[0x81, 127, 0, 0, 0, 0, 0, 0, 255, 255],
            &[0x81, 127, 128, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(FrameHeader::parse(bytes).unwrap_err().code, 1002, "{bytes:?}");
        }
    }

    #[test]
    fn a_message_may_be_as_large_as_the_limit_in_all_its_fragments() {
        let mut watch = client(300);
        for (fin, opcode, length) in [
            (false, Opcode::Text, 150),
            (true, Opcode::Ping, 125),
            (false, Opcode::Continuation, 100),
            (true, Opcode::Continuation, 50),
            (true, Opcode::Binary, 300),
        ] {
            let bytes = frame(fin, opcode, KEY, length);
            assert_eq!(relayed(&mut watch, &bytes), (bytes, Ok(())));
        }
    }

    #[test]
    fn a_larger_one_is_1009_and_its_last_frame_is_held_back() {
        let mut watch = client(300);
        let first = frame(false, Opcode::Text, KEY, 200);
        let all = [first.clone(), frame(true, Opcode::Continuation, KEY, 101)].concat();
        assert_eq!(relayed(&mut watch, &all), (first, Err(Breach::TOO_BIG)));
        assert!(watch.at_boundary());
        assert_eq!(
            relayed(&mut client(10), &frame(true, Opcode::Binary, KEY, 11)[..6]).1,
            Err(Breach::TOO_BIG)
        );
    }

    #[test]
    fn a_breach_of_the_protocol_is_1002() {
        let cases = [
            frame(true, Opcode::Text, None, 1),
            frame(true, Opcode::Continuation, KEY, 1),
            [frame(false, Opcode::Text, KEY, 1), frame(true, Opcode::Text, KEY, 1)].concat(),
            [frame(true, Opcode::Close, KEY, 2), frame(true, Opcode::Text, KEY, 1)].concat(),
            frame(true, Opcode::Close, KEY, 1),
            vec![0xc1, 0x80, 1, 2, 3, 4],
        ];
        for bytes in cases {
            assert_eq!(relayed(&mut client(100), &bytes).1.unwrap_err().code, 1002, "{bytes:?}");
        }
        let mut server = Watch::new(Sender::Server, 100, false);
        assert_eq!(relayed(&mut server, &frame(true, Opcode::Text, KEY, 1)).1.unwrap_err().code, 1002);
    }

    #[test]
    fn reserved_bits_are_for_extensions() {
        let compressed = [0xc1, 0x81, 1, 2, 3, 4, 9];
        assert_eq!(relayed(&mut Watch::new(Sender::Client, 100, true), &compressed).1, Ok(()));
        let ping = [0xc9, 0x80, 1, 2, 3, 4];
        assert_eq!(relayed(&mut Watch::new(Sender::Client, 100, true), &ping).1.unwrap_err().code, 1002);
    }

    #[test]
    fn a_close_frame_says_why() {
        assert_eq!(
            close_frame(1001, "idle", None).as_ref(),
            [&[0x88, 6, 0x03, 0xe9], b"idle".as_slice()].concat()
        );
        let masked = close_frame(4401, "ended", KEY);
        assert_eq!(&masked[..8], [0x88, 0x87, 1, 2, 3, 4, 0x11 ^ 1, 0x31 ^ 2]);
        assert_eq!(masked[8] ^ 3, b'e');
        let long = close_frame(1008, &"名".repeat(60), None);
        assert_eq!((long.len(), long[1]), (2 + 2 + 123, 125));
        let cut = close_frame(1008, &format!("a{}", "名".repeat(60)), None);
        assert_eq!(std::str::from_utf8(&cut[4..]).unwrap().chars().count(), 41);
        let mut watch = client(10);
        assert_eq!(relayed(&mut watch, &masked), (masked.to_vec(), Ok(())));
        assert!(watch.closed());
    }

    #[test]
    fn knows_where_a_frame_could_be_inserted() {
        let mut watch = client(100);
        let bytes = frame(true, Opcode::Text, KEY, 10);
        assert_eq!(relayed(&mut watch, &bytes[..3]).0, b"");
        assert!(watch.at_boundary());
        assert_eq!(relayed(&mut watch, &bytes[3..8]).0, &bytes[..8]);
        assert_eq!(watch.until_boundary(), 8);
        assert_eq!(relayed(&mut watch, &bytes[8..]).0, &bytes[8..]);
        assert!(watch.at_boundary());
    }

    proptest! {
        #[test]
        fn the_division_of_the_bytes_changes_nothing(bytes in stream(), cuts in prop::collection::vec(1..40usize, 0..60), max in 0..400u64) {
            let whole = relayed(&mut client(max), &bytes);
            let mut watch = client(max);
            let (mut out, mut verdict, mut rest) = (Vec::new(), Ok(()), bytes.as_slice());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (chunk, left) = rest.split_at(cut.min(rest.len()));
                rest = left;
                verdict = watch.relay(chunk, &mut out);
                if verdict.is_err() {
                    break;
                }
            }
            prop_assert_eq!((out, verdict), whole.clone());
            prop_assert!(bytes.starts_with(&whole.0));
        }
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let opcode = prop_oneof![
            Just(Opcode::Continuation),
            Just(Opcode::Text),
            Just(Opcode::Binary),
            Just(Opcode::Ping),
            Just(Opcode::Close)
        ];
        let mask = prop_oneof![9 => Just(KEY), 1 => Just(None)];
        let one = (any::<bool>(), opcode, mask, 0..200usize)
            .prop_map(|(fin, opcode, mask, length)| frame(fin, opcode, mask, length));
        (prop::collection::vec(one, 0..8), prop::collection::vec(any::<u8>(), 0..6))
            .prop_map(|(frames, junk)| [frames.concat(), junk].concat())
    }
}
