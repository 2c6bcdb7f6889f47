//! Licences as SPDX expressions (SPDX 2.3, annex D). What the SPDX list does not have becomes a reference with its text;
//! nothing is guessed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spdx::{Expression, LicenseItem, ParseMode};

use crate::model::Sha256;

/// Names of the list as packages write them, old names of GNU licences among them; no synonyms.
const MODE: ParseMode = ParseMode { allow_deprecated: true, allow_postfix_plus_on_gpl: true, ..ParseMode::STRICT };
/// The word for no statement, which is no licence although the list's crate has it.
const NO_ASSERTION: &str = "NOASSERTION";
/// What stands for a text that a package does not give.
const NO_TEXT: &str = "The package names this licence and gives no text for it.";
/// How much of a name goes into a reference.
const REFERENCE_LENGTH: usize = 40;

/// What a package says of its licence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Licence {
    /// It is said.
    Stated {
        /// A valid SPDX expression.
        expression: String,
        /// What each `LicenseRef-` in it stands for.
        custom: BTreeMap<String, CustomLicence>,
    },
    /// It is not said in a form that a program can read.
    Unknown {
        /// Why, for people.
        why: String,
    },
}

/// A licence that the SPDX list does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomLicence {
    /// Its name in the package.
    pub name: String,
    /// Its text, never empty.
    pub text: String,
}

impl Licence {
    pub(super) fn unknown(why: &str) -> Self {
        Self::Unknown { why: why.to_owned() }
    }

    /// A text that is an SPDX expression already; in its canonical form.
    pub(super) fn of_expression(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.contains(NO_ASSERTION) {
            return None;
        }
        let text = listed_name(text).unwrap_or(text);
        let parsed = Expression::parse_mode(text, MODE).ok()?;
        let mut custom = BTreeMap::new();
        for requirement in parsed.requirements() {
            match &requirement.req.license {
                LicenseItem::Spdx { .. } => {}
                LicenseItem::Other(other) if other.doc_ref.is_none() => {
                    let reference = format!("LicenseRef-{}", other.lic_ref);
                    custom.insert(reference.clone(), CustomLicence { name: reference, text: NO_TEXT.to_owned() });
                }
                LicenseItem::Other(_) => return None,
            }
        }
        let canonical = Expression::canonicalize(text).ok()?;
        Some(Self::Stated { expression: canonical.unwrap_or_else(|| text.to_owned()), custom })
    }

    /// A licence of the list by its name, or one of its own.
    pub(super) fn named(name: &str, text: &str) -> Self {
        let text = if text.trim().is_empty() { NO_TEXT } else { text.trim() };
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
        let plain: String = words.join("-").chars().take(REFERENCE_LENGTH).collect();
        // The digest keeps two texts of one name apart.
        let digest = Sha256::of(format!("{name}\n{text}")).to_string();
        let reference = format!("LicenseRef-{plain}-{}", &digest[..8]);
        let custom =
            BTreeMap::from([(reference.clone(), CustomLicence { name: name.to_owned(), text: text.to_owned() })]);
        Self::Stated { expression: reference, custom }
    }

    /// All of them hold: each once, in the order given. What is unknown makes the whole unknown.
    pub(super) fn all_of(parts: Vec<Self>) -> Self {
        Self::joined(parts, " AND ", |expression| {
            let is_choice = expression.contains(" OR ");
            let terms = if is_choice { vec![expression] } else { expression.split(" AND ").collect() };
            terms.into_iter().map(|term| if is_choice { format!("({term})") } else { term.to_owned() }).collect()
        })
    }

    /// One of them may be chosen.
    pub(super) fn one_of(parts: Vec<Self>) -> Self {
        Self::joined(parts, " OR ", |expression| {
            let is_several = expression.contains(" AND ");
            vec![if is_several { format!("({expression})") } else { expression.to_owned() }]
        })
    }

    /// Joins more than one; a single one stays as it is.
    fn joined(mut parts: Vec<Self>, operator: &str, terms: impl Fn(&str) -> Vec<String>) -> Self {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let mut distinct: Vec<String> = Vec::new();
        let mut all = BTreeMap::new();
        for part in parts {
            match part {
                Self::Unknown { why } => return Self::Unknown { why },
                Self::Stated { expression, custom } => {
                    all.extend(custom);
                    let new: Vec<String> =
                        terms(&expression).into_iter().filter(|term| !distinct.contains(term)).collect();
                    distinct.extend(new);
                }
            }
        }
        match distinct.is_empty() {
            true => Self::unknown("no licence is named"),
            false => Self::Stated { expression: distinct.join(operator), custom: all },
        }
    }
}

/// The list's own spelling of a name; names are the same in upper and lower case.
fn listed_name(name: &str) -> Option<&'static str> {
    spdx::identifiers::LICENSES.iter().map(|licence| licence.name).find(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(licence: &Licence) -> &str {
        match licence {
            Licence::Stated { expression, .. } => expression,
            Licence::Unknown { why } => why,
        }
    }

    #[test]
    fn only_the_list_and_its_old_names_are_expressions() {
        for (text, canonical) in [
            ("MIT", "MIT"),
            ("mit", "MIT"),
            ("(MIT OR Apache-2.0)", "(MIT OR Apache-2.0)"),
            ("GPL-2.0+", "GPL-2.0-or-later"),
            ("GPL-3.0", "GPL-3.0-only"),
            ("LicenseRef-Own AND MIT", "LicenseRef-Own AND MIT"),
        ] {
            assert_eq!(Licence::of_expression(text).as_ref().map(expression), Some(canonical), "{text}");
        }
        for text in ["", "BSD", "gpl", "Apache 2.0", "SEE LICENSE IN x", "MIT/X11", "DocumentRef-a:LicenseRef-b"] {
            assert_eq!(Licence::of_expression(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_joined_keeps_its_meaning() {
        let of = |text| Licence::of_expression(text).unwrap();
        let all = Licence::all_of(vec![of("MIT"), of("ISC OR MIT"), of("MIT")]);
        assert_eq!(expression(&all), "MIT AND (ISC OR MIT)");
        assert_eq!(
            expression(&Licence::all_of(vec![of("MIT"), of("ISC AND MIT"), of("0BSD")])),
            "MIT AND ISC AND 0BSD"
        );
        assert_eq!(expression(&Licence::one_of(vec![of("MIT AND ISC"), of("0BSD")])), "(MIT AND ISC) OR 0BSD");
        assert_eq!(expression(&Licence::one_of(vec![of("ISC OR MIT")])), "ISC OR MIT");
        assert!(matches!(Licence::all_of(vec![of("MIT"), Licence::unknown("x")]), Licence::Unknown { .. }));
        assert!(matches!(Licence::all_of(Vec::new()), Licence::Unknown { .. }));
    }

    #[test]
    fn a_licence_of_its_own_is_known_by_name_and_text() {
        let (one, other) = (Licence::named("public-domain", "a"), Licence::named("public-domain", "b"));
        assert_ne!(expression(&one), expression(&other));
        assert!(expression(&one).starts_with("LicenseRef-public-domain-"));
        assert!(Licence::of_expression(expression(&Licence::named("Ünüsual (v2)!", ""))).is_some());
    }
}
