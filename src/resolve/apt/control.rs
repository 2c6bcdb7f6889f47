//! Packages files and dpkg's status: stanzas of `Field: value` (deb822(5)) as slices of one text, read as late as possible.
//!
//! Knows the fields that choosing versions needs and nothing of what they mean.

use std::collections::HashSet;

use super::relation;

/// How many fields are read.
const FIELDS: usize = 22;

/// The places of the relations, in the order in which apt reads them when it builds its cache; Provides comes last.
const RELATIONS: std::ops::RangeInclusive<usize> = 9..=17;

/// The fields that are read. Replaces and Enhances are read for the names they mention alone.
const NAMES: [&str; FIELDS] = [
    "Package",
    "Version",
    "Architecture",
    "Source",
    "Essential",
    "Protected",
    "Multi-Arch",
    "Priority",
    "Status",
    "Pre-Depends",
    "Depends",
    "Conflicts",
    "Breaks",
    "Recommends",
    "Suggests",
    "Replaces",
    "Enhances",
    "Provides",
    "Filename",
    "Size",
    "SHA256",
    "Important",
];

/// The relations that only count as mentions.
const MENTIONS_ONLY: std::ops::RangeInclusive<usize> = 15..=16;

/// What a stanza says, as it stands there; a field that is missing is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stanza<'a> {
    values: [&'a str; FIELDS],
}

macro_rules! fields {
    ($($name:ident = $index:literal),* $(,)?) => {
        impl<'a> Stanza<'a> {
            $(pub(super) fn $name(&self) -> &'a str {
                self.values[$index]
            })*
        }
    };
}

fields! {
    package = 0, version = 1, architecture = 2, source = 3, essential = 4, protected = 5, multi_arch = 6, priority = 7,
    status = 8, pre_depends = 9, depends = 10, conflicts = 11, breaks = 12, recommends = 13, suggests = 14,
    provides = 17,
    filename = 18, size = 19, sha256 = 20, important = 21,
}

impl<'a> Stanza<'a> {
    /// Reads the lines of one stanza. A value that goes on in further lines keeps its line breaks.
    pub(super) fn parse(text: &'a str) -> Self {
        let mut stanza = Self::default();
        let mut open: Option<(usize, usize)> = None;
        for line in Lines::new(text) {
            let (start, end) = line;
            let bytes = &text.as_bytes()[start..end];
            if matches!(bytes.first(), Some(b' ' | b'\t')) {
                if let Some((index, value_start)) = open {
                    stanza.values[index] = text[value_start..end].trim();
                }
                continue;
            }
            open = None;
            let Some(colon) = memchr::memchr(b':', bytes) else { continue };
            let Some(index) = field_index(&text[start..start + colon]) else { continue };
            let value_start = start + colon + 1;
            stanza.values[index] = text[value_start..end].trim();
            open = Some((index, value_start));
        }
        stanza
    }

    /// The relations that mention names, in apt's order.
    fn mentions(&self) -> impl Iterator<Item = &'a str> {
        let values = self.values;
        RELATIONS.map(move |index| values[index]).filter(|value| !value.is_empty())
    }

    /// The names that the stanza mentions, its own first, in the order in which apt comes across them.
    pub(super) fn names(&self, architecture: &'a str) -> impl Iterator<Item = &'a str> {
        let mentioned = self.mentions().flat_map(move |field| relation::names(field, architecture));
        std::iter::once(self.package()).chain(mentioned)
    }

    /// The stanza with nothing but the known fields, one line each, ready to be read again.
    fn write_reduced(&self, into: &mut String) {
        for (index, value) in self.values.iter().enumerate().filter(|(_, value)| !value.is_empty()) {
            if !MENTIONS_ONLY.contains(&index) {
                into.push_str(NAMES[index]);
                into.push_str(": ");
                value.split('\n').for_each(|line| into.push_str(line));
                into.push('\n');
            }
        }
        into.push('\n');
    }
}

/// The place of a field: a match for the usual spelling, as this runs over whole archives; any case counts as the same.
fn field_index(name: &str) -> Option<usize> {
    Some(match name {
        "Package" => 0,
        "Version" => 1,
        "Architecture" => 2,
        "Source" => 3,
        "Multi-Arch" => 6,
        "Priority" => 7,
        "Depends" => 10,
        "Provides" => 17,
        "Filename" => 18,
        "Size" => 19,
        "SHA256" => 20,
        "Description" | "Description-md5" | "Maintainer" | "Homepage" | "Tag" | "Section" | "Installed-Size" => {
            return None;
        }
        _ => return NAMES.iter().position(|field| field.eq_ignore_ascii_case(name)),
    })
}

/// The stanzas of a text, each as the slice of its lines.
pub(super) fn stanzas(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches('\n');
        if rest.is_empty() {
            return None;
        }
        let (stanza, after) = match memchr::memmem::find(rest.as_bytes(), b"\n\n") {
            Some(end) => (&rest[..=end], &rest[end + 2..]),
            None => (rest, ""),
        };
        rest = after;
        Some(stanza)
    })
}

/// A Packages file without what is never read: what is kept between runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reduced {
    text: String,
    stanzas: usize,
}

impl Reduced {
    /// Reads a whole Packages file for an architecture.
    pub(super) fn new(text: &str, architecture: &str) -> Self {
        let (mut mentions, mut reduced) = (String::new(), String::with_capacity(text.len() / 2));
        // Only ever asked whether a name is in it: its order is never seen.
        let mut seen = HashSet::new();
        for stanza in stanzas(text).map(Stanza::parse) {
            for name in stanza.names(architecture).filter(|name| seen.insert(*name)) {
                mentions.push_str(name);
                mentions.push('\n');
            }
            stanza.write_reduced(&mut reduced);
        }
        mentions.push('\n');
        let stanzas = mentions.len();
        Self { text: mentions + &reduced, stanzas }
    }

    /// Takes back what [`as_str`](Self::as_str) gave.
    pub(super) fn from_text(text: String) -> Option<Self> {
        let stanzas = if text.starts_with('\n') { 1 } else { memchr::memmem::find(text.as_bytes(), b"\n\n")? + 2 };
        Some(Self { text, stanzas })
    }

    /// All of it as one text.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The names the file mentions, each once, in the order in which apt comes across them.
    pub(super) fn mentions(&self) -> impl Iterator<Item = &str> {
        self.text[..self.stanzas].split_terminator('\n').filter(|name| !name.is_empty())
    }

    /// The stanzas with the fields that are read.
    pub(super) fn stanzas(&self) -> &str {
        &self.text[self.stanzas..]
    }
}

struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), at: 0 }
    }
}

impl Iterator for Lines<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let start = self.at;
        let end = memchr::memchr(b'\n', rest).map_or(self.bytes.len(), |length| start + length);
        self.at = end + 1;
        Some((start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "Package: a\nVersion: 1\nDepends: b,\n c (>= 1)\nDescription: x\n Depends: not this\n\n\n\nPackage: d\nsize: 7";

    #[test]
    fn fields_go_on_in_indented_lines() {
        let all: Vec<Stanza> = stanzas(TEXT).map(Stanza::parse).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].package(), all[0].depends()), ("a", "b,\n c (>= 1)"));
        assert_eq!((all[1].package(), all[1].size(), all[1].version()), ("d", "7", ""));
    }

    #[test]
    fn reducing_keeps_what_is_read_and_can_be_taken_back() {
        let reduced = Reduced::new(&TEXT.replace("Version", "Suggests: d, e\nVersion"), "amd64");
        assert_eq!(
            reduced.stanzas(),
            "Package: a\nVersion: 1\nDepends: b, c (>= 1)\nSuggests: d, e\n\nPackage: d\nSize: 7\n\n"
        );
        assert_eq!(reduced.mentions().collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
        assert_eq!(Reduced::from_text(reduced.as_str().to_owned()), Some(reduced));
        let empty = Reduced::new("", "amd64");
        assert_eq!(empty.mentions().count(), 0);
        assert_eq!(Reduced::from_text(empty.as_str().to_owned()), Some(empty));
        assert_eq!(Reduced::from_text("no end".to_owned()), None);
    }
}
