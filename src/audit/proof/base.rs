//! A base image against the lock: index → manifest → config → layers, as far as the store has them.

use serde_json::Value;

use super::{CHAIN, UNCHECKED};
use crate::audit::finding::{Finding, Level};
use crate::lock::{BaseManifest, BasePin};
use crate::model::{Platform, Sha256};
use crate::store::{Store, StoreError};

const SUBJECT: &str = "base";

/// Checks that the documents in the store say what the lock says; what is not there is a finding as grave as `missing`.
pub fn check_base(base: &BasePin, store: &Store, missing: Level) -> Vec<Finding> {
    let BasePin::Image { index, manifests, .. } = base else { return Vec::new() };
    let looker = Looker { store, missing };
    let mut findings = Vec::new();
    let top = looker.document("the index", index).map_err(|finding| findings.push(*finding)).ok();
    for (platform, manifest) in manifests {
        if let Some(top) = &top
            && *index != manifest.digest
            && !lists(top, *platform, &manifest.digest)
        {
            findings
                .push(broken(format!("the base's index does not have the locked manifest for {platform}"), Vec::new()));
        }
        findings.extend(looker.check_manifest(*platform, manifest));
    }
    findings
}

struct Looker<'a> {
    store: &'a Store,
    missing: Level,
}

impl Looker<'_> {
    fn document(&self, what: &str, digest: &Sha256) -> Result<Value, Box<Finding>> {
        let bytes = match self.store.read_blob(digest) {
            Ok(bytes) => bytes,
            Err(StoreError::Missing { .. }) => {
                return Err(Box::new(self.unchecked(&format!("{what} of the base"), digest)));
            }
            Err(error) => {
                return Err(Box::new(broken(format!("{what} of the base cannot be read: {error}"), Vec::new())));
            }
        };
        serde_json::from_slice(&bytes)
            .map_err(|error| Box::new(broken(format!("{what} of the base is no JSON: {error}"), Vec::new())))
    }

    fn unchecked(&self, what: &str, digest: &Sha256) -> Finding {
        let message = format!("{what} is not in the store and not checked");
        let evidence = vec![format!("missing  sha256:{digest}")];
        Finding { level: self.missing, evidence, ..Finding::new(&UNCHECKED, SUBJECT, message) }
    }

    fn check_manifest(&self, platform: Platform, pin: &BaseManifest) -> Vec<Finding> {
        let document = match self.document("the manifest", &pin.digest) {
            Ok(document) => document,
            Err(finding) => return vec![*finding],
        };
        let mut findings = Vec::new();
        let mut differ = |what: &str, locked: String, found: String| {
            if locked != found {
                let evidence = vec![format!("  locked  {locked}"), format!("   holds  {found}")];
                findings.push(broken(format!("the base's {what} for {platform} is not the locked one"), evidence));
            }
        };
        let config = document.pointer("/config/digest").and_then(Value::as_str).unwrap_or_default();
        differ("config", pin.config.prefixed(), config.to_owned());
        let size = self.store.read_blob(&pin.digest).map(|bytes| bytes.len()).unwrap_or_default();
        differ("manifest size", pin.size.to_string(), size.to_string());
        let locked = pin.layers.iter().map(|layer| format!("{} {}", layer.digest.prefixed(), layer.size));
        let layers = document.get("layers").and_then(Value::as_array).into_iter().flatten().map(|layer| {
            let size = layer.get("size").and_then(Value::as_u64).unwrap_or_default();
            format!("{} {size}", layer.get("digest").and_then(Value::as_str).unwrap_or_default())
        });
        differ("list of layers", joined(locked), joined(layers));
        match self.document("the config", &pin.config) {
            Err(finding) => findings.push(*finding),
            Ok(config) => {
                let listed = config.pointer("/rootfs/diff_ids").and_then(Value::as_array).into_iter().flatten();
                let found = joined(listed.map(|id| id.as_str().unwrap_or_default().to_owned()));
                differ("list of diff_ids", joined(pin.layers.iter().map(|layer| layer.diff_id.prefixed())), found);
                let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
                differ("platform", platform.to_string(), format!("{}/{}", text("os"), text("architecture")));
            }
        }
        for layer in &pin.layers {
            match self.store.open_blob(&layer.digest) {
                Ok(_) => {}
                Err(StoreError::Missing { .. }) => findings.push(self.unchecked("a layer of the base", &layer.digest)),
                Err(error) => findings.push(broken(format!("a layer of the base is damaged: {error}"), Vec::new())),
            }
        }
        findings
    }
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn lists(index: &Value, platform: Platform, digest: &Sha256) -> bool {
    let entries = index.get("manifests").and_then(Value::as_array).into_iter().flatten();
    entries.into_iter().any(|entry| {
        let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str);
        text("/digest") == Some(&digest.prefixed())
            && text("/platform/os") == Some(platform.os())
            && text("/platform/architecture") == Some(platform.architecture.as_str())
    })
}

fn broken(message: String, evidence: Vec<String>) -> Finding {
    Finding { evidence, ..Finding::new(&CHAIN, SUBJECT, crate::base::text::sanitize(&message)) }
}
