//! The sources that this machine's own clients know, asked for real: one small file of each ecosystem is fetched.

#![allow(clippy::unwrap_used, reason = "a test may fail so")]

use std::path::Path;

use oclock::base::environment::Environment;
use oclock::base::http::{HttpClient, HttpOptions, Request};
use oclock::base::progress::Progress;
use oclock::fetch::{FetchPlan, Wanted, fetch};
use oclock::model::{Artifact, ArtifactPath, Sha256, Sha512, SourceName};
use oclock::source::{Source, Sources, discover, source_of};
use oclock::store::Store;

struct Bench {
    directory: tempfile::TempDir,
    sources: Sources,
    http: HttpClient,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let environment = Environment::from_variables(std::env::vars_os());
        let sources = discover(&environment, directory.path(), &Default::default()).unwrap().with_store(&store);
        let http = HttpClient::new(HttpOptions::default());
        Self { directory, sources, http, store }
    }

    async fn get(&self, source: &Source, path: &str, accept: &'static str) -> Vec<u8> {
        let url = format!("{}{path}", source.url).parse().unwrap();
        let request = Request::get(url).accept(accept).authorization(source.authorization.as_deref());
        self.http.fetch(request).await.unwrap().body
    }

    /// Fetches an artifact and returns what the store then gives.
    async fn bring(&self, artifact: &Artifact) -> Vec<u8> {
        let want = Wanted { artifact, label: "the file".into(), moments: Vec::new() };
        let plan = FetchPlan { artifacts: vec![want], ..FetchPlan::default() };
        let quarantine = self.directory.path().join("quarantine");
        let progress = Progress::hidden();
        let outcome = fetch(&plan, &self.sources, &self.http, &self.store, &progress, &quarantine).await;
        assert_eq!(outcome.unwrap().files, 1);
        self.store.read_blob(&artifact.sha256).unwrap()
    }
}

fn artifact(source: &SourceName, path: &str, size: u64, sha256: Sha256) -> Artifact {
    Artifact { source: source.clone(), path: ArtifactPath::parse(path).unwrap(), size, sha256, sha512: None }
}

#[tokio::test]
async fn a_debian_index_is_fetched_from_the_hosts_archive() {
    let bench = Bench::new();
    let sources = bench.sources.apt("trixie").unwrap();
    let names: Vec<_> = sources.iter().map(|source| (source.name.as_str(), source.suites.join(" "))).collect();
    let expected = [("debian", "trixie trixie-updates"), ("debian-security", "trixie-security")];
    assert_eq!(names, expected.map(|(name, suites)| (name, suites.to_owned())));
    let release = bench.get(&sources[0], "dists/trixie-updates/InRelease", "*/*").await;
    let release = String::from_utf8(release).unwrap();
    let listed = release.split("SHA256:").nth(1).unwrap();
    let line = listed.lines().find(|line| line.ends_with(" main/binary-amd64/Packages.xz")).unwrap();
    let fields: Vec<&str> = line.split_whitespace().collect();
    let file = artifact(
        &sources[0].name,
        "dists/trixie-updates/main/binary-amd64/Packages.xz",
        fields[1].parse().unwrap(),
        Sha256::parse(fields[0]).unwrap(),
    );
    assert!(bench.bring(&file).await.starts_with(b"\xfd7zXZ"));
}

#[tokio::test]
async fn a_tarball_is_fetched_from_the_users_npm_registry() {
    let bench = Bench::new();
    let sources = bench.sources.npm().unwrap();
    let source = source_of(&sources, "is-odd").unwrap();
    let document = bench.get(source, "is-odd", "application/json").await;
    let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    let dist = &document["versions"]["3.0.1"]["dist"];
    // The lock has the hash of the bytes; the registry has told another one, which is verified beside it.
    let integrity = dist["integrity"].as_str().unwrap().strip_prefix("sha512-").unwrap().to_owned();
    let path = "is-odd/-/is-odd-3.0.1.tgz";
    let body = bench.get(source, path, "*/*").await;
    use base64::Engine as _;
    let sha512 = base64::engine::general_purpose::STANDARD.decode(integrity).unwrap().try_into().unwrap();
    let file = Artifact {
        sha512: Some(Sha512::from_bytes(sha512)),
        ..artifact(&source.name, path, body.len() as u64, Sha256::of(&body))
    };
    assert_eq!(bench.bring(&file).await, body);
}

#[tokio::test]
async fn a_wheel_is_fetched_from_the_users_python_index() {
    let bench = Bench::new();
    let sources = bench.sources.pip().unwrap();
    let page = bench.get(&sources[0], "iniconfig/", "application/vnd.pypi.simple.v1+json").await;
    let page: serde_json::Value = serde_json::from_slice(&page).unwrap();
    let files = page["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["filename"] == "iniconfig-2.0.0-py3-none-any.whl").unwrap();
    let sha256 = Sha256::parse(file["hashes"]["sha256"].as_str().unwrap()).unwrap();
    let size = file["size"].as_u64().unwrap();
    let wheel = artifact(&sources[0].name, "iniconfig/iniconfig-2.0.0-py3-none-any.whl", size, sha256);
    assert!(bench.bring(&wheel).await.starts_with(b"PK"));
}

#[test]
fn the_registry_of_images_is_known() {
    let bench = Bench::new();
    let source = bench.sources.image(None).unwrap();
    assert!(Path::new(source.url.path()).is_absolute() && !source.found_in.is_empty());
}
