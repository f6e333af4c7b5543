//! Random documents for the schema, most of them valid, from a tape of choices: a shorter or smaller tape is a simpler
//! document, so that failures shrink well.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Choices, one byte each; zeros after the end.
pub(super) struct Tape<'a> {
    bytes: &'a [u8],
}

impl<'a> Tape<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    fn byte(&mut self) -> u8 {
        let (first, rest) = self.bytes.split_first().unwrap_or((&0, &[]));
        self.bytes = rest;
        *first
    }

    /// A choice out of `count`.
    fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) * count / 256
    }

    fn one_in(&mut self, count: u8) -> bool {
        self.byte() % count == count - 1
    }

    /// `rare` in one of `odds` cases, `usual` otherwise.
    fn either(&mut self, odds: u8, rare: usize, usual: usize) -> usize {
        if self.one_in(odds) { rare } else { usual }
    }

    fn pick<'b>(&mut self, choices: &[&'b str]) -> &'b str {
        choices[self.below(choices.len())]
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.byte() % 10)).collect()
    }
}

/// A document, mutated in one of three cases.
pub(super) fn document(tape: &mut Tape<'_>) -> Vec<u8> {
    let mutations = if tape.one_in(3) { 1 + tape.below(3) } else { 0 };
    let mut out = Vec::new();
    blank(tape, &mut out);
    out.extend(br#"{"id":1"#);
    for _ in 0..tape.below(7) {
        out.push(b',');
        field(tape, &mut out);
    }
    blank(tape, &mut out);
    out.push(b'}');
    blank(tape, &mut out);
    (0..mutations).for_each(|_| mutate(tape, &mut out));
    out
}

fn mutate(tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    let at = (usize::from(tape.byte()) << 8 | usize::from(tape.byte())) % (out.len() + 1);
    let special = *b"\"\\{}[]:,0-e.+ \n\0u";
    let byte = if tape.one_in(3) { tape.byte() } else { special[tape.below(special.len())] };
    match tape.below(6) {
        0 => out.insert(at, byte),
        1 if at < out.len() => out[at] = byte,
        2 if at < out.len() => drop(out.remove(at)),
        3 => out.truncate(at),
        4 => {
            let end = (at + 1 + tape.below(20)).min(out.len());
            let copy = out[at..end].to_vec();
            out.splice(at..at, copy);
        }
        _ => {
            let end = (at + tape.below(4)).min(out.len());
            out.drain(at..end);
        }
    }
}

fn blank(tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    if tape.one_in(8) {
        out.extend(tape.pick(&[" ", "  ", "\n", "\t", "\r\n"]).as_bytes());
    }
}

fn field(tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    const NAMES: [&str; 25] = [
        "flag",
        "tiny",
        "small",
        "long",
        "f",
        "d",
        "money",
        "big",
        "text",
        "bin",
        "day",
        "at",
        "berlin",
        "ms",
        "ns",
        "secs",
        "days",
        "list",
        "map",
        "st",
        "Text",
        "other",
        "another",
        "\\u0066",
        "te\\u0078t",
    ];
    let name = tape.pick(&NAMES);
    named(tape, name, out);
}

fn named(tape: &mut Tape<'_>, name: &str, out: &mut Vec<u8>) {
    blank(tape, out);
    out.extend(format!("\"{name}\"").bytes());
    blank(tape, out);
    out.push(b':');
    blank(tape, out);
    if tape.one_in(12) {
        any_value(tape, out, 0);
    } else {
        fitting_value(tape, name, out);
    }
    blank(tape, out);
}

fn fitting_value(tape: &mut Tape<'_>, name: &str, out: &mut Vec<u8>) {
    if tape.one_in(10) {
        return out.extend(b"null");
    }
    match name {
        "flag" => out.extend(tape.pick(&["true", "false"]).bytes()),
        "tiny" | "small" | "long" | "x" | "zo\\\"ö" => integer(tape, out),
        "f" | "d" | "\\u0066" | "ms" | "ns" | "secs" | "days" | "money" | "big" => {
            number(tape, name, out)
        }
        "text" | "te\\u0078t" | "z" => string(tape, out),
        "bin" => base64_text(tape, out),
        "day" => out.extend(format!("\"{}\"", date(tape)).bytes()),
        "at" | "berlin" => timestamp(tape, name == "at", out),
        "list" => items(tape, out, integer),
        "map" => entries(tape, out, |tape, out| number(tape, "d", out)),
        "st" => {
            out.extend(b"{\"x\":7");
            if tape.one_in(2) {
                out.extend(b",\"y\":");
                items(tape, out, |tape, out| {
                    out.push(b'{');
                    named(tape, "z", out);
                    if tape.one_in(2) {
                        out.push(b',');
                        named(tape, "zo\\\"ö", out);
                    }
                    out.push(b'}');
                });
            }
            if tape.one_in(2) {
                out.extend(b",\"m\":");
                entries(tape, out, |tape, out| {
                    items(tape, out, |tape, out| out.extend(format!("\"{}\"", date(tape)).bytes()));
                });
            }
            out.push(b'}');
        }
        _ => any_value(tape, out, 0),
    }
}

fn items(
    tape: &mut Tape<'_>,
    out: &mut Vec<u8>,
    mut item: impl FnMut(&mut Tape<'_>, &mut Vec<u8>),
) {
    out.push(b'[');
    for i in 0..tape.below(4) {
        out.extend([&b""[..], b","][usize::from(i > 0)]);
        blank(tape, out);
        item(tape, out);
    }
    out.push(b']');
}

fn entries(
    tape: &mut Tape<'_>,
    out: &mut Vec<u8>,
    mut value: impl FnMut(&mut Tape<'_>, &mut Vec<u8>),
) {
    out.push(b'{');
    for i in 0..tape.below(5) {
        out.extend([&b""[..], b","][usize::from(i > 0)]);
        let key = if tape.one_in(8) {
            tape.pick(&["k0", "\\u006b0", "ö"]).to_owned()
        } else {
            format!("k{i}")
        };
        out.extend(format!("\"{key}\":").bytes());
        value(tape, out);
    }
    out.push(b'}');
}

fn any_value(tape: &mut Tape<'_>, out: &mut Vec<u8>, depth: usize) {
    match tape.below(if depth > 4 { 6 } else { 9 }) {
        0 => out.extend(b"null"),
        1 => out.extend(
            tape.pick(&["true", "false", "NaN", "Infinity", "-Infinity", "nul", "True"]).bytes(),
        ),
        2 => integer(tape, out),
        3 => number(tape, "d", out),
        4 | 5 => string(tape, out),
        6 => items(tape, out, |tape, out| any_value(tape, out, depth + 1)),
        7 => entries(tape, out, |tape, out| any_value(tape, out, depth + 1)),
        _ => {
            // Around the deepest level that is allowed; the document's object is one, too.
            let levels = 61 + tape.below(5);
            out.extend(b"[".repeat(levels));
            out.extend(b"]".repeat(levels));
        }
    }
}

fn integer(tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    let edges = [
        "0",
        "-0",
        "1",
        "127",
        "128",
        "-128",
        "-129",
        "32767",
        "32768",
        "-32768",
        "-32769",
        "2147483647",
        "2147483648",
        "-2147483648",
        "-2147483649",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999",
        "1.0",
        "1e2",
        "01",
        "-",
        "--1",
    ];
    if tape.one_in(3) {
        out.extend(tape.pick(&edges).bytes());
    } else {
        out.extend((tape.byte() % 128).to_string().bytes());
    }
}

fn number(tape: &mut Tape<'_>, name: &str, out: &mut Vec<u8>) {
    let whole = match name {
        "money" => 7,
        "big" => 28,
        "ms" => 14,
        "ns" => 19,
        "secs" => 11,
        "days" => 7,
        _ => 24,
    };
    if tape.one_in(4) {
        out.push(b'-');
    }
    let count = tape.below(whole + 1);
    let digits = tape.digits(count);
    let digits = digits.trim_start_matches('0');
    out.extend(if digits.is_empty() { "0" } else { digits }.bytes());
    if tape.one_in(2) {
        let most = match name {
            "money" | "ms" => tape.either(8, 22, 3),
            "secs" => tape.either(8, 22, 6),
            _ => tape.either(2, 22, 10),
        };
        let count = 1 + tape.below(most);
        let zeros = "0".repeat(tape.below(4));
        out.extend(format!(".{}{zeros}", tape.digits(count)).bytes());
    }
    if tape.one_in(8) {
        let sign = tape.pick(&["", "-", "+"]);
        let exponent = if tape.one_in(3) { tape.digits(3) } else { tape.digits(1) };
        out.extend(format!("{}{sign}{exponent}", tape.pick(&["e", "E"])).bytes());
    }
}

fn string(tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    for _ in 0..tape.below(5) {
        let piece: &[u8] = match tape.below(12) {
            0..=4 => tape
                .pick(&["a", "seven77", "eight888", "sixteen characte", " ", "ä", "€uro", "😀"])
                .as_bytes(),
            5..=8 => tape
                .pick(&[
                    "\\\"",
                    "\\\\",
                    "\\/",
                    "\\n",
                    "\\u0041",
                    "\\u20aC",
                    "\\ud83d\\ude00",
                    "\\u0000",
                ])
                .as_bytes(),
            9 => tape.pick(&["\u{7f}", "\u{80}", "\u{ffff}", "\u{10ffff}", "/", "'"]).as_bytes(),
            10 if tape.one_in(4) => tape
                .pick(&["\\ud83d", "\\ude00", "\\ud83d\\u0041", "\\x", "\\u12", "\n", "\t", "\0"])
                .as_bytes(),
            11 if tape.one_in(4) => {
                [&b"\xFF"[..], b"\xC3", b"\xED\xA0\x80", b"\xC0\x80", b"\xF4\x90\x80\x80"]
                    [tape.below(5)]
            }
            _ => b"0123456789",
        };
        out.extend(piece);
    }
    out.push(b'"');
}

fn base64_text(tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    let bytes: Vec<u8> = (0..tape.below(9)).map(|_| tape.byte()).collect();
    let mut text = BASE64.encode(bytes);
    if tape.one_in(6) {
        let at = tape.below(text.len() + 1);
        text.insert_str(at, tape.pick(&["=", "A", "-", "_", " ", "\\n", "\\u0041"]));
    }
    out.extend(format!("\"{text}\"").bytes());
}

fn date(tape: &mut Tape<'_>) -> String {
    let odd = ["0000", "12024", "24", "-024"];
    let year = if tape.one_in(16) {
        tape.pick(&odd)
    } else {
        tape.pick(&["2024", "2023", "1900", "2000", "0001", "9999"])
    };
    let months = tape.either(6, 13, 12);
    let month = 1 + tape.below(months);
    let day = if tape.one_in(4) { 28 + tape.below(5) } else { 1 + tape.below(28) };
    let separator = if tape.one_in(20) { "/" } else { "-" };
    format!("{year}{separator}{month:02}-{day:02}")
}

fn timestamp(tape: &mut Tape<'_>, zoned: bool, out: &mut Vec<u8>) {
    let date = if tape.one_in(4) {
        tape.pick(&["2024-03-31", "2024-10-27"]).to_owned()
    } else {
        date(tape)
    };
    let separator = if tape.one_in(16) { "_" } else { tape.pick(&["T", "T", " ", "t"]) };
    let hours = tape.either(16, 25, 24);
    let hour = if tape.one_in(3) { 2 } else { tape.below(hours) };
    let minutes = tape.either(8, 61, 60);
    let minute = tape.below(minutes);
    out.extend(format!("\"{date}{separator}{hour:02}:{minute:02}").bytes());
    if !tape.one_in(8) {
        let seconds = tape.either(8, 61, 60);
        out.extend(format!(":{:02}", tape.below(seconds)).bytes());
    }
    if tape.one_in(3) {
        let most = tape.either(8, 9, 6);
        let count = 1 + tape.below(most);
        let zeros = "0".repeat(tape.below(5));
        out.extend(format!("{}{}{zeros}", tape.pick(&[".", ".", ","]), tape.digits(count)).bytes());
    }
    let zones = ["Z", "z", "+02:00", "-0530", "+01", "+18:00", "\\u005a"];
    if zoned && tape.one_in(2) || tape.one_in(16) {
        out.extend(tape.pick(&zones).bytes());
    }
    if tape.one_in(16) {
        out.extend(tape.pick(&["-18:01", "+02:60", "+1", "[UTC]", "00:00"]).bytes());
    }
    out.push(b'"');
}
