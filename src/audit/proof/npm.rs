//! A tarball against its pin: both hashes, the name and version in its package.json, and the install scripts it brings.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::Digest as _;

use super::SCRIPTS;
use super::artifacts::{Facts, Flaw, Looked};
use crate::lock::NpmPin;
use crate::model::{Sha256, Sha512};
use crate::resolve::npm::read_tarball;
use crate::store::Store;

pub(super) fn look(pin: &NpmPin, store: &Store) -> Result<Looked, Flaw> {
    let mut sha512 = sha2::Sha512::new();
    let opened = store.open_blob_with(&pin.artifact.sha256, |piece| sha512.update(piece));
    let file = opened.map_err(Flaw::of_store)?;
    let sha512 = Sha512::from_bytes(sha512.finalize().into());
    if let Some(locked) = pin.artifact.sha512.filter(|locked| *locked != sha512) {
        return Err(Flaw::identity("sha512", &locked.to_string(), &sha512.to_string()));
    }
    let facts = read_tarball(file).map_err(|error| Flaw::content(&format!("is no npm package: {error}")))?;
    let locked = format!("{}@{}", pin.name, pin.version);
    if Some(facts.identity.as_str()) != locked.split('+').next() {
        return Err(Flaw::identity("name or version", &locked, &facts.identity));
    }
    check_scripts(pin, &facts.scripts)?;
    // What it may do without is not asked for, nor what it brings along.
    let optional = names(&facts.manifest, "optionalDependencies");
    let needs = names(&facts.manifest, "dependencies").into_iter().filter(|name| !optional.contains(name));
    let needs = needs.filter(|name| !facts.bundled.contains(name)).map(|name| vec![name]);
    let mentions = ["dependencies", "optionalDependencies", "peerDependencies"];
    let mentions = mentions.iter().flat_map(|key| names(&facts.manifest, key)).collect();
    Ok((Facts { needs: needs.collect(), mentions, provides: Vec::new() }, Vec::new()))
}

fn names(manifest: &Value, key: &str) -> Vec<String> {
    let object = manifest.get(key).and_then(Value::as_object);
    object.into_iter().flat_map(|object| object.keys().cloned()).collect()
}

fn check_scripts(pin: &NpmPin, found: &BTreeMap<String, Sha256>) -> Result<(), Flaw> {
    if pin.scripts == *found {
        return Ok(());
    }
    let said = |scripts: &BTreeMap<String, Sha256>, event: &str| {
        scripts.get(event).map_or_else(|| "nothing".to_owned(), |digest| format!("sha256:{digest}"))
    };
    let events: std::collections::BTreeSet<&String> = pin.scripts.keys().chain(found.keys()).collect();
    let differing = events.into_iter().filter(|event| pin.scripts.get(*event) != found.get(*event));
    let evidence = differing
        .map(|event| format!("{event}: locked {}, brings {}", said(&pin.scripts, event), said(found, event)))
        .collect();
    Err(Flaw::Broken(&SCRIPTS, "brings other install scripts than the lock lists".into(), evidence))
}
