//! Hashes of encoded values. They are part of the form of stored state, so they are ours to keep the same for ever.

/// FNV-1a, 64 bit.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// FNV-1a with the last step of MurmurHash3, after which every bit depends on every byte.
pub(super) fn mixed(bytes: &[u8]) -> u64 {
    let hash = fnv1a(bytes);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_values_stay_what_they_were() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        let stored = ["", "a", "foobar"].map(|text| mixed(text.as_bytes()));
        assert_eq!(stored, [0xefd0_1f60_ba99_2926, 0x82a2_a958_a9be_ce5b, 0x2c22_1949_22d1_672b]);
    }
}
