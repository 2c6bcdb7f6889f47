//! Debian versions: their order (deb-version(7)) and the patterns that requests may hold. Knows no packages.

use std::cmp::Ordering;

/// Compares two versions as dpkg does: epoch, upstream version, revision.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left_upstream, left_revision) = split(left);
    let (right_epoch, right_upstream, right_revision) = split(right);
    compare_numbers(left_epoch.as_bytes(), right_epoch.as_bytes())
        .then_with(|| compare_parts(left_upstream, right_upstream))
        .then_with(|| compare_parts(left_revision, right_revision))
}

fn split(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Takes turns between a run without digits, compared by [`weight`], and a run of digits, compared as a number.
fn compare_parts(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while !left.is_empty() || !right.is_empty() {
        let (left_text, left_rest) = split_run(left, |byte| !byte.is_ascii_digit());
        let (right_text, right_rest) = split_run(right, |byte| !byte.is_ascii_digit());
        let (left_number, left_next) = split_run(left_rest, |byte| byte.is_ascii_digit());
        let (right_number, right_next) = split_run(right_rest, |byte| byte.is_ascii_digit());
        let order = compare_texts(left_text, right_text).then_with(|| compare_numbers(left_number, right_number));
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_next, right_next);
    }
    Ordering::Equal
}

fn split_run(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let length = bytes.iter().take_while(|byte| belongs(byte)).count();
    bytes.split_at(length)
}

fn compare_texts(left: &[u8], right: &[u8]) -> Ordering {
    let length = left.len().max(right.len());
    let weights = |text: &'_ [u8]| -> Vec<i32> { (0..length).map(|index| weight(text.get(index))).collect() };
    weights(left).cmp(&weights(right))
}

/// A tilde sorts before the end, the end before letters, letters before everything else.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

/// Compares digits of any length as numbers; no digits count as zero.
fn compare_numbers(left: &[u8], right: &[u8]) -> Ordering {
    let strip = |digits: &'_ [u8]| digits.iter().take_while(|digit| **digit == b'0').count();
    let (left, right) = (&left[strip(left)..], &right[strip(right)..]);
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// Whether `text` is matched by `pattern`, in which `*` stands for any run of characters and `?` for one.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut star = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                star = Some((at_pattern, at_text));
                at_pattern += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => match star {
                Some((star_pattern, star_text)) => {
                    star = Some((star_pattern, star_text + 1));
                    at_pattern = star_pattern + 1;
                    at_text = star_text + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_order_is_that_of_the_manual() {
        let ascending = [
            "~~",
            "~~a",
            "~",
            "",
            "0.9~rc1-1",
            "0.9-1",
            "0.10-1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1.1",
            "1.0a-1",
            "1.0+x-1",
            "a",
            "1:0.1",
            "2:0",
        ];
        for (index, left) in ascending.iter().enumerate() {
            for right in &ascending[index + 1..] {
                assert_eq!(compare(left, right), Ordering::Less, "{left} < {right}");
                assert_eq!(compare(right, left), Ordering::Greater, "{right} > {left}");
            }
        }
        for (left, right) in [("0:1", "1"), ("1.00", "1.0"), ("1-0", "1"), ("1.", "1.0"), ("a", "a0")] {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} = {right}");
        }
    }

    #[test]
    fn the_order_is_that_of_dpkg() {
        let table = include_str!("testdata/versions.txt");
        assert_eq!(table.lines().count(), 2000);
        for line in table.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let expected = match words[1] {
                "<" => Ordering::Less,
                ">" => Ordering::Greater,
                _ => Ordering::Equal,
            };
            assert_eq!(compare(words[0], words[2]), expected, "{line}");
        }
    }

    #[test]
    fn patterns_match_whole_versions() {
        for (pattern, text) in [("20.*", "20.19.2+dfsg-1"), ("*", ""), ("1.?", "1.2"), ("*-1", "1-1-1"), ("1", "1")] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("20.*", "2.20.1"), ("1.?", "1.22"), ("1", "1.0"), ("*-1", "1-12")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn comparing_is_an_order(a in "[0-2a~+.:-]{0,8}", b in "[0-2a~+.:-]{0,8}", c in "[0-2a~+.:-]{0,8}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }
    }
}
