//! Versions that other tools' locks name: written by `init --from`, kept by the first `update`, then gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::OpsError;
use super::session::Session;
use super::update::{Target, resolve_npm};
use crate::base::fs::{read_text_if_present, remove_file};
use crate::lock::{Keep, Lockfile, NpmPin};
use crate::model::{
    Artifact, ArtifactPath, PackageName, PackageVersion, Platform, Sha256, Sha512, SourceName, ValueError,
};
use crate::resolve::npm::{NpmError, parse_integrity};
use crate::resolve::pip::{self, WishedPip};
use crate::source::{Source, Sources};

/// The file, beside the manifest.
pub(super) const FILE: &str = "imported.toml";

/// Versions of old locks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Imported {
    /// npm packages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub npm: Vec<ImportedNpm>,
    /// Python projects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pip: Vec<ImportedPip>,
}

/// One version of an npm package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportedNpm {
    /// Its registered name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The folders that it is in, as in a lockfile.
    pub places: Vec<String>,
    /// The registry's integrity, as npm writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrity: Option<String>,
}

/// One version of a Python project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportedPip {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The hashes of its files, `sha256:` in front.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hashes: BTreeSet<String>,
}

/// What became of versions that old locks name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportedOutcome {
    /// How many are locked now.
    pub kept: usize,
    /// How many nothing asks for on these platforms.
    pub unneeded: usize,
    /// Those that were not taken, each with what is locked and why.
    pub moved: Vec<String>,
}

impl Imported {
    /// Reads the file; nothing where there is none.
    pub(super) fn read(session: &Session) -> Result<Self, OpsError> {
        let path = session.paths.manifest.with_file_name(FILE);
        let Some(text) = read_text_if_present(&path)? else { return Ok(Self::default()) };
        let wrong = |why: String| OpsError::Imported { path: path.clone(), why };
        let imported: Self = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
        imported
            .npm
            .iter()
            .try_for_each(|one| one.pin(Platform::LINUX_AMD64).map(drop))
            .and_then(|()| imported.wished().map(drop))
            .map_err(|error| wrong(error.to_string()))?;
        Ok(imported)
    }

    /// The file's text.
    pub(super) fn text(&self) -> String {
        let head =
            "# Versions that the imported locks name. The first `oclock update` keeps them and removes this file.\n\n";
        head.to_owned() + &toml::to_string(self).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.npm.len() + self.pip.len()
    }

    /// Adds a package, or a place of one.
    pub(super) fn add_npm(&mut self, new: ImportedNpm) {
        match self.npm.iter_mut().find(|old| (&old.name, &old.version) == (&new.name, &new.version)) {
            Some(old) => old.places.extend(new.places),
            None => self.npm.push(new),
        }
    }

    /// Adds a version, or hashes of one.
    pub(super) fn add_pip(&mut self, new: ImportedPip) {
        match self.pip.iter_mut().find(|old| (&old.name, &old.version) == (&new.name, &new.version)) {
            Some(old) => old.hashes.extend(new.hashes),
            None => self.pip.push(new),
        }
    }

    /// What the pip resolver is told.
    pub(super) fn wished(&self) -> Result<Vec<WishedPip>, ValueError> {
        let wish = |one: &ImportedPip| {
            let name = uv_normalize::PackageName::from_str(&one.name)
                .map_err(|error| ValueError::new("Python project", &one.name, error.to_string()))?;
            let version = uv_pep440::Version::from_str(&one.version)
                .map_err(|error| ValueError::new("Python version", &one.version, error.to_string()))?;
            let hashes = one.hashes.iter().filter(|hash| hash.starts_with("sha256:"));
            let hashes = hashes.map(|hash| Sha256::parse_prefixed(hash)).collect::<Result<_, _>>()?;
            Ok(WishedPip { name, version, hashes })
        };
        self.pip.iter().map(wish).collect()
    }
}

impl ImportedNpm {
    /// As a pin of which name, version and places count.
    fn pin(&self, platform: Platform) -> Result<NpmPin, ValueError> {
        let artifact = Artifact {
            source: SourceName::parse("imported")?,
            path: ArtifactPath::parse("imported")?,
            size: 0,
            sha256: Sha256::of(""),
            sha512: None,
        };
        Ok(NpmPin {
            name: PackageName::parse(&self.name)?,
            version: PackageVersion::parse(&self.version)?,
            platform,
            places: self.places.clone(),
            published: None,
            artifact,
            scripts: BTreeMap::new(),
            required_by: Vec::new(),
        })
    }

    fn sha512(&self) -> Option<Sha512> {
        parse_integrity(self.integrity.as_deref()?)
    }
}

/// Resolves npm with the imported tree as the one before. A version that its registry lost is left out of it and told.
pub(super) async fn resolve_npm_keeping(
    session: &Session,
    target: Target<'_>,
    previous: &[NpmPin],
    imported: &Imported,
    gone: &mut BTreeSet<String>,
) -> Result<Vec<NpmPin>, OpsError> {
    let pins = imported.npm.iter().map(|one| one.pin(target.platform)).collect::<Result<Vec<_>, _>>();
    let mut pins = pins.map_err(|source| OpsError::Asked { source })?;
    let (moving, none) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let known: Vec<&NpmPin> = pins.iter().collect();
        let keep = Keep { pins: &known, moving: &moving, gone: &none, precise: None };
        let answer = resolve_npm(session, target, previous, (!known.is_empty()).then_some(keep)).await;
        let Err(OpsError::Npm(NpmError::Gone { name, version })) = answer else { return answer };
        pins.retain(|pin| pin.name.as_str() != name || pin.version.as_str() != version);
        gone.insert(format!("npm:{name} {version}"));
    }
}

/// Holds what was chosen against what the old locks name, and refuses other bytes under the same version.
pub(super) async fn compare(
    session: &Session,
    imported: &Imported,
    gone: &BTreeSet<String>,
    sources: &Sources,
    lock: &Lockfile,
) -> Result<ImportedOutcome, OpsError> {
    let mut outcome = ImportedOutcome::default();
    for old in &imported.npm {
        let label = format!("npm:{} {}", old.name, old.version);
        let mut same = lock.npm.iter().filter(|pin| pin.name.as_str() == old.name);
        match same.clone().find(|pin| pin.version.as_str() == old.version) {
            Some(pin) => {
                if let (Some(promised), Some(found)) =
                    (old.sha512(), pin.artifact.sha512.filter(|found| Some(*found) != old.sha512()))
                {
                    let (promised, found) = (vec![format!("sha512:{promised}")], format!("sha512:{found}"));
                    return Err(OpsError::ImportedBytes { label, promised, found });
                }
                outcome.kept += 1;
            }
            None => match same.find(|pin| pin.places.iter().any(|place| old.places.contains(place))) {
                Some(pin) if gone.contains(&label) => {
                    outcome.moved.push(format!("{label} -> {}: its registry no longer has it", pin.version));
                }
                Some(pin) => {
                    outcome.moved.push(format!("{label} -> {}: what asks for it does not allow it", pin.version))
                }
                None => outcome.unneeded += 1,
            },
        }
    }
    let wished = imported.wished().map_err(|source| OpsError::Asked { source })?;
    for wish in &wished {
        let label = format!("pip:{} {}", wish.name, wish.version);
        let named = lock.pip.iter().filter(|pin| pin.name.as_str() == wish.name.as_ref());
        let read = |version: &PackageVersion| uv_pep440::Version::from_str(version.as_str()).ok();
        let same: Vec<_> = named.clone().filter(|pin| read(&pin.version).as_ref() == Some(&wish.version)).collect();
        if let Some(pin) =
            same.iter().find(|pin| !wish.hashes.is_empty() && !wish.hashes.contains(&pin.artifact.sha256))
        {
            let promised = wish.hashes.iter().map(Sha256::prefixed).collect();
            return Err(OpsError::ImportedBytes { label, promised, found: pin.artifact.sha256.prefixed() });
        }
        let is_forked = wished.iter().filter(|other| other.name == wish.name).count() > 1;
        match (same.is_empty(), named.clone().next()) {
            (false, _) => outcome.kept += 1,
            (true, None) => outcome.unneeded += 1,
            (true, Some(_)) if is_forked => outcome.unneeded += 1,
            (true, Some(pin)) => {
                let why = why_not(session, wish, sources).await?;
                outcome.moved.push(format!("{label} -> {}: {why}", pin.version));
            }
        }
    }
    Ok(outcome)
}

/// Why a version was not taken.
async fn why_not(session: &Session, wish: &WishedPip, sources: &Sources) -> Result<&'static str, OpsError> {
    let indexes = sources.pip()?;
    let is_bound = |source: &&Source| source.packages.iter().any(|package| package == wish.name.as_ref());
    let Some(source) = indexes.iter().find(is_bound).or(indexes.first()) else { return Ok("no index is known") };
    let listed =
        pip::fetch_files(wish.name.as_ref(), source, &session.http, Some(&session.store)).await?.unwrap_or_default();
    let is_it = |filename: &str| {
        use uv_distribution_filename::DistFilename;
        DistFilename::try_from_filename(filename, &wish.name).is_some_and(|file| match file {
            DistFilename::WheelFilename(wheel) => wheel.version == wish.version,
            DistFilename::SourceDistFilename(source) => source.version == wish.version,
        })
    };
    Ok(match listed.iter().any(|file| is_it(&file.filename)) {
        false => "its index no longer has it",
        true => "it has no file for this Python and platform, or what asks for it does not allow it",
    })
}

/// Removes the file once the lockfile says it all.
pub(super) fn remove(manifest: &Path) -> Result<(), OpsError> {
    let path = manifest.with_file_name(FILE);
    match read_text_if_present(&path)? {
        Some(_) => Ok(remove_file(&path)?),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut imported = Imported::default();
        let npm = |place: &str| {
            ImportedNpm {
            name: "@a/b".into(),
            version: "1.0.0".into(),
            places: vec![place.into()],
            integrity: Some("sha1-x sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==".into()),
        }
        };
        imported.add_npm(npm("/app/node_modules/@a/b"));
        imported.add_npm(npm("/app/node_modules/c/node_modules/@a/b"));
        let hash = Sha256::of("x").prefixed();
        imported.add_pip(ImportedPip {
            name: "A_b".into(),
            version: "1.0".into(),
            hashes: BTreeSet::from([hash, "md5:1".into()]),
        });
        assert_eq!(toml::from_str::<Imported>(&imported.text()).unwrap(), imported);
        assert_eq!((imported.len(), imported.npm[0].places.len()), (2, 2));
        assert_eq!(imported.npm[0].sha512(), Some(Sha512::of("")));
        let wished = imported.wished().unwrap();
        assert_eq!((wished[0].name.as_ref(), wished[0].hashes.len()), ("a-b", 1));
        assert!(toml::from_str::<Imported>("other = 1").is_err());
    }
}
