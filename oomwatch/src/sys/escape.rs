//! Escapes untrusted bytes for a terminal or a log. Lossless: `\` itself is escaped.

use std::fmt::Write as _;

/// Escapes bytes into one printable line: bytes that are not UTF-8 or not printable become `\xNN`, and `\` becomes `\\`.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' {
                text.push_str("\\\\");
            } else if is_printable(character) {
                text.push(character);
            } else {
                push_hex(&mut text, character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

/// Whether a character is visible and affects no other: neither a control nor a format character, such as a change of
/// text direction, nor a letter or symbol without ink (the fillers of Hangul, and the empty Braille pattern).
#[must_use]
pub fn is_printable(character: char) -> bool {
    match character {
        '"' | '\'' | '\\' => true,
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}' => false,
        _ => character.escape_debug().len() == 1,
    }
}

/// Escapes what is not printable in a text that was made for people; `\` stays. The result is one line.
#[must_use]
pub fn escape_line(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_printable(character) {
                text.push(character);
            } else {
                push_hex(&mut text, character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// Escapes each character of a JSON text that is not printable as `\uNNNN`, which makes it safe for a terminal.
///
/// JSON outside strings is printable ASCII, so the whole text can be escaped at once.
#[must_use]
pub fn escape_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if is_printable(character) {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn printable_text_is_unchanged_and_the_rest_is_escaped() {
        for (bytes, expected) in [
            (&b"tail"[..], "tail"),
            (b"a b)(\"',%s,pid=1", "a b)(\"',%s,pid=1"),
            ("größe中".as_bytes(), "größe中"),
            (b"a\nb\x1b[31m\x7f", "a\\x0ab\\x1b[31m\\x7f"),
            (b"a\\x2db", "a\\\\x2db"),
            (b"\xff\xc3", "\\xff\\xc3"),
            (
                "\u{9b}2J\u{202e}\u{200b}".as_bytes(),
                "\\xc2\\x9b2J\\xe2\\x80\\xae\\xe2\\x80\\x8b",
            ),
            (
                "\u{3164}\u{115f}\u{1160}\u{ffa0}\u{2800}".as_bytes(),
                "\\xe3\\x85\\xa4\\xe1\\x85\\x9f\\xe1\\x85\\xa0\\xef\\xbe\\xa0\\xe2\\xa0\\x80",
            ),
        ] {
            assert_eq!(escape(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn line_keeps_its_backslashes_and_has_no_other_line_in_it() {
        let line = escape_line(b"path=/a\\b\n2026 WARN forged \x1b[2J\xff");
        assert_eq!(line, r"path=/a\b\x0a2026 WARN forged \x1b[2J\xff");
    }

    #[test]
    fn escaped_json_parses_to_the_same_text() {
        let hostile = "\u{7f}\u{9b}\u{202e}\u{1f600}\u{e0001}\"\\\n";
        let json = escape_json(&serde_json::to_string(hostile).expect("serialize"));
        assert!(json.chars().all(is_printable), "{json}");
        assert_eq!(
            serde_json::from_str::<String>(&json).expect("parse"),
            hostile
        );
    }

    proptest! {
        #[test]
        fn escaped_bytes_are_printable_and_lossless(bytes: Vec<u8>, other: Vec<u8>) {
            let text = escape(&bytes);
            prop_assert!(text.chars().all(is_printable));
            prop_assert_eq!(text == escape(&other), bytes == other);
        }
    }
}
