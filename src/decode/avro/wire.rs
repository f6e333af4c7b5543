//! The bytes of a datum, read from front to back. Every length is compared with what is left before anything is done
//! with it.

use super::super::flaw::{self, Reject, Scan};
use super::flaws::Flaw;
use super::schema::{Items, Type};

/// Values of arrays and maps in one record, each counted by what it takes in memory in units of eight bytes: one byte
/// on the wire can stand for a record of a thousand nulls.
pub(super) const MAX_UNITS: u64 = 1 << 24;

/// What an item of no bytes counts: nothing else would bound their number.
const UNITS_OF_NO_BYTES: u64 = 256;

/// Where reading is.
pub(super) struct Wire<'a> {
    rest: &'a [u8],
    len: usize,
    /// Of [`MAX_UNITS`], used so far.
    units: u64,
}

/// How many items follow, and where they must end if the writer said so.
#[derive(Clone, Copy)]
struct Block {
    items: usize,
    left_after: Option<usize>,
}

impl<'a> Wire<'a> {
    /// `skipped`: bytes before the datum, for the positions in messages.
    pub(super) fn new(payload: &'a [u8], skipped: usize) -> Self {
        Self { rest: &payload[skipped..], len: payload.len(), units: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.len - self.rest.len()
    }

    pub(super) fn units(&self) -> u64 {
        self.units
    }

    /// Memory that something beside the bytes takes.
    pub(super) fn add_units(&mut self, units: u64) {
        self.units += units;
    }

    #[cold]
    pub(super) fn fail<T>(&self, flaw: Flaw) -> Scan<T> {
        Err(Reject::new(flaw::Flaw::Avro(flaw), self.at()))
    }

    #[cold]
    fn ends_early<T>(&self) -> Scan<T> {
        Err(Reject::new(flaw::Flaw::EndsEarly, self.len))
    }

    /// Whether the datum was all there is.
    #[inline]
    pub(super) fn end(&self) -> Scan<()> {
        if self.rest.is_empty() { Ok(()) } else { self.fail(Flaw::Trailing(self.rest.len())) }
    }

    #[inline]
    pub(super) fn take<const N: usize>(&mut self) -> Scan<[u8; N]> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return self.ends_early();
        };
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline]
    pub(super) fn slice(&mut self, len: usize) -> Scan<&'a [u8]> {
        let Some((bytes, rest)) = self.rest.split_at_checked(len) else {
            return self.ends_early();
        };
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    pub(super) fn boolean(&mut self) -> Scan<bool> {
        match *self.rest {
            [0, ref rest @ ..] => {
                self.rest = rest;
                Ok(false)
            }
            [1, ref rest @ ..] => {
                self.rest = rest;
                Ok(true)
            }
            [] => self.ends_early(),
            [byte, ..] => self.fail(Flaw::Boolean(byte)),
        }
    }

    #[inline]
    pub(super) fn int(&mut self) -> Scan<i32> {
        if let Some(value) = self.short() {
            return Ok(value as i32);
        }
        let start = self.at();
        let value = self.long_number()?;
        i32::try_from(value).map_err(|_| Reject::new(flaw::Flaw::Avro(Flaw::IntTooLong), start))
    }

    #[inline]
    pub(super) fn long(&mut self) -> Scan<i64> {
        if let Some(value) = self.short() {
            return Ok(value);
        }
        self.long_number()
    }

    /// A number of one byte, or of two.
    #[inline]
    fn short(&mut self) -> Option<i64> {
        let (encoded, rest) = match *self.rest {
            [a @ 0..0x80, ref rest @ ..] => (u64::from(a), rest),
            [a, b @ 0..0x80, ref rest @ ..] => (u64::from(a & 0x7F) | u64::from(b) << 7, rest),
            _ => return None,
        };
        self.rest = rest;
        Some(zigzag(encoded))
    }

    fn long_number(&mut self) -> Scan<i64> {
        let mut encoded = 0u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            if index == 9 && *byte > 1 {
                return self.fail(Flaw::LongTooLong);
            }
            encoded |= u64::from(byte & 0x7F) << (7 * index);
            if *byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(zigzag(encoded));
            }
        }
        self.ends_early()
    }

    #[inline]
    pub(super) fn float(&mut self) -> Scan<f32> {
        Ok(f32::from_le_bytes(self.take()?))
    }

    #[inline]
    pub(super) fn double(&mut self) -> Scan<f64> {
        Ok(f64::from_le_bytes(self.take()?))
    }

    /// What a length stands before.
    #[inline]
    pub(super) fn bytes(&mut self) -> Scan<&'a [u8]> {
        let before = *self;
        let length = self.long()?;
        match usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length)) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => before.fail(if length < 0 { Flaw::NegativeLength } else { Flaw::Length }),
        }
    }

    /// The same, of UTF-8.
    #[inline]
    pub(super) fn string(&mut self) -> Scan<&'a [u8]> {
        let before = *self;
        let bytes = self.bytes()?;
        if bytes.is_ascii() || std::str::from_utf8(bytes).is_ok() {
            return Ok(bytes);
        }
        Err(Reject::new(flaw::Flaw::Utf8, before.at()))
    }

    /// The number of a symbol or of a union's branch, of so many.
    #[inline]
    pub(super) fn index(&mut self, of: usize, flaw: Flaw) -> Scan<usize> {
        let before = *self;
        let index = self.long()?;
        match usize::try_from(index) {
            Ok(index) if index < of => Ok(index),
            _ => before.fail(flaw),
        }
    }

    /// Which of a union's two types: whether it is the second.
    #[inline]
    pub(super) fn either(&mut self) -> Scan<bool> {
        match *self.rest {
            [index @ (0 | 2), ref rest @ ..] => {
                self.rest = rest;
                Ok(index == 2)
            }
            _ => Ok(self.index(2, Flaw::Branch)? == 1),
        }
    }

    /// The digits of a decimal: a fixed of this size, or bytes behind their length.
    #[inline]
    pub(super) fn digits(&mut self, size: Option<usize>) -> Scan<&'a [u8]> {
        let before = *self;
        let digits = match size {
            Some(size) => self.slice(size)?,
            None => self.bytes()?,
        };
        if digits.is_empty() { before.fail(Flaw::NoDigits) } else { Ok(digits) }
    }

    /// Reads the items of an array or a map, one after the other, through all blocks. `smallest`: the bytes of one at
    /// least; `units`: what one takes in memory.
    #[inline]
    pub(super) fn items(
        &mut self,
        smallest: usize,
        units: u64,
        mut read: impl FnMut(&mut Self) -> Scan<()>,
    ) -> Scan<()> {
        while let Some(block) = self.block(smallest, units)? {
            for _ in 0..block.items {
                read(self)?;
            }
            self.end_block(block)?;
        }
        Ok(())
    }

    /// The head of the next block; `None` behind the last one.
    #[inline]
    fn block(&mut self, smallest: usize, units: u64) -> Scan<Option<Block>> {
        let before = *self;
        let count = self.long()?;
        if count == 0 {
            return Ok(None);
        }
        let left_after = if count < 0 { Some(self.block_size()?) } else { None };
        let items = count.unsigned_abs();
        let room = left_after.map_or(self.rest.len(), |after| self.rest.len() - after);
        if items.saturating_mul(smallest as u64) > room as u64 {
            return before.fail(Flaw::BlockCount);
        }
        let units = if smallest == 0 { units.max(UNITS_OF_NO_BYTES) } else { units };
        self.units = self.units.saturating_add(items.saturating_mul(units));
        if self.units > MAX_UNITS {
            return before.fail(Flaw::TooManyValues);
        }
        Ok(Some(Block { items: items as usize, left_after }))
    }

    /// The bytes that will be left behind a block whose size stands here.
    #[cold]
    fn block_size(&mut self) -> Scan<usize> {
        let before = *self;
        let size = self.long()?;
        let size = usize::try_from(size).ok();
        match size.and_then(|size| self.rest.len().checked_sub(size)) {
            Some(left) => Ok(left),
            None => before.fail(Flaw::BlockSize),
        }
    }

    /// Whether a block was as long as the writer said.
    #[inline]
    fn end_block(&self, block: Block) -> Scan<()> {
        match block.left_after {
            Some(left) if left != self.rest.len() => self.fail(Flaw::BlockSize),
            _ => Ok(()),
        }
    }

    /// Moves over a value.
    pub(super) fn skip(&mut self, of: &Type) -> Scan<()> {
        match of {
            Type::Null => Ok(()),
            Type::Boolean => self.boolean().map(drop),
            Type::Int | Type::Date | Type::TimeMillis => self.int().map(drop),
            Type::Long | Type::TimeMicros | Type::Timestamp { .. } => self.long().map(drop),
            Type::Float => self.take::<4>().map(drop),
            Type::Double => self.take::<8>().map(drop),
            Type::Bytes | Type::Decimal { fixed: None, .. } => self.bytes().map(drop),
            Type::String | Type::Uuid(None) => self.string().map(drop),
            Type::Fixed(fixed)
            | Type::Decimal { fixed: Some(fixed), .. }
            | Type::Uuid(Some(fixed))
            | Type::Duration(fixed) => self.slice(fixed.size).map(drop),
            Type::Enum(of) => self.index(of.symbols.len(), Flaw::Symbol).map(drop),
            Type::Array(items) => self.skip_items(items, false),
            Type::Map(items) => self.skip_items(items, true),
            Type::Union(branches) => {
                let index = self.index(branches.len(), Flaw::Branch)?;
                self.skip(&branches[index])
            }
            Type::Record(record) => record.fields.iter().try_for_each(|field| self.skip(&field.of)),
        }
    }

    fn skip_items(&mut self, items: &Items, keys: bool) -> Scan<()> {
        self.items(items.smallest + usize::from(keys), 1, |wire| {
            if keys {
                wire.string()?;
            }
            wire.skip(&items.of)
        })
    }
}

impl Clone for Wire<'_> {
    fn clone(&self) -> Self {
        *self
    }
}

impl Copy for Wire<'_> {}

#[inline]
fn zigzag(encoded: u64) -> i64 {
    (encoded >> 1).cast_signed() ^ -((encoded & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::super::default::long;
    use super::*;

    fn written(value: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        long(&mut bytes, value);
        bytes
    }

    #[test]
    fn numbers_are_read_as_written() {
        let edges = (0..63).flat_map(|bits| [1i64 << bits, -(1i64 << bits)]);
        let near = edges.flat_map(|edge| [edge.saturating_sub(1), edge, edge.saturating_add(1)]);
        for value in near.chain([0, i64::MIN, i64::MAX]) {
            let bytes = written(value);
            let mut wire = Wire::new(&bytes, 0);
            assert_eq!(wire.long(), Ok(value), "{value}");
            assert_eq!(wire.end(), Ok(()));
            let int = Wire::new(&bytes, 0).int();
            assert_eq!(int.ok(), i32::try_from(value).ok(), "{value}");
            for short in 0..bytes.len() {
                assert!(Wire::new(&bytes[..short], 0).long().is_err(), "{value} cut at {short}");
            }
        }
    }

    #[test]
    fn a_number_may_be_longer_than_it_need_be_but_not_than_ten_bytes() {
        assert_eq!(Wire::new(&[0x82, 0x80, 0x00], 0).long(), Ok(1));
        assert_eq!(Wire::new(&[0x82, 0x80, 0x80, 0x00], 0).int(), Ok(1));
        let ten = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80];
        assert_eq!(Wire::new(&[&ten[..], &[0x01]].concat(), 0).long(), Ok(1 << 62));
        for last in [0x02, 0x80, 0xFF] {
            assert!(Wire::new(&[&ten[..], &[last, 0]].concat(), 0).long().is_err(), "{last}");
        }
    }
}
