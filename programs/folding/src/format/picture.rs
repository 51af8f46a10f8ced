//! A map of contacts as a PNG: grey, the darker the likelier; written without compression.

use crate::Square;

/// The probabilities of contacts as a picture of at least 300 pixels a side. If the `truth` is known it takes the
/// half below the diagonal.
///
/// # Panics
/// If `truth` isn't for as many residues.
pub fn contact_map_png(likely: &Square, truth: Option<&Square>) -> Vec<u8> {
    const SMALLEST: usize = 300;
    let side = likely.side();
    let scale = SMALLEST.div_ceil(side.max(1)).max(1);
    let width = (side * scale).max(1);
    let mut rows = Vec::with_capacity(width * (width + 1));
    for y in 0..width {
        // Every row begins with its filter: none.
        rows.push(0);
        for x in 0..width {
            let (i, j) = (y / scale, x / scale);
            let probability = match (side, truth) {
                (0, _) => 0.0,
                (_, Some(truth)) if i > j => truth.at(i, j),
                _ => likely.at(i, j),
            };
            rows.push(255 - (probability.clamp(0.0, 1.0) * 255.0).round() as u8);
        }
    }
    png(width as u32, &rows)
}

/// A square grey picture of 8 bits a pixel (w3.org/TR/png-3).
fn png(side: u32, rows: &[u8]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::new();
    header.extend(side.to_be_bytes());
    header.extend(side.to_be_bytes());
    // 8 bits, grey, and the only compression, filters and order there are.
    header.extend([8, 0, 0, 0, 0]);
    chunk(&mut file, *b"IHDR", &header);
    chunk(&mut file, *b"IDAT", &stored(rows));
    chunk(&mut file, *b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    file.extend((data.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend(kind);
    file.extend(data);
    let sum = crc(&file[start..]);
    file.extend(sum.to_be_bytes());
}

/// A zlib stream (RFC 1950) of stored blocks (RFC 1951, 3.2.4).
fn stored(data: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 65_535;
    let mut stream = vec![0x78, 0x01];
    let count = data.len().div_ceil(BLOCK);
    for (i, block) in data.chunks(BLOCK).enumerate() {
        let length = block.len() as u16;
        stream.push(u8::from(i + 1 == count));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    let (mut a, mut b) = (1u32, 0u32);
    for byte in data {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    stream.extend((b << 16 | a).to_be_bytes());
    stream
}

/// CRC-32 as PNG defines it, bit by bit: the pictures are small.
fn crc(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| match sum & 1 {
            1 => sum >> 1 ^ 0xEDB8_8320,
            _ => sum >> 1,
        })
    };
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_standards() {
        // The check value of CRC-32, and Adler-32 of the example in its article.
        assert_eq!(crc(b"123456789"), 0xCBF4_3926);
        assert_eq!(stored(b"Wikipedia")[2 + 5 + 9..], 0x11E6_0398u32.to_be_bytes());
    }

    #[test]
    fn probabilities_are_grey_and_the_truth_is_below() {
        let likely = Square::from_fn(2, |i, j| if i == j { 1.0 } else { 0.5 });
        let truth = Square::from_fn(2, |_, _| 0.0);
        let file = contact_map_png(&likely, Some(&truth));
        // Two stored blocks of at most 65,535 bytes: pixels begin after the header and the first block's own.
        let pixels = &file[8 + 25 + 8 + 2 + 5..];
        let at = |x: usize, y: usize| pixels[y * 301 + 1 + x];
        assert_eq!((at(0, 0), at(299, 0), at(0, 200)), (0, 127, 255));
        let empty = contact_map_png(&Square::from_fn(0, |_, _| 0.0), None);
        assert!(empty.ends_with(b"IEND\xaeB`\x82"));
    }
}
