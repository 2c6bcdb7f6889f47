//! Relations between packages: `a (>= 1) | b:any, c` (Debian Policy, chapter 7). Text only.

use std::fmt;

use super::version;

/// How a version must compare with the one named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// `<<`
    Earlier,
    /// `<=`, and the old `<`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`, and the old `>`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// One package, perhaps with a bound on its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Relation<'a> {
    /// The package, without a qualifier that means the image's own architecture.
    pub(super) name: &'a str,
    /// The bound.
    pub(super) bound: Option<(Operator, &'a str)>,
}

impl Relation<'_> {
    /// Whether a version is inside the bound.
    pub(super) fn admits(&self, candidate: &str) -> bool {
        let Some((operator, wanted)) = self.bound else { return true };
        let order = version::compare(candidate, wanted);
        match operator {
            Operator::Earlier => order.is_lt(),
            Operator::EarlierOrEqual => order.is_le(),
            Operator::Equal => order.is_eq(),
            Operator::LaterOrEqual => order.is_ge(),
            Operator::Later => order.is_gt(),
        }
    }

    /// Whether something provided, with the version it is provided as, is inside the bound.
    pub(super) fn admits_provided(&self, provided: Option<&str>) -> bool {
        match provided {
            Some(version) => self.admits(version),
            None => self.bound.is_none(),
        }
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)?;
        let Some((operator, version)) = self.bound else { return Ok(()) };
        let sign = match operator {
            Operator::Earlier => "<<",
            Operator::EarlierOrEqual => "<=",
            Operator::Equal => "=",
            Operator::LaterOrEqual => ">=",
            Operator::Later => ">>",
        };
        write!(formatter, " ({sign} {version})")
    }
}

/// The groups of a field: all must hold, and of each group one alternative.
///
/// `architecture` is the image's: `name:architecture`, `name:native` and `name:all` mean the plain name. Any other qualifier
/// stays part of the name: `name:any` is provided by packages that are `Multi-Arch: allowed`, a foreign one by nothing.
pub(super) fn groups<'a>(field: &'a str, architecture: &str) -> Vec<Vec<Relation<'a>>> {
    field
        .split(',')
        .filter(|group| !group.trim().is_empty())
        .map(|group| group.split('|').map(|alternative| parse(alternative, architecture)).collect())
        .collect()
}

/// The relations of a field that knows no alternatives (Conflicts, Breaks, Provides).
pub(super) fn list<'a>(field: &'a str, architecture: &str) -> Vec<Relation<'a>> {
    groups(field, architecture).into_iter().flatten().collect()
}

/// The names in a field in the order written, qualifiers as in [`groups`]: quick, as it runs over a whole archive.
pub(super) fn names<'a>(field: &'a str, architecture: &str) -> impl Iterator<Item = &'a str> {
    field.split([',', '|']).filter_map(move |alternative| {
        let text = alternative.trim_ascii_start();
        let end = text.bytes().position(|byte| matches!(byte, b' ' | b'(' | b'\n' | b'\t')).unwrap_or(text.len());
        (end > 0).then(|| unqualified(&text[..end], architecture))
    })
}

fn parse<'a>(text: &'a str, architecture: &str) -> Relation<'a> {
    let (name, bound) = match text.split_once('(') {
        Some((name, rest)) => (name, parse_bound(rest.split(')').next().unwrap_or(rest))),
        None => (text, None),
    };
    let name = name.split('[').next().unwrap_or(name).trim();
    Relation { name: unqualified(name, architecture), bound }
}

fn parse_bound(text: &str) -> Option<(Operator, &str)> {
    const SIGNS: [(&str, Operator); 7] = [
        ("<<", Operator::Earlier),
        ("<=", Operator::EarlierOrEqual),
        (">=", Operator::LaterOrEqual),
        (">>", Operator::Later),
        ("<", Operator::EarlierOrEqual),
        (">", Operator::LaterOrEqual),
        ("=", Operator::Equal),
    ];
    let text = text.trim();
    SIGNS.iter().find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?.trim())))
}

fn unqualified<'a>(name: &'a str, architecture: &str) -> &'a str {
    match name.split_once(':') {
        Some((plain, qualifier)) if matches!(qualifier, "all" | "native") || qualifier == architecture => plain,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_with_bounds_and_qualifiers() {
        let groups = groups("a (>= 1:2) | b:any,c:amd64(<<3) , d:i386,\n e (= 1)", "amd64");
        let shown: Vec<String> =
            groups.iter().map(|group| group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")).collect();
        assert_eq!(shown, ["a (>= 1:2) | b:any", "c (<< 3)", "d:i386", "e (= 1)"]);
    }

    #[test]
    fn names_are_those_of_the_groups() {
        let field = "a (>= 1:2) | b:any,c:amd64(<<3) , d:i386,\n e (= 1), ";
        let of_groups: Vec<&str> = groups(field, "amd64").concat().iter().map(|relation| relation.name).collect();
        assert_eq!(names(field, "amd64").collect::<Vec<_>>(), of_groups);
    }

    #[test]
    fn a_versioned_relation_needs_a_versioned_provide() {
        let field = "a (>= 2)";
        let relation = groups(field, "amd64")[0][0];
        assert!(relation.admits_provided(Some("2.1")));
        assert!(!relation.admits_provided(Some("1")));
        assert!(!relation.admits_provided(None));
        assert!(groups("a", "amd64")[0][0].admits_provided(None));
    }
}
