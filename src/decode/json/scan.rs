//! The lexer: a cursor over one value's bytes that knows JSON's grammar (RFC 8259) and no schema.
//!
//! Strict: what RFC 8259 does not allow is refused. Text is looked at once, eight bytes at a time, and checked as
//! UTF-8 only where a byte above 0x7F was seen.

use super::super::flaw::{Flaw, Found, MAX_LEVELS, Reject, Scan};
use super::number::Number;

/// A cursor over one value. `scratch` is reused between values, so that unescaping doesn't allocate.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    levels: usize,
    scratch: &'a mut Vec<u8>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> Self {
        Self { bytes, at: 0, levels: 0, scratch }
    }

    /// With the cursor behind what stands before the text, `start` bytes in.
    pub(super) fn behind(mut self, start: usize) -> Self {
        self.at = start;
        self
    }

    #[inline]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The bytes from `start`, which the cursor has passed, up to the cursor.
    #[inline]
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The bytes from the cursor on.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    pub(super) fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Moves over `token` if it stands here.
    #[inline]
    pub(super) fn take_token(&mut self, token: &Token) -> bool {
        let found = token.starts(self.rest());
        self.at += if found { token.text.len() } else { 0 };
        found
    }

    #[cold]
    pub(super) fn fail<T>(&self, flaw: Flaw) -> Scan<T> {
        Err(Reject::new(flaw, self.at))
    }

    /// The answer when something else than `wanted` stands here.
    #[cold]
    pub(super) fn unexpected<T>(&self, wanted: &'static str) -> Scan<T> {
        match self.peek() {
            Some(found) => self.fail(Flaw::Unexpected { found, wanted }),
            None => self.fail(Flaw::EndsEarly),
        }
    }

    /// Moves over the `{` or `[` that stands here.
    #[inline]
    pub(super) fn enter(&mut self) -> Scan<()> {
        if self.levels == MAX_LEVELS {
            return self.fail(Flaw::TooDeep);
        }
        self.levels += 1;
        self.at += 1;
        self.skip_blanks();
        Ok(())
    }

    /// After an item: true when another one follows, false when the container was closed.
    #[inline]
    pub(super) fn another(&mut self, close: u8) -> Scan<bool> {
        self.skip_blanks();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.skip_blanks();
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.leave();
                Ok(false)
            }
            _ if close == b'}' => self.unexpected("a comma or `}`"),
            _ => self.unexpected("a comma or `]`"),
        }
    }

    /// Right after `enter`: true when the container is empty, and closed with that.
    #[inline]
    pub(super) fn closes(&mut self, close: u8) -> bool {
        let closes = self.peek() == Some(close);
        if closes {
            self.leave();
        }
        closes
    }

    #[inline]
    fn leave(&mut self) {
        self.levels -= 1;
        self.at += 1;
    }

    /// `true`, `false` or `null`, whose first byte stands here.
    #[inline]
    pub(super) fn literal(&mut self, literal: &'static str) -> Scan<()> {
        if self.rest().starts_with(literal.as_bytes()) {
            self.at += literal.len();
            return Ok(());
        }
        let same = |(a, b): &(&u8, u8)| **a == *b;
        self.at += self.rest().iter().zip(literal.bytes()).take_while(same).count();
        self.unexpected("`true`, `false` or `null`")
    }

    /// The kind of value that stands here, or why it is none.
    #[cold]
    pub(super) fn kind(&self) -> Scan<Found> {
        match self.peek() {
            Some(b'"') => Ok(Found::String),
            Some(b'{') => Ok(Found::Object),
            Some(b'[') => Ok(Found::Array),
            Some(b't' | b'f') => Ok(Found::Boolean),
            Some(b'n') => Ok(Found::Null),
            Some(b'-' | b'0'..=b'9') => Ok(Found::Number),
            Some(b'+') => self.fail(Flaw::Number("a plus sign before it")),
            Some(b'.') => self.fail(Flaw::Number("no digit before the point")),
            _ if self.rest().starts_with(b"NaN") || self.rest().starts_with(b"Infinity") => {
                self.fail(Flaw::NotFinite)
            }
            _ => self.unexpected("a value"),
        }
    }

    /// Moves over a value that no column takes. The recursion is as deep as the value's levels, which are bounded.
    pub(super) fn skip_value(&mut self) -> Scan<()> {
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'{') => self.skip_object(),
            Some(b'[') => self.skip_array(),
            _ => self.kind().map(drop),
        }
    }

    fn skip_object(&mut self) -> Scan<()> {
        self.enter()?;
        if self.closes(b'}') {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.unexpected("a field name");
            }
            self.skip_string()?;
            self.colon()?;
            self.skip_value()?;
            if !self.another(b'}')? {
                return Ok(());
            }
        }
    }

    fn skip_array(&mut self) -> Scan<()> {
        self.enter()?;
        if self.closes(b']') {
            return Ok(());
        }
        loop {
            self.skip_value()?;
            if !self.another(b']')? {
                return Ok(());
            }
        }
    }

    /// The colon after a field's name, and blanks around it.
    #[inline]
    pub(super) fn colon(&mut self) -> Scan<()> {
        self.skip_blanks();
        if !self.take(b':') {
            return self.unexpected("a colon");
        }
        self.skip_blanks();
        Ok(())
    }

    /// The number whose first byte, `-` or a digit, stands here.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Scan<Number<'a>> {
        match Number::read(self.rest()) {
            Ok(number) => {
                self.at += number.text().len();
                Ok(number)
            }
            Err((length, rule)) => self.no_number(length, rule),
        }
    }

    /// What `Number::read` refused after `length` bytes.
    #[cold]
    fn no_number<T>(&mut self, length: usize, rule: &'static str) -> Scan<T> {
        if self.rest().starts_with(b"-Infinity") {
            return self.fail(Flaw::NotFinite);
        }
        self.at += length;
        self.fail(if self.peek().is_none() { Flaw::EndsEarly } else { Flaw::Number(rule) })
    }

    /// The text of the string whose opening quote stands here, valid until the next call.
    #[inline]
    pub(super) fn text(&mut self) -> Scan<&[u8]> {
        match self.plain_text() {
            Some(text) => Ok(text),
            None => self.unescaped_text(),
        }
    }

    /// The string here, if it is as most are: ASCII without escapes.
    #[inline(always)]
    fn plain_text(&mut self) -> Option<&'a [u8]> {
        let start = self.at + 1;
        let (end, all_ascii) = find_special(self.bytes, start);
        let text = self.bytes.get(start..end)?;
        if !all_ascii || self.bytes.get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        Some(text)
    }

    #[inline(never)]
    fn unescaped_text(&mut self) -> Scan<&[u8]> {
        let mut text = std::mem::take(self.scratch);
        text.clear();
        let read = self.pieces_into(&mut text);
        *self.scratch = text;
        read.map(|()| self.scratch.as_slice())
    }

    fn skip_string(&mut self) -> Scan<()> {
        self.text().map(drop)
    }

    /// Appends the text of the string whose opening quote stands here. On a flaw, part of it may have been appended.
    #[inline]
    pub(super) fn string_into(&mut self, out: &mut Vec<u8>) -> Scan<()> {
        match self.plain_text() {
            Some(text) => {
                out.extend_from_slice(text);
                Ok(())
            }
            None => self.pieces_into(out),
        }
    }

    /// Any string, piece by piece between its escapes.
    #[inline(never)]
    fn pieces_into(&mut self, out: &mut Vec<u8>) -> Scan<()> {
        self.at += 1;
        loop {
            let end = self.plain_piece(self.at)?;
            out.extend_from_slice(&self.bytes[self.at..end]);
            self.at = end + 1;
            if self.bytes[end] == b'"' {
                return Ok(());
            }
            self.escape_into(out)?;
        }
    }

    /// Where the piece of text that starts at `start` ends: at a quote or a backslash. It holds no control character
    /// and is UTF-8.
    fn plain_piece(&mut self, start: usize) -> Scan<usize> {
        let (end, all_ascii) = find_special(self.bytes, start);
        if !all_ascii && let Err(error) = std::str::from_utf8(&self.bytes[start..end]) {
            self.at = start + error.valid_up_to();
            return self.fail(Flaw::Utf8);
        }
        match self.bytes.get(end) {
            Some(b'"' | b'\\') => Ok(end),
            Some(control) => {
                self.at = end;
                self.fail(Flaw::Control(*control))
            }
            None => {
                self.at = end;
                self.fail(Flaw::EndsEarly)
            }
        }
    }

    /// Appends what the escape means whose backslash has just been read.
    fn escape_into(&mut self, out: &mut Vec<u8>) -> Scan<()> {
        let Some(byte) = self.peek() else {
            return self.fail(Flaw::EndsEarly);
        };
        out.push(match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let c = self.unicode_escape()?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            other => return self.fail(Flaw::Escape(other)),
        });
        self.at += 1;
        Ok(())
    }

    /// `uXXXX`, or `uXXXX\uXXXX` for a surrogate pair.
    fn unicode_escape(&mut self) -> Scan<char> {
        let start = self.at - 1;
        let alone = || Err(Reject::new(Flaw::Surrogate, start));
        let first = self.hex_quad()?;
        if !(0xD800..=0xDFFF).contains(&first) {
            return char::from_u32(first).map_or_else(alone, Ok);
        }
        if first >= 0xDC00 || !self.rest().starts_with(b"\\u") {
            return alone();
        }
        self.at += 1;
        let second = self.hex_quad()?;
        if !(0xDC00..=0xDFFF).contains(&second) {
            return alone();
        }
        let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        char::from_u32(code).map_or_else(alone, Ok)
    }

    /// The four hex digits after the `u` that stands here.
    fn hex_quad(&mut self) -> Scan<u32> {
        let mut value = 0;
        for _ in 0..4 {
            self.at += 1;
            let Some(byte) = self.peek() else {
                return self.fail(Flaw::EndsEarly);
            };
            let Some(digit) = char::from(byte).to_digit(16) else {
                return self.fail(Flaw::Escape(byte));
            };
            value = value * 16 + digit;
        }
        self.at += 1;
        Ok(value)
    }
}

/// Text that is expected, made ready for comparing: as two words when it is short, for a call to compare a few bytes
/// costs more than the comparison.
pub(super) struct Token {
    text: Box<[u8]>,
    words: [u64; 2],
    /// The bits of the words that count; none for a text that doesn't fit them.
    masks: [u64; 2],
}

impl Token {
    pub(super) fn new(text: String) -> Self {
        let text: Box<[u8]> = text.into_bytes().into();
        let (mut bytes, mut mask) = ([0; 16], [0; 16]);
        if text.len() <= bytes.len() {
            bytes[..text.len()].copy_from_slice(&text);
            mask[..text.len()].fill(0xFF);
        }
        Self { text, words: words(bytes), masks: words(mask) }
    }

    #[inline(always)]
    fn starts(&self, bytes: &[u8]) -> bool {
        match bytes.first_chunk::<16>() {
            Some(chunk) if self.masks[0] != 0 => {
                let found = words(*chunk);
                ((found[0] ^ self.words[0]) & self.masks[0])
                    | ((found[1] ^ self.words[1]) & self.masks[1])
                    == 0
            }
            _ => bytes.starts_with(&self.text),
        }
    }
}

#[inline(always)]
fn words(bytes: [u8; 16]) -> [u64; 2] {
    let [a, b] = [0, 8].map(|at| std::array::from_fn(|i| bytes[at + i]));
    [u64::from_le_bytes(a), u64::from_le_bytes(b)]
}

const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES << 7;

/// Finds the first quote, backslash or control character from `start` on, or the end; and whether all bytes before it
/// are ASCII. The tests for a byte in a word are those of "Bit Twiddling Hacks" (haszero, hasless); a carry can only
/// spoil bytes above the first hit, and the first hit is all that is used.
#[inline(always)]
fn find_special(bytes: &[u8], start: usize) -> (usize, bool) {
    let mut at = start;
    let mut high = 0;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let is_zero = |x: u64| x.wrapping_sub(ONES) & !x;
        let quote = is_zero(word ^ (ONES * u64::from(b'"')));
        let backslash = is_zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let special = (quote | backslash | control) & HIGHS;
        if special != 0 {
            let before = (special & special.wrapping_neg()) - 1;
            high |= word & HIGHS & before;
            return (at + (special.trailing_zeros() / 8) as usize, high == 0);
        }
        high |= word & HIGHS;
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            break;
        }
        high |= u64::from(byte & 0x80);
        at += 1;
    }
    (at, high == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_told_at_each_place_in_a_word() {
        for byte in 0..=255u8 {
            for place in 0..24 {
                let mut bytes = *b"0123456789abcdefghijklmn";
                bytes[place] = byte;
                let special = byte == b'"' || byte == b'\\' || byte < 0x20;
                let expected = (if special { place } else { 24 }, byte.is_ascii());
                assert_eq!(find_special(&bytes, 0), expected, "0x{byte:02X} at {place}");
                // What stands after the first hit is not looked at.
                let later: Vec<u8> = [&b"\""[..], &bytes].concat();
                assert_eq!(find_special(&later, 0), (0, true));
            }
        }
    }

    #[test]
    fn a_token_is_told_from_all_that_differ_in_one_byte() {
        for name in ["a", "orderId", "exactly13byte", "longer than two words"] {
            let text = format!("\"{name}\":");
            let token = Token::new(text.clone());
            for rest in ["", "1", "1}                     "] {
                let mut bytes = format!("{text}{rest}").into_bytes();
                assert!(token.starts(&bytes), "{text} before {rest}");
                for at in 0..text.len() {
                    bytes[at] ^= 0x80;
                    assert!(!token.starts(&bytes), "{text} spoilt at {at}");
                    bytes[at] ^= 0x80;
                    assert!(!token.starts(&bytes[..at]), "{text} cut at {at}");
                }
            }
        }
    }
}
