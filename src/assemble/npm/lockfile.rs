//! npm's own lockfiles, so that `npm ls` is content and nothing is asked of a registry (package-lock.json version 3).
//!
//! Written as npm does with `omit-lockfile-registry-resolved`: no host appears in them.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::graph::{Installed, Reach};
use super::links::commands;
use crate::model::Sha512;
use crate::resolve::npm::compare_names;

/// The fields of a package.json that a lockfile repeats, with npm's filter: nothing empty.
const REPEATED: [&str; 13] = [
    "version",
    "dependencies",
    "peerDependencies",
    "peerDependenciesMeta",
    "optionalDependencies",
    "bundleDependencies",
    "acceptDependencies",
    "funding",
    "engines",
    "os",
    "cpu",
    "libc",
    "workspaces",
];

/// Keys that stand before the others, wherever they are.
const FIRST: [&str; 8] =
    ["name", "version", "lockfileVersion", "resolved", "integrity", "requires", "packages", "dependencies"];

/// `sha512-` and the digest in base64.
pub(super) fn integrity(sha512: &Sha512) -> String {
    format!("sha512-{}", base64::engine::general_purpose::STANDARD.encode(sha512.as_bytes()))
}

/// A lockfile's text. `wishes` are the root's dependencies; left out in the hidden one.
pub(super) fn render_lockfile(
    name: &str,
    wishes: Option<&BTreeMap<String, String>>,
    packages: &BTreeMap<String, Installed>,
    reached: &BTreeMap<String, Reach>,
) -> String {
    let mut entries = Map::new();
    if let Some(wishes) = wishes {
        entries.insert(String::new(), json!({ "dependencies": wishes }));
    }
    for (location, package) in packages {
        entries.insert(location.clone(), entry(location, package, reached.get(location).copied()));
    }
    render(json!({ "name": name, "lockfileVersion": 3, "requires": true, "packages": entries }))
}

/// A project's package.json.
pub(super) fn render_manifest(wishes: &BTreeMap<String, String>) -> String {
    render(json!({ "dependencies": wishes }))
}

fn entry(location: &str, package: &Installed, reach: Option<Reach>) -> Value {
    let mut entry = Map::new();
    let mut manifest = package.manifest.clone();
    normalise(&mut manifest);
    for key in REPEATED {
        if let Some(value) = manifest.get(key).filter(|value| !is_empty(value)) {
            entry.insert(key.into(), value.clone());
        }
    }
    if let Some(license) = manifest.get("license").filter(|license| !is_empty(license)) {
        entry.insert("license".into(), license.get("type").unwrap_or(license).clone());
    }
    let bins = commands(&manifest);
    if !bins.is_empty() {
        let bins = bins.into_iter().map(|(name, file)| (name, Value::String(file)));
        entry.insert("bin".into(), Value::Object(bins.collect()));
    }
    let name = manifest.get("name").and_then(Value::as_str).unwrap_or_default();
    if !location.ends_with(&format!("node_modules/{name}")) {
        entry.insert("name".into(), name.into());
    }
    match &package.integrity {
        Some(integrity) => entry.insert("integrity".into(), integrity.as_str().into()),
        None => entry.insert("inBundle".into(), true.into()),
    };
    let flags = reach.map_or([false; 3], |reach| {
        [reach.extraneous, reach.peer && !reach.extraneous, reach.optional && !reach.extraneous]
    });
    let flags =
        ["extraneous", "peer", "optional"].into_iter().zip(flags).chain([("hasInstallScript", package.has_scripts)]);
    flags.filter(|(_, is_set)| *is_set).for_each(|(flag, _)| drop(entry.insert(flag.into(), true.into())));
    Value::Object(entry)
}

/// The forms that npm brings a package.json into before it repeats from it.
fn normalise(manifest: &mut Value) {
    let Some(manifest) = manifest.as_object_mut() else { return };
    if let Some(funding) = manifest.get_mut("funding")
        && let Some(url) = funding.as_str()
    {
        *funding = json!({ "url": url });
    }
    if !manifest.contains_key("bundleDependencies")
        && let Some(bundled) = manifest.remove("bundledDependencies")
    {
        manifest.insert("bundleDependencies".into(), bundled);
    }
    let names = |value: Option<&Value>| -> Vec<Value> {
        value.and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str().into()).collect()
    };
    match manifest.get("bundleDependencies") {
        Some(Value::Bool(true)) => {
            let all = names(manifest.get("dependencies"));
            manifest.insert("bundleDependencies".into(), all.into());
        }
        Some(list @ Value::Object(_)) => {
            let all = names(Some(list));
            manifest.insert("bundleDependencies".into(), all.into());
        }
        _ => {}
    }
    let optional: Vec<String> = manifest
        .get("optionalDependencies")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(n, _)| n.clone())
        .collect();
    if let Some(dependencies) = manifest.get_mut("dependencies").and_then(Value::as_object_mut) {
        dependencies.retain(|name, _| !optional.contains(name));
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(true) => false,
    }
}

/// Text in npm's order: what is no object first, the known keys before the others, these by `localeCompare`.
fn render(value: Value) -> String {
    let mut text = serde_json::to_string_pretty(&sorted(value)).unwrap_or_default();
    text.push('\n');
    text
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            let rank = |key: &str| FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len());
            entries.sort_by(|(a, x), (b, y)| {
                let objects = x.is_object().cmp(&y.is_object());
                objects.then_with(|| rank(a).cmp(&rank(b))).then_with(|| compare_names(a, b))
            });
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}
