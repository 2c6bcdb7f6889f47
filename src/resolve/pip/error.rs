//! What can go wrong between requirements and pins.

use super::UnbuiltSource;
use crate::base::explain::{Explain, Kind};
use crate::base::http::HttpError;
use crate::base::text::sanitize;
use crate::model::{ArtifactPath, Sha256, SourceName, ValueError};
use crate::source::no_times_hint;
use crate::store::StoreError;

/// Why there are no pins.
#[derive(Debug, thiserror::Error)]
pub enum PipError {
    /// A line of `[pip]` is no requirement that can be locked.
    #[error("`{}` is no requirement that can be locked", sanitize(text))]
    Requirement {
        /// The line.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The target's Python version cannot be read or is too old.
    #[error("`{}` is no Python version that wheels can be chosen for", sanitize(text))]
    Python {
        /// The version as given.
        text: String,
    },
    /// There is no index to ask.
    #[error("no Python index is known")]
    NoSource,
    /// The index has no project of this name.
    #[error("no project `{name}` in `{source_name}`")]
    UnknownProject {
        /// The project.
        name: String,
        /// The source that was asked.
        source_name: SourceName,
    },
    /// The manifest asks for an extra that the chosen version does not have.
    #[error("`{name} {version}` has no extra `{extra}`")]
    UnknownExtra {
        /// The project.
        name: String,
        /// The version chosen.
        version: String,
        /// The extra asked for.
        extra: String,
        /// The extras it has, sorted.
        known: Vec<String>,
    },
    /// What is asked for exists, but not as a wheel that the target can use.
    #[error("`{name}` has no wheel that the target can use")]
    NoWheel {
        /// The project.
        name: String,
        /// Who asks for which versions.
        wanted: Vec<String>,
        /// Lines: the releases that there are, and why each is of no use.
        found: Vec<String>,
        /// The target, for people.
        target: String,
        /// Whether there are source distributions, which the manifest does not let be built.
        sources: bool,
    },
    /// Source distributions have to be built before there are pins. Whoever asked builds them and asks again.
    #[error("{} must be built first", sources.iter().map(UnbuiltSource::label).collect::<Vec<_>>().join(", "))]
    Unbuilt {
        /// Which.
        sources: Vec<UnbuiltSource>,
    },
    /// No choice of versions satisfies all requirements.
    #[error("no versions satisfy all Python requirements")]
    NoSolution {
        /// The facts that exclude each other, a line each.
        facts: Vec<String>,
        /// What is not usable and why.
        notes: Vec<String>,
    },
    /// A project's page is not one.
    #[error("what `{source_name}` says of `{}` cannot be understood", sanitize(name))]
    Page {
        /// The project or file.
        name: String,
        /// The source.
        source_name: SourceName,
        /// Why, for people.
        why: String,
    },
    /// An index does not say when files were published, and what counts depends on it.
    #[error("`{source_name}` does not say when files of `{}` were published", sanitize(name))]
    NoTimes {
        /// The project.
        name: String,
        /// The source.
        source_name: SourceName,
    },
    /// A source did not answer as needed.
    #[error("could not read about `{name}`")]
    Http {
        /// The project or file.
        name: String,
        /// Why.
        #[source]
        source: Box<HttpError>,
    },
    /// A file came with other bytes than the index promises.
    #[error("`{}` arrived with bytes that `{source_name}` does not promise", sanitize(file))]
    WrongBytes {
        /// The source.
        source_name: SourceName,
        /// The file.
        file: String,
        /// The index's hash.
        promised: Sha256,
        /// What came.
        found: Sha256,
    },
    /// A locked file is listed with another hash.
    #[error("the index lists `{}` with a hash that was not locked", sanitize(file))]
    OtherHash {
        /// The file.
        file: String,
        /// The lock's hash.
        locked: Sha256,
        /// The index's.
        found: Sha256,
    },
    /// A locked file is no longer listed.
    #[error("`{source_name}` no longer lists `{path}`")]
    Gone {
        /// The file.
        path: ArtifactPath,
        /// The source that was asked.
        source_name: SourceName,
    },
    /// A name or path that the lockfile cannot hold.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that cannot happen did.
    #[error("the pip resolver contradicts itself: {what}")]
    Bug {
        /// What was seen.
        what: String,
    },
}

impl Explain for PipError {
    fn kind(&self) -> Kind {
        match self {
            Self::Requirement { .. } | Self::Python { .. } | Self::NoSource | Self::UnknownExtra { .. } => Kind::Asked,
            Self::UnknownProject { .. }
            | Self::NoWheel { .. }
            | Self::NoSolution { .. }
            | Self::Unbuilt { .. }
            | Self::NoTimes { .. }
            | Self::Page { .. }
            | Self::Gone { .. }
            | Self::Value(_) => Kind::Unable,
            Self::Http { source, .. } => source.kind(),
            Self::WrongBytes { .. } | Self::OtherHash { .. } => Kind::Distrust,
            Self::Store(error) => error.kind(),
            Self::Bug { .. } => Kind::Bug,
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::Requirement { why, .. } | Self::Page { why, .. } => vec![sanitize(why)],
            Self::NoWheel { wanted, found, target, .. } => {
                let mut lines = vec![format!("target  {target}")];
                lines.extend(wanted.iter().map(|line| format!("wanted  {}", sanitize(line))));
                lines.extend(found.iter().map(|line| format!(" found  {}", sanitize(line))));
                lines
            }
            Self::NoSolution { facts, .. } => facts.iter().map(|line| sanitize(line)).collect(),
            Self::UnknownExtra { known, .. } if !known.is_empty() => {
                vec![format!("it has  {}", sanitize(&known.join(", ")))]
            }
            Self::WrongBytes { promised, found, .. } => {
                vec![format!("promised  sha256:{promised}"), format!("received  sha256:{found}")]
            }
            Self::OtherHash { locked, found, .. } => {
                vec![format!("locked  sha256:{locked}"), format!("listed  sha256:{found}")]
            }
            Self::Store(error) => error.evidence(),
            _ => Vec::new(),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::NoSolution { notes, .. } => notes.iter().map(|line| sanitize(line)).collect(),
            Self::NoWheel { name, sources: true, .. } => {
                vec![format!(
                    "there is a source distribution of `{name}`; nothing is built from source unless `[pip] build` says so"
                )]
            }
            Self::OtherHash { .. } => vec!["a published file is never replaced, so suspect the source".into()],
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Requirement { .. } => vec![
                "write it as `name`, `name>=1.2` or `name[extra]>=1.2; marker` (PEP 508), one requirement each".into(),
            ],
            Self::Python { .. } => vec!["set `python = \"3.13.5\"` (all three numbers) under `[pip]`".into()],
            Self::NoSource => {
                vec!["set `index-url` in pip.conf, PIP_INDEX_URL, or a `[sources.NAME]` with `kind = \"pip\"`".into()]
            }
            Self::UnknownProject { .. } => vec![
                "check the spelling; `oclock info` shows which index is asked".into(),
                "a project of another index needs a `[sources.NAME]` that lists it under `packages`".into(),
            ],
            Self::UnknownExtra { extra, known, .. } => {
                crate::base::text::nearest(extra, known.iter().map(String::as_str))
                    .map(|near| format!("did you mean `{}`?", sanitize(near)))
                    .into_iter()
                    .collect()
            }
            Self::NoWheel { name, sources: true, .. } => vec![
                format!("let it be built, in a room without a network: `build = [\"{name}\"]` under `[pip]`"),
                format!("or ask for a version of `{name}` that has a wheel, in `packages` or `constraints`"),
            ],
            Self::NoWheel { name, .. } => vec![
                format!("ask for a version of `{name}` that has such a wheel, in `packages` or `constraints`"),
                "or build the wheel once, serve it from an index of your own and bind it in `[sources]`".into(),
            ],
            Self::NoTimes { source_name, .. } => vec![no_times_hint(source_name)],
            Self::NoSolution { .. } => vec!["loosen one of the requirements above in `[pip]`".into()],
            Self::Gone { .. } => vec!["run `oclock update --pruned`: it moves only pins that are gone".into()],
            Self::Http { source, .. } => source.hints(),
            Self::Store(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}
