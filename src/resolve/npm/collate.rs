//! The order in which npm works: `localeCompare` in English, as ICU's root collation has it for ASCII.

use std::cmp::Ordering;

/// Everything that has a weight below the letters, lightest first (CLDR root collation, non-ignorable).
const BEFORE_LETTERS: &[u8] = b"_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789";

/// Compares like JavaScript's `a.localeCompare(b, 'en')`: letters without regard to case first, then lower case before upper.
pub fn compare(a: &str, b: &str) -> Ordering {
    let primary = a.bytes().map(weight).cmp(b.bytes().map(weight));
    primary.then_with(|| a.bytes().map(is_upper).cmp(b.bytes().map(is_upper))).then_with(|| a.cmp(b))
}

fn weight(byte: u8) -> usize {
    let before = BEFORE_LETTERS.len();
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' => before + 1 + usize::from(byte.to_ascii_lowercase()),
        _ => {
            BEFORE_LETTERS.iter().position(|other| *other == byte).map_or(before + 256 + usize::from(byte), |at| at + 1)
        }
    }
}

fn is_upper(byte: u8) -> bool {
    byte.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_node() {
        // node -e "console.log([...].sort((a, b) => a.localeCompare(b, 'en')))"
        let sorted = ["a", "A", "a_b", "a-b", "a.b", "a@b", "a/b", "a1", "a10", "a2", "ab", "aB", "Ab"];
        let mut words = sorted;
        words.reverse();
        words.sort_by(|a, b| compare(a, b));
        assert_eq!(words, sorted);
    }
}
