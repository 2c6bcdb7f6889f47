//! What cannot be said, signed, checked or attached.

use std::path::PathBuf;

use crate::base::explain::{Explain, Kind};
use crate::base::fs::FsError;
use crate::base::http::HttpError;
use crate::base::text::count;
use crate::model::{Platform, Sha256};
use crate::store::StoreError;

/// How many missing artifacts are named.
const NAMED: usize = 8;

/// Why something was not said, signed, checked or attached.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// Artifacts that have to be looked into are not in the store.
    #[error("{} not in the store", are_missing(missing.len()))]
    Missing {
        /// `npm:lodash 4.17.21`, in the lockfile's order.
        missing: Vec<String>,
    },
    /// An artifact is not in the form of its ecosystem.
    #[error("`{package}` cannot be looked into: {why}")]
    Artifact {
        /// `npm:lodash 4.17.21`.
        package: String,
        /// What is wrong.
        why: String,
    },
    /// The lock does not say what image it makes.
    #[error("the lockfile records no image for `{platform}`")]
    NotRecorded {
        /// The platform.
        platform: Platform,
    },
    /// A key that cannot be used.
    #[error("`{}` cannot be used as a key: {why}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A file that is no signed envelope.
    #[error("`{}` is no signed envelope: {why}", path.display())]
    Envelope {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No signature of the envelope is the key's.
    #[error("`{}` is not signed by this key", path.display())]
    Unsigned {
        /// The envelope.
        path: PathBuf,
        /// The key's fingerprint: sha256 of its DER form.
        key: Sha256,
    },
    /// A good signature over something else than this project says.
    #[error("`{}` is signed by this key, and says something else than this project", path.display())]
    OtherStatement {
        /// The envelope.
        path: PathBuf,
        /// What differs, one a line.
        differences: Vec<String>,
    },
    /// A place that does not have the image.
    #[error("`{place}` does not have the image that the lockfile records")]
    NoImage {
        /// The layout or repository.
        place: String,
        /// The recorded manifest digest.
        digest: Sha256,
    },
    /// A place where nothing can be attached.
    #[error("nothing can be attached to `{place}`: {why}")]
    Place {
        /// The layout or repository.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// A registry that answers something else.
    #[error("`{place}` refused the {what}: {status}")]
    Refused {
        /// The repository.
        place: String,
        /// `blob` or `manifest`.
        what: &'static str,
        /// Its answer.
        status: String,
    },
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk said no.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The registry was not reached.
    #[error(transparent)]
    Http(#[from] HttpError),
}

fn are_missing(number: usize) -> String {
    let verb = if number == 1 { "is" } else { "are" };
    format!("{} of the lockfile {verb}", count(number, "artifact"))
}

impl Explain for AttestError {
    fn kind(&self) -> Kind {
        match self {
            Self::Missing { .. } | Self::Refused { .. } => Kind::Unable,
            Self::Artifact { .. } | Self::Unsigned { .. } => Kind::Distrust,
            Self::NotRecorded { .. } | Self::OtherStatement { .. } | Self::NoImage { .. } => Kind::No,
            Self::Key { .. } | Self::Envelope { .. } | Self::Place { .. } => Kind::Asked,
            Self::Store(error) => error.kind(),
            Self::Fs(error) => error.kind(),
            Self::Http(error) => error.kind(),
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::Missing { missing } => {
                let mut lines: Vec<String> = missing.iter().take(NAMED).cloned().collect();
                lines.extend((missing.len() > NAMED).then(|| format!("and {} more", missing.len() - NAMED)));
                lines
            }
            Self::Unsigned { key, .. } => vec![format!("key  sha256:{key}")],
            Self::OtherStatement { differences, .. } => differences.clone(),
            Self::NoImage { digest, .. } => vec![format!("recorded  sha256:{digest}")],
            Self::Store(error) => error.evidence(),
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        let one = |hint: &str| vec![hint.to_owned()];
        match self {
            Self::Missing { .. } => one("run `oclock fetch` while the sources can be reached"),
            Self::Artifact { .. } => one("run `oclock build`, which checks the artifact's form"),
            Self::NotRecorded { .. } => one("run `oclock build --record`"),
            Self::Key { hint, .. } => one(hint),
            Self::Envelope { .. } => one("name a file that `--sign` wrote"),
            Self::NoImage { .. } => {
                one("write the image there first, for example with `oclock build --output oci:DIR`")
            }
            Self::Store(error) => error.hints(),
            Self::Fs(error) => error.hints(),
            Self::Http(error) => error.hints(),
            Self::Unsigned { .. } | Self::OtherStatement { .. } | Self::Place { .. } | Self::Refused { .. } => {
                Vec::new()
            }
        }
    }
}
