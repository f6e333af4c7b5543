//! What the bytes of logical types say.

/// A decimal's number, of any length, the highest byte first; `None` where it needs more than 128 bits.
#[inline]
pub(super) fn unscaled(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first()?.cast_signed() < 0 { 0xFF } else { 0 };
    let spare = bytes.len().saturating_sub(16);
    let (spare, bytes) = bytes.split_at(spare);
    if spare.iter().any(|byte| *byte != sign) {
        return None;
    }
    let mut whole = [sign; 16];
    whole[16 - bytes.len()..].copy_from_slice(bytes);
    let value = i128::from_be_bytes(whole);
    ((value < 0) == (sign == 0xFF)).then_some(value)
}

/// A UUID as RFC 9562 writes it.
pub(super) fn uuid_text(bytes: [u8; 16]) -> [u8; 36] {
    let mut text = [0; 36];
    uuid::Uuid::from_bytes(bytes).hyphenated().encode_lower(&mut text);
    text
}

/// The months, days and milliseconds of a duration.
pub(super) fn duration_parts(bytes: [u8; 12]) -> [u32; 3] {
    let part =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    [part(0), part(4), part(8)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unscaled_numbers_of_any_length() {
        for (bytes, value) in [
            (&[0][..], Some(0)),
            (&[0x7F], Some(127)),
            (&[0x80], Some(-128)),
            (&[0, 0x80], Some(128)),
            (&[0xFF, 0x7F], Some(-129)),
            (&[0xFF; 40], Some(-1)),
            (&[0; 40], Some(0)),
            (
                &[
                    0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
                    0xFF, 0xFF, 0xFF,
                ],
                Some(i128::MAX),
            ),
            (&[0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),
            (&[0xFF, 0x7F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),
            (&[0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),
            (&[], None),
        ] {
            assert_eq!(unscaled(bytes), value, "{bytes:02x?}");
        }
    }
}
