//! The command line as a value.

use std::path::PathBuf;
use std::time::Duration;

use super::audit::AuditArguments;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Container images whose digest is a function of the lockfile alone.
#[derive(Debug, Parser)]
#[command(name = "oclock", version, about, disable_help_subcommand = true, max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) global: GlobalArguments,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Flags that change where and how loudly, never what is built.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct GlobalArguments {
    /// Run as if started in this directory
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// The manifest
    #[arg(long, value_name = "FILE", default_value = "oclock.toml", global = true)]
    pub manifest: PathBuf,
    /// The lockfile
    #[arg(long, value_name = "FILE", default_value = "lockfile.toml", global = true)]
    pub lockfile: PathBuf,
    /// The store of artifacts and layers
    #[arg(long, value_name = "DIR", env = "OCLOCK_STORE", hide_env_values = true, global = true)]
    pub store: Option<PathBuf>,
    /// The first-seen ledger
    #[arg(long, value_name = "FILE", env = "OCLOCK_LEDGER", hide_env_values = true, global = true)]
    pub ledger: Option<PathBuf>,
    /// Never use the network
    #[arg(long, global = true)]
    pub offline: bool,
    /// Requests under way at once
    #[arg(short, long, value_name = "N", default_value_t = 32, global = true)]
    pub jobs: usize,
    /// How long a server may say next to nothing, or ask to be left alone
    #[arg(long, value_name = "SECONDS", env = "OCLOCK_TIMEOUT", hide_env_values = true, default_value_t = 60, global = true,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// How often a request is made again after what may pass
    #[arg(long, value_name = "N", env = "OCLOCK_RETRIES", hide_env_values = true, default_value_t = 3, global = true,
        value_parser = clap::value_parser!(u32).range(0..=20))]
    pub retries: u32,
    /// How answers are written to standard output
    #[arg(long, value_enum, default_value_t = Format::Human, global = true)]
    pub format: Format,
    /// Say nothing but answers and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice for even more
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Whether colours are used
    #[arg(long, value_enum, default_value_t = When::Auto, global = true)]
    pub color: When,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = When::Auto, global = true)]
    pub progress: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Human,
    Json,
    Markdown,
    Sarif,
}

impl Format {
    /// As it is given on the command line.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a commented oclock.toml and Containerfile.in
    Init(InitArguments),
    /// Choose versions, hash everything, write lockfile.toml
    Update(UpdateArguments),
    /// Build the image from the lockfile; print its ID
    Build(BuildArguments),
    /// Show what a change of the lockfile means, gravest first
    Diff(DiffArguments),
    /// Hold what the lockfile pins against the policy and against advisories
    Audit(AuditArguments),
    /// Prove the lockfile: every hash, name and signature again, and on request the registries and the image
    Verify(VerifyArguments),
    /// List what the lockfile pins
    List,
    /// Say why a pin is there: the chains from what is asked for down to it
    Why(WhyArguments),
    /// Print the rendered Containerfile
    Render(PlatformArguments),
    /// Print the digest of the build context, or write the context to a directory
    Context(ContextArguments),
    /// Show which sources, engines and directories are used, and where they were found
    Info,
    /// Fetch what the lockfile names and the store lacks
    Fetch,
    /// Write the bill of materials of the image, as CycloneDX or SPDX
    Sbom(SbomArguments),
    /// Say how the recorded image came to be, every input by digest
    Provenance(ProvenanceArguments),
    /// Look at the store
    #[command(subcommand)]
    Store(StoreCommand),
}

impl Command {
    /// The formats in which its answer can be written.
    pub(super) fn formats(&self) -> &'static [Format] {
        match self {
            Self::Audit(_) | Self::Verify(_) | Self::Diff(DiffArguments { image: false, .. }) => {
                &[Format::Human, Format::Json, Format::Markdown, Format::Sarif]
            }
            Self::Diff(_)
            | Self::Init(_)
            | Self::Update(_)
            | Self::Build(_)
            | Self::List
            | Self::Why(_)
            | Self::Render(_)
            | Self::Context(_)
            | Self::Info
            | Self::Fetch
            | Self::Sbom(_)
            | Self::Provenance(_)
            | Self::Store(_) => &[Format::Human, Format::Json],
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct InitArguments {
    /// The directory to write to
    #[arg(value_name = "DIR", default_value = ".")]
    pub into: PathBuf,
    /// Import these files: Dockerfile, package.json, package-lock.json, requirements.txt, pyproject.toml, uv.lock, pylock.toml
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub from: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct UpdateArguments {
    /// What moves, with what it forces: npm:NAME, pip:NAME, apt:NAME or base. Everything when not given
    #[arg(value_name = "WHAT")]
    pub what: Vec<String>,
    /// Ask offline whether the lockfile answers the manifest; change nothing
    #[arg(long, conflicts_with_all = ["what", "dry_run", "exit_code", "pruned", "minimal", "precise", "as_of"])]
    pub check: bool,
    /// Move only what a change of the manifest forces
    #[arg(long, conflicts_with = "what")]
    pub minimal: bool,
    /// Choose as the sources stood then: a date (midnight UTC) or a moment with a time zone
    #[arg(long, value_name = "DATE", value_parser = parse_as_of)]
    pub as_of: Option<i64>,
    /// The version that the one WHAT moves to
    #[arg(long, value_name = "VERSION", requires = "what", conflicts_with = "pruned")]
    pub precise: Option<crate::model::PackageVersion>,
    /// Move only the pins that no source has any more, and what they force
    #[arg(long)]
    pub pruned: bool,
    /// Say what would change; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Exit with 1 when something changes
    #[arg(long)]
    pub exit_code: bool,
    /// The engine in whose rooms Python's source distributions are built
    #[arg(long, value_enum, default_value_t = EngineName::Auto)]
    pub engine: EngineName,
}

fn parse_as_of(text: &str) -> Result<i64, String> {
    let moment = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    let parsed = moment.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second);
    parsed.map_err(|_| "write `2026-01-31` or `2026-01-31T12:00:00Z`".to_owned())
}

#[derive(Debug, Args)]
pub(super) struct DiffArguments {
    /// The older lockfile: a file, a git revision or REVISION:PATH; HEAD when not given
    #[arg(value_name = "OLD")]
    pub old: Option<String>,
    /// The newer one; the working copy when not given
    #[arg(value_name = "NEW", requires = "old")]
    pub new: Option<String>,
    /// Compare two images file by file: docker-archive:FILE, oci:DIR, dir:DIR, docker:NAME, buildah:NAME, sha256:ID
    #[arg(long, requires = "new", conflicts_with = "fail_on")]
    pub image: bool,
    /// The platform, where a layout has images for several; only with --image
    #[arg(long, value_name = "OS/ARCH", requires = "image")]
    pub platform: Option<crate::model::Platform>,
    /// Exit with 1 when anything differs
    #[arg(long)]
    pub exit_code: bool,
    /// Exit with 1 when there is a finding of this level or a graver one
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub fail_on: Option<FailOn>,
    /// Print this lockfile with one line for each thing in it, as a textconv of git
    #[arg(long, value_name = "FILE", conflicts_with_all = ["old", "new", "image", "exit_code", "fail_on"])]
    pub textconv: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FailOn {
    Error,
    Warning,
    Note,
}

#[derive(Debug, Args)]
pub(super) struct WhyArguments {
    /// The pin: npm:NAME, pip:NAME, apt:NAME or base
    #[arg(value_name = "WHAT")]
    pub what: String,
}

#[derive(Debug, Args)]
pub(super) struct PlatformArguments {
    /// The platform; the manifest's first when not given
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<crate::model::Platform>,
}

#[derive(Debug, Args)]
pub(super) struct BuildArguments {
    #[command(flatten)]
    pub platform: PlatformArguments,
    /// Build every locked platform, and write one index for all of them to each `-o oci:DIR`
    #[arg(long, conflicts_with_all = ["platform", "no_load", "digest_file"])]
    pub all_platforms: bool,
    /// The engine that runs the steps
    #[arg(long, value_enum, default_value_t = EngineName::Auto)]
    pub engine: EngineName,
    /// Load the image into the engine under this name; may be repeated. The manifest's name and tags when not given
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub tag: Vec<String>,
    /// Do not load the image into an engine
    #[arg(long, conflicts_with = "tag")]
    pub no_load: bool,
    /// Write the image: oci:DIR, docker-archive:FILE or dir:DIR; may be repeated
    #[arg(short, long, value_name = "KIND:PATH")]
    pub output: Vec<String>,
    /// Write the image ID and the manifest digest into the lockfile
    #[arg(long)]
    pub record: bool,
    /// Run every step again, whatever is kept
    #[arg(long)]
    pub no_reuse: bool,
    /// Write the manifest digest to this file
    #[arg(long, value_name = "FILE")]
    pub digest_file: Option<PathBuf>,
    /// Carry out only the first RUN steps: how `verify --rebuild` finds the step that something comes from
    #[arg(long, value_name = "N", hide = true, requires = "no_load", conflicts_with = "record")]
    pub steps: Option<usize>,
    /// Time limit for the engine, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    pub limit: u64,
    /// Memory limit for each step in MiB, in the built-in engine; three quarters of the machine's when not given
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// Ask the registries too: do they still say these hashes; is anything yanked, deprecated or gone
    #[arg(long)]
    pub online: bool,
    /// Let what is not in the store go unchecked; it is said, and does not make the answer no
    #[arg(long)]
    pub allow_missing: bool,
    /// The lockfile before, against which nothing may go back; what git has when not given
    #[arg(long, value_name = "FILE")]
    pub previous: Option<PathBuf>,
    /// Build the image again from the artifacts alone, in varied surroundings, and compare
    #[arg(long)]
    pub rebuild: bool,
    /// How often it is built again
    #[arg(long, value_name = "N", default_value_t = 2, requires = "rebuild")]
    pub rounds: u32,
    /// What is varied: all, none, or some of
    /// time,umask,hostname,directory,order,cores,engine,locale,timezone,environment,home,path,aslr,kernel
    #[arg(long, value_name = "LIST", default_value = "all", requires = "rebuild")]
    pub vary: String,
    /// Time limit for one round, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, requires = "rebuild")]
    pub limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum EngineName {
    Auto,
    Native,
    Buildah,
    BuildahOci,
    BuildahChroot,
    Docker,
    DockerClassic,
    DockerBuildkit,
}

#[derive(Debug, Args)]
pub(super) struct ContextArguments {
    #[command(flatten)]
    pub platform: PlatformArguments,
    /// Print the digest alone (as without any option)
    #[arg(long)]
    pub digest: bool,
    /// Write the staged context to this new directory
    #[arg(long, value_name = "DIR", conflicts_with = "digest")]
    pub to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct SbomArguments {
    #[command(flatten)]
    pub platform: PlatformArguments,
    /// The format: CycloneDX 1.6 or SPDX 2.3, both JSON
    #[arg(long = "as", value_enum, default_value_t = BillForm::Cyclonedx)]
    pub form: BillForm,
    /// Look at the lockfile alone: without licences, suppliers and authors
    #[arg(long)]
    pub lock_only: bool,
    #[command(flatten)]
    pub attest: AttestArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BillForm {
    Cyclonedx,
    Spdx,
}

#[derive(Debug, Args)]
pub(super) struct ProvenanceArguments {
    #[command(flatten)]
    pub platform: PlatformArguments,
    /// Who vouches for the build
    #[arg(long, value_name = "URI", default_value = "https://oclock.invalid/builder/v1")]
    pub builder_id: String,
    #[command(flatten)]
    pub attest: AttestArguments,
}

/// What is done with a document.
#[derive(Debug, Args)]
pub(super) struct AttestArguments {
    /// Sign it with this ECDSA P-256 key (PKCS#8, or as cosign encrypts it; PEM) and give out the envelope
    #[arg(long, value_name = "KEY")]
    pub sign: Option<PathBuf>,
    /// The file with the password of the key; else it is that in COSIGN_PASSWORD
    #[arg(long, value_name = "FILE", requires = "sign")]
    pub password_file: Option<PathBuf>,
    /// Attach it to the recorded image there, oci:DIR or registry:NAME; print its digest
    #[arg(long, value_name = "PLACE")]
    pub attach: Option<String>,
    /// Ask whether ENVELOPE is signed by this public key and says what this project says
    #[arg(long, value_name = "KEY", requires = "envelope", conflicts_with_all = ["sign", "attach"])]
    pub verify: Option<PathBuf>,
    /// The signed envelope for --verify
    #[arg(value_name = "ENVELOPE", requires = "verify")]
    pub envelope: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Print where the store is
    Path,
    /// Print how much it holds
    Size,
    /// Hash every blob again
    Verify(StoreVerifyArguments),
    /// Remove what was not of use for longest, and what killed runs left
    Gc(StoreGcArguments),
}

#[derive(Debug, Args)]
pub(super) struct StoreGcArguments {
    /// Bytes that may stay in all, such as 20G; without it 16G of what can be made again offline, and all artifacts
    #[arg(long, value_name = "SIZE", value_parser = parse_byte_size)]
    pub max_size: Option<u64>,
    /// Remove in any case what was not of use for so long, such as 30d or 12h
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub older_than: Option<Duration>,
}

/// A number of bytes; K, M, G and T are powers of 1024.
fn parse_byte_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let power = match &text[digits.len()..] {
        "" | "B" => 0,
        "K" | "KiB" => 1,
        "M" | "MiB" => 2,
        "G" | "GiB" => 3,
        "T" | "TiB" => 4,
        _ => return Err("write a number with K, M, G or T behind it".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "write a number with K, M, G or T behind it".to_owned())?;
    number.checked_mul(1024_u64.pow(power)).ok_or_else(|| "that is more than there can be".to_owned())
}

fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number of days or hours: `30d`, `12h`".to_owned();
    let (number, hours) = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(days), _) => (days, 24),
        (None, Some(hours)) => (hours, 1),
        (None, None) => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(hours * 3600).map(Duration::from_secs).ok_or_else(wrong)
}

#[derive(Debug, Args)]
pub(super) struct StoreVerifyArguments {
    /// Remove damaged blobs, so that they are fetched again
    #[arg(long)]
    pub repair: bool,
}
