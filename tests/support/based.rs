//! A project on a base image, locked by hand: the registry's documents and the store as a fetch would leave them.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

use std::collections::BTreeMap;
use std::fs;

use oclock::lock::{BaseLayer, BaseManifest, BasePin, Lockfile, SealPin, fingerprints, render_lockfile};
use oclock::manifest::parse_manifest;
use oclock::model::{ImageReference, Platform, Sha256};
use oclock::store::Store;
use serde_json::json;

use super::project::Project;
use super::registries::Registries;

const MANIFEST: &str = "[image]\nname = \"based\"\nbase = \"tool:1\"\nepoch = 2024-03-01T00:00:00Z\n";

/// The project.
pub fn project(registries: &Registries) -> Project {
    project_with(registries, "honest")
}

/// The same with other bytes in its one layer.
pub fn project_with(registries: &Registries, content: &str) -> Project {
    let project = Project::with(registries);
    let settings = project.home().join(".config/oclock/config.toml");
    let text = fs::read_to_string(&settings).unwrap();
    let source = format!("\n[sources.registry]\nkind = \"image\"\nurl = \"{}\"\n", registries.site.url);
    fs::write(settings, text + &source).unwrap();
    project.write("oclock.toml", MANIFEST);
    project.write("Containerfile.in", "FROM {{ base }}\n{{ apt.install }}\n");
    let store = Store::open(project.store()).unwrap();
    let lock = lock(registries, &store, content);
    project.write("lockfile.toml", render_lockfile(&lock));
    project
}

fn lock(registries: &Registries, store: &Store, content: &str) -> Lockfile {
    let put = |kind: &str, bytes: &[u8]| {
        let digest = store.add_blob(bytes).unwrap();
        registries.site.put(&format!("/v2/tool/{kind}/{}", digest.prefixed()), bytes);
        digest
    };
    let layer = [content.as_bytes(), &[0; 10240]].concat();
    let diff_id = put("blobs", &layer);
    let config = json!({ "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [diff_id.prefixed()] } });
    let config_text = config.to_string();
    let config = put("blobs", config_text.as_bytes());
    let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.prefixed(), "size": config_text.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": diff_id.prefixed(), "size": layer.len() }] });
    let manifest_text = manifest.to_string();
    let digest = put("manifests", manifest_text.as_bytes());
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest.prefixed(),
            "size": manifest_text.len(), "platform": { "os": "linux", "architecture": "amd64" } }] });
    let index = put("manifests", index.to_string().as_bytes());
    let layers = vec![BaseLayer { digest: diff_id, size: layer.len() as u64, diff_id }];
    let pinned = BaseManifest { digest, size: manifest_text.len() as u64, config, layers };
    Lockfile {
        epoch: 1_709_251_200,
        platforms: vec![Platform::LINUX_AMD64],
        fingerprints: fingerprints(&parse_manifest(MANIFEST, "oclock.toml").unwrap()),
        seal: SealPin {
            rules: oclock::image::rules_digest(),
            encoder: oclock::image::encoder(oclock::model::LayerCompression::Gzip).to_owned(),
        },
        base: BasePin::Image {
            reference: ImageReference::parse("tool:1").unwrap(),
            source: "registry".parse().unwrap(),
            index,
            manifests: BTreeMap::from([(Platform::LINUX_AMD64, pinned)]),
        },
        archives: Vec::new(),
        apt: Vec::new(),
        npm: Vec::new(),
        pip: Vec::new(),
        pip_builds: Vec::new(),
        images: BTreeMap::new(),
    }
}

/// What a text hashes to, for tests that compare.
pub fn digest(text: &str) -> Sha256 {
    Sha256::of(text)
}
