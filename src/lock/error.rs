//! Why a text is no lockfile.

use crate::base::document::DocumentError;
use crate::base::explain::{Excerpt, Explain, Kind};

use super::model::FORMAT_VERSION;

/// Why a text is no lockfile that can be trusted to be whole.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It has the marks of a merge that was not finished.
    #[error("`{}` holds an unfinished merge", excerpt.file)]
    Merge {
        /// The first mark.
        excerpt: Box<Excerpt>,
    },
    /// It was written by an oclock of another format.
    #[error("`{}` has format version {found}, and this oclock knows version {FORMAT_VERSION}", excerpt.file)]
    Version {
        /// The version it says.
        found: u64,
        /// Where it says so.
        excerpt: Box<Excerpt>,
    },
    /// A field is unknown, missing, of the wrong type or invalid.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// What it says does not fit together.
    #[error("`{}` contradicts itself: {reason}", excerpt.file)]
    Inconsistent {
        /// What does not fit.
        reason: String,
        /// Where.
        excerpt: Box<Excerpt>,
    },
    /// It says something valid in another form than oclock writes.
    #[error("`{}` is not as oclock writes it", excerpt.file)]
    NotCanonical {
        /// The line as oclock writes it; none where the file should have ended.
        expected: Option<String>,
        /// The first line that differs.
        excerpt: Box<Excerpt>,
    },
}

impl Explain for LockError {
    fn kind(&self) -> Kind {
        Kind::Asked
    }

    fn excerpt(&self) -> Option<Excerpt> {
        match self {
            Self::Document(error) => error.excerpt(),
            Self::Merge { excerpt }
            | Self::Version { excerpt, .. }
            | Self::Inconsistent { excerpt, .. }
            | Self::NotCanonical { excerpt, .. } => Some((**excerpt).clone()),
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::NotCanonical { expected: Some(expected), excerpt } => {
                vec![format!("   found  {}", shown(&excerpt.text)), format!("expected  {}", shown(expected))]
            }
            Self::NotCanonical { expected: None, excerpt } => {
                vec![format!("   found  {}", shown(&excerpt.text)), "expected  the end of the file".to_owned()]
            }
            _ => Vec::new(),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::Merge { .. } => vec!["pins of two branches cannot be mixed line by line".into()],
            Self::Version { .. } => Vec::new(),
            _ => vec!["a lockfile is written by oclock alone, so that each line in a review was meant".into()],
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Merge { .. } => vec!["take either side whole, then run `oclock update`".into()],
            Self::Version { found, .. } if *found > u64::from(FORMAT_VERSION) => vec!["use a newer oclock".into()],
            Self::Version { .. } => vec!["remove it and run `oclock update`, which chooses anew".into()],
            _ => vec![
                "undo the edit (`git diff` shows it), or remove the file and run `oclock update`, which chooses anew"
                    .into(),
            ],
        }
    }
}

fn shown(line: &str) -> String {
    let line = crate::base::text::sanitize(line);
    if line.is_empty() { "an empty line".to_owned() } else { line }
}
