//! Reads a file line by line, each line cut at [`MAX_BYTES`] bytes.

use std::io::{self, BufRead};

use bstr::ByteSlice as _;

/// Longest line that is read: an object of JSON may hold many lines.
pub const MAX_BYTES: usize = 256 * 1024;

/// Reads lines in bounded memory.
#[derive(Debug)]
pub struct BoundedLines<R> {
    input: R,
    line: Vec<u8>,
    cut: u64,
    /// Whether the last line was empty.
    line_is_blank: bool,
}

impl<R: BufRead> BoundedLines<R> {
    /// The lines of `input`.
    pub fn new(input: R) -> Self {
        Self {
            input,
            line: Vec::with_capacity(MAX_BYTES),
            cut: 0,
            line_is_blank: false,
        }
    }

    /// Reads the next line, without its line end; absent at the end of the file. Of several empty lines one is returned. The bytes after [`MAX_BYTES`] are skipped.
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
            // Of blank lines one is as good as many.
            if !any && self.line_is_blank {
                let blank = buffer.find_not_byteset(b"\n").unwrap_or(buffer.len());
                if blank > 0 {
                    self.input.consume(blank);
                    continue;
                }
            }
            any = true;
            let end = buffer.find_byte(b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let taken = part.len().min(MAX_BYTES - self.line.len());
            is_cut |= taken < part.len();
            self.line.extend_from_slice(&part[..taken]);
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                break;
            }
        }
        self.cut += u64::from(is_cut);
        self.line_is_blank = any && self.line.is_empty();
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        Ok(any.then_some(line))
    }

    /// Number of lines so far that were cut.
    pub fn cut(&self) -> u64 {
        self.cut
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines(bytes: &[u8], capacity: usize) -> (Vec<Vec<u8>>, u64, usize) {
        let mut lines = BoundedLines::new(BufReader::with_capacity(capacity, bytes));
        let mut all = Vec::new();
        while let Some(line) = lines.next_line().expect("read memory") {
            all.push(line.to_vec());
        }
        (all, lines.cut(), lines.line.capacity())
    }

    #[test]
    fn lines_end_with_a_newline_or_the_file() {
        for (bytes, expected) in [
            (&b""[..], vec![]),
            (b"\n", vec![&b""[..]]),
            (b"a\r\n\nb\xff", vec![b"a", b"", b"b\xff"]),
            (b"\n\n\n\nc\n\n", vec![b"", b"c", b""]),
            (b"a\rb\n", vec![b"a\rb"]),
        ] {
            for capacity in [1, 2, 4096] {
                assert_eq!(lines(bytes, capacity).0, expected, "{bytes:?}");
            }
        }
    }

    #[test]
    fn long_line_is_cut_and_counted_in_bounded_memory() {
        let mut bytes = vec![b'x'; MAX_BYTES];
        bytes.push(b'\n');
        bytes.extend(vec![b'y'; 50 * MAX_BYTES]);
        bytes.extend(b"\nz");
        let (all, cut, capacity) = lines(&bytes, 1000);
        let lengths: Vec<usize> = all.iter().map(Vec::len).collect();
        assert_eq!(lengths, [MAX_BYTES, MAX_BYTES, 1]);
        assert_eq!(cut, 1);
        assert_eq!(capacity, MAX_BYTES);
    }
}
