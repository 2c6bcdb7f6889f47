//! Relations between Debian versions, as dependency fields have them (Debian Policy 7.1).

use std::cmp::Ordering;

use crate::model::compare_debian_versions as compare;

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
