//! What can go wrong between a request for Debian packages and its pins.

use super::release::ReleaseError;
use super::signature::SignatureError;
use crate::base::explain::{Explain, Kind};
use crate::base::http::HttpError;
use crate::base::text::sanitize;
use crate::model::{Sha256, SourceName, ValueError};
use crate::source::no_times_hint;
use crate::store::StoreError;

/// No pins, and why.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// An archive has only what is there today, and something earlier is asked for.
    #[error("`{name}` is no snapshot archive: it has only what is there today")]
    NoSnapshot {
        /// The source.
        name: SourceName,
    },
    /// No source of Debian packages is known.
    #[error("no source of Debian packages is known")]
    NoSource,
    /// A suite's InRelease or one of its indexes could not be had.
    #[error("could not fetch `{path}` from `{name}`")]
    Fetch {
        /// The source.
        name: SourceName,
        /// What was asked for, below the source.
        path: String,
        /// Why.
        #[source]
        source: Box<HttpError>,
    },
    /// A suite's InRelease is not signed as it must be.
    #[error("`{path}` of `{name}` is not to be trusted")]
    Signature {
        /// The source.
        name: SourceName,
        /// The InRelease, below the source.
        path: String,
        /// Why.
        #[source]
        source: SignatureError,
    },
    /// A suite's InRelease may not be used.
    #[error("`{path}` of `{name}` may not be used")]
    Release {
        /// The source.
        name: SourceName,
        /// The InRelease, below the source.
        path: String,
        /// Why.
        #[source]
        source: Box<ReleaseError>,
    },
    /// A suite is older than the lockfile already had it.
    #[error("`{suite}` of `{name}` is older than the lockfile has it")]
    Rollback {
        /// The source.
        name: SourceName,
        /// The suite.
        suite: String,
        /// The Date in the lockfile, for people.
        locked: String,
        /// The Date of what is served, for people.
        found: String,
    },
    /// A keyring could not be read.
    #[error("could not read the keyring of `{name}`")]
    Keyring {
        /// The source.
        name: SourceName,
        /// Why.
        #[source]
        source: crate::base::fs::FsError,
    },
    /// An index is not the one that the signed InRelease lists.
    #[error("`{path}` of `{name}` is not what the signed InRelease lists")]
    OtherIndex {
        /// The source.
        name: SourceName,
        /// The index, below the source.
        path: String,
        /// What is listed: digest and size in bytes.
        listed: Box<(Sha256, u64)>,
        /// What came.
        found: Box<(Sha256, u64)>,
    },
    /// A kept InRelease is not the one that the lock speaks of.
    #[error("`{path}` of `{name}` is not what the lock says: {why}")]
    OtherArchive {
        /// The source.
        name: SourceName,
        /// The InRelease or index, below the source.
        path: String,
        /// What differs.
        why: &'static str,
    },
    /// An index or a status file cannot be read.
    #[error("could not read `{path}`: {why}")]
    BadIndex {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// A value in an index is not usable.
    #[error("the archive's record of `{}` cannot be used", sanitize(package))]
    BadRecord {
        /// The package.
        package: String,
        /// Why.
        #[source]
        source: ValueError,
    },
    /// A pin does not follow from the signed archives that the lock names.
    #[error("`apt:{package}` is not what the signed archives list")]
    Unlisted {
        /// The package.
        package: String,
        /// What is wrong.
        why: String,
    },
    /// A locked index is not at hand, and a later one of its suite does not vouch for the pin.
    #[error("`apt:{package}` cannot be traced to a signed index")]
    NotTraced {
        /// The package with its version.
        package: String,
        /// The Date of the later index, for people.
        date: String,
        /// What the later index says.
        why: String,
    },
    /// The request itself, or its solution.
    #[error(transparent)]
    Solve(#[from] SolveError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A worker ended without an answer.
    #[error("choosing Debian packages ended without an answer")]
    Worker,
}

impl Explain for AptError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoSource => Kind::Asked,
            Self::Fetch { source, .. } => source.kind(),
            Self::Signature { source, .. } => source.kind(),
            Self::Release { source, .. } => source.kind(),
            Self::Keyring { .. } => Kind::Asked,
            Self::OtherIndex { .. } | Self::OtherArchive { .. } | Self::Unlisted { .. } | Self::Rollback { .. } => {
                Kind::Distrust
            }
            Self::BadIndex { .. } | Self::BadRecord { .. } | Self::NoSnapshot { .. } | Self::NotTraced { .. } => {
                Kind::Unable
            }
            Self::Solve(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Worker => Kind::Bug,
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::OtherIndex { listed, found, .. } => vec![
                format!("  listed  sha256:{}  {} bytes", listed.0, listed.1),
                format!("received  sha256:{}  {} bytes", found.0, found.1),
            ],
            Self::Unlisted { why, .. } => vec![why.clone()],
            Self::NotTraced { date, why, .. } => vec![format!("later  {date}: {why}")],
            Self::Rollback { locked, found, .. } => vec![format!("locked  {locked}"), format!("served  {found}")],
            Self::Signature { source, .. } => source.evidence(),
            Self::Release { source, .. } => source.evidence(),
            Self::Solve(error) => error.evidence(),
            Self::Store(error) => error.evidence(),
            _ => Vec::new(),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::OtherIndex { .. } => {
                vec!["a mirror that is being updated can serve such a mixture for a few minutes".into()]
            }
            Self::Rollback { .. } => {
                vec!["a mirror that lags behind does so too; the lockfile was left as it was".into()]
            }
            Self::Solve(error) => error.notes(),
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoSnapshot { name } => vec![
                format!("give `[sources.{name}]` the `url` of a snapshot archive, with `{{time}}` for the moment"),
                no_times_hint(name),
            ],
            Self::NoSource => vec!["name one in `[sources.debian]` with `kind = \"apt\"` and its `url`".into()],
            Self::Fetch { source, path, .. } if source.is_not_found() && path.ends_with("InRelease") => {
                vec!["check the suite's name, and `suites` of that source".into()]
            }
            Self::Fetch { source, .. } => source.hints(),
            Self::Rollback { .. } => vec!["name a mirror that is kept up to date in `[sources]`".into()],
            Self::Signature { source, .. } => source.hints(),
            Self::Release { source, .. } => source.hints(),
            Self::Solve(error) => error.hints(),
            Self::Store(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

/// A request that has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SolveError {
    /// It is not written in a form that is understood.
    #[error("`{request}` cannot be asked for: {why}")]
    Request {
        /// The request as written.
        request: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No archive has a package of that name.
    #[error("no archive has a package `{}`", sanitize(package))]
    UnknownPackage {
        /// The name asked for.
        package: String,
        /// The nearest name there is.
        nearest: Option<String>,
    },
    /// No archive has that version.
    #[error("no archive has `{}` as `{}`", sanitize(package), sanitize(wanted))]
    UnknownVersion {
        /// The package.
        package: String,
        /// The version or suite asked for.
        wanted: String,
        /// The versions there are, each with its suite.
        available: Vec<String>,
    },
    /// The name is only provided, and by more than one package.
    #[error("`{package}` is provided by {} packages: one must be named", providers.len())]
    Virtual {
        /// The name asked for.
        package: String,
        /// Who provides it, sorted.
        providers: Vec<String>,
    },
    /// Two requests want different versions of one package.
    #[error("`{package}` is asked for as {first} and as {second}")]
    TwoVersions {
        /// The package.
        package: String,
        /// One version.
        first: String,
        /// The other.
        second: String,
    },
    /// A package of the base would have to give way to an older version.
    #[error("`{package} {wanted}` would replace the newer `{package} {installed}` of the base, which is not supported")]
    Downgrade {
        /// The package.
        package: String,
        /// The version in the base.
        installed: String,
        /// The version that is needed.
        wanted: String,
    },
    /// A package of the base would have to be removed.
    #[error("`{because}` would remove `{package}` of the base, which is not supported")]
    Removal {
        /// The package of the base.
        package: String,
        /// What conflicts with it.
        because: String,
    },
    /// There is no set of packages that holds together.
    #[error("the requested Debian packages cannot be installed together")]
    NoSolution {
        /// From the request to what is missing, one step a line.
        steps: Vec<String>,
        /// The packages that the steps speak of, in that order.
        named: Vec<String>,
        /// Requests that would bring what is missing: versions that are there and not taken by themselves.
        ask: Vec<String>,
    },
    /// A package that the base holds would have to move.
    #[error("`{wanted}` would take the place of `{package}`, which the base holds")]
    Held {
        /// The package as the base has it.
        package: String,
        /// What is asked for.
        wanted: String,
    },
}

impl Explain for SolveError {
    fn kind(&self) -> Kind {
        match self {
            Self::Request { .. } | Self::Virtual { .. } | Self::TwoVersions { .. } => Kind::Asked,
            _ => Kind::Unable,
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::UnknownVersion { available, .. } => available.iter().map(|line| sanitize(line)).collect(),
            Self::Virtual { providers, .. } => providers.iter().map(|line| sanitize(line)).collect(),
            Self::NoSolution { steps, .. } => steps.iter().map(|line| sanitize(line)).collect(),
            _ => Vec::new(),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::NoSolution { .. } => {
                vec![
                    "apt-get's rules have no answer to this either; nothing is removed or kept back to make room"
                        .into(),
                ]
            }
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::UnknownPackage { nearest: Some(nearest), .. } => vec![format!("there is a package `{nearest}`")],
            Self::NoSolution { ask, .. } => ask
                .iter()
                .take(2)
                .map(|request| format!("ask for `{}` as well: it is there", sanitize(request)))
                .collect(),
            Self::Downgrade { .. } => vec!["ask for a version that is not older, or choose another base image".into()],
            Self::Virtual { providers, .. } => {
                providers.first().map(|name| format!("ask for one of them, such as `{name}`")).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}
