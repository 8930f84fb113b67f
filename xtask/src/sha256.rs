//! SHA-256 (FIPS 180-4) of a byte string, so that golden files can be verified without a dependency. One pass, about 64 rounds per 64 bytes.

/// The first 32 bits of the fractional parts of the cube roots (`k`) of the first 64 primes and square roots (`h`) of the first 8,
/// computed instead of listed: integer roots of `p << 96` and `p << 64` are exact.
fn constants() -> ([u32; 64], [u32; 8]) {
    let (mut k, mut h) = ([0u32; 64], [0u32; 8]);
    let primes = (2u128..).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0));
    for (i, p) in primes.take(64).enumerate() {
        k[i] = root(p << 96, 3) as u32;
        if i < 8 {
            h[i] = root(p << 64, 2) as u32;
        }
    }
    (k, h)
}

/// The largest `r` with `r^degree <= x`, by bisection.
fn root(x: u128, degree: u32) -> u128 {
    let (mut low, mut high) = (0u128, 1u128 << 40);
    while high - low > 1 {
        let middle = (low + high) / 2;
        match middle.checked_pow(degree) {
            Some(power) if power <= x => low = middle,
            _ => high = middle,
        }
    }
    low
}

/// The digest as 64 hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let (k, mut h) = constants();
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64), 0);
    let end = padded.len();
    padded[end - 8..].copy_from_slice(&(bytes.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        compress(&mut h, block, &k);
    }
    h.iter().map(|word| format!("{word:08x}")).collect()
}

fn compress(h: &mut [u32; 8], block: &[u8], k: &[u32; 64]) {
    let mut w = [0u32; 64];
    for (word, b) in w.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes([b[0], b[1], b[2], b[3]]);
    }
    for i in 16..64 {
        let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
        let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1);
    }
    let mut v = *h;
    for i in 0..64 {
        let s1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
        let choice = (v[4] & v[5]) ^ (!v[4] & v[6]);
        let t1 = v[7].wrapping_add(s1).wrapping_add(choice).wrapping_add(k[i]).wrapping_add(w[i]);
        let s0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
        let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        v.rotate_right(1);
        v[4] = v[4].wrapping_add(t1);
        v[0] = t1.wrapping_add(s0).wrapping_add(majority);
    }
    for (sum, x) in h.iter_mut().zip(v) {
        *sum = sum.wrapping_add(x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_examples() {
        assert_eq!(hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(two_blocks), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
        let million = vec![b'a'; 1_000_000];
        assert_eq!(hex(&million), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }

    #[test]
    fn lengths_around_the_block_border_differ() {
        let digests: std::collections::BTreeSet<_> = (50..70).map(|n| hex(&vec![0; n])).collect();
        assert_eq!(digests.len(), 20);
    }
}
