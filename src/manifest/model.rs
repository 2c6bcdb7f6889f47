//! The manifest as a value.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::model::{ImageReference, LayerCompression, PackageName, Platform, SourceName};

/// What an image shall be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `[image]`.
    pub image: ImageSection,
    /// `[apt]`.
    pub apt: AptSection,
    /// `[npm]`.
    pub npm: NpmSection,
    /// `[pip]`.
    pub pip: PipSection,
    /// `[sources.NAME]`.
    pub sources: BTreeMap<SourceName, SourceSection>,
    /// `[policy]`.
    pub policy: PolicySection,
}

/// `[image]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSection {
    /// The image's name, such as `opencode-server`.
    pub name: String,
    /// Tags it is loaded under; `latest` when none is given.
    pub tags: Vec<String>,
    /// Platforms, sorted; `linux/amd64` when none is given.
    pub platforms: Vec<Platform>,
    /// What it stands on.
    pub base: BaseRequest,
    /// The image's time in seconds since 1970 (an RFC 3339 date-time in the file). Left out: the newest Date of the archives.
    pub epoch: Option<i64>,
    /// How its layers are compressed; gzip when not given.
    pub compression: LayerCompression,
}

/// What an image shall stand on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseRequest {
    /// `{ debian = "trixie" }`: built from signed packages alone.
    Debian {
        /// The suite.
        suite: String,
    },
    /// `"node:20-slim"`: an image of a registry.
    Image(ImageReference),
}

/// `[apt]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AptSection {
    /// Requirements in apt's language: `git`, `nodejs=20.*`, `name/suite`. In the order written.
    pub packages: Vec<String>,
    /// Whether Recommends are followed; `false` when not given.
    pub recommends: Recommends,
    /// The suite to resolve in on top of a base image; taken from the base otherwise.
    pub suite: Option<String>,
}

/// Whether apt follows Recommends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recommends {
    /// As `--no-install-recommends`.
    #[default]
    Ignore,
    /// As apt does by itself.
    Follow,
}

/// `[npm]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NpmSection {
    /// Globally installed packages: name → range, tag or `npm:` alias. Each gets a tree of its own, as `npm install -g` does.
    pub packages: BTreeMap<String, String>,
    /// The prefix of globally installed packages; `/usr/local` when not given.
    pub prefix: String,
    /// Projects: directory in the image → what is installed in its node_modules.
    pub projects: BTreeMap<String, BTreeMap<String, String>>,
    /// What is asked for instead of what packages ask for, in the order written: the first that fits counts.
    pub overrides: Vec<NpmOverride>,
    /// Optional packages left out by name.
    pub omit: BTreeSet<PackageName>,
    /// Packages whose install scripts are approved to run, inside and offline.
    pub scripts: BTreeSet<PackageName>,
    /// The target's Node version, where no pinned Debian package says it.
    pub node: Option<String>,
}

/// One entry of `[npm.overrides]`, as package.json has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NpmOverride {
    /// The package it is about, perhaps with a range: `glob` or `glob@7`.
    pub key: String,
    /// What is asked for instead: a range, tag or `npm:` alias, or `$NAME` for what the manifest asks of NAME.
    pub wanted: Option<String>,
    /// What holds below that package alone.
    pub below: Vec<NpmOverride>,
}

/// `[pip]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipSection {
    /// Where the environment is; `/opt/venv` when not given.
    pub path: String,
    /// Requirements (PEP 508), in the order written.
    pub packages: Vec<String>,
    /// Constraints (PEP 508 without extras), in the order written.
    pub constraints: Vec<String>,
    /// Requirements (PEP 508) that stand instead of all others for the same project, in the order written.
    pub overrides: Vec<String>,
    /// The target's full Python version, where no pinned Debian package says it.
    pub python: Option<String>,
    /// Which projects may be built from source where they have no wheel; none when not given.
    pub build: PipBuild,
}

/// Which Python projects may be built from their source distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PipBuild {
    /// None.
    #[default]
    Nothing,
    /// All.
    Everything,
    /// These, by their normalised names.
    Only(BTreeSet<PackageName>),
}

impl PipBuild {
    /// Whether a project may be built.
    pub fn allows(&self, name: &PackageName) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Only(names) => names.contains(name),
        }
    }
}

/// `[sources.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSection {
    /// Which kind of registry it is.
    pub kind: SourceKind,
    /// Its base URL.
    pub url: String,
    /// Other places that have the same bytes, tried in order, always by hash.
    pub mirrors: Vec<String>,
    /// Packages (or `@scope/*`) that come from here and nowhere else.
    pub packages: Vec<String>,
    /// apt: its suites; `{suite}` stands for the asked one.
    pub suites: Vec<String>,
    /// apt: its components; `main` when not given.
    pub components: Vec<String>,
    /// apt: the keyring file, relative to the manifest; Debian's own when not given.
    pub signed_by: Option<PathBuf>,
}

/// Which protocol a source speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceKind {
    /// A Debian archive.
    Apt,
    /// An npm registry.
    Npm,
    /// A Python simple index (PEP 691).
    Pip,
    /// An image registry (OCI distribution).
    Image,
}

/// `[policy]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicySection {
    /// Oldest age in days that a release must have to be chosen.
    pub min_age_days: Option<u32>,
    /// The sources that packages may come from; any when not given.
    pub sources: Option<BTreeSet<SourceName>>,
    /// npm packages that may bring install scripts; any when not given.
    pub scripts: Option<BTreeSet<PackageName>>,
    /// Whether the lockfile must prove as much as the one before; `false` when not given.
    pub keep_evidence: bool,
    /// `licences`.
    pub licences: Option<LicencePolicy>,
    /// Where advisories are: directories, zip archives or URLs, as written.
    pub advisories: Vec<String>,
    /// How old the newest advisory may be, in days.
    pub advisories_max_age_days: Option<u32>,
    /// What a vulnerability is that no version fixes; an error when not given.
    pub unfixed_advisories: UnfixedAdvisories,
    /// Whom attestations are believed for, in a file below the manifest; the program's own root of trust when not given.
    pub sigstore_root: Option<String>,
    /// `[[policy.waivers]]`, in the order written.
    pub waivers: Vec<Waiver>,
}

/// Which licences packages may have. Both lists hold SPDX licence IDs, perhaps with an exception.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LicencePolicy {
    /// Those allowed; any that is not denied when empty.
    pub allow: Vec<String>,
    /// Those that are not, whatever is allowed.
    pub deny: Vec<String>,
}

/// What a vulnerability is that no version fixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnfixedAdvisories {
    /// As grave as any other.
    #[default]
    Error,
    /// A warning.
    Warning,
}

/// An excuse for a finding: exact, reasoned and dated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    /// The rule whose finding is excused.
    pub rule: String,
    /// What the finding is about, as findings name it.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// The moment it ends, in seconds since 1970: the first second (UTC) of the day in the file.
    pub expires: i64,
    /// The line of the manifest it stands in, from 1.
    pub line: usize,
}
