//! Opens a saved log: a file or stdin, compressed or not, in UTF-8 or UTF-16. All are read as a stream.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::Path,
    time::SystemTime,
};

use jiff::{SignedDuration, Timestamp};

const BUFFER_BYTES: usize = 64 * 1024;
/// How much later than its file was written a line may seem to be: its zone may be another.
const ZONES: SignedDuration = SignedDuration::from_hours(24);

/// A log.
pub(super) type Input = BufReader<Box<dyn Read>>;

/// The bytes of a log, and a time that none of its lines is later than.
pub(super) fn open(file: &Path) -> io::Result<(Box<dyn Read>, Timestamp)> {
    let (input, latest): (Box<dyn Read>, _) = if file == Path::new("-") {
        (Box::new(io::stdin().lock()), SystemTime::now())
    } else {
        let file = File::open(file)?;
        let written = file.metadata()?.modified()?;
        (Box::new(file), written)
    };
    let latest = Timestamp::try_from(latest).unwrap_or(Timestamp::MAX);
    let latest = latest.checked_add(ZONES).unwrap_or(Timestamp::MAX);
    Ok((input, latest))
}

/// Decompresses and converts to UTF-8, by how the input begins.
pub(super) fn decode(input: Box<dyn Read>) -> io::Result<Input> {
    let (start, input) = peek(input)?;
    let input: Box<dyn Read> = match *start {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(input)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::read::MultiBzDecoder::new(input)),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Box::new(lzma_rust2::XzReader::new(input, true)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Box::new(ruzstd::decoding::StreamingDecoder::new(input).map_err(io::Error::other)?)
        }
        _ => {
            return Ok(BufReader::with_capacity(
                BUFFER_BYTES,
                convert(&start, input),
            ));
        }
    };
    let (start, input) = peek(input)?;
    Ok(BufReader::with_capacity(
        BUFFER_BYTES,
        convert(&start, input),
    ))
}

/// The first bytes, at most 8, and the whole input.
fn peek(mut input: Box<dyn Read>) -> io::Result<(Vec<u8>, Box<dyn Read>)> {
    let mut start = Vec::new();
    input.by_ref().take(8).read_to_end(&mut start)?;
    let whole = Cursor::new(start.clone()).chain(input);
    Ok((start, Box::new(whole)))
}

/// Converts UTF-16 with a byte order mark; skips the mark of UTF-8.
fn convert(start: &[u8], mut input: Box<dyn Read>) -> Box<dyn Read> {
    let mark = match *start {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => 2,
        [0xef, 0xbb, 0xbf, ..] => 3,
        _ => return input,
    };
    // The mark is in memory already.
    let _ = input.read_exact(&mut [0; 3][..mark]);
    match start[0] {
        0xff => Box::new(Utf16::new(input, u16::from_le_bytes)),
        0xfe => Box::new(Utf16::new(input, u16::from_be_bytes)),
        _ => input,
    }
}

/// UTF-16 as UTF-8.
struct Utf16 {
    input: BufReader<Box<dyn Read>>,
    unit: fn([u8; 2]) -> u16,
    /// First half of a pair.
    high: Option<u16>,
    text: Vec<u8>,
    read: usize,
}

impl Utf16 {
    fn new(input: Box<dyn Read>, unit: fn([u8; 2]) -> u16) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            unit,
            high: None,
            text: Vec::new(),
            read: 0,
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.text.clear();
        self.read = 0;
        while self.text.is_empty() {
            let buffer = self.input.fill_buf()?;
            let units = buffer
                .chunks_exact(2)
                .map(|two| (self.unit)([two[0], two[1]]));
            let units: Vec<u16> = self.high.take().into_iter().chain(units).collect();
            let mut used = buffer.len() & !1;
            if buffer.len() == 1 {
                // The second byte of a unit may be in the next read; at the end there is none.
                let first = buffer[0];
                self.input.consume(1);
                let mut second = [0];
                if self.input.read(&mut second)? == 0 {
                    return Ok(());
                }
                self.push(&[(self.unit)([first, second[0]])]);
                used = 0;
            } else if buffer.is_empty() && units.is_empty() {
                return Ok(());
            } else {
                let is_end = buffer.is_empty();
                let (whole, high) = match units.split_last() {
                    Some((last, rest)) if (0xd800..0xdc00).contains(last) && !is_end => {
                        (rest, Some(*last))
                    }
                    _ => (&*units, None),
                };
                self.high = high;
                self.push(whole);
            }
            self.input.consume(used);
        }
        Ok(())
    }

    fn push(&mut self, units: &[u16]) {
        for character in char::decode_utf16(units.iter().copied()) {
            let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
            let mut bytes = [0; 4];
            self.text
                .extend(character.encode_utf8(&mut bytes).as_bytes());
        }
    }
}

impl Read for Utf16 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.text.len() {
            self.fill()?;
        }
        let rest = &self.text[self.read..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.read += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: Vec<u8>) -> String {
        let mut text = String::new();
        let input = Box::new(Cursor::new(bytes));
        decode(input)
            .and_then(|mut input| input.read_to_string(&mut text))
            .expect("decode");
        text
    }

    #[test]
    fn utf16_is_converted_in_both_orders() {
        let text = "[ 12.5] a\u{e9}\u{1f600}b\n".repeat(20_000);
        let units = || text.encode_utf16();
        let little: Vec<u8> = units().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = units().flat_map(u16::to_be_bytes).collect();
        assert_eq!(decoded([&b"\xff\xfe"[..], &little].concat()), text);
        assert_eq!(decoded([&b"\xfe\xff"[..], &big].concat()), text);
        assert_eq!(
            decoded([&b"\xef\xbb\xbf"[..], text.as_bytes()].concat()),
            text
        );
        assert_eq!(decoded(b"\xff\xfea\0b".to_vec()), "a");
        for short in ["", "a", "ab"] {
            assert_eq!(decoded(short.into()), short);
        }
    }
}
