//! The order of Debian versions (Debian Policy 5.6.12, `deb-version(7)`).

use std::cmp::Ordering;

/// Compares two versions as dpkg does: epoch, upstream version, revision.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left_upstream, left_revision) = parts(left);
    let (right_epoch, right_upstream, right_revision) = parts(right);
    left_epoch
        .cmp(&right_epoch)
        .then_with(|| compare_part(left_upstream, right_upstream))
        .then_with(|| compare_part(left_revision, right_revision))
}

/// Whether `version` stands in the relation `operator` (`<<`, `<=`, `=`, `>=`, `>>`) to `bound`.
pub(super) fn satisfies(version: &str, operator: &str, bound: &str) -> bool {
    let order = compare(version, bound);
    match operator {
        "<<" => order == Ordering::Less,
        "<=" | "<" => order != Ordering::Greater,
        "=" => order == Ordering::Equal,
        ">=" | ">" => order != Ordering::Less,
        ">>" => order == Ordering::Greater,
        _ => false,
    }
}

fn parts(version: &str) -> (u64, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch.parse().unwrap_or(0), upstream, revision)
}

/// Alternately the longest run of non-digits, in an order where `~` comes before the end and letters before the rest,
/// and the longest run of digits as a number.
fn compare_part(mut left: &str, mut right: &str) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let (left_text, left_rest) = run(left, |byte| !byte.is_ascii_digit());
        let (right_text, right_rest) = run(right, |byte| !byte.is_ascii_digit());
        let length = left_text.len().max(right_text.len());
        let weights = |text: &str| -> Vec<i32> { (0..length).map(|i| weight(text.as_bytes().get(i))).collect() };
        let (left_number, left_after) = run(left_rest, |byte| byte.is_ascii_digit());
        let (right_number, right_after) = run(right_rest, |byte| byte.is_ascii_digit());
        let order = weights(left_text).cmp(&weights(right_text)).then_with(|| number(left_number, right_number));
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (left_after, right_after);
    }
    Ordering::Equal
}

fn run(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    text.split_at(end)
}

fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(b'~') => -1,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

fn number(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_policy_says() {
        let rising = ["1.0~~", "1.0~~a", "1.0~", "1.0", "1.0-1", "1.0a", "1.0+b", "1.2", "1.10", "1:0.1"];
        for (index, left) in rising.iter().enumerate() {
            for (other, right) in rising.iter().enumerate() {
                assert_eq!(compare(left, right), index.cmp(&other), "{left} {right}");
            }
        }
        assert_eq!(compare("1.00-01", "1.0-1"), Ordering::Equal);
        assert!(satisfies("2.0", ">>", "1.9") && !satisfies("2.0", "<<", "2.0") && satisfies("2.0", "<=", "2.0"));
    }
}
