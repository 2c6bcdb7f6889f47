//! The order of Debian versions (Debian Policy 5.6.12, `deb-version(7)`).

use std::cmp::Ordering;

/// Compares two Debian versions as dpkg does: epoch, upstream version, revision.
pub fn compare_debian_versions(one: &str, other: &str) -> Ordering {
    let (one, other) = (split(one), split(other));
    compare_digits(one.0.as_bytes(), other.0.as_bytes())
        .then_with(|| compare_part(one.1.as_bytes(), other.1.as_bytes()))
        .then_with(|| compare_part(one.2.as_bytes(), other.2.as_bytes()))
}

fn split(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Compares runs of other characters and runs of digits in turn.
fn compare_part(mut one: &[u8], mut other: &[u8]) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let ((one_text, one_rest), (other_text, other_rest)) = (text_run(one), text_run(other));
        let ((one_digits, one_next), (other_digits, other_next)) = (digit_run(one_rest), digit_run(other_rest));
        let order = compare_text(one_text, other_text).then_with(|| compare_digits(one_digits, other_digits));
        if order.is_ne() {
            return order;
        }
        (one, other) = (one_next, other_next);
    }
    Ordering::Equal
}

fn text_run(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().take_while(|byte| !byte.is_ascii_digit()).count())
}

fn digit_run(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

fn compare_text(one: &[u8], other: &[u8]) -> Ordering {
    let length = one.len().max(other.len());
    let differing = (0..length).map(|index| weight(one.get(index)).cmp(&weight(other.get(index))));
    differing.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// A tilde comes before the end, the end before letters, and these before all else.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

/// Compares digits of any number as one number; none count as zero.
fn compare_digits(one: &[u8], other: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| digits.iter().take_while(|digit| **digit == b'0').count();
    let (one, other) = (&one[significant(one)..], &other[significant(other)..]);
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_dpkg_does() {
        let ascending = [
            "1.0~~",
            "1.0~rc1",
            "1.0",
            "1.0-0",
            "1.0-1~deb13u1",
            "1.0-1",
            "1.0-1+b1",
            "1.0a",
            "1.0+x",
            "1.2",
            "1.10",
            "2",
            "1:0.1",
        ];
        for (index, one) in ascending.iter().enumerate() {
            for (place, other) in ascending.iter().enumerate() {
                let expected = match (*one, *other) {
                    ("1.0", "1.0-0") | ("1.0-0", "1.0") => Ordering::Equal,
                    _ => index.cmp(&place),
                };
                assert_eq!(compare_debian_versions(one, other), expected, "{one} {other}");
            }
        }
        assert_eq!(compare_debian_versions("0:1.00", "1.0"), Ordering::Equal);
    }
}
