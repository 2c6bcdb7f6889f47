//! What can go wrong while packages are laid out.

use crate::base::explain::{Explain, Kind};
use crate::base::text::sanitize;
use crate::store::StoreError;

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
pub enum NpmAssembleError {
    /// A tarball cannot be read to its end.
    #[error("the tarball of `{package}` cannot be read")]
    Archive {
        /// `name@version`.
        package: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A tarball wants to write where it must not.
    #[error("the tarball of `{package}` holds a path that it must not: `{}`", sanitize(path))]
    HostilePath {
        /// `name@version`.
        package: String,
        /// The path.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A tarball is not the package that it should be.
    #[error("the tarball of `{package}` says in its package.json that it is `{}`", sanitize(found))]
    WrongPackage {
        /// `name@version`.
        package: String,
        /// What it says.
        found: String,
    },
    /// An install script is not the one that was locked.
    #[error("the `{}` script of `{package}` is not the one that was locked", sanitize(event))]
    ScriptChanged {
        /// `name@version`.
        package: String,
        /// `preinstall`, `install` or `postinstall`.
        event: String,
        /// What the tarball holds now.
        command: String,
    },
    /// A pin's place belongs to neither the prefix nor a project.
    #[error("`{package}` is locked into `{}`, which `[npm]` does not name", sanitize(place))]
    ForeignPlace {
        /// `name@version`.
        package: String,
        /// The place.
        place: String,
    },
    /// Two packages bring the same command.
    #[error("`{package}` brings `{}`, which another global package brings too", sanitize(path))]
    BinConflict {
        /// `name@version`.
        package: String,
        /// The link.
        path: String,
    },
    /// A script is approved that no locked package has, only one that comes along in another's tarball.
    #[error(
        "the `{}` script of `{}` is approved, but the package comes along in another's tarball",
        sanitize(event),
        sanitize(package)
    )]
    UnlockedScript {
        /// `name@version`.
        package: String,
        /// `preinstall`, `install` or `postinstall`.
        event: String,
    },
    /// The output cannot be written.
    #[error("could not write the tree of npm packages")]
    Write(#[source] std::io::Error),
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Explain for NpmAssembleError {
    fn kind(&self) -> Kind {
        match self {
            Self::HostilePath { .. } | Self::WrongPackage { .. } | Self::ScriptChanged { .. } => Kind::Distrust,
            Self::ForeignPlace { .. } | Self::UnlockedScript { .. } => Kind::Asked,
            Self::Archive { .. } | Self::BinConflict { .. } | Self::Write(_) => Kind::Unable,
            Self::Store(error) => error.kind(),
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::HostilePath { why, .. } => vec![format!("because  {why}")],
            Self::ScriptChanged { command, .. } => vec![format!("   holds  {}", sanitize(command))],
            Self::Store(error) => error.evidence(),
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::ForeignPlace { .. } | Self::ScriptChanged { .. } => {
                vec!["run `oclock update` to choose and lock again".into()]
            }
            Self::WrongPackage { .. } => {
                vec!["undo edits of the lockfile (`git diff` shows them), or run `oclock update` to lock again".into()]
            }
            Self::UnlockedScript { .. } => {
                vec!["take it out of `scripts` below `[npm]`, or ask for the package itself: only scripts of locked ones run".into()]
            }
            Self::BinConflict { .. } => vec!["leave one of the two out of `[npm.packages]`".into()],
            Self::Store(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}
