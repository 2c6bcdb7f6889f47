//! Packages files and dpkg's status: stanzas of `Field: value` (deb822(5)) as slices of one text, read as late as possible.
//!
//! Knows the fields that choosing versions needs and nothing of what they mean.

/// The fields that are read, in the order of [`Field`].
const FIELDS: [&str; 19] = [
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
];

/// Further fields, which relations never stand in.
const FILE_FIELDS: [&str; 3] = ["Size", "SHA256", "Important"];

/// What a stanza says, as it stands there; a field that is missing is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stanza<'a> {
    values: [&'a str; FIELDS.len() + FILE_FIELDS.len()],
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
    package = 0, version = 1, architecture = 2, source = 3, essential = 4, protected = 5, priority = 7,
    status = 8, pre_depends = 9, depends = 10, conflicts = 11, breaks = 12, recommends = 13, provides = 17,
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

    /// The relations in the order in which apt reads them when it builds its cache; Provides comes last.
    pub(super) fn mentions(&self) -> impl Iterator<Item = &'a str> {
        let values = self.values;
        (9..=17).map(move |index| values[index])
    }

    /// The stanza with nothing but the known fields, one line each, ready to be read again.
    pub(super) fn write_reduced(&self, into: &mut String) {
        for (index, value) in self.values.iter().enumerate().filter(|(_, value)| !value.is_empty()) {
            into.push_str(field_name(index));
            into.push_str(": ");
            value.split('\n').for_each(|line| into.push_str(line));
            into.push('\n');
        }
        into.push('\n');
    }
}

fn field_name(index: usize) -> &'static str {
    FIELDS.get(index).copied().unwrap_or_else(|| FILE_FIELDS[index - FIELDS.len()])
}

fn field_index(name: &str) -> Option<usize> {
    // The common case is an exact match; field names are compared without case as deb822 asks.
    let all = || FIELDS.iter().chain(&FILE_FIELDS);
    let find = |name: &str| all().position(|field| *field == name);
    match name.as_bytes().first()? {
        b'P' | b'V' | b'A' | b'S' | b'E' | b'M' | b'D' | b'C' | b'B' | b'R' | b'F' | b'I' => {
            find(name).or_else(|| all().position(|field| field.eq_ignore_ascii_case(name)))
        }
        b'a'..=b'z' => all().position(|field| field.eq_ignore_ascii_case(name)),
        _ => None,
    }
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

/// The text with nothing but the fields that are read: what is kept between runs.
pub(super) fn reduce(text: &str) -> String {
    let mut reduced = String::with_capacity(text.len() / 2);
    for stanza in stanzas(text) {
        Stanza::parse(stanza).write_reduced(&mut reduced);
    }
    reduced
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
    fn reducing_keeps_what_is_read_and_is_idempotent() {
        let reduced = reduce(TEXT);
        assert_eq!(reduced, "Package: a\nVersion: 1\nDepends: b, c (>= 1)\n\nPackage: d\nSize: 7\n\n");
        assert_eq!(reduce(&reduced), reduced);
    }
}
