//! A wheel's METADATA: `License-Expression` (PEP 639), `License`, classifiers, author.

use std::fs::File;
use std::io::{self, Read};

use super::{Facts, Party, TEXT_LIMIT, bad, party};
use crate::attest::licence::Licence;

/// A licence longer than this is a text, not a name, in characters.
const NAME_LIMIT: usize = 100;

/// Classifiers that mean exactly one licence of the SPDX list; the others are not definite.
const CLASSIFIERS: &[(&str, &str)] = &[
    ("MIT License", "MIT"),
    ("MIT No Attribution License (MIT-0)", "MIT-0"),
    ("ISC License (ISCL)", "ISC"),
    ("Mozilla Public License 1.1 (MPL 1.1)", "MPL-1.1"),
    ("Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
    ("GNU General Public License v2 (GPLv2)", "GPL-2.0-only"),
    ("GNU General Public License v2 or later (GPLv2+)", "GPL-2.0-or-later"),
    ("GNU General Public License v3 (GPLv3)", "GPL-3.0-only"),
    ("GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later"),
    ("GNU Lesser General Public License v3 (LGPLv3)", "LGPL-3.0-only"),
    ("GNU Lesser General Public License v3 or later (LGPLv3+)", "LGPL-3.0-or-later"),
    ("GNU Affero General Public License v3", "AGPL-3.0-only"),
    ("GNU Affero General Public License v3 or later (AGPLv3+)", "AGPL-3.0-or-later"),
    ("Boost Software License 1.0 (BSL-1.0)", "BSL-1.0"),
    ("The Unlicense (Unlicense)", "Unlicense"),
    ("zlib/libpng License", "Zlib"),
];

pub(super) fn read(file: File) -> io::Result<Facts> {
    let text = read_metadata(file)?;
    let fields = fields(&text);
    Ok(Facts { licence: licence(&fields), supplier: None, author: author(&fields), licence_of: None })
}

fn read_metadata(file: File) -> io::Result<String> {
    let mut archive = zip::ZipArchive::new(file).map_err(io::Error::other)?;
    let names: Vec<String> = archive
        .file_names()
        .filter_map(|name| Some(name.ok()?.into_owned()))
        .filter(|name| is_metadata(name))
        .collect();
    let [name] = &names[..] else { return Err(bad("it has not exactly one METADATA")) };
    let mut bytes = Vec::new();
    archive.by_name(name).map_err(io::Error::other)?.take(TEXT_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_metadata(name: &str) -> bool {
    name.strip_suffix(".dist-info/METADATA").is_some_and(|name| !name.contains('/'))
}

/// The headers in their order, further lines joined (core metadata specification).
fn fields(text: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        match (line.starts_with([' ', '\t', '|']), line.split_once(':'), fields.last_mut()) {
            (true, _, Some((_, value))) => {
                value.push('\n');
                value.push_str(line.trim_start().trim_start_matches('|').trim_start());
            }
            (false, Some((name, value)), _) => fields.push((name.to_lowercase(), value.trim().to_owned())),
            _ => {}
        }
    }
    fields
}

fn values<'a>(fields: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a str> {
    fields.iter().filter(move |(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
}

fn licence(fields: &[(String, String)]) -> Licence {
    let own = values(fields, "license").next().filter(|text| !text.eq_ignore_ascii_case("unknown"));
    if let Some(text) = values(fields, "license-expression").next() {
        return Licence::of_expression(text).unwrap_or_else(|| Licence::named(text, ""));
    }
    if let Some(licence) = own.and_then(Licence::of_expression) {
        return licence;
    }
    let classifiers: Vec<&str> = values(fields, "classifier")
        .filter_map(|text| text.strip_prefix("License :: "))
        .map(|text| text.strip_prefix("OSI Approved :: ").unwrap_or(text))
        .filter(|text| *text != "OSI Approved")
        .collect();
    let definite: Option<Vec<Licence>> = classifiers
        .iter()
        .map(|text| CLASSIFIERS.iter().find(|(known, _)| known == text).and_then(|(_, id)| Licence::of_expression(id)))
        .collect();
    match (definite, own) {
        // Several classifiers do not say whether all hold or one may be chosen.
        (Some(mut licences), _) if licences.len() == 1 => licences.remove(0),
        (_, Some(text)) => {
            let first = text.lines().next().unwrap_or_default();
            let name: String = first.chars().take(NAME_LIMIT).collect();
            Licence::named(&name, if text == name { "" } else { text })
        }
        (_, None) if !classifiers.is_empty() => Licence::named(&classifiers.join(", "), ""),
        (_, None) => Licence::unknown("its METADATA names no licence"),
    }
}

fn author(fields: &[(String, String)]) -> Option<Party> {
    let first = |name| values(fields, name).next();
    // PEP 621 puts the name into the address field.
    let address = first("author-email").map(|text| text.split(',').next().unwrap_or(text));
    match (first("author"), address) {
        (_, Some(address)) if address.contains('<') => party(address),
        (Some(name), Some(address)) => party(&format!("{name} <{address}>")),
        (Some(name), None) => party(name),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(metadata: &str) -> String {
        match licence(&fields(metadata)) {
            Licence::Stated { expression, .. } => expression,
            Licence::Unknown { why } => why,
        }
    }

    #[test]
    fn the_definite_statement_wins() {
        assert_eq!(read("License-Expression: MIT AND ISC\nLicense: BSD\n\nLicense: body"), "MIT AND ISC");
        assert_eq!(read("License: Apache-2.0\nClassifier: License :: OSI Approved :: MIT License"), "Apache-2.0");
        assert_eq!(read("License: MIT license\nClassifier: License :: OSI Approved :: MIT License"), "MIT");
        assert!(
            read("License: BSD\nClassifier: License :: OSI Approved :: BSD License").starts_with("LicenseRef-BSD-")
        );
        let two =
            "Classifier: License :: OSI Approved :: BSD License\nClassifier: License :: OSI Approved :: MIT License";
        assert!(read(two).starts_with("LicenseRef-BSD-License-MIT-License-"));
        assert!(read("License: UNKNOWN\nName: x").contains("names no licence"));
    }

    #[test]
    fn a_whole_text_is_kept_as_one() {
        let fields = fields("License: Copyright x\n        Permission\n        is granted\nName: y");
        let Licence::Stated { expression, custom } = licence(&fields) else { panic!("stated") };
        assert_eq!(custom[&expression].text, "Copyright x\nPermission\nis granted");
        assert_eq!(custom[&expression].name, "Copyright x");
    }

    #[test]
    fn authors_are_found_in_both_fields() {
        let read = |text: &str| author(&fields(text)).map(|party| (party.name, party.email.unwrap_or_default()));
        assert_eq!(
            read("Author-email: A B <a@b.invalid>, C <c@d.invalid>"),
            Some(("A B".into(), "a@b.invalid".into()))
        );
        assert_eq!(read("Author: A\nAuthor-email: a@b.invalid"), Some(("A".into(), "a@b.invalid".into())));
        assert_eq!(read("Author-email: a@b.invalid"), None);
    }
}
