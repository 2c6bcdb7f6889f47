//! Why locked files did not come.

use std::path::PathBuf;

use crate::base::explain::{Explain, Kind};
use crate::base::http::HttpError;
use crate::base::text::{count, grouped, sanitize};
use crate::model::{Artifact, Sha256};
use crate::source::SourceError;
use crate::store::StoreError;

/// Why locked files did not come. All failures are in it, sorted by name; the variant is the gravest of them.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Bytes arrived that were not locked.
    #[error("{} arrived with bytes that were not locked", subject(failures, FailureCause::is_mismatch))]
    Mismatch {
        /// What failed.
        failures: Vec<Failure>,
    },
    /// A source could not be asked, or the store could not be written.
    #[error("{} could not be fetched", subject(failures, |cause| !cause.is_gone()))]
    Unreachable {
        /// What failed.
        failures: Vec<Failure>,
    },
    /// A source could not be asked whether it still has a file.
    #[error("it is not known whether {} can still be had", subject(failures, |cause| !cause.is_gone()))]
    Unknown {
        /// What failed.
        failures: Vec<Failure>,
    },
    /// Every place that was asked says that there is no such file any more.
    #[error("{} no longer to be had", are(subject(failures, FailureCause::is_gone), failures.len()))]
    Gone {
        /// What failed.
        failures: Vec<Failure>,
    },
    /// Files are missing, and the network is not to be used.
    #[error("{} missing in the store", are(count(missing.len(), "locked file"), missing.len()))]
    Offline {
        /// Their names.
        missing: Vec<String>,
    },
    /// A source is not known.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The program is being ended.
    #[error("interrupted")]
    Interrupted,
}

/// One file that did not come.
#[derive(Debug)]
pub struct Failure {
    /// `npm:lodash 4.17.21`.
    pub label: String,
    /// The file.
    pub artifact: Artifact,
    /// Why.
    pub cause: FailureCause,
}

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
pub enum FailureCause {
    /// Other bytes came.
    #[error("other bytes came")]
    Mismatch {
        /// What they hash to; of a file that is larger than locked, the part that was read.
        found: Sha256,
        /// How many came until it was clear.
        size: u64,
        /// The address, without credentials.
        from: String,
        /// Where they are kept.
        kept: PathBuf,
    },
    /// No place has it any more.
    #[error("no place has it any more")]
    Gone {
        /// The base addresses that were asked, without credentials.
        asked: Vec<String>,
    },
    /// An archive has a newer index under the same path.
    #[error("the archive has a newer one in its place")]
    Superseded,
    /// The page of a Python index cannot be understood.
    #[error("`{url}` is no page of a Python index (PEP 691): {}", sanitize(reason))]
    Index {
        /// The page, without credentials.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A request failed.
    #[error(transparent)]
    Http(HttpError),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// The program is being ended.
    #[error("interrupted")]
    Interrupted,
}

impl FailureCause {
    fn is_mismatch(&self) -> bool {
        matches!(self, Self::Mismatch { .. })
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }
}

impl FetchError {
    /// The error that some failures make together, if there are any.
    pub(super) fn from_failures(mut failures: Vec<Failure>) -> Option<Self> {
        failures.sort_by(|one, other| one.label.cmp(&other.label).then_with(|| one.artifact.cmp(&other.artifact)));
        let any = |is: fn(&FailureCause) -> bool| failures.iter().any(|failure| is(&failure.cause));
        if failures.is_empty() {
            None
        } else if any(FailureCause::is_mismatch) {
            Some(Self::Mismatch { failures })
        } else if any(|cause| !cause.is_gone()) {
            Some(Self::Unreachable { failures })
        } else {
            Some(Self::Gone { failures })
        }
    }

    /// The files that failed.
    pub fn failures(&self) -> &[Failure] {
        match self {
            Self::Mismatch { failures }
            | Self::Unreachable { failures }
            | Self::Unknown { failures }
            | Self::Gone { failures } => failures,
            Self::Offline { .. } | Self::Source(_) | Self::Interrupted => &[],
        }
    }
}

/// Who an error is about: the only one by name, several by number.
fn subject(failures: &[Failure], is_meant: impl Fn(&FailureCause) -> bool) -> String {
    let meant: Vec<&Failure> = failures.iter().filter(|failure| is_meant(&failure.cause)).collect();
    match meant[..] {
        [one] => format!("`{}`", one.label),
        _ => count(meant.len(), "locked file"),
    }
}

/// The subject with its verb.
fn are(subject: String, number: usize) -> String {
    format!("{subject} {}", if number == 1 { "is" } else { "are" })
}

impl Failure {
    fn lines(&self, several: bool) -> Vec<String> {
        let indent = if several { "  " } else { "" };
        let mut lines = if several { vec![self.label.clone()] } else { Vec::new() };
        let mut line = |name: &str, text: String| lines.push(format!("{indent}{name:>8}  {text}"));
        match &self.cause {
            FailureCause::Mismatch { found, size, from, .. } => {
                line("locked", format!("sha256:{}  {} bytes", self.artifact.sha256, grouped(self.artifact.size)));
                line("received", format!("sha256:{found}  {} bytes", grouped(*size)));
                if let (true, Some(sha512)) = (*found == self.artifact.sha256, self.artifact.sha512) {
                    line("locked", format!("sha512:{sha512}, which these bytes do not have"));
                }
                line("from", from.clone());
            }
            FailureCause::Gone { asked } => {
                line("source", self.artifact.source.to_string());
                line("file", self.artifact.path.to_string());
                asked.iter().for_each(|place| line("asked", place.clone()));
            }
            FailureCause::Superseded
            | FailureCause::Index { .. }
            | FailureCause::Http(_)
            | FailureCause::Store(_)
            | FailureCause::Interrupted => {
                line("source", self.artifact.source.to_string());
                line("because", chain(&self.cause));
            }
        }
        lines
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(|cause| sanitize(&cause.to_string())).collect::<Vec<_>>().join(": ")
}

impl Explain for FetchError {
    fn kind(&self) -> Kind {
        match self {
            Self::Mismatch { .. } => Kind::Distrust,
            Self::Unreachable { failures } => {
                let kinds = failures.iter().filter_map(|failure| match &failure.cause {
                    FailureCause::Store(error) => Some(error.kind()),
                    _ => None,
                });
                kinds.max().unwrap_or(Kind::Unable)
            }
            Self::Gone { .. } | Self::Unknown { .. } | Self::Offline { .. } => Kind::Unable,
            Self::Source(error) => error.kind(),
            Self::Interrupted => Kind::Interrupted,
        }
    }

    fn excerpt(&self) -> Option<crate::base::explain::Excerpt> {
        match self {
            Self::Source(error) => error.excerpt(),
            _ => None,
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::Offline { missing } => missing.iter().map(|label| format!("missing  {label}")).collect(),
            Self::Source(error) => error.evidence(),
            _ => {
                let several = self.failures().len() > 1;
                self.failures().iter().flat_map(|failure| failure.lines(several)).collect()
            }
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match self {
            Self::Mismatch { failures } => {
                let kept = failures.iter().filter_map(|failure| match &failure.cause {
                    FailureCause::Mismatch { kept, .. } => Some(kept.display()),
                    _ => None,
                });
                let downloads = kept.map(|path| format!("the store was not changed; the download is kept in {path}"));
                notes.extend(downloads);
                notes.push("a published version is never replaced, so suspect the source or what is in between".into());
            }
            Self::Gone { .. } => {
                notes.push("sources drop superseded files; what else the lock pins was fetched and is kept".into());
            }
            Self::Unreachable { .. } => notes.push("what else the lock pins was fetched and is kept".into()),
            Self::Unknown { .. } => {
                notes.push("a source that does not answer is never taken for one that dropped the file".into());
            }
            Self::Source(error) => notes = error.notes(),
            Self::Offline { .. } | Self::Interrupted => {}
        }
        notes
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Mismatch { failures } => {
                let sources = failures.iter().filter(|failure| failure.cause.is_mismatch());
                let source = sources.map(|failure| failure.artifact.source.to_string()).next().unwrap_or_default();
                vec![format!("compare with another place: `oclock info` shows where `{source}` was found")]
            }
            Self::Gone { .. } => vec![
                "run `oclock update --pruned` to move these pins and nothing else".into(),
                "or name a place that still has them as a mirror in `[sources]`".into(),
            ],
            Self::Unreachable { .. } | Self::Unknown { .. } => {
                vec!["run it again; `oclock info` shows which sources are asked".into()]
            }
            Self::Offline { .. } => vec!["run `oclock fetch` while the sources can be reached".into()],
            Self::Source(error) => error.hints(),
            Self::Interrupted => Vec::new(),
        }
    }
}
