//! Files to upload.

use sha2::{Digest, Sha256};

/// A real PNG: one red pixel.
pub const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00,
    0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x02, 0x00, 0x00, 0x00, 0x90, 0x77, 0x53, 0xde, 0x00,
    0x00, 0x00, 0x0c, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0xf8, 0xcf, 0xc0, 0x00, 0x00, 0x03, 0x01,
    0x01, 0x00, 0xc9, 0xfe, 0x92, 0xef, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60,
    0x82,
];

/// The start of an MP4 file.
const FTYP: &[u8] = &[
    0, 0, 0, 24, b'f', b't', b'y', b'p', b'i', b's', b'o', b'm', 0, 0, 2, 0, b'i', b's', b'o', b'm', b'm',
    b'p', b'4', b'2',
];

/// The file that every malware scanner knows, put together here so that this source file is not taken for it.
pub fn eicar() -> Vec<u8> {
    ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-", "ANTIVIRUS-TEST-FILE!$H+H*"].concat().into_bytes()
}

/// A PDF that says nothing.
pub fn pdf() -> Vec<u8> {
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n\
      trailer<</Root 1 0 R>>\n%%EOF\n"
        .to_vec()
}

/// A PDF with the test malware in it.
pub fn infected_pdf() -> Vec<u8> {
    let mut file = b"%PDF-1.4\n%".to_vec();
    file.extend(eicar());
    file.extend_from_slice(b"\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n%%EOF\n");
    file
}

/// A PHP program.
pub const PHP: &[u8] = b"<?php system($_GET['c']); ?>\n";

/// A PNG padded to `size` bytes by an ancillary chunk, so that it is a real image all the same.
pub fn png_of(size: usize) -> Vec<u8> {
    another_png_of(size, 7)
}

/// The same, different for every seed.
pub fn another_png_of(size: usize, seed: u64) -> Vec<u8> {
    let (head, tail) = PNG.split_at(33);
    let padding = size.checked_sub(PNG.len() + 12).expect("the size holds the image");
    let mut file = Vec::with_capacity(size);
    file.extend_from_slice(head);
    file.extend_from_slice(&u32::try_from(padding).expect("the chunk fits").to_be_bytes());
    let mut chunk = b"prVt".to_vec();
    chunk.extend(noise(padding, seed));
    file.extend_from_slice(&chunk);
    file.extend_from_slice(&crc32(&chunk).to_be_bytes());
    file.extend_from_slice(tail);
    assert_eq!(file.len(), size);
    file
}

/// The start of an MP4 and then one box of noise, `size` bytes in all.
pub fn mp4_of(size: usize) -> Vec<u8> {
    let mut file = FTYP.to_vec();
    file.extend_from_slice(&u32::try_from(size - FTYP.len()).expect("the box fits").to_be_bytes());
    file.extend_from_slice(b"mdat");
    file.extend(noise(size - FTYP.len() - 8, 11));
    assert_eq!(file.len(), size);
    file
}

/// Bytes without a pattern, always the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The checksum of PNG and zip (ISO 3309).
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |mut crc, &byte| {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
        crc
    })
}
