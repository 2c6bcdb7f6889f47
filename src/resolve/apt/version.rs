//! Debian versions: the patterns that requests may hold, and the order (the model's). Knows no packages.

pub(super) use crate::model::compare_debian_versions as compare;

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
    use std::cmp::Ordering;

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
