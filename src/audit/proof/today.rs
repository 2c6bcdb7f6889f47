//! What the registries say today of what was locked: the same hash, yanked, deprecated, unpublished, gone. Each source is asked
//! for itself, each package's document once, all side by side over one pooled client.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde::Deserialize;
use serde_json::Value;

use super::artifacts::{label, subject};
use super::rollback::moment;
use super::{CHAIN, TODAY_DEPRECATED, TODAY_GONE, TODAY_OLDER, TODAY_OTHER, TODAY_PUBLISHED, TODAY_YANKED, UNCHECKED};
use crate::audit::finding::{Finding, Rule};
use crate::base::explain::{Explain, Kind};
use crate::base::http::{HttpClient, HttpError, Request};
use crate::base::text::sanitize;
use crate::fetch::{FetchError, Wanted, find_gone};
use crate::lock::{AptPin, BasePin, Lockfile, NpmPin, PinView, PipPin};
use crate::model::{ImageReference, PackageName, SourceName};
use crate::resolve::apt::{AptRequest, Standing, Today, remember_later};
use crate::resolve::image::{self, ImageRequest};
use crate::resolve::npm::parse_integrity;
use crate::resolve::pip::{ListedFile, fetch_files};
use crate::source::{Source, Sources};
use crate::store::Store;

/// The largest document of an npm package that is read, in bytes.
const DOCUMENT_LIMIT: u64 = 256 << 20;

/// What is asked.
pub struct TodayRequest<'a> {
    /// The lock.
    pub lock: &'a Lockfile,
    /// What is asked of the Debian archives, one for each platform that has packages of them.
    pub archives: Vec<AptRequest<'a>>,
    /// Where the registries are.
    pub sources: &'a Sources,
    /// The client.
    pub http: &'a HttpClient,
    /// Where signed indexes are kept.
    pub store: &'a Store,
}

/// Asks the registries about all that is locked.
pub async fn check_today(request: &TodayRequest<'_>) -> Vec<Finding> {
    let (mut found, npm, pip, base) =
        futures::join!(ask_archives(request), ask_npm(request), ask_pip(request), ask_base(request));
    found.extend(npm);
    found.extend(pip);
    found.extend(base);
    found
}

/// The finding for a question that was not answered.
fn unanswered(subject: impl Into<String>, error: &dyn Explain) -> Finding {
    let rule: &Rule = if error.kind() == Kind::Distrust { &CHAIN } else { &UNCHECKED };
    let subject = subject.into();
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |cause| cause.source()).skip(1);
    let mut evidence: Vec<String> = causes.map(|cause| format!("because  {}", sanitize(&cause.to_string()))).collect();
    evidence.extend(error.evidence());
    let message = format!("`{subject}` could not be asked about: {}", sanitize(&error.to_string()));
    Finding { evidence, ..Finding::new(rule, subject, message) }
}

fn other(pin: &PinView<'_>, locked: &str, served: &str) -> Finding {
    let message = format!("`{}` has other bytes at `{}` today", label(pin), pin.artifact.source);
    let evidence = vec![format!("  locked  {locked}"), format!("  served  {}", sanitize(served))];
    Finding { evidence, ..Finding::new(&TODAY_OTHER, subject(pin), message) }
}

/// A finding where both say a time and not the same.
fn redated(pin: &PinView<'_>, locked: Option<i64>, served: Option<i64>) -> Option<Finding> {
    let (locked, served) = (locked?, served?);
    let message = format!("`{}` was published at another time than the lockfile says", label(pin));
    let evidence = vec![format!("  locked  {}", moment(locked)), format!("  served  {}", moment(served))];
    (locked != served).then(|| Finding { evidence, ..Finding::new(&TODAY_PUBLISHED, subject(pin), message) })
}

fn gone(pin: &PinView<'_>) -> Finding {
    let message = format!("`{}` is no longer to be had from `{}`", label(pin), pin.artifact.source);
    Finding::new(&TODAY_GONE, subject(pin), message)
}

type ByPackage<'a, P> = BTreeMap<(&'a SourceName, &'a PackageName), Vec<&'a P>>;

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    versions: BTreeMap<String, Version>,
    /// Beside the versions' times there may be an object that says what was unpublished.
    #[serde(default)]
    time: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    dist: Dist,
    #[serde(default)]
    deprecated: Value,
}

#[derive(Default, Deserialize)]
struct Dist {
    integrity: Option<String>,
}

async fn ask_npm(request: &TodayRequest<'_>) -> Vec<Finding> {
    let mut packages: ByPackage<'_, NpmPin> = BTreeMap::new();
    for pin in &request.lock.npm {
        packages.entry((&pin.artifact.source, &pin.name)).or_default().push(pin);
    }
    let questions = packages.iter().map(|((source, name), pins)| async move {
        let source = match request.sources.get(source) {
            Ok(source) => source,
            Err(error) => return vec![unanswered(format!("npm:{name}"), &error)],
        };
        let with_times = pins.iter().any(|pin| pin.published.is_some());
        let kind = if with_times { WHOLE } else { ABBREVIATED };
        match npm_document(&source, name, kind, request.http).await {
            Ok(document) => pins.iter().flat_map(|pin| judge_npm(pin, document.as_ref())).collect(),
            Err(error) => vec![unanswered(format!("npm:{name}"), &error)],
        }
    });
    join_all(questions).await.into_iter().flatten().collect()
}

/// The document with the times of all versions, which is large.
const WHOLE: &str = "application/json";
/// The document that npm itself asks for.
const ABBREVIATED: &str = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8";

async fn npm_document(
    source: &Source,
    name: &PackageName,
    kind: &'static str,
    http: &HttpClient,
) -> Result<Option<Document>, HttpError> {
    let Ok(url) = source.url.join(&format!("./{}", name.as_str().replace('/', "%2f"))) else { return Ok(None) };
    let request = Request::get(url).accept(kind).authorization(source.authorization.as_deref()).limit(DOCUMENT_LIMIT);
    match http.fetch(request).await {
        // What cannot be read names no version, so that every pin of it counts as gone.
        Ok(answer) => Ok(serde_json::from_slice(&answer.body).ok()),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn judge_npm(pin: &NpmPin, document: Option<&Document>) -> Vec<Finding> {
    let view = pin.view();
    let Some(version) = document.and_then(|document| document.versions.get(pin.version.as_str())) else {
        return vec![gone(&view)];
    };
    let mut findings = Vec::new();
    if let Some(locked) = pin.artifact.sha512 {
        let served = version.dist.integrity.as_deref();
        if served.and_then(parse_integrity) != Some(locked) {
            findings.push(other(&view, &format!("sha512:{locked}"), served.unwrap_or("no integrity")));
        }
    }
    let time = document.and_then(|document| document.time.get(pin.version.as_str()));
    let published =
        time.and_then(|time| time.as_str()?.parse::<jiff::Timestamp>().ok()).map(jiff::Timestamp::as_second);
    findings.extend(redated(&view, pin.published, published));
    // Registries write a message, `true`, or an empty text for what is not deprecated.
    let words = match &version.deprecated {
        Value::String(text) if !text.is_empty() => Some(text.as_str()),
        Value::Bool(true) => Some("without a reason"),
        _ => None,
    };
    if let Some(words) = words {
        let message = format!("`{}` is deprecated: {}", label(&view), sanitize(words));
        findings.push(Finding::new(&TODAY_DEPRECATED, subject(&view), message));
    }
    findings
}

async fn ask_pip(request: &TodayRequest<'_>) -> Vec<Finding> {
    let mut projects: ByPackage<'_, PipPin> = BTreeMap::new();
    let builds = request.lock.pip_builds.iter().map(|pin| &pin.wheel);
    for pin in request.lock.pip.iter().chain(builds) {
        projects.entry((&pin.artifact.source, &pin.name)).or_default().push(pin);
    }
    let questions = projects.iter().map(|((source, name), pins)| async move {
        let source = match request.sources.get(source) {
            Ok(source) => source,
            Err(error) => return vec![unanswered(format!("pip:{name}"), &error)],
        };
        if pins.iter().any(|pin| request.sources.is_asked_by_url(&pin.artifact)) {
            let pins: Vec<PinView<'_>> = pins.iter().map(|pin| pin.view()).collect();
            return ask_gone(request, &pins, &format!("pip:{name}")).await;
        }
        match fetch_files(name.as_str(), &source, request.http, None).await {
            Ok(files) => pins.iter().flat_map(|pin| judge_pip(pin, files.as_deref().unwrap_or_default())).collect(),
            Err(error) => vec![unanswered(format!("pip:{name}"), &error)],
        }
    });
    join_all(questions).await.into_iter().flatten().collect()
}

fn judge_pip(pin: &PipPin, files: &[ListedFile]) -> Vec<Finding> {
    let view = pin.view();
    let Some(file) = files.iter().find(|file| file.filename == pin.artifact.path.file_name()) else {
        return vec![gone(&view)];
    };
    let mut findings = Vec::new();
    if file.sha256 != Some(pin.artifact.sha256) {
        let served = file.sha256.map_or_else(|| "no sha256".to_owned(), |digest| digest.prefixed());
        findings.push(other(&view, &pin.artifact.sha256.prefixed(), &served));
    }
    findings.extend(redated(&view, pin.published, file.published));
    if file.yanked {
        findings.push(Finding::new(&TODAY_YANKED, subject(&view), format!("`{}` was yanked", label(&view))));
    }
    findings
}

async fn ask_archives(request: &TodayRequest<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for archive in &request.archives {
        let pins: Vec<&AptPin> = request.lock.apt.iter().filter(|pin| pin.platform == archive.platform).collect();
        if pins.is_empty() {
            continue;
        }
        let sources = match request.sources.apt(archive.suite) {
            Ok(sources) => sources,
            Err(error) => return vec![unanswered("apt", &error)],
        };
        let sources: Vec<&Source> = sources.iter().collect();
        match Today::fetch(archive, &sources, request.http, request.store).await {
            Ok(today) => {
                // What cannot be kept stands in for nothing, which is said where the chain is looked at.
                remember_later(&today, archive.platform, request.store).ok();
                findings.extend(judge_dates(request.lock, &today));
                findings.extend(judge_apt(request, &today, &pins).await);
            }
            Err(error) => findings.push(unanswered("apt", &error)),
        }
    }
    findings
}

fn judge_dates(lock: &Lockfile, today: &Today) -> Vec<Finding> {
    let mut findings = Vec::new();
    for served in today.archives() {
        let own = lock.archives.iter().filter(|own| (&own.source, &own.suite) == (&served.source, &served.suite));
        if let Some(locked) = own.map(|own| own.date).max().filter(|locked| *locked > served.date) {
            let (source, suite) = (&served.source, &served.suite);
            let message = format!("the archive `{source}` of {suite} is older today than when it was locked");
            let evidence = vec![format!("  locked  {}", moment(locked)), format!("  served  {}", moment(served.date))];
            findings.push(Finding { evidence, ..Finding::new(&TODAY_OLDER, format!("apt:{source}/{suite}"), message) });
        }
    }
    findings
}

async fn judge_apt(request: &TodayRequest<'_>, today: &Today, pins: &[&AptPin]) -> Vec<Finding> {
    let (mut findings, mut unlisted) = (Vec::new(), Vec::new());
    for (pin, standing) in pins.iter().zip(today.standings(pins)) {
        match standing {
            Standing::Listed => {}
            Standing::Other(digest) => {
                findings.push(other(&pin.view(), &pin.artifact.sha256.prefixed(), &format!("sha256:{digest}")));
            }
            Standing::Unlisted => unlisted.push(*pin),
        }
    }
    // Superseded files stay in the pool for a while.
    let unlisted: Vec<PinView<'_>> = unlisted.iter().map(|pin| pin.view()).collect();
    findings.extend(ask_gone(request, &unlisted, "apt").await);
    findings
}

/// Asks for the files themselves, where nothing lists them.
async fn ask_gone(request: &TodayRequest<'_>, pins: &[PinView<'_>], subject: &str) -> Vec<Finding> {
    let wanted: Vec<Wanted<'_>> = pins.iter().map(|pin| Wanted::of(*pin, request.lock)).collect();
    match find_gone(&wanted, request.sources, request.http).await {
        Ok(failures) => {
            let is_gone = |pin: &&PinView<'_>| failures.iter().any(|failure| failure.artifact == *pin.artifact);
            pins.iter().filter(is_gone).map(gone).collect()
        }
        Err(error) => vec![unanswered(subject, &error as &FetchError)],
    }
}

/// The base's index by its digest, and what it lists now.
async fn ask_base(request: &TodayRequest<'_>) -> Vec<Finding> {
    let BasePin::Image { reference, source, index, manifests } = &request.lock.base else { return Vec::new() };
    let source = match request.sources.get(source) {
        Ok(source) => source,
        Err(error) => return vec![unanswered("base", &error)],
    };
    let by_digest = ImageReference { digest: Some(*index), ..reference.clone() };
    let platforms: Vec<_> = manifests.keys().copied().collect();
    let question = ImageRequest { reference: &by_digest, platforms: &platforms };
    match image::resolve(&question, &source, request.http, request.store).await {
        Ok(BasePin::Image { manifests: served, .. }) if served == *manifests => Vec::new(),
        Ok(_) => {
            let message = format!("the base `{reference}` is not what its registry has under the locked digest");
            vec![Finding::new(&TODAY_OTHER, "base", message)]
        }
        Err(error) => vec![unanswered("base", &error)],
    }
}
