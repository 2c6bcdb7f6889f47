//! Base images from a real registry server on loopback: Debian's `docker-registry`, filled by skopeo.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use oclock::base::http::{HttpClient, HttpOptions};
use oclock::base::progress::Progress;
use oclock::base::tar::{TarMeta, TarWriter};
use oclock::lock::BasePin;
use oclock::manifest::SourceKind;
use oclock::model::{Architecture, ImageReference, Platform, Sha256};
use oclock::resolve::image::{ImageError, ImageRequest, fetch_base, resolve};
use oclock::source::Source;
use oclock::store::Store;
use serde_json::{Value, json};
use support::image_registry::ImageRegistry;

const ARM64: Platform = Platform { architecture: Architecture::Arm64 };

struct Registry(ImageRegistry);

impl Registry {
    fn start() -> Self {
        Self(ImageRegistry::start())
    }

    fn source(&self) -> Source {
        Source {
            name: "registry".parse().unwrap(),
            kind: SourceKind::Image,
            url: self.0.url().parse().unwrap(),
            mirrors: Vec::new(),
            authorization: None,
            packages: Vec::new(),
            suites: Vec::new(),
            components: Vec::new(),
            signed_by: None,
            found_in: "the test".into(),
        }
    }

    /// Pushes a layout with an index of two platforms; gives the index's digest.
    fn push(&self, name: &str) -> Sha256 {
        let layout = self.0.directory.path().join("layout");
        let index = write_layout(&layout);
        self.0.push(&layout, name, None);
        index
    }
}

fn blob(layout: &Path, bytes: &[u8]) -> (String, usize) {
    let digest = Sha256::of(bytes);
    fs::write(layout.join("blobs/sha256").join(digest.to_string()), bytes).unwrap();
    (digest.prefixed(), bytes.len())
}

fn described(layout: &Path, kind: &str, bytes: &[u8]) -> Value {
    let (digest, size) = blob(layout, bytes);
    json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": size })
}

fn write_layout(layout: &Path) -> Sha256 {
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let mut manifests = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let mut tar = TarWriter::new(Vec::new(), 0);
        let text = format!("for {architecture}");
        tar.file(Path::new("for"), &TarMeta::root(0o644), text.len() as u64, &mut text.as_bytes()).unwrap();
        let layer = tar.finish().unwrap();
        let config = json!({ "architecture": architecture, "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [Sha256::of(&layer).prefixed()] } });
        let config = described(layout, "config.v1+json", config.to_string().as_bytes());
        let layer = described(layout, "layer.v1.tar", &layer);
        let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": [layer] });
        let mut entry = described(layout, "manifest.v1+json", manifest.to_string().as_bytes());
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        manifests.push(entry);
    }
    let index =
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests });
    let text = index.to_string();
    let mut top = described(layout, "index.v1+json", text.as_bytes());
    top["annotations"] = json!({ "org.opencontainers.image.ref.name": "it" });
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(layout.join("index.json"), json!({ "schemaVersion": 2, "manifests": [top] }).to_string()).unwrap();
    Sha256::of(text)
}

fn reference(text: &str) -> ImageReference {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_tag_becomes_digests_and_its_layers_can_be_fetched() {
    let registry = Registry::start();
    let index = registry.push("node:20-slim");
    let store = Store::open(registry.0.directory.path().join("store")).unwrap();
    let http = HttpClient::new(HttpOptions { tries: 1, ..HttpOptions::default() }).unwrap();
    let source = registry.source();
    let platforms = [Platform::LINUX_AMD64, ARM64];

    let asked = reference("node:20-slim");
    let base =
        resolve(&ImageRequest { reference: &asked, platforms: &platforms }, &source, &http, &store).await.unwrap();
    let BasePin::Image { index: found, manifests, .. } = &base else { unreachable!() };
    assert_eq!(*found, index);
    assert_eq!(manifests.keys().copied().collect::<Vec<_>>(), platforms);
    let layers: BTreeMap<_, _> =
        manifests.iter().map(|(platform, manifest)| (*platform, manifest.layers[0].digest)).collect();
    assert_ne!(layers[&Platform::LINUX_AMD64], layers[&ARM64]);

    fetch_base(&base, ARM64, &source, &http, &store, &Progress::hidden()).await.unwrap();
    assert!(store.read_blob(&layers[&ARM64]).unwrap().windows(9).any(|window| window == b"for arm64"));
    assert!(!store.contains(&layers[&Platform::LINUX_AMD64]));

    let pinned = reference(&format!("node@{}", index.prefixed()));
    let again =
        resolve(&ImageRequest { reference: &pinned, platforms: &platforms }, &source, &http, &store).await.unwrap();
    assert!(matches!(again, BasePin::Image { index: found, .. } if found == index));
}

#[tokio::test]
async fn what_a_registry_does_not_have_is_named() {
    let registry = Registry::start();
    registry.push("node:20-slim");
    let store = Store::open(registry.0.directory.path().join("store")).unwrap();
    let http = HttpClient::new(HttpOptions { tries: 1, ..HttpOptions::default() }).unwrap();
    let source = registry.source();
    let platforms = [Platform::LINUX_AMD64];
    for missing in ["node:21", "nodes:20-slim"] {
        let missing = reference(missing);
        let error = resolve(&ImageRequest { reference: &missing, platforms: &platforms }, &source, &http, &store)
            .await
            .unwrap_err();
        assert!(matches!(error, ImageError::Unknown { .. }), "{error}");
    }
}
