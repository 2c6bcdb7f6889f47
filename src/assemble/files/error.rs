//! What can be wrong with the project's own files.

use std::path::PathBuf;

use crate::base::explain::{Excerpt, Explain, Kind};
use crate::base::fs::FsError;
use crate::base::text::{count, sanitize};
use crate::template::TEMPLATE_FILE;

/// Why the project's files cannot go into an image.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A COPY names something that `context/` does not have.
    #[error("`Containerfile.in` copies `{path}`, which `{}` does not have", directory.display())]
    Absent {
        /// The path in the instruction.
        path: String,
        /// The context directory.
        directory: PathBuf,
        /// A name nearby that is there.
        nearest: Option<String>,
        /// The instruction.
        excerpt: Box<Excerpt>,
    },
    /// A link that leads out of `context/`.
    #[error("the link `{path}` leads out of the context")]
    Escapes {
        /// The link.
        path: String,
        /// What it says.
        target: String,
    },
    /// A socket, device or pipe.
    #[error("`{path}` is a {kind}, which no image can hold")]
    Special {
        /// The file.
        path: String,
        /// `socket`, `device` or `pipe`.
        kind: &'static str,
    },
    /// A name that is not UTF-8 or has control characters.
    #[error("`{path}` may not be in the context")]
    Reserved {
        /// The file.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// A file that changed while it was read.
    #[error("`{path}` changed while it was read")]
    Changed {
        /// The file.
        path: String,
    },
    /// A file or directory that cannot be read.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// More than one of these.
    #[error("{} wrong with the build context", many(problems))]
    Several {
        /// All of them: files in their order, then instructions.
        problems: Vec<FilesError>,
    },
}

fn many(problems: &[FilesError]) -> String {
    format!("{} are", count(problems.len(), "thing"))
}

impl FilesError {
    /// One error for all problems; none when there are none.
    pub(super) fn of(mut problems: Vec<Self>) -> Result<(), Self> {
        match problems.len() {
            0 => Ok(()),
            1 => problems.pop().map_or(Ok(()), Err),
            _ => Err(Self::Several { problems }),
        }
    }

    /// Where it is and what is wrong there, for a list.
    fn line(&self) -> (String, String) {
        let in_context = |path: &str| format!("context/{path}");
        match self {
            Self::Absent { path, directory, excerpt, .. } => (
                format!("{}:{}", excerpt.file, excerpt.line),
                format!("copies `{}`, which `{}` does not have", sanitize(path), directory.display()),
            ),
            Self::Escapes { path, target } => {
                (in_context(path), format!("a link out of the context, to `{}`", sanitize(target)))
            }
            Self::Special { path, kind } => (in_context(path), format!("a {kind}, which no image can hold")),
            Self::Reserved { path, why } => (in_context(path), (*why).to_owned()),
            Self::Changed { path } => (in_context(path), "it changed while it was read".to_owned()),
            Self::Fs(error) => {
                (sanitize(&error.path.to_string_lossy()), format!("could not {} it: {}", error.action, error.source))
            }
            Self::Several { .. } => (TEMPLATE_FILE.to_owned(), self.to_string()),
        }
    }
}

impl Explain for FilesError {
    fn kind(&self) -> Kind {
        match self {
            Self::Fs(error) => error.kind(),
            Self::Changed { .. } => Kind::Unable,
            Self::Several { problems } => problems.iter().map(Explain::kind).min().unwrap_or(Kind::Asked),
            _ => Kind::Asked,
        }
    }

    fn excerpt(&self) -> Option<Excerpt> {
        match self {
            Self::Absent { excerpt, .. } => Some(excerpt.as_ref().clone()),
            _ => None,
        }
    }

    fn evidence(&self) -> Vec<String> {
        let Self::Several { problems } = self else { return Vec::new() };
        let lines: Vec<(String, String)> = problems.iter().map(Self::line).collect();
        let width = lines.iter().map(|(place, _)| place.chars().count()).max().unwrap_or(0);
        lines.iter().map(|(place, what)| format!("{place:width$}  {what}")).collect()
    }

    fn notes(&self) -> Vec<String> {
        let own = match self {
            Self::Escapes { target, .. } => Some(format!("it points to `{}`", sanitize(target))),
            Self::Reserved { why, .. } => Some((*why).to_owned()),
            _ => None,
        };
        own.into_iter().chain(["nothing was fetched or built".to_owned()]).collect()
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Absent { nearest: Some(name), .. } => vec![format!("did you mean `{name}`?")],
            Self::Absent { path, directory, .. } => {
                vec![format!("make `{}`, or take the COPY out", directory.join(path).display())]
            }
            Self::Escapes { .. } => vec!["copy the file itself into the context".to_owned()],
            Self::Special { .. } | Self::Reserved { .. } => vec!["remove it, or move it out of the context".to_owned()],
            Self::Changed { .. } => vec!["let whatever writes it finish, and run the command again".to_owned()],
            Self::Fs(error) => error.hints(),
            Self::Several { problems } => {
                let mut hints: Vec<String> = problems.iter().flat_map(Explain::hints).collect();
                hints.dedup();
                hints
            }
        }
    }
}
