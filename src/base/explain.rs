//! How an error explains itself: its kind (which is the exit code), evidence, notes and hints.
//!
//! Every module's error enum implements [`Explain`]; only `cli/failure.rs` draws what it says.

/// What sort of answer an error is. The number is the process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The answer to the question is no: drift, findings, differences.
    No = 1,
    /// Asked wrongly: flags, manifest, template, lockfile syntax.
    Asked = 2,
    /// Could not be done: network, no solution, engine.
    Unable = 3,
    /// Do not trust this: a hash or signature mismatch, a damaged store.
    Distrust = 4,
    /// A bug in oclock.
    Bug = 70,
    /// Interrupted by the user; nothing is half-written.
    Interrupted = 130,
}

impl Kind {
    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

/// A place in a text that the user wrote, drawn below the error's first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The file, as the user names it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The whole line.
    pub text: String,
    /// What is wrong there; may be empty.
    pub label: String,
}

impl Excerpt {
    /// Finds the line and column of byte `offset` in `source`, the text of `file`.
    pub fn at(file: &str, source: &str, offset: usize, label: impl Into<String>) -> Self {
        let offset = source.floor_char_boundary(offset.min(source.len()));
        let start = source[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let end = source[offset..].find('\n').map_or(source.len(), |length| offset + length);
        Self {
            file: file.to_owned(),
            line: source[..start].matches('\n').count() + 1,
            column: source[start..offset].chars().count() + 1,
            text: source[start..end].to_owned(),
            label: label.into(),
        }
    }
}

/// What an error says beyond its one line (its `Display`) and its causes (`source()`).
pub trait Explain: std::error::Error {
    /// The kind, and so the exit code.
    fn kind(&self) -> Kind;

    /// Where in the user's text it is.
    fn excerpt(&self) -> Option<Excerpt> {
        None
    }

    /// Aligned, copyable lines: what was expected and what was found.
    fn evidence(&self) -> Vec<String> {
        Vec::new()
    }

    /// What is true but not visible, such as what was left untouched.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// At most two: each a command or an edit; never one that silences a check.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_names_line_and_column_in_characters() {
        let source = "a = 1\nbé = two\n";
        let excerpt = Excerpt::at("x.toml", source, source.find("two").unwrap(), "here");
        assert_eq!((excerpt.line, excerpt.column, excerpt.text.as_str()), (2, 6, "bé = two"));
    }

    #[test]
    fn an_excerpt_past_the_end_is_the_last_line() {
        let excerpt = Excerpt::at("x.toml", "a = 1", 99, "");
        assert_eq!((excerpt.line, excerpt.column), (1, 6));
    }
}
