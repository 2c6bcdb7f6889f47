//! Debian's machine-readable copyright file (copyright-format 1.0, "DEP-5"): its licences as one expression.

use std::collections::{BTreeMap, BTreeSet};

use crate::attest::licence::Licence;

/// What the copyright file says: every licence of every part of the package.
pub(super) fn licence_of(text: &str) -> Licence {
    let paragraphs: Vec<Vec<(String, String)>> = paragraphs(text);
    let is_format = |fields: &Vec<(String, String)>| {
        fields.iter().any(|(name, value)| {
            matches!(name.as_str(), "format" | "format-specification")
                && (value.contains("copyright-format")
                    || value.to_lowercase().contains("dep5")
                    || value.contains("dep/dep5"))
        })
    };
    if !paragraphs.first().is_some_and(is_format) {
        return Licence::unknown("its copyright file is not in the machine-readable form");
    }
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut of_files: Vec<String> = Vec::new();
    let mut of_header: Vec<String> = Vec::new();
    for (index, fields) in paragraphs.iter().enumerate() {
        let get = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let Some(field) = get("license") else { continue };
        let (name, text) = field.split_once('\n').unwrap_or((field, ""));
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.trim().is_empty() {
            texts.entry(name.to_lowercase()).or_insert_with(|| body(text));
        }
        match (get("files").is_some(), index) {
            _ if name.is_empty() => {}
            (true, _) => of_files.push(name),
            (false, 0) => of_header.push(name),
            (false, _) => {}
        }
    }
    let names = if of_files.is_empty() { of_header } else { of_files };
    let mut distinct: Vec<String> = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    Licence::all_of(distinct.iter().map(|name| expression(name, &texts)).collect())
}

/// Paragraphs of fields; names in lower case, values with their further lines as they are.
fn paragraphs(text: &str) -> Vec<Vec<(String, String)>> {
    let mut paragraphs = vec![Vec::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let current: &mut Vec<(String, String)> = match paragraphs.last_mut() {
            Some(current) => current,
            None => return paragraphs,
        };
        if line.trim().is_empty() {
            if !current.is_empty() {
                paragraphs.push(Vec::new());
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = current.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            current.push((name.trim().to_lowercase(), value.trim().to_owned()));
        }
    }
    paragraphs.retain(|fields| !fields.is_empty());
    paragraphs
}

/// Further lines without their indent; a dot alone stands for an empty line.
fn body(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix(' ').unwrap_or(line) {
        "." => "",
        line => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A part of a licence field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    And,
    Or,
    /// `and` or `or` after a comma.
    Outer,
}

/// `GPL-2+ or Artistic, and BSD-3-clause`: a comma before `and` and `or` binds less than they do alone, `and` binds more
/// than `or` (copyright-format 1.0, "License specification"). What is not of this form is one licence of its own.
fn expression(name: &str, texts: &BTreeMap<String, String>) -> Licence {
    let mut outer = BTreeSet::new();
    let mut tokens = Vec::new();
    let mut after_comma = false;
    for word in name.split(' ') {
        let lower = word.to_lowercase();
        tokens.push(match (lower.as_str(), after_comma) {
            ("and" | "or", true) => Token::Outer,
            ("and", false) => Token::And,
            ("or", false) => Token::Or,
            _ => Token::Word(word.trim_end_matches(',')),
        });
        outer.extend((tokens.last() == Some(&Token::Outer)).then_some(lower));
        after_comma = word.ends_with(',');
    }
    let is_plain = outer.len() <= 1 && !name.contains(['(', ')', '/', '|']);
    let groups = tokens.split(|token| *token == Token::Outer).map(|group| alternatives(group, texts));
    match groups.collect::<Option<Vec<Licence>>>().filter(|_| is_plain) {
        Some(groups) if outer.contains("or") => Licence::one_of(groups),
        Some(groups) => Licence::all_of(groups),
        None => Licence::named(name, texts.get(&name.to_lowercase()).map_or("", String::as_str)),
    }
}

/// Terms with `and` and `or` between them; none when one is empty.
fn alternatives(tokens: &[Token<'_>], texts: &BTreeMap<String, String>) -> Option<Licence> {
    let term = |tokens: &[Token<'_>]| {
        let words = tokens.iter().filter_map(|token| match token {
            Token::Word(word) => Some(*word),
            Token::And | Token::Or | Token::Outer => None,
        });
        let name = words.collect::<Vec<_>>().join(" ");
        (!name.is_empty()).then(|| single(&name, texts))
    };
    let all = |tokens: &[Token<'_>]| {
        tokens.split(|token| *token == Token::And).map(term).collect::<Option<Vec<_>>>().map(Licence::all_of)
    };
    tokens.split(|token| *token == Token::Or).map(all).collect::<Option<Vec<_>>>().map(Licence::one_of)
}

/// One short name, perhaps with an exception.
fn single(name: &str, texts: &BTreeMap<String, String>) -> Licence {
    let listed = listed(name).or_else(|| name.split_whitespace().count().eq(&1).then(|| name.to_owned()));
    listed
        .and_then(|name| Licence::of_expression(&name))
        .unwrap_or_else(|| Licence::named(name, texts.get(&name.to_lowercase()).map_or("", String::as_str)))
}

/// The SPDX name of a short name of copyright-format 1.0 ("Short names") that SPDX spells otherwise.
fn listed(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    let fixed = match lower.as_str() {
        "expat" => Some("MIT"),
        "bsd-2-clause" => Some("BSD-2-Clause"),
        "bsd-3-clause" => Some("BSD-3-Clause"),
        "bsd-4-clause" => Some("BSD-4-Clause"),
        "apache-2" => Some("Apache-2.0"),
        "artistic-2" => Some("Artistic-2.0"),
        "artistic" | "artistic-1" => Some("Artistic-1.0"),
        "cc0" => Some("CC0-1.0"),
        "efl-1" => Some("EFL-1.0"),
        "efl-2" => Some("EFL-2.0"),
        "mpl-1" => Some("MPL-1.0"),
        "mpl-2" => Some("MPL-2.0"),
        _ => None,
    };
    fixed.map(str::to_owned).or_else(|| gnu(&lower))
}

/// `lgpl-2.1+` → `LGPL-2.1-or-later`; `gfdl-niv-1.3` → `GFDL-1.3-no-invariants-only`.
fn gnu(lower: &str) -> Option<String> {
    let (family, rest) = lower.split_once('-')?;
    let family = matches!(family, "gpl" | "lgpl" | "agpl" | "gfdl").then(|| family.to_uppercase())?;
    let (rest, middle) = match rest.strip_prefix("niv-") {
        Some(rest) if family == "GFDL" => (rest, "-no-invariants"),
        Some(_) => return None,
        None => (rest, ""),
    };
    let (version, suffix) = rest.strip_suffix('+').map_or((rest, "-only"), |version| (version, "-or-later"));
    let is_version =
        version.bytes().all(|b| b.is_ascii_digit() || b == b'.') && version.starts_with(|c: char| c.is_ascii_digit());
    let version = if version.contains('.') { version.to_owned() } else { format!("{version}.0") };
    is_version.then(|| format!("{family}-{version}{middle}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(licences: &str) -> String {
        let text = format!(
            "Format: https://example.invalid/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: x\n\n{licences}\n"
        );
        match licence_of(&text) {
            Licence::Stated { expression, .. } => expression,
            Licence::Unknown { why } => why,
        }
    }

    #[test]
    fn every_part_of_the_package_counts_once() {
        let text = "Files: *\nCopyright: a\nLicense: GPL-2+\n A text.\n .\n More.\n\nFiles: debian/*\nCopyright: b\nLicense: Expat\n\n\
                    Files: x\nLicense: GPL-2+\n\nLicense: Expat\n Permission is granted";
        assert_eq!(read(text), "GPL-2.0-or-later AND MIT");
    }

    #[test]
    fn operators_bind_as_the_format_says() {
        for (debian, spdx) in [
            ("GPL-1+ or Artistic", "GPL-1.0-or-later OR Artistic-1.0"),
            ("GPL-1+ or Artistic, and BSD-3-clause", "(GPL-1.0-or-later OR Artistic-1.0) AND BSD-3-Clause"),
            ("GPL-2 or LGPL-2.1+ and ISC", "GPL-2.0-only OR (LGPL-2.1-or-later AND ISC)"),
            ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
            ("Apache-2.0", "Apache-2.0"),
            ("zlib", "Zlib"),
        ] {
            assert_eq!(read(&format!("Files: *\nLicense: {debian}")), spdx, "{debian}");
        }
    }

    #[test]
    fn what_is_not_in_the_list_keeps_its_name_and_text() {
        let text = "Format: https://example.invalid/copyright-format/1.0/\n\nFiles: *\nLicense: public-domain\n Do what you\n .\n want.\n";
        let Licence::Stated { expression, custom } = licence_of(text) else { panic!("stated") };
        assert_eq!(custom[&expression].name, "public-domain");
        assert_eq!(custom[&expression].text, "Do what you\n\nwant.");
        for odd in ["GPL-2+ with OpenSSL exception", "MIT/X11 (BSD like)", "GPL-2 and", "BSD"] {
            assert!(read(&format!("Files: *\nLicense: {odd}")).starts_with("LicenseRef-"), "{odd}");
        }
    }

    #[test]
    fn free_text_is_unknown() {
        for text in [
            "",
            "This package was debianized by somebody.\n\nLicense: GPL",
            "Format: other\n\nFiles: *\nLicense: GPL-2",
        ] {
            assert!(matches!(licence_of(text), Licence::Unknown { .. }), "{text}");
        }
        assert!(read("Files: *\nCopyright: nobody").contains("no licence"));
    }
}
