//! How an image came to be: SLSA provenance v1 as the predicate of an in-toto statement v1. No clock: what it says is a
//! function of the project and of the image that its lockfile records.

use serde_json::{Value, json};

use super::bill::Bill;
use super::{DocumentType, moment, purl};
use crate::lock::{ArchivePin, BasePin, ImagePin, Lockfile, SealPin};
use crate::model::{Artifact, Platform, Sha256};

/// SLSA provenance v1.
pub const PROVENANCE: DocumentType =
    DocumentType { media_type: "application/vnd.in-toto+json", predicate_type: "https://slsa.dev/provenance/v1" };

/// The way of building that the parameters are to be read by: docs/commands/provenance.md.
const BUILD_TYPE: &str = "https://oclock.invalid/build/v1";

/// Of what provenance is wanted: an image that was built from these, and checked to be.
#[derive(Clone, Copy, Debug)]
pub struct ProvenanceRequest<'a> {
    /// The lock.
    pub lock: &'a Lockfile,
    /// What is in the image.
    pub bill: &'a Bill,
    /// The recorded image.
    pub image: ImagePin,
    /// sha256 of the manifest's bytes.
    pub manifest: Sha256,
    /// sha256 of the template's bytes.
    pub template: Sha256,
    /// Who vouches for the build: a URI.
    pub builder: &'a str,
}

/// An in-toto statement about an image.
pub fn render_statement(name: &str, image: &ImagePin, predicate_type: &str, predicate: Value) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": name, "digest": { "sha256": image.digest.to_string() } }],
        "predicateType": predicate_type,
        "predicate": predicate,
    })
}

/// The predicate: what was asked, every input by digest, and who built.
pub fn render_provenance(request: &ProvenanceRequest<'_>) -> Value {
    let ProvenanceRequest { lock, bill, image, .. } = request;
    let file = |name: &str, digest: &Sha256| json!({ "name": name, "digest": sha256(digest) });
    let SealPin { rules, encoder } = &lock.seal;
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "image": bill.name,
                "platform": bill.platform.to_string(),
                "manifest": file("oclock.toml", &request.manifest),
                "template": file("Containerfile.in", &request.template),
                "lockfile": file("lockfile.toml", &bill.lockfile),
            },
            "internalParameters": {
                "epoch": moment(lock.epoch),
                "seal": { "rules": sha256(rules), "encoder": encoder },
            },
            "resolvedDependencies": dependencies(request),
        },
        "runDetails": {
            "builder": { "id": request.builder, "version": { "oclock": env!("CARGO_PKG_VERSION") } },
            "byproducts": [{ "name": "image ID", "digest": sha256(&image.id) }],
        },
    })
}

/// Every input: the project's files, the signed indexes, the base, every artifact.
fn dependencies(request: &ProvenanceRequest<'_>) -> Vec<Value> {
    let ProvenanceRequest { lock, bill, image, .. } = request;
    let mut all = vec![
        json!({ "name": "oclock.toml", "digest": sha256(&request.manifest) }),
        json!({ "name": "Containerfile.in", "digest": sha256(&request.template) }),
        json!({ "name": "lockfile.toml", "digest": sha256(&bill.lockfile) }),
        json!({ "name": "build context", "digest": sha256(&image.context) }),
    ];
    all.extend(lock.archives.iter().flat_map(archive_inputs));
    all.extend(base_inputs(&lock.base, bill.platform));
    all.extend(bill.components.iter().map(|component| {
        let artifact = &component.artifact;
        let mut digest = sha256(&artifact.sha256);
        if let Some(sha512) = artifact.sha512 {
            digest["sha512"] = sha512.to_string().into();
        }
        json!({
            "name": format!("{}:{} {}", component.ecosystem, component.name, component.version),
            "uri": component.purl,
            "digest": digest,
            "annotations": { "path": artifact.path.to_string(), "source": artifact.source.to_string() },
        })
    }));
    let builds = lock.pip_builds.iter().filter(|pin| pin.wheel.platform == bill.platform);
    all.extend(builds.map(|pin| {
        let artifact = &pin.wheel.artifact;
        json!({
            "name": format!("pip:{} {}", pin.wheel.name, pin.wheel.version),
            "uri": purl::of_pip(&pin.wheel),
            "digest": sha256(&artifact.sha256),
            "annotations": {
                "path": artifact.path.to_string(), "source": artifact.source.to_string(), "builds": pin.builds.to_string(),
            },
        })
    }));
    all
}

fn archive_inputs(archive: &ArchivePin) -> Vec<Value> {
    let file = |artifact: &Artifact, annotations: Value| {
        let name = format!("{} {}", archive.source, artifact.path);
        json!({ "name": name, "digest": sha256(&artifact.sha256), "annotations": annotations })
    };
    let signed = json!({ "suite": archive.suite, "date": moment(archive.date), "keys": archive.keys });
    let indexes = archive.indexes.iter().map(|index| file(index, json!({ "suite": archive.suite })));
    std::iter::once(file(&archive.in_release, signed)).chain(indexes).collect()
}

fn base_inputs(base: &BasePin, platform: Platform) -> Vec<Value> {
    let BasePin::Image { reference, manifests, .. } = base else { return Vec::new() };
    let Some(manifest) = manifests.get(&platform) else { return Vec::new() };
    let uri = super::purl::of_image(&reference.repository, &manifest.digest, platform);
    let name = format!("base image {reference}");
    let mut all = vec![json!({ "name": name, "uri": uri, "digest": sha256(&manifest.digest) })];
    all.extend(manifest.layers.iter().enumerate().map(|(index, layer)| {
        let name = format!("layer {} of base image {reference}", index + 1);
        json!({ "name": name, "digest": sha256(&layer.digest) })
    }));
    all
}

fn sha256(digest: &Sha256) -> Value {
    json!({ "sha256": digest.to_string() })
}
