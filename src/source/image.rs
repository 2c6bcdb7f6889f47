//! The container tools' own settings: `registries.conf`, docker's `daemon.json` for mirrors, and logins of docker and podman.
//!
//! The registry of a reference that names none is the one in `registries.conf`, else docker's default, which the crate
//! `oci-spec` carries.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_spec::distribution::Reference;
use serde_json::Value;
use url::Url;

use crate::base::document::{Document, DocumentError, Table};
use crate::base::environment::Environment;
use crate::base::fs::read_text_if_present;
use crate::base::process::Invocation;
use crate::base::text::sanitize;
use crate::manifest::SourceKind;
use crate::model::ImageReference;

use super::error::SourceError;
use super::model::{Source, names};
use super::{found, link, shown_path};

/// Whether a source is the registry at this host.
pub(super) fn is_at(source: &Source, host: &str) -> bool {
    let port = source.url.port().map(|port| format!(":{port}")).unwrap_or_default();
    source.url.host_str().is_some_and(|own| format!("{own}{port}") == host)
}

/// The registry at `host`, or the default one, with its mirrors and the user's login.
pub(super) fn discover(environment: &Environment, host: Option<&str>) -> Result<Source, SourceError> {
    let settings = read_registries(environment)?;
    let (host, found_in) = match (host, settings.search) {
        (Some(host), _) => (host.to_owned(), "the image's own name".to_owned()),
        (None, Some((host, file))) => (host, file),
        (None, None) => (default_host(), "docker's default".to_owned()),
    };
    let address = |host: &str, is_plain: bool| {
        let scheme = if is_plain || is_loopback(host) { "http" } else { "https" };
        link::parse_url(&format!("{scheme}://{host}/"))
            .map_err(|reason| SourceError::Url { reason, found_in: found_in.clone() })
    };
    let place = settings.places.into_iter().find(|place| place.prefix == host);
    if place.as_ref().is_some_and(|place| place.blocked) {
        let reason = format!("it blocks `{}`", sanitize(&host));
        return Err(SourceError::Settings { file: settings.file, reason });
    }
    let location = place.as_ref().and_then(|place| place.location.clone()).unwrap_or_else(|| host.clone());
    let reached = reached_at(&location);
    let (url, _) = address(&reached, place.as_ref().is_some_and(|place| place.is_plain))?;
    let login = login(environment, &[&host, &location, &reached], "")?;
    let mut source = found(names::REGISTRY, SourceKind::Image, (url, login), found_in.clone())?;
    for (mirror, is_plain) in place.into_iter().flat_map(|place| place.mirrors) {
        source.mirrors.push(address(&mirror, is_plain)?.0);
    }
    if host == default_host() {
        source.mirrors.extend(daemon_mirrors(environment)?);
    }
    Ok(source)
}

/// A repository's name where it is asked for: docker's default registry keeps names of one part in a namespace.
pub fn repository_at(source: &Source, reference: &ImageReference) -> String {
    let host = default_host();
    let is_default = is_at(source, &host) || is_at(source, &reached_at(&host));
    let whole = is_default.then(|| reference.repository.parse::<Reference>().ok()).flatten();
    whole.map_or_else(|| reference.repository.clone(), |whole| whole.repository().to_owned())
}

/// The user's login for a repository of a registry, by any name that the registry has.
pub(super) fn login_at(
    environment: &Environment,
    source: &Source,
    named: Option<&str>,
    repository: &str,
) -> Result<Option<String>, SourceError> {
    let port = source.url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let own = source.url.host_str().map(|host| format!("{host}{port}")).unwrap_or_default();
    let default = default_host();
    let is_default = own == reached_at(&default);
    let names = named.into_iter().chain([own.as_str()]).chain(is_default.then_some(default.as_str()));
    let names: Vec<&str> = names.collect();
    login(environment, &names, repository)
}

/// The registry that a reference without one means to docker.
fn default_host() -> String {
    "x".parse().map_or_else(|_| String::new(), |reference: Reference| reference.registry().to_owned())
}

/// Where a registry is asked: docker's default has another address than name.
fn reached_at(host: &str) -> String {
    Reference::with_tag(host.to_owned(), "x".to_owned(), "x".to_owned()).resolve_registry().to_owned()
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name == "[::1]" || name.starts_with("127.")
}

/// What `registries.conf` says (containers-registries.conf(5)).
#[derive(Debug, Default)]
struct Registries {
    /// The first registry for names without one, and the file that says so.
    search: Option<(String, String)>,
    places: Vec<Place>,
    file: String,
}

#[derive(Debug)]
struct Place {
    prefix: String,
    location: Option<String>,
    /// Each with whether it is asked without encryption.
    mirrors: Vec<(String, bool)>,
    blocked: bool,
    /// `insecure = true`: asked without encryption.
    is_plain: bool,
}

fn read_registries(environment: &Environment) -> Result<Registries, SourceError> {
    let named = environment.variable("CONTAINERS_REGISTRIES_CONF").map(PathBuf::from);
    let user = environment.home().map(|home| home.join(".config/containers/registries.conf"));
    let host = Some(environment.host_path("etc/containers/registries.conf"));
    for path in [named, user, host].into_iter().flatten() {
        let Some(text) = read_text_if_present(&path)? else { continue };
        let file = shown_path(environment, &path);
        return parse_registries(&text, &file)
            .map_err(|error| SourceError::Settings { file, reason: error.to_string() });
    }
    Ok(Registries::default())
}

fn parse_registries(text: &str, file: &str) -> Result<Registries, DocumentError> {
    let document = Document::parse(text, file)?;
    let root = document.free_root();
    let flag = |table: &Table<'_>, key: &str| table.get(key).map_or(Ok(false), |value| value.boolean());
    let mut registries = Registries { file: file.to_owned(), ..Registries::default() };
    if let Some(value) = root.get("unqualified-search-registries")
        && let Some(first) = value.list()?.first()
    {
        registries.search = Some((first.string()?.to_owned(), file.to_owned()));
    }
    for item in root.get("registry").map_or(Ok(Vec::new()), |value| value.list())? {
        let table = item.free_table()?;
        let text = |key: &str| table.get(key).map(|value| value.string().map(str::to_owned)).transpose();
        let location = text("location")?;
        let Some(prefix) = text("prefix")?.or_else(|| location.clone()) else { continue };
        let mut mirrors = Vec::new();
        for mirror in table.get("mirror").map_or(Ok(Vec::new()), |value| value.list())? {
            let mirror = mirror.free_table()?;
            mirrors.push((mirror.require("location")?.string()?.to_owned(), flag(&mirror, "insecure")?));
        }
        let (blocked, is_plain) = (flag(&table, "blocked")?, flag(&table, "insecure")?);
        registries.places.push(Place { prefix, location, mirrors, blocked, is_plain });
    }
    Ok(registries)
}

fn daemon_mirrors(environment: &Environment) -> Result<Vec<Url>, SourceError> {
    let path = environment.host_path("etc/docker/daemon.json");
    let Some(settings) = read_json(environment, &path)? else { return Ok(Vec::new()) };
    let mirrors = settings["registry-mirrors"].as_array().cloned().unwrap_or_default();
    Ok(mirrors.iter().filter_map(|mirror| Some(link::parse_url(mirror.as_str()?).ok()?.0)).collect())
}

/// The value of `Authorization` that the user logged in with, under any of a registry's names. A login for a namespace of
/// the registry, as podman keeps them, is for repositories in it alone.
fn login(environment: &Environment, hosts: &[&str], repository: &str) -> Result<Option<String>, SourceError> {
    for path in login_files(environment) {
        let Some(settings) = read_json(environment, &path)? else { continue };
        for host in hosts {
            if let Some(login) = login_in(&settings, host, repository) {
                return Ok(Some(login));
            }
        }
    }
    Ok(None)
}

/// Podman's and docker's files, strongest first.
fn login_files(environment: &Environment) -> Vec<PathBuf> {
    let variable = |name: &str| environment.variable(name).map(PathBuf::from);
    let home = environment.home();
    let docker = variable("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
    let files = [
        variable("REGISTRY_AUTH_FILE"),
        variable("XDG_RUNTIME_DIR").map(|path| path.join("containers/auth.json")),
        home.as_ref().map(|path| path.join(".config/containers/auth.json")),
        docker.map(|path| path.join("config.json")),
    ];
    files.into_iter().flatten().collect()
}

fn login_in(settings: &Value, host: &str, repository: &str) -> Option<String> {
    // How much of the repository's name a key covers; nothing when it is of another registry or namespace.
    let cover = |key: &str| {
        let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let (own, path) = key.split_once('/').unwrap_or((key, ""));
        let is_whole_registry = matches!(path, "" | "v1/" | "v2/" | "v1" | "v2");
        let covers = || repository == path || repository.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        match own == host {
            true if is_whole_registry => Some(0),
            true if covers() => Some(path.len()),
            _ => None,
        }
    };
    let best = |name: &str| {
        let entries = settings[name].as_object().into_iter().flatten();
        let found = entries.filter_map(|(key, entry)| Some((cover(key)?, key, entry)));
        found.max_by_key(|(cover, ..)| *cover).map(|(_, key, entry)| (key, entry))
    };
    if let Some((key, helper)) = best("credHelpers") {
        return ask_helper(helper.as_str()?, key);
    }
    let (key, entry) = best("auths")?;
    if let Some(pair) = entry["auth"].as_str().filter(|pair| !pair.is_empty()) {
        return Some(format!("Basic {}", STANDARD.encode(STANDARD.decode(pair).ok()?)));
    }
    ask_helper(settings["credsStore"].as_str()?, key)
}

/// Asks docker's credential helper (its protocol: the server's name in, JSON out).
fn ask_helper(name: &str, server: &str) -> Option<String> {
    let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let answer = is_plain.then(|| {
        // The shell gives it the server's name on standard input.
        Invocation::new("sh")
            .args(["-c", "printf %s \"$2\" | \"$1\" get", "sh", &format!("docker-credential-{name}"), server])
            .limit(Duration::from_secs(20))
            .run()
            .map_err(|error| tracing::debug!("{error}"))
    })?;
    let answer: Value = serde_json::from_slice(&answer.ok()?.stdout).ok()?;
    Some(link::basic(answer["Username"].as_str()?, answer["Secret"].as_str()?))
}

fn read_json(environment: &Environment, path: &std::path::Path) -> Result<Option<Value>, SourceError> {
    let Some(text) = read_text_if_present(path)? else { return Ok(None) };
    let value = serde_json::from_str(&text)
        .map_err(|error| SourceError::Settings { file: shown_path(environment, path), reason: error.to_string() })?;
    Ok(Some(value))
}
