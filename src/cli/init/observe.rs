//! What was seen of the values of some JSON documents: kinds, ranges, fields in their order. Holds counts, no values
//! but a few short words.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::time::{TextTime, text_time};

/// Different fields of one object that are kept apart; more are no record but a map.
pub(super) const MAX_FIELDS: usize = 1_000;
/// Different short words of a text that are kept.
const MAX_WORDS: usize = 8;
const LONGEST_WORD: usize = 16;
/// What DECIMAL(38,0) ends before.
const LARGEST_DECIMAL: f64 = 1e38;

/// What was seen at one place in the documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Values, null ones too.
    pub count: u64,
    pub booleans: u64,
    /// The smallest and the largest that fit a BIGINT.
    pub integers: Option<(i64, i64)>,
    /// Whole numbers beyond BIGINT.
    pub larger: u64,
    pub fractions: u64,
    pub texts: Texts,
    pub arrays: u64,
    /// Of all arrays together.
    pub elements: Option<Box<Seen>>,
    pub objects: Object,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Texts {
    pub count: u64,
    pub zoned: u64,
    pub local: u64,
    pub dates: u64,
    /// Short ones, `MAX_WORDS` at most.
    words: BTreeSet<String>,
    /// There were long ones, or more.
    other_words: bool,
}

impl Texts {
    /// Whether all of them were one of these.
    pub(super) fn are_among(&self, words: &[&str]) -> bool {
        self.count > 0 && !self.other_words && self.words.iter().all(|w| words.contains(&&**w))
    }

    fn add(&mut self, text: &str) {
        self.count += 1;
        match text_time(text) {
            Some(TextTime::Zoned) => self.zoned += 1,
            Some(TextTime::Local) => self.local += 1,
            Some(TextTime::Date) => self.dates += 1,
            None => {}
        }
        if self.other_words || self.words.contains(text) {
            return;
        }
        if text.len() > LONGEST_WORD || self.words.len() >= MAX_WORDS {
            self.other_words = true;
        } else {
            self.words.insert(text.to_owned());
        }
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.zoned += other.zoned;
        self.local += other.local;
        self.dates += other.dates;
        self.words.extend(other.words);
        self.other_words |= other.other_words;
    }
}

/// The objects at one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Object {
    pub count: u64,
    /// In the order in which they were met.
    pub fields: Vec<(String, Seen)>,
    places: HashMap<String, usize>,
    /// There were more than [`MAX_FIELDS`].
    pub overflow: bool,
}

impl Object {
    pub(super) fn get(&self, name: &str) -> Option<&Seen> {
        self.places.get(name).map(|at| &self.fields[*at].1)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Seen> {
        self.places.get(name).map(|at| std::mem::take(&mut self.fields[*at].1))
    }

    /// The place of a field; `None`: there are too many.
    fn field(&mut self, name: &str) -> Option<&mut Seen> {
        let at = match self.places.get(name) {
            Some(at) => *at,
            None if self.fields.len() >= MAX_FIELDS => {
                self.overflow = true;
                return None;
            }
            None => {
                self.places.insert(name.to_owned(), self.fields.len());
                self.fields.push((name.to_owned(), Seen::default()));
                self.fields.len() - 1
            }
        };
        Some(&mut self.fields[at].1)
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.overflow |= other.overflow;
        for (name, seen) in other.fields {
            if let Some(field) = self.field(&name) {
                field.merge(seen);
            }
        }
    }
}

impl Seen {
    /// Adds a document, if it is JSON and an object; answers whether it was.
    pub(super) fn add_object(&mut self, document: &[u8]) -> bool {
        let first = document.iter().find(|byte| !byte.is_ascii_whitespace());
        // Read twice, so that a document that breaks off leaves nothing behind.
        first == Some(&b'{')
            && serde_json::from_slice::<IgnoredAny>(document).is_ok()
            && self.deserialize(&mut serde_json::Deserializer::from_slice(document)).is_ok()
    }

    pub(super) fn has_numbers(&self) -> bool {
        self.integers.is_some() || self.larger > 0 || self.fractions > 0
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.booleans += other.booleans;
        self.larger += other.larger;
        self.fractions += other.fractions;
        self.arrays += other.arrays;
        if let Some((min, max)) = other.integers {
            self.add_integer(min);
            self.add_integer(max);
        }
        self.texts.merge(other.texts);
        if let Some(elements) = other.elements {
            self.elements.get_or_insert_default().merge(*elements);
        }
        self.objects.merge(other.objects);
    }

    fn add_integer(&mut self, value: i64) {
        let (min, max) = self.integers.unwrap_or((value, value));
        self.integers = Some((min.min(value), max.max(value)));
    }
}

impl<'de> DeserializeSeed<'de> for &mut Seen {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.count += 1;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Seen {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.booleans += 1;
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.add_integer(value);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.add_integer(value),
            Err(_) => self.larger += 1,
        }
        Ok(())
    }

    /// Whole numbers beyond 64 bits come here too.
    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        if value.fract() == 0.0 && (9.2e18..LARGEST_DECIMAL).contains(&value.abs()) {
            self.larger += 1;
        } else {
            self.fractions += 1;
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.texts.add(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        self.arrays += 1;
        let elements = self.elements.get_or_insert_default();
        while array.next_element_seed(&mut **elements)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        self.objects.count += 1;
        while let Some(name) = object.next_key::<String>()? {
            match self.objects.field(&name) {
                Some(field) => object.next_value_seed(field)?,
                None => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(documents: &[&str]) -> Seen {
        let mut seen = Seen::default();
        for document in documents {
            assert!(seen.add_object(document.as_bytes()), "{document}");
        }
        seen
    }

    #[test]
    fn kinds_and_ranges_are_kept_by_field_in_order() {
        let seen = seen(&[
            r#"{"z": 1, "a": null, "n": [1, 2.5, "x"], "o": {"p": true}}"#,
            r#"{"b": 18446744073709551615, "z": -7, "t": "2026-11-01T12:30:00Z"}"#,
        ]);
        let names: Vec<_> = seen.objects.fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["z", "a", "n", "o", "b", "t"]);
        let field = |name: &str| seen.objects.get(name).expect("it was seen");
        assert_eq!(field("z").integers, Some((-7, 1)));
        assert_eq!((field("a").count, field("b").larger, field("t").texts.zoned), (1, 1, 1));
        let elements = field("n").elements.as_deref().expect("an array");
        assert_eq!(
            (elements.integers, elements.fractions, elements.texts.count),
            (Some((1, 1)), 1, 1)
        );
        assert_eq!(field("o").objects.get("p").map(|p| p.booleans), Some(1));
    }

    #[test]
    fn what_is_no_object_leaves_nothing_behind() {
        let mut seen = Seen::default();
        for document in
            ["", "[1]", "1", r#"{"a": 1"#, r#"{"a": 1} x"#, "\u{feff}{}", r#"{"a": 01}"#]
        {
            assert!(!seen.add_object(document.as_bytes()), "{document}");
        }
        assert_eq!((seen.count, seen.objects.fields.len()), (0, 0));
    }

    #[test]
    fn merging_is_seeing_both() {
        let (one, other) = (r#"{"a": 1, "w": "c"}"#, r#"{"b": [true], "a": 9, "w": "u"}"#);
        let mut merged = seen(&[one]);
        merged.merge(seen(&[other]));
        assert_eq!(merged, seen(&[one, other]));
        let words = &merged.objects.get("w").expect("it was seen").texts;
        assert!(words.are_among(&["c", "u", "d"]) && !words.are_among(&["c"]));
    }

    #[test]
    fn fields_are_bounded() {
        let fields: Vec<String> = (0..MAX_FIELDS + 5).map(|n| format!(r#""f{n}": 1"#)).collect();
        let seen = seen(&[&format!("{{{}}}", fields.join(","))]);
        assert_eq!((seen.objects.fields.len(), seen.objects.overflow), (MAX_FIELDS, true));
    }
}
