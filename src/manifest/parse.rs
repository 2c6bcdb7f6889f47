//! The text of oclock.toml → its value.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, PathBuf};

use url::Url;

use crate::base::document::{Document, DocumentError, Table, Value};
use crate::base::explain::{Excerpt, Explain, Kind};
use crate::base::text::nearest;
use crate::model::{ImageReference, LayerCompression, PackageName, Platform, SourceName, ValueError, check_image_path};

use super::model::*;
use super::place::Place;
use super::policy::{POLICY, policy};
use super::requirement::{
    AptRequirement, NpmRequirement, check_override_wish, parse_override_key, parse_pip_constraint, parse_pip_release,
    parse_pip_requirement, parse_suite,
};

const SECTIONS: &[&str] = &["image", "apt", "npm", "pip", "sources", "policy"];
const IMAGE: &[&str] = &["name", "tags", "platforms", "base", "epoch", "compression"];
const APT: &[&str] = &["packages", "recommends", "suite"];
const NPM: &[&str] = &["packages", "projects", "prefix", "overrides", "omit", "scripts", "node"];
const PIP: &[&str] = &["path", "packages", "constraints", "overrides", "python", "build"];
const SOURCE: &[&str] = &["kind", "url", "mirrors", "packages", "suites", "components", "signed-by"];
const KINDS: &[(&str, SourceKind)] =
    &[("apt", SourceKind::Apt), ("npm", SourceKind::Npm), ("pip", SourceKind::Pip), ("image", SourceKind::Image)];

/// The sections and the keys that each may have; `[policy]` has its own page.
pub const KEYS: &[(&str, &[&str])] =
    &[("image", IMAGE), ("apt", APT), ("npm", NPM), ("pip", PIP), ("sources.NAME", SOURCE), ("policy", POLICY)];

/// Why a text is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A key or value is wrong.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The same thing is asked for twice.
    #[error("`{}` asks for `{what}` twice", excerpt.file)]
    Duplicate {
        /// What stands twice.
        what: String,
        /// The second time.
        excerpt: Box<Excerpt>,
    },
}

impl Explain for ManifestError {
    fn kind(&self) -> Kind {
        Kind::Asked
    }

    fn excerpt(&self) -> Option<Excerpt> {
        match self {
            Self::Document(error) => error.excerpt(),
            Self::Duplicate { excerpt, .. } => Some((**excerpt).clone()),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Document(DocumentError::MissingKey { key, .. }) if key == "image.base" => {
                vec!["`base = { debian = \"trixie\" }` builds from signed packages alone".into()]
            }
            Self::Document(error) => error.hints(),
            Self::Duplicate { .. } => vec!["take one of the two out".into()],
        }
    }
}

/// Reads a manifest; `file` is what complaints call it.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse_manifest(text: &str, file: &str) -> Result<Manifest, ManifestError> {
    parse_with_places(text, file, &mut BTreeMap::new())
}

/// Reads the user's own settings, which hold `[sources]` alone and may have credentials in URLs.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse_settings(text: &str, file: &str) -> Result<BTreeMap<SourceName, SourceSection>, ManifestError> {
    let document = Document::parse(text, file)?;
    let root = document.root(&["sources"])?;
    Reader { document: &document, places: &mut BTreeMap::new(), credentials: Credentials::Allowed }.sources(&root)
}

pub(super) fn parse_with_places(
    text: &str,
    file: &str,
    places: &mut BTreeMap<Place, usize>,
) -> Result<Manifest, ManifestError> {
    let document = Document::parse(text, file)?;
    let root = document.root(SECTIONS)?;
    let mut reader = Reader { document: &document, places, credentials: Credentials::Refused };
    let image = reader.image(&root)?;
    let manifest = Manifest {
        apt: reader.apt(&root, &image.base)?,
        npm: reader.npm(&root)?,
        pip: reader.pip(&root)?,
        sources: reader.sources(&root)?,
        policy: reader.policy(&root)?,
        image,
    };
    Ok(manifest)
}

/// Whether URLs of sources may hold a user name and password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Credentials {
    Refused,
    Allowed,
}

struct Reader<'a> {
    document: &'a Document<'a>,
    places: &'a mut BTreeMap<Place, usize>,
    credentials: Credentials,
}

/// Reads `[npm.overrides]` or a table in it; `.` in a table is about the package that it belongs to.
fn npm_overrides(value: &Value<'_>) -> Result<Vec<NpmOverride>, ManifestError> {
    let mut overrides = Vec::new();
    for entry in value.free_table()?.entries().filter(|entry| entry.key() != ".") {
        let name = parse_override_key(entry.key()).map_err(|error| entry.invalid_key(error))?;
        let (wanted, below) = match entry.is_table() {
            false => (Some(override_wish(&name, &entry)?), Vec::new()),
            true => {
                let own = entry.free_table()?.get(".");
                (own.map(|own| override_wish(&name, &own)).transpose()?, npm_overrides(&entry)?)
            }
        };
        overrides.push(NpmOverride { key: entry.key().to_owned(), wanted, below });
    }
    Ok(overrides)
}

fn override_wish(name: &str, value: &Value<'_>) -> Result<String, DocumentError> {
    value.parse(|text| check_override_wish(name, text))?;
    Ok(value.string()?.to_owned())
}

impl<'a> Reader<'a> {
    fn section(
        &mut self,
        root: &Table<'a>,
        name: &'static str,
        known: &'static [&'static str],
    ) -> Result<Option<Table<'a>>, ManifestError> {
        let Some(value) = root.get(name) else { return Ok(None) };
        self.places.insert(Place::Key(name), value.key_offset());
        Ok(Some(value.table(known)?))
    }

    fn image(&mut self, root: &Table<'a>) -> Result<ImageSection, ManifestError> {
        let value = root.require("image")?;
        self.places.insert(Place::Key("image"), value.key_offset());
        let section = value.table(IMAGE)?;
        self.mark(
            &section,
            &[
                ("base", "image.base"),
                ("platforms", "image.platforms"),
                ("epoch", "image.epoch"),
                ("compression", "image.compression"),
            ],
        );
        let name = section.require("name")?.parse(parse_image_name)?;
        let base = section.require("base")?;
        let mut platforms = self.unique(&section, "platforms", Platform::parse)?;
        if platforms.is_empty() {
            platforms.push(Platform::LINUX_AMD64);
        }
        platforms.sort();
        let mut tags = self.unique(&section, "tags", parse_tag)?;
        if tags.is_empty() {
            tags.push("latest".to_owned());
        }
        Ok(ImageSection {
            name,
            tags,
            platforms,
            base: base_request(&base)?,
            epoch: section.get("epoch").map(|value| value.timestamp()).transpose()?,
            compression: match section.get("compression") {
                Some(value) => value.parse(LayerCompression::parse)?,
                None => LayerCompression::default(),
            },
        })
    }

    fn apt(&mut self, root: &Table<'a>, base: &BaseRequest) -> Result<AptSection, ManifestError> {
        let Some(section) = self.section(root, "apt", APT)? else { return Ok(AptSection::default()) };
        let mut names = BTreeSet::new();
        let mut packages = Vec::new();
        for item in list(&section, "packages")? {
            let requirement = item.parse(AptRequirement::parse)?;
            if !names.insert(requirement.name.clone()) {
                return Err(self.duplicate(&item, requirement.name.as_str()));
            }
            self.places.insert(Place::Apt(item.string()?.to_owned()), item.offset());
            packages.push(item.string()?.to_owned());
        }
        let recommends = match section.get("recommends").map(|value| value.boolean()).transpose()? {
            Some(true) => Recommends::Follow,
            Some(false) | None => Recommends::Ignore,
        };
        let suite = section.get("suite");
        if let (Some(value), BaseRequest::Debian { .. }) = (&suite, base) {
            return Err(value.invalid_key("the suite is said by `base`: take this line out").into());
        }
        Ok(AptSection { packages, recommends, suite: suite.map(|value| value.parse(parse_suite)).transpose()? })
    }

    fn npm(&mut self, root: &Table<'a>) -> Result<NpmSection, ManifestError> {
        let default_prefix = "/usr/local".to_owned();
        let Some(section) = self.section(root, "npm", NPM)? else {
            return Ok(NpmSection { prefix: default_prefix, ..NpmSection::default() });
        };
        self.mark(
            &section,
            &[("omit", "npm.omit"), ("overrides", "npm.overrides"), ("scripts", "npm.scripts"), ("node", "npm.node")],
        );
        let packages = match section.get("packages") {
            Some(value) => self.npm_packages(&value, Place::Npm)?,
            None => BTreeMap::new(),
        };
        let mut projects = BTreeMap::new();
        if let Some(value) = section.get("projects") {
            for project in value.free_table()?.entries() {
                check_image_path(project.key()).map_err(|error| project.invalid_key(error))?;
                let directory = project.key().to_owned();
                let place = |name| Place::NpmProject { directory: directory.clone(), name };
                projects.insert(directory.clone(), self.npm_packages(&project, place)?);
            }
        }
        Ok(NpmSection {
            packages,
            projects,
            prefix: section.get("prefix").map(|value| image_path(&value)).transpose()?.unwrap_or(default_prefix),
            overrides: match section.get("overrides") {
                Some(value) => npm_overrides(&value)?,
                None => Vec::new(),
            },
            omit: self.unique(&section, "omit", PackageName::parse)?.into_iter().collect(),
            scripts: self.unique(&section, "scripts", PackageName::parse)?.into_iter().collect(),
            node: section.get("node").map(|value| value.parse(parse_node_version)).transpose()?,
        })
    }

    fn npm_packages(
        &mut self,
        value: &Value<'a>,
        place: impl Fn(String) -> Place,
    ) -> Result<BTreeMap<String, String>, ManifestError> {
        let mut packages = BTreeMap::new();
        for entry in value.free_table()?.entries() {
            PackageName::parse(entry.key()).map_err(|error| entry.invalid_key(error))?;
            entry.parse(|text| NpmRequirement::parse(entry.key(), text))?;
            self.places.insert(place(entry.key().to_owned()), entry.key_offset());
            packages.insert(entry.key().to_owned(), entry.string()?.to_owned());
        }
        Ok(packages)
    }

    fn pip(&mut self, root: &Table<'a>) -> Result<PipSection, ManifestError> {
        let default_path = "/opt/venv".to_owned();
        let Some(section) = self.section(root, "pip", PIP)? else {
            return Ok(PipSection { path: default_path, ..PipSection::default() });
        };
        self.mark(&section, &[("python", "pip.python"), ("overrides", "pip.overrides"), ("build", "pip.build")]);
        let (mut packages, mut constraints, mut overrides) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for item in list(&section, "packages")? {
            let requirement = item.parse(parse_pip_requirement)?;
            if !seen.insert(requirement.to_string()) {
                return Err(self.duplicate(&item, item.string()?));
            }
            self.places.insert(Place::Pip(item.string()?.to_owned()), item.offset());
            packages.push(item.string()?.to_owned());
        }
        seen.clear();
        for item in list(&section, "constraints")? {
            let constraint = item.parse(parse_pip_constraint)?;
            if !seen.insert(constraint.to_string()) {
                return Err(self.duplicate(&item, item.string()?));
            }
            self.places.insert(Place::PipConstraint(item.string()?.to_owned()), item.offset());
            constraints.push(item.string()?.to_owned());
        }
        seen.clear();
        for item in list(&section, "overrides")? {
            let requirement = item.parse(parse_pip_release)?;
            if !seen.insert(requirement.to_string()) {
                return Err(self.duplicate(&item, item.string()?));
            }
            self.places.insert(Place::PipOverride(item.string()?.to_owned()), item.offset());
            overrides.push(item.string()?.to_owned());
        }
        Ok(PipSection {
            packages,
            constraints,
            overrides,
            path: section.get("path").map(|value| image_path(&value)).transpose()?.unwrap_or(default_path),
            python: section.get("python").map(|value| value.parse(parse_python_version)).transpose()?,
            build: self.pip_build(&section)?,
        })
    }

    /// `true`, `false`, or a list of projects.
    fn pip_build(&self, section: &Table<'a>) -> Result<PipBuild, ManifestError> {
        let Some(value) = section.get("build") else { return Ok(PipBuild::Nothing) };
        match value.boolean() {
            Ok(true) => Ok(PipBuild::Everything),
            Ok(false) => Ok(PipBuild::Nothing),
            Err(_) if value.list().is_ok() => {
                Ok(PipBuild::Only(self.unique(section, "build", parse_project)?.into_iter().collect()))
            }
            Err(_) => Err(value.invalid("it must be `true`, `false` or a list of projects").into()),
        }
    }

    fn sources(&mut self, root: &Table<'a>) -> Result<BTreeMap<SourceName, SourceSection>, ManifestError> {
        let mut sources = BTreeMap::new();
        let Some(value) = root.get("sources") else { return Ok(sources) };
        for entry in value.free_table()?.entries() {
            let name = SourceName::parse(entry.key()).map_err(|error| entry.invalid_key(error))?;
            self.places.insert(Place::Source(name.clone()), entry.key_offset());
            let section = self.source(&entry.table(SOURCE)?)?;
            sources.insert(name, section);
        }
        Ok(sources)
    }

    fn source(&mut self, section: &Table<'a>) -> Result<SourceSection, ManifestError> {
        let kind = section.require("kind")?.parse(parse_kind)?;
        if kind != SourceKind::Apt {
            for key in ["suites", "components", "signed-by"] {
                if let Some(value) = section.get(key) {
                    return Err(value.invalid_key("only a source of kind \"apt\" has this").into());
                }
            }
        }
        if kind != SourceKind::Apt
            && let Some(value) =
                section.get("url").filter(|value| value.string().is_ok_and(|url| url.contains("{time}")))
        {
            return Err(value.invalid("only an archive of kind \"apt\" is read at a moment").into());
        }
        let credentials = self.credentials;
        let url = |text: &str| parse_url(text, credentials);
        let components = self.unique(section, "components", parse_component)?;
        Ok(SourceSection {
            kind,
            url: section.require("url")?.parse(url)?,
            mirrors: self.unique(section, "mirrors", url)?,
            packages: self.unique(section, "packages", parse_binding)?,
            suites: self.unique(section, "suites", parse_suite_pattern)?,
            components: if components.is_empty() { vec!["main".to_owned()] } else { components },
            signed_by: section.get("signed-by").map(|value| value.parse(parse_keyring)).transpose()?,
        })
    }

    fn policy(&mut self, root: &Table<'a>) -> Result<PolicySection, ManifestError> {
        let Some(section) = self.section(root, "policy", POLICY)? else { return Ok(PolicySection::default()) };
        Ok(policy(&section)?)
    }

    /// The list under a key, empty when it is missing; no item may stand twice.
    fn unique<T: PartialEq>(
        &self,
        section: &Table<'a>,
        key: &str,
        parse: impl Fn(&'a str) -> Result<T, ValueError>,
    ) -> Result<Vec<T>, ManifestError> {
        let mut items = Vec::new();
        for value in list(section, key)? {
            let item = value.parse(&parse)?;
            if items.contains(&item) {
                return Err(self.duplicate(&value, value.string()?));
            }
            items.push(item);
        }
        Ok(items)
    }

    fn mark(&mut self, section: &Table<'a>, keys: &[(&str, &'static str)]) {
        for (key, place) in keys {
            if let Some(value) = section.get(key) {
                self.places.insert(Place::Key(place), value.key_offset());
            }
        }
    }

    fn duplicate(&self, value: &Value<'a>, what: &str) -> ManifestError {
        let excerpt = self.document.excerpt(value.offset(), "the second time");
        ManifestError::Duplicate { what: what.to_owned(), excerpt }
    }
}

pub(super) fn list<'a>(section: &Table<'a>, key: &str) -> Result<Vec<Value<'a>>, DocumentError> {
    section.get(key).map_or(Ok(Vec::new()), |value| value.list())
}

fn base_request(value: &Value<'_>) -> Result<BaseRequest, DocumentError> {
    if value.is_table() {
        let suite = value.table(&["debian"])?.require("debian")?.parse(parse_suite)?;
        return Ok(BaseRequest::Debian { suite });
    }
    let reference = value.parse(ImageReference::parse)?;
    if reference.tag.is_none() && reference.digest.is_none() {
        return Err(value.invalid("name a tag or a digest, such as `node:20-slim`"));
    }
    Ok(BaseRequest::Image(reference))
}

fn image_path(value: &Value<'_>) -> Result<String, DocumentError> {
    value.parse(|text| check_image_path(text).map(|()| text.to_owned()))
}

fn parse_image_name(text: &str) -> Result<String, ValueError> {
    let reference = ImageReference::parse(text)?;
    if reference.tag.is_some() || reference.digest.is_some() {
        return Err(ValueError::new("image name", text, "tags belong into `tags`, and a digest is what comes out"));
    }
    Ok(text.to_owned())
}

fn parse_tag(text: &str) -> Result<String, ValueError> {
    match ImageReference::parse(&format!("x:{text}")) {
        Ok(reference) if reference.tag.as_deref() == Some(text) => Ok(text.to_owned()),
        _ => Err(ValueError::new("tag", text, "it may hold letters, digits and `. _ -`, at most 128")),
    }
}

fn parse_node_version(text: &str) -> Result<String, ValueError> {
    match deno_semver::Version::parse_standard(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(ValueError::new("Node version", text, "give all of it, such as `20.19.2`")),
    }
}

fn parse_python_version(text: &str) -> Result<String, ValueError> {
    let version: Option<uv_pep440::Version> = text.parse().ok();
    match version {
        Some(version) if version.release().len() == 3 => Ok(text.to_owned()),
        _ => Err(ValueError::new("Python version", text, "give all of it, such as `3.13.5`")),
    }
}

/// Reads the name of a Python project into its normal form.
fn parse_project(text: &str) -> Result<PackageName, ValueError> {
    let name: Result<uv_normalize::PackageName, _> = text.parse();
    let name = name.map_err(|_| ValueError::new("name of a Python project", text, "give it without a version"))?;
    PackageName::parse(name.as_ref())
}

fn parse_kind(text: &str) -> Result<SourceKind, ValueError> {
    let names = || KINDS.iter().map(|(name, _)| *name);
    KINDS.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind).ok_or_else(|| {
        let known = names().collect::<Vec<_>>().join(", ");
        let why = match nearest(text, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {known}"),
        };
        ValueError::new("kind of source", text, why)
    })
}

fn parse_url(text: &str, credentials: Credentials) -> Result<String, ValueError> {
    let error = |why: &str| Err(ValueError::new("URL of a source", &hide_credentials(text), why));
    let Ok(url) = Url::parse(text) else { return error("it must be a whole URL with `https://` in front") };
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none_or(str::is_empty) {
        return error("it must start with `https://` or `http://` and name a host");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return error("it must have no `?` and no `#`");
    }
    if credentials == Credentials::Refused && (!url.username().is_empty() || url.password().is_some()) {
        return error("credentials belong into the client's own settings (`.npmrc`, `pip.conf`, docker's login)");
    }
    Ok(text.to_owned())
}

/// The text without what stands before an `@`, for messages.
fn hide_credentials(text: &str) -> String {
    match (text.split_once("://"), text.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://…{}", &text[at..]),
        _ => text.to_owned(),
    }
}

/// `name` or `@scope/*`.
fn parse_binding(text: &str) -> Result<String, ValueError> {
    let name = text.strip_suffix("/*").map_or_else(|| text.to_owned(), |scope| format!("{scope}/x"));
    PackageName::parse(&name).map(|_| text.to_owned())
}

/// A suite in which `{suite}` stands for the asked one.
fn parse_suite_pattern(text: &str) -> Result<String, ValueError> {
    parse_suite(&text.replacen("{suite}", "suite", 1)).map(|_| text.to_owned())
}

fn parse_component(text: &str) -> Result<String, ValueError> {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || !text.bytes().all(inside) {
        return Err(ValueError::new("component", text, "it may hold lower-case letters, digits and `-`"));
    }
    Ok(text.to_owned())
}

fn parse_keyring(text: &str) -> Result<PathBuf, ValueError> {
    let path = PathBuf::from(text);
    if text.is_empty() || path.components().any(|part| matches!(part, Component::ParentDir)) {
        return Err(ValueError::new("keyring", text, "it must be a file, and not above the manifest"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::super::place::ManifestFile;
    use super::*;
    use crate::model::Ecosystem;

    const FULL: &str = r#"
[image]
name = "opencode-server"
tags = ["1.0", "latest"]
platforms = ["linux/arm64", "linux/amd64"]
base = { debian = "trixie" }
epoch = 2026-11-20T00:00:00Z

[apt]
packages = [
  "git",
  "nodejs=20.*",
]
recommends = true

[npm]
omit = ["opencode-linux-x64-baseline"]
scripts = ["opencode-ai"]

[npm.packages]
"opencode-ai" = "^1.18"

[npm.projects."/root/.opencode"]
"@opencode-ai/plugin" = "1.18.33"

[pip]
packages = ["graphiti-core[falkordb]>=0.31", "redis"]
constraints = ["openai<3"]

[sources.debian]
kind = "apt"
url = "https://mirror.invalid/debian"
suites = ["{suite}", "{suite}-updates"]

[sources.inner]
kind = "npm"
url = "https://npm.invalid/"
mirrors = ["https://other.invalid/npm"]
packages = ["@scope/*", "one"]

[policy]
min-age-days = 3
"#;

    const LEAST: &str = "[image]\nname = \"a\"\nbase = \"node:20-slim\"\n";

    #[test]
    fn every_key_is_read() {
        let manifest = parse_manifest(FULL, "oclock.toml").unwrap();
        assert_eq!(manifest.image.epoch, Some(1_795_132_800));
        assert_eq!(manifest.image.platforms.len(), 2);
        assert_eq!(manifest.image.platforms[0], Platform::LINUX_AMD64);
        assert_eq!(manifest.apt.packages, ["git", "nodejs=20.*"]);
        assert_eq!(manifest.apt.recommends, Recommends::Follow);
        assert_eq!(manifest.npm.prefix, "/usr/local");
        assert_eq!(manifest.npm.projects["/root/.opencode"]["@opencode-ai/plugin"], "1.18.33");
        assert_eq!(manifest.pip.path, "/opt/venv");
        assert_eq!(manifest.sources[&SourceName::parse("inner").unwrap()].packages, ["@scope/*", "one"]);
        assert_eq!(manifest.sources[&SourceName::parse("debian").unwrap()].components, ["main"]);
        assert_eq!(manifest.policy.min_age_days, Some(3));
    }

    #[test]
    fn what_is_left_out_has_a_documented_value() {
        let manifest = parse_manifest(LEAST, "oclock.toml").unwrap();
        assert_eq!(manifest.image.tags, ["latest"]);
        assert_eq!(manifest.image.platforms, [Platform::LINUX_AMD64]);
        assert_eq!(manifest.apt.recommends, Recommends::Ignore);
        assert_eq!((manifest.npm.prefix.as_str(), manifest.pip.path.as_str()), ("/usr/local", "/opt/venv"));
    }

    #[test]
    fn requirements_are_found_again_by_line() {
        let file = ManifestFile::parse(FULL, "oclock.toml").unwrap();
        let line = |ecosystem, text| file.locate(ecosystem, text).map(|excerpt| (excerpt.line, excerpt.column));
        assert_eq!(line(Ecosystem::Apt, "nodejs=20.*"), Some((12, 3)));
        assert_eq!(line(Ecosystem::Npm, "opencode-ai"), Some((21, 1)));
        assert_eq!(line(Ecosystem::Npm, "@opencode-ai/plugin"), Some((24, 1)));
        assert_eq!(line(Ecosystem::Pip, "openai<3"), Some((28, 16)));
        assert_eq!(line(Ecosystem::Pip, "unknown"), None);
        let place = Place::Key("image.epoch");
        assert_eq!(file.locate_place(&place, "here").map(|excerpt| excerpt.line), Some(7));
        assert_eq!(file.locate_place(&Place::Key("apt.suite"), "").map(|excerpt| excerpt.line), Some(9));
    }

    /// The line and the first words of the complaint about a manifest that has `addition` at its end.
    fn complaint(addition: &str) -> (usize, String) {
        let error = parse_manifest(&format!("{LEAST}{addition}"), "oclock.toml").unwrap_err();
        let excerpt = error.excerpt().unwrap();
        (excerpt.line, format!("{error}: {}", excerpt.label))
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        for (addition, line, words) in [
            ("tag = [\"a\"]", 4, "unknown key `image.tag`"),
            ("[atp]", 4, "unknown key `atp`"),
            ("[apt]\npackages = \"git\"", 5, "`apt.packages` must be a list"),
            ("[apt]\npackages = [\"git\", 3]", 5, "`apt.packages` must be a string"),
            ("[apt]\npackages = [\"git\",\n\"git=1\"]", 6, "asks for `git` twice"),
            ("[apt]\npackages = [\"Git\"]", 5, "is no Debian package name"),
            ("[apt]\nrecommends = 1", 5, "`apt.recommends` must be `true` or `false`"),
            ("[npm.packages]\nx = \"https://h.invalid/\"", 5, "is no npm version range"),
            ("[npm.packages]\n\"a b\" = \"1\"", 5, "is no package name"),
            ("[npm.projects.relative]\na = \"1\"", 4, "it must start with `/`"),
            ("[npm]\nprefix = \"/a/../b\"", 5, "is no path in the image"),
            ("[npm]\nnode = \"20\"", 5, "is no Node version"),
            ("[npm]\nomit = [\"a\", \"a\"]", 5, "asks for `a` twice"),
            ("[pip]\npackages = [\"a @ https://h.invalid/a\"]", 5, "by URL only a wheel is taken"),
            ("[pip]\npackages = [\"a >= 1\", \"a>=1\"]", 5, "twice"),
            ("[pip]\noverrides = [\"a b\"]", 5, "is no Python requirement"),
            ("[npm.overrides]\n\"a@next\" = \"1\"", 5, "is no override"),
            ("[npm.overrides]\na = \"file:../a\"", 5, "is no npm version range"),
            ("[npm.overrides.a]\nb = \"$\"", 5, ""),
            ("[pip]\nconstraints = [\"a\"]", 5, "is no constraint"),
            ("[pip]\nbuild = 1", 5, "it must be `true`, `false` or a list of projects"),
            ("[pip]\nbuild = [\"a>=1\"]", 5, "give it without a version"),
            ("[pip]\nbuild = [\"a_b\", \"A-B\"]", 5, "twice"),
            ("[pip]\npython = \"3.13\"", 5, "is no Python version"),
            ("[sources.x]\nurl = \"https://h.invalid\"", 4, "`sources.x.kind` is missing"),
            ("[sources.x]\nkind = \"nmp\"", 5, "did you mean `npm`?"),
            ("[sources.x]\nkind = \"npm\"\nurl = \"https://u:secret@h.invalid\"", 6, "credentials belong"),
            ("[sources.x]\nkind = \"npm\"\nurl = \"h.invalid\"", 6, "it must be a whole URL"),
            ("[sources.x]\nkind = \"npm\"\nsuites = [\"a\"]", 6, "only a source of kind \"apt\""),
            ("[sources.X]\nkind = \"npm\"", 4, "is no source name"),
            ("[policy]\nmin-age-days = -1", 5, "`policy.min-age-days` must be a whole number"),
            ("name = \"b\"", 4, "is not valid TOML"),
            ("epoch = 2026-01-01", 4, "it must be a date-time"),
        ] {
            let (found, text) = complaint(addition);
            assert!(text.contains(words), "{addition}: {text}");
            assert_eq!(found, line, "{addition}: {text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn what_must_be_there_is_missed() {
        for (text, words) in [
            ("", "`image` is missing"),
            ("[image]\nname = \"a\"", "`image.base` is missing"),
            ("[image]\nname = \"a:b\"\nbase = \"x:1\"", "`image.name` has an invalid value"),
            ("[image]\nname = \"a\"\nbase = \"node\"", "`image.base` has an invalid value"),
            ("[image]\nname = \"a\"\nbase = { debina = \"x\" }", "unknown key `image.base.debina`"),
            ("[image]\nname = \"a\"\nbase = { debian = \"x\" }\n[apt]\nsuite = \"x\"", "`apt.suite`"),
        ] {
            let error = parse_manifest(text, "oclock.toml").unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn settings_of_the_user_may_hold_credentials() {
        let text = "[sources.x]\nkind = \"npm\"\nurl = \"https://u:p@h.invalid\"\n";
        assert!(parse_settings(text, "config.toml").is_ok());
        assert!(parse_settings("[image]\n", "config.toml").is_err());
    }
}
