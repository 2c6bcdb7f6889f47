//! Base images from a real registry server on loopback: Debian's `docker-registry`, filled by skopeo.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

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
use support::fake_registry::{Asked, FakeRegistry, Reply, image_of};
use support::image_registry::{HandMade, ImageRegistry, Packing, tar};

const ARM64: Platform = Platform { architecture: Architecture::Arm64 };

fn source_at(url: &str) -> Source {
    Source {
        name: "registry".parse().unwrap(),
        kind: SourceKind::Image,
        url: url.parse().unwrap(),
        mirrors: Vec::new(),
        authorization: None,
        packages: Vec::new(),
        suites: Vec::new(),
        components: Vec::new(),
        signed_by: None,
        found_in: "the test".into(),
    }
}

struct Registry(ImageRegistry);

impl Registry {
    fn start() -> Self {
        Self(ImageRegistry::start())
    }

    fn source(&self) -> Source {
        source_at(&self.0.url())
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
    let http = HttpClient::new(HttpOptions { tries: 1, ..HttpOptions::default() });
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
    let http = HttpClient::new(HttpOptions { tries: 1, ..HttpOptions::default() });
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

/// An image of one layer, what a registry answers for it, and a store of one's own.
struct Bench {
    directory: tempfile::TempDir,
    store: Store,
    index: Sha256,
    layer: Sha256,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let text = "some content ".repeat(1000);
        let image = HandMade::new().layer(tar(&[("file", &text)]), Packing::Plain);
        let (index, layers) = image.write(&directory.path().join("layout"));
        Self { directory, store, index, layer: layers[0] }
    }

    fn image(&self) -> impl Fn(&str) -> Reply + Send + Sync + use<> {
        image_of(&self.directory.path().join("layout"), self.index)
    }

    /// Finds the image and fetches its layer.
    async fn bring(&self, source: &Source) -> Result<(), ImageError> {
        let http = HttpClient::new(HttpOptions { tries: 2, pause: Duration::from_millis(1), ..HttpOptions::default() });
        let asked = reference("node:20-slim");
        let request = ImageRequest { reference: &asked, platforms: &[Platform::LINUX_AMD64] };
        let base = resolve(&request, source, &http, &self.store).await?;
        fetch_base(&base, Platform::LINUX_AMD64, source, &http, &self.store, &Progress::hidden()).await?;
        assert!(self.store.read_blob(&self.layer).is_ok());
        Ok(())
    }
}

fn is_layer(path: &str, layer: &Sha256) -> bool {
    path.ends_with(&layer.prefixed())
}

#[tokio::test]
async fn a_token_is_got_with_the_login_where_the_registry_says() {
    let bench = Bench::new();
    let image = bench.image();
    let realm: std::sync::Arc<std::sync::OnceLock<String>> = std::sync::Arc::default();
    let place = realm.clone();
    let registry = FakeRegistry::serve(move |asked| match asked.authorization.as_deref() {
        Some("Basic dTpw") if asked.path == "/token?service=it&scope=repository%3Anode%3Apull" => {
            Reply::ok(r#"{"token":"t0"}"#)
        }
        Some("Bearer t0") => image(&asked.path),
        _ => Reply::status("401 Unauthorized").header(format!(
            r#"WWW-Authenticate: Bearer realm="{}token",service="it",scope="repository:node:pull""#,
            place.get().unwrap()
        )),
    });
    realm.set(registry.url.clone()).unwrap();
    let mut source = source_at(&registry.url);
    assert!(matches!(bench.bring(&source).await, Err(ImageError::Denied { .. })));
    source.authorization = Some("Basic dTpw".into());
    registry.take_asked();
    bench.bring(&source).await.unwrap();
    let tokens = registry.take_asked().iter().filter(|asked| asked.path.starts_with("/token")).count();
    assert_eq!(tokens, 2, "one for resolving, one for fetching");
}

#[tokio::test]
async fn half_a_body_is_taken_up_where_it_broke_off() {
    let bench = Bench::new();
    let (image, layer) = (bench.image(), bench.layer);
    let registry = FakeRegistry::serve(move |asked| {
        let whole = image(&asked.path);
        match &asked.range {
            _ if !is_layer(&asked.path, &layer) => whole,
            None => Reply { cut: Some(5000), ..whole },
            Some(range) => {
                let first: usize = range["bytes=".len()..].split('-').next().unwrap().parse().unwrap();
                let length = whole.body.len();
                Reply { status: "206 Partial Content", ..Reply::ok(&whole.body[first..]) }
                    .header(format!("Content-Range: bytes {first}-{}/{length}", length - 1))
            }
        }
    });
    bench.bring(&source_at(&registry.url)).await.unwrap();
    let asked: Vec<Asked> = registry.take_asked().into_iter().filter(|asked| is_layer(&asked.path, &layer)).collect();
    assert_eq!(asked.len(), 2);
    assert!(asked[1].range.as_ref().unwrap().starts_with("bytes=5000-"), "{asked:?}");
}

#[tokio::test]
async fn a_registry_that_fails_is_named_and_bytes_of_another_digest_are_not_taken() {
    use oclock::base::explain::{Explain, Kind};
    let bench = Bench::new();
    let layer = bench.layer;
    type Fault = fn(Reply) -> Reply;
    let faults: [(Fault, Kind, &str); 5] = [
        (|_| Reply::status("401 Unauthorized"), Kind::Unable, "does not let us read `node:20-slim`"),
        (|_| Reply::status("404 Not Found"), Kind::Unable, "no registry image is named `node:20-slim`"),
        (
            |_| Reply::status("500 Internal Server Error"),
            Kind::Unable,
            "could not read `node:20-slim` from its registry",
        ),
        (|whole| Reply { cut: Some(100), ..whole }, Kind::Unable, "could not read `node:20-slim` from its registry"),
        (|_| Reply::ok("other"), Kind::Distrust, "`node:20-slim` arrived with bytes of another digest"),
    ];
    for (fault, kind, words) in faults {
        let image = bench.image();
        let registry = FakeRegistry::serve(move |asked| match is_layer(&asked.path, &layer) {
            true => fault(image(&asked.path)),
            false => image(&asked.path),
        });
        let error = bench.bring(&source_at(&registry.url)).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains(words)), (kind, true), "{words}: {error}");
        assert!(!bench.store.contains(&layer));
    }
    // The tag's own manifest may be anything, what it names may not.
    let image = bench.image();
    let registry = FakeRegistry::serve(move |asked| match asked.path.contains("/manifests/sha256:") {
        true => Reply::ok(r#"{"schemaVersion":2,"config":{},"layers":[]}"#),
        false => image(&asked.path),
    });
    let error = bench.bring(&source_at(&registry.url)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Distrust, "{error}");
    let registry = FakeRegistry::serve(|_| Reply::ok("no json"));
    let error = bench.bring(&source_at(&registry.url)).await.unwrap_err();
    assert!(matches!(error, ImageError::Document { .. }), "{error}");
}

#[tokio::test]
async fn mirrors_are_asked_in_order_by_digest_and_without_the_login() {
    let bench = Bench::new();
    let image = bench.image();
    let registry = FakeRegistry::serve(move |asked| match asked.path.contains("sha256:") {
        true => Reply::status("503 Service Unavailable"),
        false => image(&asked.path),
    });
    let empty = FakeRegistry::serve(|_| Reply::status("404 Not Found"));
    let image = bench.image();
    let mirror = FakeRegistry::serve(move |asked| image(&asked.path));
    let mut source = source_at(&registry.url);
    source.authorization = Some("Basic dTpw".into());
    source.mirrors = vec![empty.url.parse().unwrap(), mirror.url.parse().unwrap()];
    bench.bring(&source).await.unwrap();
    assert!(registry.take_asked().iter().all(|asked| asked.authorization.as_deref() == Some("Basic dTpw")));
    for mirror in [&empty, &mirror] {
        let asked = mirror.take_asked();
        assert!(!asked.is_empty());
        assert!(asked.iter().all(|asked| asked.authorization.is_none() && asked.path.contains("sha256:")), "{asked:?}");
    }

    // A mirror that lies ends it, though the next one would have the right bytes.
    let fresh = Bench::new();
    let liar = FakeRegistry::serve(|_| Reply::ok("lies"));
    source.mirrors.insert(0, liar.url.parse().unwrap());
    assert!(matches!(fresh.bring(&source).await, Err(ImageError::OtherDigest { .. })));
}
