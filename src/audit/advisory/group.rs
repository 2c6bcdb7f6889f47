//! Advisories of several databases about one vulnerability, told once.

use std::collections::BTreeSet;

use super::record::Entry;

/// One vulnerability of one package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Its name: the lowest CVE of its names, else the lowest of them.
    pub id: String,
    /// Its other names, sorted.
    pub other_names: Vec<String>,
    pub summary: String,
    pub severity: Vec<String>,
    /// The versions that have it.
    pub versions: BTreeSet<String>,
    /// Later versions that do not have it any more.
    pub fixed: Vec<String>,
}

/// One advisory that affects a version: the version, what the advisory says, and the version that fixes it.
type Member<'a> = (&'a str, &'a Entry, Option<&'a str>);

/// Puts together what names of vulnerabilities hold together.
pub(super) fn groups<'a>(affected: impl Iterator<Item = Member<'a>>) -> Vec<Group> {
    let mut parts: Vec<(BTreeSet<&str>, Vec<Member<'_>>)> = Vec::new();
    for found in affected {
        let mut names: BTreeSet<&str> = found.1.aliases.iter().map(String::as_str).collect();
        names.insert(&found.1.id);
        let mut members = vec![found];
        let (same, others): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(known, _)| !known.is_disjoint(&names));
        for (known, more) in same {
            names.extend(known);
            members.extend(more);
        }
        parts = others;
        parts.push((names, members));
    }
    let mut groups: Vec<Group> = parts.into_iter().map(|(names, members)| group(&names, &members)).collect();
    groups.sort_by(|one, other| one.id.cmp(&other.id));
    groups
}

fn group(names: &BTreeSet<&str>, members: &[Member<'_>]) -> Group {
    let own = names.iter().find(|name| name.starts_with("CVE-")).or(names.first()).copied().unwrap_or_default();
    let mut members = members.to_vec();
    members.sort_by(|one, other| one.1.id.cmp(&other.1.id));
    let mut group = Group {
        id: own.to_owned(),
        other_names: names.iter().filter(|name| **name != own).map(ToString::to_string).collect(),
        summary: members
            .iter()
            .map(|(_, entry, _)| &entry.summary)
            .find(|text| !text.is_empty())
            .cloned()
            .unwrap_or_default(),
        ..Group::default()
    };
    for (version, entry, fixed) in members {
        group.versions.insert(version.to_owned());
        entry.severity.iter().for_each(|text| push_new(&mut group.severity, text));
        if let Some(fixed) = fixed {
            push_new(&mut group.fixed, fixed);
        }
    }
    group
}

fn push_new(all: &mut Vec<String>, text: &str) {
    if !all.iter().any(|known| known == text) {
        all.push(text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, aliases: &[&str]) -> Entry {
        Entry {
            id: id.into(),
            aliases: aliases.iter().map(ToString::to_string).collect(),
            summary: String::new(),
            severity: vec!["high".into()],
            ranges: Vec::new(),
            versions: Vec::new(),
        }
    }

    #[test]
    fn one_vulnerability_is_told_once() {
        let entries = [
            entry("GHSA-1", &["CVE-1"]),
            entry("GHSA-3", &[]),
            entry("PYSEC-1", &["GHSA-2"]),
            entry("GHSA-2", &["CVE-1"]),
        ];
        let groups = groups(entries.iter().map(|entry| ("1.0", entry, Some("2.0"))));
        let ids: Vec<&str> = groups.iter().map(|group| group.id.as_str()).collect();
        assert_eq!(ids, ["CVE-1", "GHSA-3"]);
        assert_eq!(groups[0].other_names, ["GHSA-1", "GHSA-2", "PYSEC-1"]);
        assert_eq!((groups[0].severity.len(), &groups[0].fixed[..]), (1, &["2.0".to_owned()][..]));
    }
}
