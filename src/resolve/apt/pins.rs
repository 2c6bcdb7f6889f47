//! What was chosen, written as pins of the lockfile: where each file is, its hash, its source package, and who asked.

use std::collections::{BTreeMap, BTreeSet};

use super::control::Stanza;
use super::error::AptError;
use super::relation::{self, Relation};
use super::universe::{NameId, Origin, Universe, VersionId};
use crate::lock::{AptPin, ArchivePin, ESSENTIAL, MANIFEST};
use crate::manifest::Recommends;
use crate::model::{Artifact, ArtifactPath, PackageName, PackageVersion, Platform, Sha256, SourceName, ValueError};

/// Which versions were asked for directly.
pub(super) struct Asked {
    pub(super) manifest: BTreeSet<VersionId>,
    pub(super) essential: BTreeSet<VersionId>,
}

/// Turns versions into pins.
pub(super) struct PinWriter<'u, 'a> {
    pub(super) universe: &'u Universe<'a>,
    /// The archives that origins speak of.
    pub(super) archives: &'u [&'u ArchivePin],
    pub(super) platform: Platform,
    pub(super) recommends: Recommends,
}

impl PinWriter<'_, '_> {
    /// One pin for each version that an archive has, in the order given.
    pub(super) fn pins(&self, chosen: &[VersionId], asked: &Asked) -> Result<Vec<AptPin>, AptError> {
        let mut required_by = self.required_by(chosen, asked);
        chosen
            .iter()
            .filter_map(|id| match self.universe.version(*id).origin {
                Origin::Archive(archive) => Some((*id, self.archives[archive])),
                Origin::Installed => None,
            })
            .map(|(id, archive)| {
                let names = required_by.remove(&id).unwrap_or_default().into_iter().map(str::to_owned).collect();
                self.pin(id, archive, names).map_err(|source| AptError::BadRecord {
                    package: self.universe.version(id).name.to_owned(),
                    source,
                })
            })
            .collect()
    }

    /// What the base has.
    pub(super) fn installed(&self) -> Result<BTreeMap<PackageName, PackageVersion>, AptError> {
        self.universe
            .all_installed()
            .map(|id| {
                let version = self.universe.version(id);
                let bad = |source| AptError::BadRecord { package: version.name.to_owned(), source };
                let name = PackageName::parse(version.name).map_err(bad)?;
                Ok((name, PackageVersion::parse(version.version).map_err(bad)?))
            })
            .collect()
    }

    fn pin(&self, id: VersionId, archive: &ArchivePin, required_by: Vec<String>) -> Result<AptPin, ValueError> {
        let stanza = self.universe.stanza(id);
        let (source_package, source_version) = source_of(&stanza);
        Ok(AptPin {
            name: PackageName::parse(stanza.package())?,
            version: PackageVersion::parse(stanza.version())?,
            platform: self.platform,
            architecture: stanza.architecture().to_owned(),
            suite: archive.suite.clone(),
            source_package: PackageName::parse(source_package)?,
            source_version: PackageVersion::parse(source_version)?,
            artifact: artifact(&archive.source, &stanza)?,
            required_by,
        })
    }

    fn required_by(&self, chosen: &[VersionId], asked: &Asked) -> BTreeMap<VersionId, BTreeSet<&str>> {
        let mut required_by: BTreeMap<VersionId, BTreeSet<&str>> = BTreeMap::new();
        for (ids, name) in [(&asked.manifest, MANIFEST), (&asked.essential, ESSENTIAL)] {
            for id in ids {
                required_by.entry(*id).or_default().insert(name);
            }
        }
        let present = self.present(chosen);
        for id in chosen {
            for needed in self.needed_by(*id, &present) {
                required_by.entry(needed).or_default().insert(self.universe.version(*id).name);
            }
        }
        required_by
    }

    /// Those of the chosen versions that the roots need, directly or not: everything that satisfies a need counts.
    pub(super) fn reachable(&self, chosen: &[VersionId], roots: impl Iterator<Item = VersionId>) -> Vec<VersionId> {
        let present = self.present(chosen);
        let mut open: Vec<VersionId> = roots.collect();
        let mut reached: BTreeSet<VersionId> = BTreeSet::new();
        while let Some(id) = open.pop() {
            if reached.insert(id) {
                open.extend(self.needed_by(id, &present));
            }
        }
        chosen.iter().copied().filter(|id| reached.contains(id)).collect()
    }

    fn present(&self, chosen: &[VersionId]) -> BTreeMap<NameId, VersionId> {
        chosen.iter().map(|id| (self.universe.version(*id).package, *id)).collect()
    }

    fn needed_by(&self, id: VersionId, present: &BTreeMap<NameId, VersionId>) -> BTreeSet<VersionId> {
        let groups = self.needs(&self.universe.stanza(id));
        let relations = groups.iter().flatten();
        relations.flat_map(|relation| self.satisfying(relation, present)).filter(|needed| *needed != id).collect()
    }

    fn needs<'s>(&self, stanza: &Stanza<'s>) -> Vec<Vec<Relation<'s>>> {
        let mut fields = vec![stanza.pre_depends(), stanza.depends()];
        if self.recommends == Recommends::Follow {
            fields.push(stanza.recommends());
        }
        fields.into_iter().flat_map(|field| relation::groups(field, self.universe.architecture)).collect()
    }

    fn satisfying(&self, relation: &Relation<'_>, present: &BTreeMap<NameId, VersionId>) -> Vec<VersionId> {
        let Some(name) = self.universe.id(relation.name) else { return Vec::new() };
        let real = present.get(&name).filter(|id| relation.admits(self.universe.version(**id).version));
        let providers = self.universe.providers(name).iter().filter(|provider| {
            present.get(&self.universe.version(provider.version).package) == Some(&provider.version)
                && relation.admits_provided(provider.provided)
        });
        real.copied().into_iter().chain(providers.map(|provider| provider.version)).collect()
    }
}

/// The source package and its version: those of the binary package where the stanza says nothing else.
pub(super) fn source_of<'a>(stanza: &Stanza<'a>) -> (&'a str, &'a str) {
    match stanza.source().split_once('(') {
        Some((name, version)) => (name.trim(), version.trim_end_matches(')').trim()),
        None if stanza.source().is_empty() => (stanza.package(), stanza.version()),
        None => (stanza.source(), stanza.version()),
    }
}

/// The `.deb` that a stanza names.
pub(super) fn artifact(source: &SourceName, stanza: &Stanza<'_>) -> Result<Artifact, ValueError> {
    let size = stanza.size();
    Ok(Artifact {
        source: source.clone(),
        path: ArtifactPath::parse(stanza.filename())?,
        size: size.parse().map_err(|_| ValueError::new("size", size, "it must be a number of bytes"))?,
        sha256: Sha256::parse(stanza.sha256())?,
        sha512: None,
    })
}
