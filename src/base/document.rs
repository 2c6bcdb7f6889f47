//! TOML files that are read strictly: every key must be known, every value has a type, and every complaint has a place.
//!
//! The syntax is the `toml` crate's work; this module walks its tree with spans. It must not know what a key means.

use std::fmt::Display;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::explain::{Excerpt, Explain, Kind};
use super::text::{nearest, sanitize};

/// What is wrong with a TOML file, and where.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is no TOML.
    #[error("`{file}` is not valid TOML: {reason}")]
    Syntax {
        /// The file, as the user names it.
        file: String,
        /// What the parser says.
        reason: String,
        /// Where.
        excerpt: Box<Excerpt>,
    },
    /// A key that nobody asked for.
    #[error("unknown key `{}` in `{}`", sanitize(key), excerpt.file)]
    UnknownKey {
        /// The key with the section in front.
        key: String,
        /// The nearest key that is known there.
        nearest: Option<&'static str>,
        /// All keys that are known there.
        known: &'static [&'static str],
        /// Where.
        excerpt: Box<Excerpt>,
    },
    /// A key that must be there and is not.
    #[error("`{key}` is missing in `{}`", excerpt.file)]
    MissingKey {
        /// The key with the section in front.
        key: String,
        /// Where its section starts.
        excerpt: Box<Excerpt>,
    },
    /// A value of another type than wanted.
    #[error("`{}` must be {expected}", sanitize(key))]
    WrongType {
        /// The key with the section in front.
        key: String,
        /// What it must be: `a string`, `a list of strings`.
        expected: &'static str,
        /// Where; the label says what was found.
        excerpt: Box<Excerpt>,
    },
    /// A value of the right type that cannot be.
    #[error("`{}` has an invalid value", sanitize(key))]
    Invalid {
        /// The key with the section in front.
        key: String,
        /// What is wrong with it; also the excerpt's label.
        reason: String,
        /// Where.
        excerpt: Box<Excerpt>,
    },
}

impl Explain for DocumentError {
    fn kind(&self) -> Kind {
        Kind::Asked
    }

    fn excerpt(&self) -> Option<Excerpt> {
        match self {
            Self::Syntax { excerpt, .. }
            | Self::UnknownKey { excerpt, .. }
            | Self::MissingKey { excerpt, .. }
            | Self::WrongType { excerpt, .. }
            | Self::Invalid { excerpt, .. } => Some((**excerpt).clone()),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::UnknownKey { nearest: Some(nearest), .. } => vec![format!("did you mean `{nearest}`?")],
            Self::UnknownKey { known, .. } if !known.is_empty() => {
                vec![format!("known here: {}", known.join(", "))]
            }
            _ => Vec::new(),
        }
    }
}

/// A TOML file whose syntax is right.
#[derive(Debug)]
pub struct Document<'a> {
    file: &'a str,
    text: &'a str,
    root: Spanned<DeTable<'a>>,
}

/// One table of a document, all of whose keys are known.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    document: &'a Document<'a>,
    name: String,
    span: Range<usize>,
    entries: &'a DeTable<'a>,
}

/// One value of a document, with the key it stands under.
#[derive(Clone, Debug)]
pub struct Value<'a> {
    document: &'a Document<'a>,
    section: String,
    key: &'a str,
    key_span: Range<usize>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Document<'a> {
    /// Reads TOML; `file` is what complaints call it.
    ///
    /// # Errors
    /// When it is no TOML; a key that stands twice counts as that.
    pub fn parse(text: &'a str, file: &'a str) -> Result<Self, DocumentError> {
        match DeTable::parse(text) {
            Ok(root) => Ok(Self { file, text, root }),
            Err(error) => Err(DocumentError::Syntax {
                file: file.to_owned(),
                reason: sanitize(error.message()),
                excerpt: Box::new(Excerpt::at(file, text, error.span().map_or(0, |span| span.start), "")),
            }),
        }
    }

    /// The top table; `known` are the keys it may have.
    ///
    /// # Errors
    /// When it has another key.
    pub fn root(&'a self, known: &'static [&'static str]) -> Result<Table<'a>, DocumentError> {
        self.free_root().knowing(known)
    }

    /// The top table with whatever keys it has.
    pub fn free_root(&'a self) -> Table<'a> {
        Table { document: self, name: String::new(), span: 0..0, entries: self.root.get_ref() }
    }

    /// The place of a byte.
    pub fn excerpt(&self, offset: usize, label: impl Into<String>) -> Box<Excerpt> {
        Box::new(Excerpt::at(self.file, self.text, offset, label))
    }
}

impl<'a> Table<'a> {
    fn knowing(self, known: &'static [&'static str]) -> Result<Self, DocumentError> {
        let stranger = self.entries.iter().map(|(key, _)| key).find(|key| !known.contains(&key.get_ref().as_ref()));
        match stranger {
            None => Ok(self),
            Some(key) => Err(DocumentError::UnknownKey {
                key: full_key(&self.name, key.get_ref()),
                nearest: nearest(key.get_ref(), known.iter().copied())
                    .and_then(|near| known.iter().copied().find(|name| *name == near)),
                known,
                excerpt: self.document.excerpt(key.span().start, "not known here"),
            }),
        }
    }

    /// The value under a key, if it is there.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        let (key, value) = self.entries.get_key_value(key)?;
        Some(self.value(key, value))
    }

    /// The value under a key.
    ///
    /// # Errors
    /// When it is not there.
    pub fn require(&self, key: &str) -> Result<Value<'a>, DocumentError> {
        self.get(key).ok_or_else(|| DocumentError::MissingKey {
            key: full_key(&self.name, key),
            excerpt: self.document.excerpt(self.span.start, format!("`{key}` belongs here")),
        })
    }

    /// All keys with their values, in the order written.
    pub fn entries(&self) -> impl Iterator<Item = Value<'a>> {
        self.entries.iter().map(|(key, value)| self.value(key, value))
    }

    /// Where it starts, in bytes.
    pub fn offset(&self) -> usize {
        self.span.start
    }

    fn value(&self, key: &'a Spanned<std::borrow::Cow<'a, str>>, value: &'a Spanned<DeValue<'a>>) -> Value<'a> {
        Value { document: self.document, section: self.name.clone(), key: key.get_ref(), key_span: key.span(), value }
    }
}

impl<'a> Value<'a> {
    /// The key alone.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// Where the key is, in bytes. For a value of a list, where the list's key is.
    pub fn key_offset(&self) -> usize {
        self.key_span.start
    }

    /// Where the value is, in bytes.
    pub fn offset(&self) -> usize {
        self.value.span().start
    }

    /// A string.
    ///
    /// # Errors
    /// When it is something else.
    pub fn string(&self) -> Result<&'a str, DocumentError> {
        self.value.get_ref().as_str().ok_or_else(|| self.wrong_type("a string"))
    }

    /// A string that is a value of some type; `parse` says how.
    ///
    /// # Errors
    /// When it is no string, or `parse` says no.
    pub fn parse<T, E: Display>(&self, parse: impl FnOnce(&'a str) -> Result<T, E>) -> Result<T, DocumentError> {
        parse(self.string()?).map_err(|error| self.invalid(error))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn boolean(&self) -> Result<bool, DocumentError> {
        self.value.get_ref().as_bool().ok_or_else(|| self.wrong_type("`true` or `false`"))
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// When it is something else or does not fit.
    pub fn unsigned<T: TryFrom<u64>>(&self) -> Result<T, DocumentError> {
        let expected = "a whole number, not negative and not too large";
        let integer = self.value.get_ref().as_integer().ok_or_else(|| self.wrong_type(expected))?;
        u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| self.wrong_type(expected))
    }

    /// A date-time with its offset from UTC (or a string that holds one) in seconds since 1970.
    ///
    /// # Errors
    /// When it is something else or has a part of a second.
    pub fn timestamp(&self) -> Result<i64, DocumentError> {
        let expected = "a date-time such as 2026-01-31T12:00:00Z";
        let text = match self.value.get_ref() {
            DeValue::Datetime(datetime) => datetime.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => return Err(self.wrong_type(expected)),
        };
        let moment: jiff::Timestamp = text.parse().map_err(|_| self.invalid(format!("it must be {expected}")))?;
        if moment.subsec_nanosecond() != 0 {
            return Err(self.invalid("it must be in whole seconds"));
        }
        Ok(moment.as_second())
    }

    /// A day (2026-01-31), as its first second in UTC since 1970.
    ///
    /// # Errors
    /// When it is something else.
    pub fn date(&self) -> Result<i64, DocumentError> {
        let expected = "a date such as 2026-01-31";
        let DeValue::Datetime(datetime) = self.value.get_ref() else { return Err(self.wrong_type(expected)) };
        let start: Option<jiff::Timestamp> = match (datetime.date, datetime.time) {
            (Some(day), None) => format!("{day}T00:00:00Z").parse().ok(),
            _ => None,
        };
        start.map(jiff::Timestamp::as_second).ok_or_else(|| self.invalid(format!("it must be {expected}")))
    }

    /// The line it stands in, from 1.
    pub fn line(&self) -> usize {
        self.document.excerpt(self.offset(), "").line
    }

    /// The values of a list.
    ///
    /// # Errors
    /// When it is no list.
    pub fn list(&self) -> Result<Vec<Value<'a>>, DocumentError> {
        let items = self.value.get_ref().as_array().ok_or_else(|| self.wrong_type("a list"))?;
        Ok(items.iter().map(|value| Value { value, ..self.clone() }).collect())
    }

    /// A table; `known` are the keys it may have.
    ///
    /// # Errors
    /// When it is no table or has another key.
    pub fn table(&self, known: &'static [&'static str]) -> Result<Table<'a>, DocumentError> {
        self.free_table()?.knowing(known)
    }

    /// A table whose keys are names that the user chose.
    ///
    /// # Errors
    /// When it is no table.
    pub fn free_table(&self) -> Result<Table<'a>, DocumentError> {
        let entries = self.value.get_ref().as_table().ok_or_else(|| self.wrong_type("a table"))?;
        Ok(Table { document: self.document, name: self.full_key(), span: self.value.span(), entries })
    }

    /// Whether it is a table.
    pub fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// The complaint that the value cannot be.
    pub fn invalid(&self, reason: impl Display) -> DocumentError {
        self.complain(self.offset(), reason)
    }

    /// The complaint that the key cannot be.
    pub fn invalid_key(&self, reason: impl Display) -> DocumentError {
        self.complain(self.key_offset(), reason)
    }

    fn complain(&self, offset: usize, reason: impl Display) -> DocumentError {
        let reason = sanitize(&reason.to_string());
        DocumentError::Invalid { key: self.full_key(), excerpt: self.document.excerpt(offset, reason.clone()), reason }
    }

    fn wrong_type(&self, expected: &'static str) -> DocumentError {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        DocumentError::WrongType {
            key: self.full_key(),
            expected,
            excerpt: self.document.excerpt(self.offset(), format!("this is {found}")),
        }
    }

    fn full_key(&self) -> String {
        full_key(&self.section, self.key)
    }
}

/// The key as one would write it: `npm.packages."@scope/name"`.
fn full_key(section: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if section.is_empty() { key } else { format!("{section}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str, ask: impl FnOnce(Table<'_>) -> Result<(), DocumentError>) -> (String, Excerpt) {
        let document = Document::parse(text, "x.toml").unwrap();
        let error = document.root(&["a", "list", "section"]).and_then(ask).unwrap_err();
        (error.to_string(), error.excerpt().unwrap())
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest() {
        let document = Document::parse("a = 1\nlsit = 2\n", "x.toml").unwrap();
        let error = document.root(&["a", "list"]).unwrap_err();
        assert_eq!(error.to_string(), "unknown key `lsit` in `x.toml`");
        assert_eq!(error.hints(), ["did you mean `list`?"]);
        assert_eq!(error.excerpt().map(|excerpt| excerpt.line), Some(2));
    }

    #[test]
    fn a_wrong_type_names_what_was_found() {
        let (message, excerpt) = complaint("[section]\nb = 4", |root| {
            root.require("section")?.free_table()?.require("b")?.string().map(|_| ())
        });
        assert_eq!(message, "`section.b` must be a string");
        assert_eq!((excerpt.line, excerpt.column, excerpt.label.as_str()), (2, 5, "this is a number"));
    }

    #[test]
    fn dates_are_whole_seconds_with_an_offset() {
        let read = |text: &str| {
            let document = Document::parse(text, "x").unwrap();
            document.root(&["a"]).and_then(|root| root.require("a")?.timestamp())
        };
        assert_eq!(read("a = 1970-01-02T01:00:00+01:00").ok(), Some(86_400));
        assert_eq!(read("a = \"1970-01-02T00:00:00Z\"").ok(), Some(86_400));
        for bad in ["a = 1970-01-02T00:00:00", "a = 1970-01-02", "a = 5", "a = 1970-01-02T00:00:00.5Z"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_no_toml() {
        let error = Document::parse("a = 1\na = 2\n", "x.toml").unwrap_err();
        assert_eq!(error.excerpt().map(|excerpt| excerpt.line), Some(2));
    }
}
