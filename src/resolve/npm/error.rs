//! What can go wrong while npm packages are chosen.

use crate::base::explain::{Explain, Kind};
use crate::base::http::HttpError;
use crate::base::text::{nearest, sanitize};
use crate::model::{SourceName, ValueError};
use crate::source::no_times_hint;
use crate::store::StoreError;

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
pub enum NpmError {
    /// No npm registry was given.
    #[error("there is no npm registry to ask")]
    NoSource,
    /// The target's Node version is no version.
    #[error("`{}` is no Node version", sanitize(text))]
    NodeVersion {
        /// What was given.
        text: String,
    },
    /// The registry does not know the name.
    #[error("the npm registry has no package `{}`", sanitize(name))]
    UnknownPackage {
        /// The name.
        name: String,
        /// Who asks for it, from the manifest downwards.
        chain: Vec<String>,
    },
    /// The package is there, but no version answers.
    #[error("no version of `{}` answers `{}`", sanitize(name), sanitize(wanted))]
    NoVersion {
        /// The package.
        name: String,
        /// The range or tag.
        wanted: String,
        /// Tags and the newest versions.
        known: Vec<String>,
        /// The newest version that was published too late to count, and when that was.
        late: Option<String>,
        /// Who asks for it.
        chain: Vec<String>,
    },
    /// The registry does not say when versions were published, and what counts depends on it.
    #[error("`{source_name}` does not say when versions of `{}` were published", sanitize(name))]
    NoTimes {
        /// The package.
        name: String,
        /// The source.
        source_name: SourceName,
    },
    /// A locked version that the registry's document does not have any more.
    #[error("the npm registry no longer has `{}@{}`", sanitize(name), sanitize(version))]
    Gone {
        /// The package.
        name: String,
        /// The version.
        version: String,
    },
    /// The wish is for something that no registry has: a folder, an archive, a repository.
    #[error("`{}` is asked for as `{}`, which is not from a registry", sanitize(name), sanitize(wanted))]
    Elsewhere {
        /// The entry's name.
        name: String,
        /// The wish.
        wanted: String,
        /// Who asks for it.
        chain: Vec<String>,
    },
    /// A package that is not optional does not run on the target.
    #[error("`{}` does not run on {platform}", sanitize(package))]
    WrongPlatform {
        /// `name@version`.
        package: String,
        /// The target.
        platform: String,
        /// Who asks for it.
        chain: Vec<String>,
    },
    /// Peers that cannot be had together (npm's ERESOLVE).
    #[error("`{}` cannot be placed: its wishes and those of its neighbours contradict each other", sanitize(package))]
    PeerConflict {
        /// `name@version` that has no place.
        package: String,
        /// The wish that cannot be met.
        wanted: String,
        /// What stands in its way.
        present: Option<String>,
        /// Who asks for it.
        chain: Vec<String>,
    },
    /// A name in `omit` that nothing depends on.
    #[error("`omit` names `{name}`, which no package has as an optional dependency")]
    UnknownOmit {
        /// The name.
        name: String,
        /// Names of optional dependencies that were seen.
        known: Vec<String>,
    },
    /// Two packages asked for whose names npm does not tell apart.
    #[error("`{one}` and `{other}` differ in case alone, and npm keeps one of them")]
    SameFolder {
        /// The one.
        one: String,
        /// The other.
        other: String,
    },
    /// A name in `omit` that something needs.
    #[error("`{name}` is in `omit`, but it is not optional")]
    NeededOmit {
        /// The name.
        name: String,
        /// Who asks for it.
        chain: Vec<String>,
    },
    /// A dependency that finds nothing that answers it where it would be looked for.
    #[error("there is no tree in which `{}` finds what it depends on", sanitize(package))]
    Unmet {
        /// `name@version` that depends.
        package: String,
        /// On what.
        wanted: String,
        /// Who asks for it.
        chain: Vec<String>,
    },
    /// The manifest asks for one thing of a package and overrides it with another (npm's EOVERRIDE).
    #[error("`[npm.overrides]` contradicts what is asked of `{}` itself", sanitize(name))]
    OverrideConflict {
        /// The package.
        name: String,
        /// What is asked for.
        asked: String,
        /// What stands in `[npm.overrides]`.
        overridden: String,
    },
    /// `$NAME` in an override, where the manifest asks for no such package.
    #[error("`[npm.overrides]` refers to `${}`, which is not asked for", sanitize(name))]
    OverrideReference {
        /// The name.
        name: String,
    },
    /// Something npm does that is not done here.
    #[error("`{}` {what}, which is not supported", sanitize(package))]
    Unsupported {
        /// `name@version`.
        package: String,
        /// What it does.
        what: &'static str,
    },
    /// The registry's document cannot be read.
    #[error("what `{source_name}` says of `{}` cannot be read", sanitize(name))]
    Document {
        /// The package.
        name: String,
        /// The source.
        source_name: SourceName,
        /// Why.
        #[source]
        source: std::sync::Arc<serde_json::Error>,
    },
    /// The registry did not answer.
    #[error("could not ask the registry about `{}`", sanitize(name))]
    Registry {
        /// The package.
        name: String,
        /// Why.
        #[source]
        source: std::sync::Arc<HttpError>,
    },
    /// A tarball could not be fetched.
    #[error("could not fetch the tarball of `{}`", sanitize(package))]
    Tarball {
        /// `name@version`.
        package: String,
        /// Why.
        #[source]
        source: Box<HttpError>,
    },
    /// A tarball is not what the registry says.
    #[error("the tarball of `{}` is not the one that `{source_name}` vouches for", sanitize(package))]
    Mismatch {
        /// `name@version`.
        package: String,
        /// The source.
        source_name: SourceName,
        /// The registry's hash.
        expected: String,
        /// The hash of what came.
        found: String,
        /// How much came, in bytes.
        size: u64,
    },
    /// The registry vouches with nothing that can be trusted.
    #[error("the registry vouches for `{}` with no sha512", sanitize(package))]
    NoIntegrity {
        /// `name@version`.
        package: String,
        /// What it serves instead.
        served: Option<String>,
    },
    /// A tarball that is not below the registry.
    #[error("the tarball of `{}` is not below its registry", sanitize(package))]
    ForeignTarball {
        /// `name@version`.
        package: String,
        /// The URL, redacted.
        url: String,
    },
    /// A tarball cannot be read.
    #[error("the tarball of `{}` cannot be read", sanitize(package))]
    Archive {
        /// `name@version`.
        package: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A tarball holds another package.
    #[error("the tarball of `{}` says in its package.json that it is `{}`", sanitize(package), sanitize(found))]
    WrongPackage {
        /// `name@version`.
        package: String,
        /// What it says.
        found: String,
    },
    /// A package says that it brings a dependency along, and does not.
    #[error("`{}` does not bring `{}` along, though it says so", sanitize(package), sanitize(missing))]
    MissingBundle {
        /// `name@version`.
        package: String,
        /// The dependency.
        missing: String,
    },
    /// A name, version or path that is not safe.
    #[error("the registry serves a value that is not safe")]
    Value(#[from] ValueError),
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Explain for NpmError {
    fn kind(&self) -> Kind {
        match self {
            Self::NodeVersion { .. }
            | Self::UnknownOmit { .. }
            | Self::SameFolder { .. }
            | Self::NeededOmit { .. }
            | Self::OverrideConflict { .. }
            | Self::OverrideReference { .. } => Kind::Asked,
            Self::Mismatch { .. }
            | Self::WrongPackage { .. }
            | Self::NoIntegrity { .. }
            | Self::ForeignTarball { .. }
            | Self::Value(_) => Kind::Distrust,
            Self::Store(error) => error.kind(),
            _ => Kind::Unable,
        }
    }

    fn evidence(&self) -> Vec<String> {
        let chain = |chain: &[String]| match chain {
            [] => Vec::new(),
            links => {
                vec![format!("asked by  {}", links.iter().map(|link| sanitize(link)).collect::<Vec<_>>().join(" → "))]
            }
        };
        match self {
            Self::UnknownPackage { chain: links, .. }
            | Self::Elsewhere { chain: links, .. }
            | Self::WrongPlatform { chain: links, .. }
            | Self::NeededOmit { chain: links, .. } => chain(links),
            Self::NoVersion { known, late, chain: links, .. } => {
                let late = late.iter().map(|late| format!("too late  {}", sanitize(late)));
                let known = known.iter().map(|version| sanitize(version)).collect::<Vec<_>>().join(", ");
                [chain(links), vec![format!("   known  {known}")], late.collect()].concat()
            }
            Self::Unmet { wanted, chain: links, .. } => {
                [chain(links), vec![format!("  wanted  {}", sanitize(wanted))]].concat()
            }
            Self::PeerConflict { wanted, present, chain: links, .. } => {
                let present = present.iter().map(|present| format!(" present  {}", sanitize(present)));
                [chain(links), vec![format!("  wanted  {}", sanitize(wanted))], present.collect()].concat()
            }
            Self::OverrideConflict { asked, overridden, .. } => {
                vec![format!("     asked  {}", sanitize(asked)), format!("overridden  {}", sanitize(overridden))]
            }
            Self::Mismatch { expected, found, size, .. } => {
                vec![format!("expected  {}", sanitize(expected)), format!("received  {found}  {size} bytes")]
            }
            Self::NoIntegrity { served: Some(served), .. } => vec![format!("  served  {}", sanitize(served))],
            Self::ForeignTarball { url, .. } => vec![format!("      at  {}", sanitize(url))],
            Self::Store(error) => error.evidence(),
            _ => Vec::new(),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::UnknownPackage { .. } => {
                vec!["an unregistered name can be taken by anyone at any time, so oclock never guesses which one was meant".into()]
            }
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoSource => {
                vec!["set a registry in `.npmrc` or `[sources]`; `oclock info` shows what was found".into()]
            }
            Self::UnknownPackage { .. } => {
                vec![
                    "look up the package's registered name in its own documentation; it may differ from its command"
                        .into(),
                ]
            }
            Self::Elsewhere { .. } => {
                vec!["ask for a published version of it; if it is optional, it can be left out in `[npm] omit`".into()]
            }
            Self::NoTimes { source_name, .. } => vec![no_times_hint(source_name)],
            Self::Gone { .. } => vec!["add `--pruned`, so that what no source has any more moves too".into()],
            Self::UnknownOmit { name, known } => match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => vec![format!("did you mean `{near}`?")],
                None => vec![format!("remove `{name}` from `[npm] omit`")],
            },
            Self::SameFolder { other, .. } => {
                vec![format!(
                    "ask for one of them in a directory of its own, or under another name: `mine = \"npm:{other}@…\"`"
                )]
            }
            Self::NeededOmit { name, .. } => vec![format!("remove `{name}` from `[npm] omit`")],
            Self::PeerConflict { .. } => vec!["ask for other versions in `[npm]`, so that all peers can be met".into()],
            Self::OverrideConflict { name, .. } => {
                vec![format!("write `{name} = \"${name}\"` in `[npm.overrides]`, so that it follows what is asked for")]
            }
            Self::OverrideReference { name } => vec![format!("ask for `{name}` too, or write the version itself")],
            Self::Registry { source, .. } => source.hints(),
            Self::Tarball { source, .. } => source.hints(),
            Self::Store(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}
