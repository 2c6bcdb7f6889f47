//! A `.deb` against its pin: package, version, architecture and the source package it was built from.

use super::artifacts::{Facts, Flaw, Looked};
use crate::lock::AptPin;
use crate::resolve::apt::read_identity;
use crate::store::Store;

pub(super) fn look(pin: &AptPin, store: &Store) -> Result<Looked, Flaw> {
    let mut file = store.open_blob(&pin.artifact.sha256).map_err(Flaw::of_store)?;
    let found = read_identity(&mut file).map_err(|error| Flaw::content(&format!("is no Debian package: {error}")))?;
    let said = [
        ("Package", pin.name.as_str(), found.name.as_str()),
        ("Version", pin.version.as_str(), &found.version),
        ("Architecture", &pin.architecture, &found.architecture),
        ("Source", pin.source_package.as_str(), &found.source.0),
        ("source version", pin.source_version.as_str(), &found.source.1),
    ];
    if let Some((what, locked, found)) = said.into_iter().find(|(_, locked, found)| locked != found) {
        return Err(Flaw::identity(what, locked, found));
    }
    let plain = |name: String| name.split(':').next().unwrap_or_default().to_owned();
    let needs = found.needs.into_iter().map(|group| group.into_iter().map(plain).collect());
    let facts = Facts {
        needs: needs.collect(),
        mentions: found.mentions.into_iter().map(plain).collect(),
        provides: found.provides.into_iter().map(plain).collect(),
    };
    Ok((facts, Vec::new()))
}
