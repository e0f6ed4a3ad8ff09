//! A file to its lines, each at most [`MAX_LINE`] bytes long, however long it is in the file.

use std::io::{self, BufRead};

use bstr::ByteSlice as _;

use super::MAX_LINE;

/// Reads lines of bytes.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    line: Vec<u8>,
    cut: u64,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `input`.
    pub fn new(input: R) -> Self {
        Self {
            input,
            line: Vec::with_capacity(MAX_LINE),
            cut: 0,
        }
    }

    /// The next line without its end; absent behind the last. What is beyond [`MAX_LINE`] bytes is skipped.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let mut any = false;
        let mut is_cut = false;
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                break;
            }
            any = true;
            let end = buffer.find_byte(b'\n');
            let piece = &buffer[..end.unwrap_or(buffer.len())];
            let taken = piece.len().min(MAX_LINE - self.line.len());
            is_cut |= taken < piece.len();
            self.line.extend_from_slice(&piece[..taken]);
            let used = piece.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                break;
            }
        }
        self.cut += u64::from(is_cut);
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        Ok(any.then_some(line))
    }

    /// Lines so far that were longer than [`MAX_LINE`].
    pub fn cut(&self) -> u64 {
        self.cut
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines(bytes: &[u8], capacity: usize) -> (Vec<Vec<u8>>, u64, usize) {
        let mut lines = Lines::new(BufReader::with_capacity(capacity, bytes));
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().expect("read memory") {
            found.push(line.to_vec());
        }
        (found, lines.cut(), lines.line.capacity())
    }

    #[test]
    fn lines_end_with_a_newline_or_the_file() {
        for (bytes, expected) in [
            (&b""[..], vec![]),
            (b"\n", vec![&b""[..]]),
            (b"a\r\n\nb\xff", vec![b"a", b"", b"b\xff"]),
            (b"a\rb\n", vec![b"a\rb"]),
        ] {
            for capacity in [1, 2, 4096] {
                assert_eq!(lines(bytes, capacity).0, expected, "{bytes:?}");
            }
        }
    }

    #[test]
    fn long_line_is_cut_counted_and_never_held() {
        let mut bytes = vec![b'x'; MAX_LINE];
        bytes.push(b'\n');
        bytes.extend(vec![b'y'; 50 * MAX_LINE]);
        bytes.extend(b"\nz");
        let (found, cut, capacity) = lines(&bytes, 1000);
        let lengths: Vec<usize> = found.iter().map(Vec::len).collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, 1]);
        assert_eq!(cut, 1);
        assert_eq!(capacity, MAX_LINE);
    }
}
