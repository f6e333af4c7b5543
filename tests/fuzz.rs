//! The fuzz targets (`fuzz/`) without a fuzzer: their corpus, and random changes of it.
//!
//! `SLUICE_FUZZ_SECONDS=300 cargo test --release fuzz -- --nocapture` goes on for that long on each; `make fuzz` does that.

#[path = "../fuzz/decoders.rs"]
mod decoders;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(folder).expect("the corpus is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file")).collect()
}

/// A change that a length, a number or a type doesn't survive.
fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], dice: &mut fastrand::Rng) {
    const TELLING: [&[u8]; 12] = [
        b"\0",
        b"\x01",
        b"\x02",
        b"\x7F",
        b"\x80",
        b"\xFF",
        b"null",
        b"[",
        b"{",
        b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
        b"\x80\x80\x80\x80\x10",
        b"\"",
    ];
    let at = dice.usize(..=input.len());
    match dice.u8(..6) {
        0 if at < input.len() => input[at] ^= 1 << dice.u8(..8),
        1 if at < input.len() => drop(input.remove(at)),
        2 => input.truncate(at),
        3 => drop(input.splice(at..at, TELLING[dice.usize(..TELLING.len())].iter().copied())),
        4 => {
            let other = &corpus[dice.usize(..corpus.len())];
            let from = dice.usize(..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            let end = (at + dice.usize(..32)).min(input.len());
            let copy = input[at..end].to_vec();
            let to = dice.usize(..=input.len());
            drop(input.splice(to..to, copy));
        }
    }
}

#[expect(clippy::print_stdout, reason = "a long run says what it did")]
fn run(target: &str, each: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(corpus.len() > 10, "{target}: a corpus of {}", corpus.len());
    corpus.iter().for_each(|input| each(input));
    let seconds = std::env::var("SLUICE_FUZZ_SECONDS").ok();
    let seconds = seconds.map(|text| text.parse().expect("a number of seconds"));
    let seed = std::env::var("SLUICE_FUZZ_SEED").map_or(7, |text| text.parse().expect("a seed"));
    let mut dice = fastrand::Rng::with_seed(seed);
    let start = Instant::now();
    let mut inputs = 0u64;
    while match seconds {
        Some(seconds) => start.elapsed() < Duration::from_secs(seconds),
        None => inputs < 2_000,
    } {
        let mut input = corpus[dice.usize(..corpus.len())].clone();
        for _ in 0..=dice.u8(..8) {
            change(&mut input, &corpus, &mut dice);
        }
        input.truncate(1 << 14);
        let read = std::panic::catch_unwind(|| each(&input));
        assert!(read.is_ok(), "{target} panics at {}", input.escape_ascii());
        inputs += 1;
    }
    if seconds.is_some() {
        println!("{target}: {inputs} inputs in {:?}", start.elapsed());
    }
}

#[test]
fn fuzz_avro() {
    run("avro", decoders::avro);
}

#[test]
fn fuzz_debezium() {
    run("debezium", decoders::debezium);
}

#[test]
fn fuzz_json() {
    run("json", decoders::json);
}
