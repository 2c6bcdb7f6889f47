//! A project's page in a simple index: which files there are (PEP 503, 691, 700) and which of them the target can use.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::Deserialize;
use url::Url;
use uv_distribution_filename::{BuildTag, DistFilename, WheelFilename};
use uv_normalize::PackageName;
use uv_pep440::{Version, VersionSpecifiers};
use uv_platform_tags::TagPriority;
use uv_pypi_types::LenientVersionSpecifiers;

use super::target::Target;
use super::{PipError, WishedPip, html};
use crate::base::http::{HttpClient, HttpError, Request};
use crate::lock::is_buildable;
use crate::model::Sha256;
use crate::source::{AsOf, Source, parse_moment};
use crate::store::{Store, fetch_document};

/// The largest page accepted; the largest seen has 21 MB.
const PAGE_LIMIT: u64 = 128 << 20;

/// A file as the index lists it, not yet judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// Its name.
    pub filename: String,
    /// Its address.
    pub url: Url,
    /// Its digest, where the index vouches for one.
    pub sha256: Option<Sha256>,
    /// Its size in bytes, where the index says it.
    pub size: Option<u64>,
    /// The hash of the metadata served beside the wheel (PEP 658), where the index vouches for it.
    pub metadata: Option<Sha256>,
    /// Its specifier of Python versions.
    pub requires_python: Option<String>,
    /// Whether its publisher asks not to use it (PEP 592).
    pub yanked: bool,
    /// When it was uploaded, in seconds since 1970.
    pub published: Option<i64>,
}

/// A file that the target can use: a wheel, or a source distribution that may be built.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) filename: String,
    pub(super) url: Url,
    pub(super) sha256: Sha256,
    pub(super) size: Option<u64>,
    pub(super) metadata: Option<Sha256>,
    pub(super) yanked: bool,
    pub(super) published: Option<i64>,
    pub(super) kind: FileKind,
}

/// What has to be done with a file. The better is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileKind {
    /// It has to be built.
    Source,
    /// It is ready.
    Wheel,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unusable {
    /// It would have to be built, and the manifest does not allow that.
    Source,
    /// It would have to be built, and its kind of archive is none that is.
    Archive(String),
    /// It is for other interpreters or platforms; its tags.
    Tags(String),
    /// It wants another Python; its specifier.
    Python(String),
    /// The index gives no sha256 for it.
    NoHash,
    /// It was published too late to count; when that was.
    Late(String),
}

/// What of a project is taken before all others, and what not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    /// The locked file: it is taken where its version is allowed.
    pub(super) preferred: Option<Sha256>,
    /// The versions that another tool's lock names; the highest of them that is usable is taken where it is allowed.
    pub(super) wished: &'a [WishedPip],
    /// Files that are listed and cannot be had.
    pub(super) gone: &'a BTreeSet<Sha256>,
    /// As of when files count.
    pub(super) as_of: Option<&'a AsOf>,
    /// Whether it may be built from source.
    pub(super) builds: bool,
}

/// What a project has.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The best usable file of each version.
    pub(super) files: BTreeMap<Version, Candidate>,
    /// What else there is.
    pub(super) unusable: BTreeMap<Version, BTreeSet<Unusable>>,
    /// The versions of `files`, for widening ranges.
    pub(super) versions: Vec<Version>,
    /// Whether the index knows the project at all.
    pub(super) known: bool,
    /// The version to be taken before all others where it is allowed.
    pub(super) preferred: Option<Version>,
    /// Whether a file is preferred that the index does not have.
    pub(super) lacks_preferred: bool,
}

impl Page {
    /// Fetches and judges the page of `name`.
    pub(super) async fn fetch(
        name: &PackageName,
        source: &Source,
        (http, store): (&HttpClient, &Store),
        target: &Target,
        choice: Choice<'_>,
    ) -> Result<Self, PipError> {
        let listed = fetch_files(name.as_ref(), source, http, Some(store)).await?;
        let Some(files) = listed else { return Ok(Self::default()) };
        if choice.as_of.is_some() && !files.is_empty() && files.iter().all(|file| file.published.is_none()) {
            return Err(PipError::NoTimes { name: name.to_string(), source_name: source.name.clone() });
        }
        Ok(Self::judge(name, files, target, choice))
    }

    /// Judges the files of a project.
    pub(super) fn judge(name: &PackageName, files: Vec<ListedFile>, target: &Target, choice: Choice<'_>) -> Self {
        let is_preferred = |sha256: Option<Sha256>| sha256.is_some() && choice.preferred == sha256;
        let lacks_preferred = choice.preferred.is_some() && !files.iter().any(|file| is_preferred(file.sha256));
        let mut page = Self { known: true, lacks_preferred, ..Self::default() };
        let mut ranks = BTreeMap::new();
        let mut specifiers = BTreeMap::new();
        for file in files {
            if file.sha256.is_some_and(|sha256| choice.gone.contains(&sha256)) {
                continue;
            }
            let as_of = choice.as_of.filter(|_| !is_preferred(file.sha256));
            let (version, rank) =
                match judge_file(name, &file, target, &mut specifiers, choice.builds).standing(&file, as_of) {
                    Judgement::Ignored => continue,
                    Judgement::Unusable(version, why) => {
                        page.unusable.entry(version).or_default().insert(why);
                        continue;
                    }
                    Judgement::Usable(version, rank) => (version, rank),
                };
            let kind = rank.0;
            let Some(sha256) = file.sha256 else { continue };
            let wish = choice.wished.iter().find(|wish| wish.version == version);
            let is_vouched = wish.is_some_and(|wish| wish.hashes.contains(&sha256));
            let rank = (is_preferred(file.sha256), is_vouched, rank);
            let is_better = page.preferred.as_ref().is_none_or(|known| *known < version);
            if rank.0 || (choice.preferred.is_none() && wish.is_some() && is_better) {
                page.preferred = Some(version.clone());
            }
            if ranks.get(&version).is_some_and(|best| *best >= rank) {
                continue;
            }
            ranks.insert(version.clone(), rank);
            let ListedFile { filename, url, size, metadata, yanked, published, .. } = file;
            page.files.insert(version, Candidate { filename, url, sha256, size, metadata, yanked, published, kind });
        }
        page.versions = page.files.keys().cloned().collect();
        page
    }

    /// The version to try first: the preferred one, else the highest stable one that `allowed` takes, else the highest pre-release. Yanked ones
    /// only where exactly one version is asked for (PEP 592).
    pub(super) fn choose(&self, allowed: &pubgrub::Ranges<Version>) -> Option<&Version> {
        if let Some(preferred) = self.preferred.as_ref().filter(|version| allowed.contains(version)) {
            return Some(preferred);
        }
        let exact = is_exact(allowed);
        let fits = |(version, file): &(&Version, &Candidate)| allowed.contains(version) && (exact || !file.yanked);
        let stable = self.files.iter().rev().filter(fits).find(|(version, _)| !version.any_prerelease());
        stable.or_else(|| self.files.iter().rev().find(fits)).map(|(version, _)| version)
    }
}

/// Whether a range is one version, as `==` makes it.
pub(super) fn is_exact(range: &pubgrub::Ranges<Version>) -> bool {
    uv_pep440::strip_local_version_sentinels(range).as_singleton().is_some()
}

/// The better file is a wheel, is not yanked, has the tags that suit best and the highest build number; names break ties.
type Rank = (FileKind, bool, Option<TagPriority>, Option<BuildTag>, std::cmp::Reverse<String>);

enum Judgement {
    Usable(Version, Rank),
    Unusable(Version, Unusable),
    Ignored,
}

impl Judgement {
    /// The judgement of a file that must have been published in time.
    fn standing(self, file: &ListedFile, as_of: Option<&AsOf>) -> Self {
        match (self, as_of) {
            (Self::Usable(version, _), Some(as_of)) if !as_of.admits(file.published) => {
                Self::Unusable(version, Unusable::Late(as_of.explain(file.published)))
            }
            (judgement, _) => judgement,
        }
    }
}

fn judge_file(
    name: &PackageName,
    file: &ListedFile,
    target: &Target,
    specifiers: &mut BTreeMap<String, Option<VersionSpecifiers>>,
    builds: bool,
) -> Judgement {
    let wheel = match DistFilename::try_from_filename(&file.filename, name) {
        Some(DistFilename::WheelFilename(wheel)) if wheel.name == *name => wheel,
        Some(DistFilename::SourceDistFilename(source)) if !builds => {
            return Judgement::Unusable(source.version, Unusable::Source);
        }
        Some(DistFilename::SourceDistFilename(source)) if !is_buildable(&file.filename) => {
            return Judgement::Unusable(source.version, Unusable::Archive(source.extension.to_string()));
        }
        Some(DistFilename::SourceDistFilename(source)) => {
            let rank = (FileKind::Source, !file.yanked, None, None, std::cmp::Reverse(file.filename.clone()));
            return usable(source.version, rank, file, target, specifiers);
        }
        _ => return Judgement::Ignored,
    };
    let Some(priority) = target.priority(&wheel) else {
        return Judgement::Unusable(wheel.version.clone(), Unusable::Tags(tags_of(&file.filename).to_owned()));
    };
    let name = std::cmp::Reverse(file.filename.clone());
    let rank = (FileKind::Wheel, !file.yanked, Some(priority), build_tag(&wheel), name);
    usable(wheel.version, rank, file, target, specifiers)
}

/// The judgement of a file whose kind and tags suit: the target's Python must too, and the index must vouch for its bytes.
fn usable(
    version: Version,
    rank: Rank,
    file: &ListedFile,
    target: &Target,
    specifiers: &mut BTreeMap<String, Option<VersionSpecifiers>>,
) -> Judgement {
    if let Some(text) = &file.requires_python {
        let known = specifiers.entry(text.clone()).or_insert_with(|| parse_specifiers(text));
        if !known.as_ref().is_some_and(|specifiers| specifiers.contains(&target.python)) {
            return Judgement::Unusable(version, Unusable::Python(text.clone()));
        }
    }
    match file.sha256 {
        None => Judgement::Unusable(version, Unusable::NoHash),
        Some(_) => Judgement::Usable(version, rank),
    }
}

fn build_tag(wheel: &WheelFilename) -> Option<BuildTag> {
    wheel.build_tag().cloned()
}

/// Reads a `Requires-Python`, forgiving what indexes are known to hold; nothing when it makes no sense.
pub(super) fn parse_specifiers(text: &str) -> Option<VersionSpecifiers> {
    LenientVersionSpecifiers::from_str(text).ok().map(VersionSpecifiers::from)
}

/// The three tags at the end of a wheel's file name.
pub(super) fn tags_of(filename: &str) -> &str {
    let stem = filename.strip_suffix(".whl").unwrap_or(filename);
    stem.rmatch_indices('-').nth(2).map_or(stem, |(dash, _)| &stem[dash + 1..])
}

/// Fetches the list of a project's files; nothing when the index does not know the project. A page that has not changed comes
/// from the store, where one is given.
///
/// # Errors
/// When the index cannot be asked, or its page cannot be read.
pub async fn fetch_files(
    project: &str,
    source: &Source,
    http: &HttpClient,
    store: Option<&Store>,
) -> Result<Option<Vec<ListedFile>>, PipError> {
    let bad = |why: String| PipError::Page { name: project.to_owned(), source_name: source.name.clone(), why };
    let url = source.url.join(&format!("{project}/")).map_err(|error| bad(error.to_string()))?;
    let request = Request::get(url)
        .accept("application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1")
        .authorization(source.authorization.as_deref())
        .limit(PAGE_LIMIT);
    let answer = match fetch_document(request, http, store).await {
        Err(HttpError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(PipError::Http { name: project.to_owned(), source: error.into() }),
        Ok(answer) => answer,
    };
    let is_json = answer.body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let files = if is_json { parse_json(&answer.body, &answer.url) } else { html::parse(&answer.body, &answer.url) };
    files.map(Some).map_err(bad)
}

#[derive(Deserialize)]
struct JsonPage<'a> {
    #[serde(borrow)]
    files: Vec<JsonFile<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct JsonFile<'a> {
    #[serde(borrow)]
    filename: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    url: std::borrow::Cow<'a, str>,
    #[serde(default)]
    hashes: JsonHashes,
    size: Option<u64>,
    upload_time: Option<String>,
    requires_python: Option<String>,
    #[serde(default)]
    yanked: JsonYanked,
    #[serde(default)]
    core_metadata: JsonMetadata,
    #[serde(default)]
    dist_info_metadata: JsonMetadata,
}

#[derive(Default, Deserialize)]
struct JsonHashes {
    sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JsonYanked {
    Flag(bool),
    Reason(String),
}

impl Default for JsonYanked {
    fn default() -> Self {
        Self::Flag(false)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JsonMetadata {
    Hashes(JsonHashes),
    Flag(serde::de::IgnoredAny),
}

impl Default for JsonMetadata {
    fn default() -> Self {
        Self::Flag(serde::de::IgnoredAny)
    }
}

impl JsonMetadata {
    fn sha256(&self) -> Option<Sha256> {
        match self {
            Self::Hashes(hashes) => parse_hash(hashes.sha256.as_deref()?),
            Self::Flag(_) => None,
        }
    }
}

/// Reads a digest in either case: indexes write both.
pub(super) fn parse_hash(text: &str) -> Option<Sha256> {
    Sha256::parse(&text.to_ascii_lowercase()).ok()
}

fn parse_json(body: &[u8], base: &Url) -> Result<Vec<ListedFile>, String> {
    let page: JsonPage<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    page.files.into_iter().filter_map(|file| listed(file, base).transpose()).collect()
}

fn listed(file: JsonFile<'_>, base: &Url) -> Result<Option<ListedFile>, String> {
    let Some(url) = file_url(base, &file.url)? else { return Ok(None) };
    Ok(Some(ListedFile {
        sha256: file.hashes.sha256.as_deref().and_then(parse_hash),
        metadata: file.core_metadata.sha256().or_else(|| file.dist_info_metadata.sha256()),
        yanked: match file.yanked {
            JsonYanked::Flag(flag) => flag,
            JsonYanked::Reason(reason) => !reason.is_empty(),
        },
        filename: file.filename.into_owned(),
        url,
        size: file.size,
        published: file.upload_time.as_deref().and_then(parse_moment),
        requires_python: file.requires_python.filter(|text| !text.is_empty()),
    }))
}

/// Resolves a file's address against the page's; nothing when it is not one that is fetched over HTTP.
pub(super) fn file_url(base: &Url, text: &str) -> Result<Option<Url>, String> {
    let url = base.join(text).map_err(|error| format!("a file's address is none: {error}"))?;
    Ok(matches!(url.scheme(), "http" | "https").then_some(url))
}
