//! apt's own settings: the host's deb822 and one-line sources (read by `apt-sources`), as patterns for any suite.
//!
//! Only addresses are taken. Options that weaken apt's checks (`trusted`, `check-valid-until`, `allow-insecure` and the
//! like) and third parties' archives are not.

use std::path::PathBuf;
use std::str::FromStr;

use apt_sources::legacy::LegacyRepositories;
use apt_sources::{Repositories, Repository, RepositoryType};
use url::Url;

use crate::base::environment::Environment;
use crate::base::fs::{FsError, read_text, read_text_if_present, sorted_entries};
use crate::manifest::SourceKind;

use super::error::SourceError;
use super::model::{Source, names};
use super::{found, link, shown_path};

/// Suites without updates and security archives of their own.
const ROLLING: &[&str] = &["sid", "unstable", "experimental"];

/// The suites of a source with a default name, as patterns.
pub(super) fn default_suites(name: &str) -> Option<Vec<String>> {
    match name {
        names::DEBIAN => Some(vec!["{suite}".into(), "{suite}-updates".into()]),
        names::DEBIAN_SECURITY => Some(vec!["{suite}-security".into()]),
        _ => None,
    }
}

/// A source as it serves one suite, if it does.
pub(super) fn for_suite(mut source: Source, suite: &str) -> Option<Source> {
    if ROLLING.contains(&suite) {
        source.suites.retain(|pattern| !matches!(pattern.as_str(), "{suite}-updates" | "{suite}-security"));
    }
    for pattern in &mut source.suites {
        *pattern = pattern.replace("{suite}", suite);
    }
    (!source.suites.is_empty()).then_some(source)
}

/// Debian's archive and its security archive, where the host's apt has them. One for which `is_overridden` is left out.
pub(super) fn discover(
    environment: &Environment,
    is_overridden: impl Fn(&str) -> bool,
) -> Result<Vec<Source>, SourceError> {
    let wanted: Vec<&'static str> =
        [names::DEBIAN, names::DEBIAN_SECURITY].into_iter().filter(|name| !is_overridden(name)).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let release = release(environment)?;
    let stanzas = stanzas(environment)?;
    let mut sources = Vec::new();
    for name in wanted {
        let serves = |stanza: &&Stanza| stanza.suites.iter().any(|suite| role(suite, &release) == Some(name));
        let stanza = stanzas.iter().find(serves).ok_or_else(|| SourceError::NotFound {
            what: if name == names::DEBIAN { "Debian archive" } else { "Debian security archive" },
            looked: vec![format!("/etc/apt/sources.list and sources.list.d, for {}", release.join(", "))],
            section: name,
        })?;
        let (url, authorization) = link::parse_url(stanza.urls[0].as_str())
            .map_err(|reason| SourceError::Url { reason, found_in: stanza.found_in.clone() })?;
        let mut source = found(name, SourceKind::Apt, (url, authorization), stanza.found_in.clone())?;
        source.mirrors =
            stanza.urls[1..].iter().filter_map(|url| Some(link::parse_url(url.as_str()).ok()?.0)).collect();
        source.suites = default_suites(name).unwrap_or_default();
        source.components = vec!["main".into()];
        sources.push(source);
    }
    Ok(sources)
}

/// Which of the default sources serves a suite of the host.
fn role(suite: &str, release: &[String]) -> Option<&'static str> {
    let is_own = |name: &str| release.iter().any(|own| own == name);
    if is_own(suite) {
        return Some(names::DEBIAN);
    }
    let security = suite.strip_suffix("-security").or_else(|| suite.strip_suffix("/updates"));
    security.filter(|name| is_own(name)).map(|_| names::DEBIAN_SECURITY)
}

/// The names under which the host's sources may know its own release; none when it is no Debian.
fn release(environment: &Environment) -> Result<Vec<String>, SourceError> {
    let text = read_text_if_present(&environment.host_path("etc/os-release"))?.unwrap_or_default();
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches(['"', '\'']).to_owned())
    };
    if field("ID").as_deref() != Some("debian") {
        return Ok(Vec::new());
    }
    let mut names: Vec<String> = field("VERSION_CODENAME").into_iter().collect();
    names.extend(["stable", "oldstable", "testing", "sid", "unstable"].map(str::to_owned));
    Ok(names)
}

/// What is taken of one enabled entry for binary packages.
struct Stanza {
    /// At least one, `http` or `https`.
    urls: Vec<Url>,
    suites: Vec<String>,
    found_in: String,
}

fn stanzas(environment: &Environment) -> Result<Vec<Stanza>, SourceError> {
    let mut stanzas = Vec::new();
    for path in files(environment)? {
        let text = read_text(&path)?;
        let file = shown_path(environment, &path);
        let is_deb822 = path.extension().is_some_and(|extension| extension == "sources");
        let entries = if is_deb822 { parse_deb822(&text) } else { parse_lines(&text) };
        let entries = entries.map_err(|reason| SourceError::Settings { file: file.clone(), reason })?;
        stanzas.extend(entries.into_iter().filter_map(|entry| stanza(entry, &file)));
    }
    Ok(stanzas)
}

/// The files that apt reads, in its order.
fn files(environment: &Environment) -> Result<Vec<PathBuf>, FsError> {
    let mut files = vec![environment.host_path("etc/apt/sources.list")];
    files.retain(|path| path.is_file());
    let directory = environment.host_path("etc/apt/sources.list.d");
    if directory.is_dir() {
        let is_read = |path: &PathBuf| path.extension().is_some_and(|name| name == "list" || name == "sources");
        files.extend(sorted_entries(&directory)?.iter().map(std::fs::DirEntry::path).filter(is_read));
    }
    Ok(files)
}

fn stanza(entry: Repository, found_in: &str) -> Option<Stanza> {
    let is_taken = entry.enabled != Some(false) && entry.types.contains(&RepositoryType::Binary);
    let urls: Vec<Url> = entry.uris.into_iter().filter(|url| matches!(url.scheme(), "http" | "https")).collect();
    (is_taken && !urls.is_empty()).then(|| Stanza { urls, suites: entry.suites, found_in: found_in.to_owned() })
}

/// Reads deb822 with nothing but the fields that are taken, since the parser refuses forms of others that apt takes.
fn parse_deb822(text: &str) -> Result<Vec<Repository>, String> {
    const TAKEN: [&str; 5] = ["enabled", "types", "uris", "suites", "components"];
    let mut kept = String::new();
    let mut in_taken = false;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            kept.push('\n');
            continue;
        }
        if !line.starts_with([' ', '\t']) {
            let field = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
            in_taken = TAKEN.contains(&field.as_str());
        }
        if in_taken {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    Ok(Repositories::from_str(&kept)?.iter().cloned().collect())
}

/// Reads one-line entries, line by line and without their options.
fn parse_lines(text: &str) -> Result<Vec<Repository>, String> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut plain = line.to_owned();
        if let (Some(open), Some(close)) = (line.find('['), line.find(']'))
            && open < close
        {
            plain = format!("{} {}", line[..open].trim_end(), line[close + 1..].trim_start());
        }
        if !plain.starts_with("deb ") {
            continue;
        }
        let parsed = LegacyRepositories::from_str(&plain).map_err(|error| error.to_string())?;
        entries.extend(parsed.repositories().map(Repository::from));
    }
    Ok(entries)
}
