//! The resolver against a registry on loopback: what it chooses, and what it refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use serde_json::{Value, json};

use super::*;
use crate::base::explain::{Explain, Kind};
use crate::base::http::HttpOptions;
use crate::model::{Sha256, SourceName};

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A registry that serves what it is given, on a port of its own, until the test ends.
struct FakeRegistry {
    base: String,
    files: Files,
    documents: BTreeMap<String, Value>,
}

impl FakeRegistry {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/npm/", listener.local_addr().unwrap());
        let files = Files::default();
        let served = files.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, served) = (stream.unwrap(), served.clone());
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().unwrap());
                    loop {
                        let mut request = String::new();
                        if lines.read_line(&mut request).unwrap_or(0) == 0 {
                            return;
                        }
                        let mut line = String::from("-");
                        while !line.trim().is_empty() {
                            line.clear();
                            if lines.read_line(&mut line).unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        let path = request.split(' ').nth(1).unwrap().to_owned();
                        let found = served.lock().unwrap().get(&path).cloned();
                        let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
                        let body = found.unwrap_or_default();
                        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len()).unwrap();
                        stream.write_all(&body).unwrap();
                    }
                });
            }
        });
        Self { base, files, documents: BTreeMap::new() }
    }

    /// Publishes a version with its tarball; it becomes `latest`. `more` are further files of the tarball.
    fn publish(&mut self, manifest: Value, more: &[(&str, &str)]) -> &mut Self {
        let name = manifest["name"].as_str().unwrap().to_owned();
        let version = manifest["version"].as_str().unwrap().to_owned();
        let base_name = name.rsplit('/').next().unwrap();
        let tarball = tarball(&manifest, more);
        let path = format!("{name}/-/{base_name}-{version}.tgz");
        self.serve(&path, tarball.clone());
        let mut full = manifest;
        let integrity = base64::engine::general_purpose::STANDARD.encode(Sha512::of(&tarball).as_bytes());
        full["dist"] = json!({ "integrity": format!("sha512-{integrity}"), "tarball": format!("{}{path}", self.base) });
        let document = self.documents.entry(name.clone()).or_insert_with(|| json!({ "name": name, "versions": {} }));
        document["versions"][&version] = full;
        document["dist-tags"]["latest"] = version.into();
        self.flush(&name);
        self
    }

    fn change(&mut self, name: &str, version: &str, change: impl FnOnce(&mut Value)) -> &mut Self {
        change(&mut self.documents.get_mut(name).unwrap()["versions"][version]);
        self.flush(name);
        self
    }

    fn flush(&self, name: &str) {
        self.serve(&name.replace('/', "%2f"), self.documents[name].to_string().into_bytes());
    }

    fn serve(&self, path: &str, bytes: Vec<u8>) {
        self.files.lock().unwrap().insert(format!("/npm/{path}"), bytes);
    }

    fn source(&self) -> Source {
        Source {
            name: SourceName::parse("npm").unwrap(),
            kind: crate::manifest::SourceKind::Npm,
            url: self.base.parse().unwrap(),
            mirrors: Vec::new(),
            authorization: None,
            packages: Vec::new(),
            suites: Vec::new(),
            components: Vec::new(),
            signed_by: None,
            found_in: "test".into(),
        }
    }

    async fn resolve(&self, section: &NpmSection) -> Result<Vec<NpmPin>, NpmError> {
        self.resolve_after(section, &[]).await
    }

    async fn resolve_after(&self, section: &NpmSection, previous: &[NpmPin]) -> Result<Vec<NpmPin>, NpmError> {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let http = HttpClient::new(HttpOptions { tries: 1, ..HttpOptions::default() });
        let request = NpmRequest {
            platform: Platform::LINUX_AMD64,
            section,
            node_version: "20.19.2",
            previous,
            as_of: None,
            keep: None,
        };
        let answer = resolve(&request, &[&self.source()], &http, &store, &Progress::hidden()).await;
        if matches!(answer, Err(NpmError::Mismatch { .. })) {
            assert_eq!(store.blobs().unwrap(), [], "bytes that nobody vouches for do not stay");
        }
        answer
    }
}

fn tarball(manifest: &Value, more: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let text = manifest.to_string();
    for (name, content) in [("package.json", text.as_str())].iter().chain(more) {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        writer.append_data(&mut header, format!("package/{name}"), content.as_bytes()).unwrap();
    }
    writer.into_inner().unwrap().finish().unwrap()
}

fn global(packages: &[(&str, &str)]) -> NpmSection {
    let packages = packages.iter().map(|(name, range)| ((*name).to_owned(), (*range).to_owned())).collect();
    NpmSection { packages, prefix: "/usr/local".into(), ..NpmSection::default() }
}

fn project(packages: &[(&str, &str)]) -> NpmSection {
    let NpmSection { packages, prefix, .. } = global(packages);
    NpmSection { projects: BTreeMap::from([("/p".into(), packages)]), prefix, ..NpmSection::default() }
}

fn places(pins: &[NpmPin]) -> Vec<String> {
    let all =
        pins.iter().flat_map(|pin| pin.places.iter().map(move |place| format!("{place} {}@{}", pin.name, pin.version)));
    let mut places: Vec<String> = all.collect();
    places.sort();
    places
}

#[tokio::test]
async fn versions_in_conflict_are_nested_and_global_packages_keep_theirs() {
    let mut registry = FakeRegistry::start();
    registry
        .publish(json!({ "name": "b", "version": "1.0.0" }), &[])
        .publish(json!({ "name": "b", "version": "2.0.0" }), &[])
        .publish(json!({ "name": "c", "version": "1.0.0", "dependencies": { "b": "^2" } }), &[])
        .publish(json!({ "name": "a", "version": "1.0.0", "dependencies": { "b": "^1", "c": "*" } }), &[]);
    let pins = registry.resolve(&project(&[("a", "^1")])).await.unwrap();
    assert_eq!(
        places(&pins),
        [
            "/p/node_modules/a a@1.0.0",
            "/p/node_modules/b b@1.0.0",
            "/p/node_modules/c c@1.0.0",
            "/p/node_modules/c/node_modules/b b@2.0.0"
        ]
    );
    let b2 = pins.iter().find(|pin| pin.version.as_str() == "2.0.0").unwrap();
    assert_eq!(b2.required_by, ["/p/node_modules/c"]);
    assert_eq!(pins[0].required_by, ["manifest"]);
    let pins = registry.resolve(&global(&[("a", "^1")])).await.unwrap();
    let below = "/usr/local/lib/node_modules/a/node_modules";
    assert_eq!(
        places(&pins),
        [
            "/usr/local/lib/node_modules/a a@1.0.0".to_owned(),
            format!("{below}/b b@1.0.0"),
            format!("{below}/c c@1.0.0"),
            format!("{below}/c/node_modules/b b@2.0.0"),
        ]
    );
}

#[tokio::test]
async fn an_alias_is_pinned_by_its_real_name() {
    let mut registry = FakeRegistry::start();
    registry.publish(json!({ "name": "@s/real", "version": "1.0.0" }), &[]);
    let pins = registry.resolve(&project(&[("other", "npm:@s/real@^1")])).await.unwrap();
    assert_eq!(places(&pins), ["/p/node_modules/other @s/real@1.0.0"]);
    assert_eq!(pins[0].artifact.path.as_str(), "@s/real/-/real-1.0.0.tgz");
}

#[tokio::test]
async fn optional_packages_go_when_they_are_missing_unfit_or_left_out() {
    let mut registry = FakeRegistry::start();
    let variant = |name: &str, key: &str, value: &str| json!({ "name": name, "version": "1.0.0", key: [value] });
    registry
        .publish(variant("v-linux", "cpu", "x64"), &[])
        .publish(variant("v-arm", "cpu", "arm64"), &[])
        .publish(variant("v-musl", "libc", "musl"), &[])
        .publish(variant("v-baseline", "os", "!darwin"), &[]);
    let optional =
        json!({ "v-linux": "1.0.0", "v-arm": "1.0.0", "v-musl": "1.0.0", "v-baseline": "1.0.0", "v-gone": "1.0.0" });
    registry.publish(json!({ "name": "v", "version": "1.0.0", "optionalDependencies": optional }), &[]);
    let mut section = project(&[("v", "*")]);
    let names = |pins: Vec<NpmPin>| pins.iter().map(|pin| pin.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(registry.resolve(&section).await.unwrap()), ["v", "v-baseline", "v-linux"]);
    section.omit = BTreeSet::from([PackageName::parse("v-baseline").unwrap()]);
    assert_eq!(names(registry.resolve(&section).await.unwrap()), ["v", "v-linux"]);
    section.omit = BTreeSet::from([PackageName::parse("v-baselin").unwrap()]);
    let error = registry.resolve(&section).await.unwrap_err();
    assert_eq!(error.hints(), ["did you mean `v-baseline`?"]);
    section.omit = BTreeSet::from([PackageName::parse("v-arm").unwrap()]);
    section.projects.insert("/q".into(), BTreeMap::from([("v-arm".into(), "*".into())]));
    let error = registry.resolve(&section).await.unwrap_err();
    assert!(matches!(error, NpmError::WrongPlatform { .. }), "{error}");
    section.projects.insert("/q".into(), BTreeMap::from([("v-linux".into(), "*".into())]));
    section.omit = BTreeSet::from([PackageName::parse("v-linux").unwrap()]);
    let error = registry.resolve(&section).await.unwrap_err();
    assert!(matches!(error, NpmError::NeededOmit { .. }), "{error}");
}

#[tokio::test]
async fn an_unknown_name_is_named_with_who_asked_and_nothing_is_guessed() {
    let mut registry = FakeRegistry::start();
    registry.publish(json!({ "name": "a", "version": "1.0.0", "dependencies": { "gone": "^1" } }), &[]);
    let error = registry.resolve(&global(&[("a", "*")])).await.unwrap_err();
    assert_eq!(error.to_string(), "the npm registry has no package `gone`");
    assert_eq!(error.evidence(), ["asked by  manifest → a@1.0.0"]);
    assert_eq!(error.kind(), Kind::Unable);
    let error = registry.resolve(&global(&[("a", "^2")])).await.unwrap_err();
    assert_eq!(error.to_string(), "no version of `a` answers `^2`");
    assert_eq!(error.evidence()[1], "   known  latest = 1.0.0, 1.0.0");
}

#[tokio::test]
async fn what_is_not_from_a_registry_is_refused_even_if_optional() {
    let mut registry = FakeRegistry::start();
    let optional = json!({ "tool": "github:someone/tool" });
    registry.publish(json!({ "name": "a", "version": "1.0.0", "optionalDependencies": optional }), &[]);
    let mut section = project(&[("a", "*")]);
    let error = registry.resolve(&section).await.unwrap_err();
    assert_eq!(error.to_string(), "`tool` is asked for as `github:someone/tool`, which is not from a registry");
    section.omit = BTreeSet::from([PackageName::parse("tool").unwrap()]);
    assert_eq!(registry.resolve(&section).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_newest_version_that_runs_and_is_not_deprecated_is_taken() {
    let mut registry = FakeRegistry::start();
    registry
        .publish(json!({ "name": "a", "version": "1.0.0" }), &[])
        .publish(json!({ "name": "a", "version": "1.1.0", "deprecated": "broken" }), &[])
        .publish(json!({ "name": "a", "version": "1.2.0", "engines": { "node": ">=22" } }), &[])
        .publish(json!({ "name": "a", "version": "1.3.0-beta.1" }), &[]);
    let version = |range: &'static str| {
        let registry = &registry;
        async move { registry.resolve(&project(&[("a", range)])).await.unwrap()[0].version.to_string() }
    };
    assert_eq!(version("^1").await, "1.0.0");
    assert_eq!(version("1.2.0").await, "1.2.0");
    assert_eq!(version("latest").await, "1.3.0-beta.1");
    assert_eq!(version("^1.1").await, "1.1.0");
}

#[tokio::test]
async fn peers_come_along_and_contradictions_are_errors() {
    let mut registry = FakeRegistry::start();
    registry
        .publish(json!({ "name": "core", "version": "1.0.0" }), &[])
        .publish(json!({ "name": "core", "version": "2.0.0" }), &[])
        .publish(json!({ "name": "plugin", "version": "1.0.0", "peerDependencies": { "core": "^1" } }), &[]);
    let pins = registry.resolve(&project(&[("plugin", "*")])).await.unwrap();
    assert_eq!(places(&pins), ["/p/node_modules/core core@1.0.0", "/p/node_modules/plugin plugin@1.0.0"]);
    let error = registry.resolve(&project(&[("plugin", "*"), ("core", "^2")])).await.unwrap_err();
    assert!(matches!(error, NpmError::PeerConflict { .. }), "{error}");
}

#[tokio::test]
async fn a_conflict_of_peers_names_the_chain() {
    let mut registry = FakeRegistry::start();
    registry
        .publish(json!({ "name": "core", "version": "1.0.0" }), &[])
        .publish(json!({ "name": "core", "version": "2.0.0" }), &[])
        .publish(json!({ "name": "plugin", "version": "1.0.0", "peerDependencies": { "core": "^1" } }), &[])
        .publish(json!({ "name": "preset", "version": "1.0.0", "peerDependencies": { "plugin": "^1" } }), &[]);
    let error = registry.resolve(&project(&[("preset", "*"), ("core", "^2")])).await.unwrap_err();
    assert!(matches!(error, NpmError::PeerConflict { .. }), "{error}");
    let said = error.evidence().join("\n");
    assert!(said.contains("manifest → preset@1.0.0"), "{said}");
    assert!(said.contains("core@^1") && said.contains("present  core@2.0.0"), "{said}");
}

#[tokio::test]
async fn circles_end_and_those_without_end_are_refused() {
    let mut registry = FakeRegistry::start();
    let on = |name: &str, version: &str, other: &str, range: &str| json!({ "name": name, "version": version, "dependencies": { other: range } });
    registry
        .publish(on("a", "1.0.0", "b", "*"), &[])
        .publish(on("b", "1.0.0", "c", "*"), &[])
        .publish(on("c", "1.0.0", "a", "*"), &[]);
    let pins = registry.resolve(&project(&[("a", "*")])).await.unwrap();
    assert_eq!(places(&pins), ["/p/node_modules/a a@1.0.0", "/p/node_modules/b b@1.0.0", "/p/node_modules/c c@1.0.0"]);
    registry
        .publish(on("x", "1.0.0", "y", "1.0.0"), &[])
        .publish(on("y", "1.0.0", "x", "2.0.0"), &[])
        .publish(on("x", "2.0.0", "y", "2.0.0"), &[])
        .publish(on("y", "2.0.0", "x", "1.0.0"), &[]);
    let error = registry.resolve(&project(&[("x", "1.0.0"), ("y", "2.0.0")])).await;
    let error = match error {
        Err(error) => error,
        Ok(pins) => panic!("{:?}", places(&pins)),
    };
    assert!(matches!(error, NpmError::Unsupported { .. }), "{error}");
}

#[tokio::test]
async fn peers_that_contradict_each_other_in_a_circle_are_refused() {
    let mut registry = FakeRegistry::start();
    let beside = |name: &str, version: &str, other: &str, range: &str| json!({ "name": name, "version": version, "peerDependencies": { other: range } });
    registry
        .publish(json!({ "name": "top", "version": "1.0.0", "dependencies": { "a": "1.0.0" } }), &[])
        .publish(beside("a", "1.0.0", "b", "2.0.0"), &[])
        .publish(beside("b", "2.0.0", "a", "2.0.0"), &[])
        .publish(beside("a", "2.0.0", "b", "1.0.0"), &[])
        .publish(beside("b", "1.0.0", "a", "1.0.0"), &[]);
    let error = registry.resolve(&project(&[("top", "*")])).await.unwrap_err();
    assert!(error.to_string().contains("peers that ask for others without an end"), "{error}");
}

fn overriding(packages: &[(&str, &str)], overrides: &str) -> NpmSection {
    let text = format!("[image]\nname = \"i\"\nbase = {{ debian = \"trixie\" }}\n[npm.overrides]\n{overrides}");
    let overrides = crate::manifest::parse_manifest(&text, "oclock.toml").unwrap().npm.overrides;
    NpmSection { overrides, ..project(packages) }
}

#[tokio::test]
async fn an_override_goes_down_the_tree_and_never_against_the_manifest() {
    let mut registry = FakeRegistry::start();
    registry
        .publish(json!({ "name": "b", "version": "1.0.0" }), &[])
        .publish(json!({ "name": "b", "version": "1.1.0" }), &[])
        .publish(json!({ "name": "b", "version": "2.0.0" }), &[])
        .publish(json!({ "name": "c", "version": "1.0.0", "dependencies": { "b": "^1" } }), &[])
        .publish(json!({ "name": "p", "version": "1.0.0", "peerDependencies": { "b": "^1" } }), &[])
        .publish(json!({ "name": "a", "version": "1.0.0", "dependencies": { "b": "^1", "c": "*" } }), &[]);
    let versions = |section: NpmSection| {
        let registry = &registry;
        async move {
            let found = registry.resolve(&section).await.map(|pins| places(&pins).join(" "));
            found.map(|found| found.replace("/p/node_modules/", "")).map_err(|error| error.to_string())
        }
    };
    let of = |overrides: &str| versions(overriding(&[("a", "*")], overrides));
    assert_eq!(of("").await.unwrap(), "a a@1.0.0 b b@1.1.0 c c@1.0.0");
    assert_eq!(of("b = \"1.0.0\"").await.unwrap(), "a a@1.0.0 b b@1.0.0 c c@1.0.0");
    assert_eq!(of("b = \"2\"").await.unwrap(), "a a@1.0.0 b b@2.0.0 c c@1.0.0");
    assert_eq!(of("\"b@2\" = \"1.0.0\"").await.unwrap(), "a a@1.0.0 b b@1.1.0 c c@1.0.0");
    assert_eq!(of("c = { b = \"1.0.0\" }").await.unwrap(), "a a@1.0.0 b b@1.1.0 c c@1.0.0 c/node_modules/b b@1.0.0");
    assert_eq!(of("b = \"npm:c@1\"").await.unwrap(), "a a@1.0.0 b c@1.0.0 c c@1.0.0");
    let direct = |asked: &'static str, overrides: &str| versions(overriding(&[("b", asked), ("p", "*")], overrides));
    assert!(direct("^2", "").await.is_err());
    assert_eq!(direct("^2", "b = \"$b\"").await.unwrap(), "b b@2.0.0 p p@1.0.0");
    assert_eq!(
        direct("^2", "b = \"1.0.0\"").await.unwrap_err(),
        "`[npm.overrides]` contradicts what is asked of `b` itself"
    );
    assert_eq!(
        of("b = \"$nothing\"").await.unwrap_err(),
        "`[npm.overrides]` refers to `$nothing`, which is not asked for"
    );
}

#[tokio::test]
async fn a_tarball_is_believed_only_with_its_sha512_and_from_its_registry() {
    let mut registry = FakeRegistry::start();
    let manifest = json!({ "name": "a", "version": "1.0.0", "scripts": { "postinstall": "node x.js" } });
    registry.publish(manifest.clone(), &[("binding.gyp", "{}")]);
    let section = project(&[("a", "*")]);
    let pins = registry.resolve(&section).await.unwrap();
    assert_eq!(
        pins[0].scripts,
        BTreeMap::from([
            ("install".to_owned(), Sha256::of("node-gyp rebuild")),
            ("postinstall".to_owned(), Sha256::of("node x.js")),
        ])
    );
    let good = registry.files.lock().unwrap()["/npm/a/-/a-1.0.0.tgz"].clone();
    assert_eq!((pins[0].artifact.sha256, pins[0].artifact.size), (Sha256::of(&good), good.len() as u64));
    registry.serve("a/-/a-1.0.0.tgz", tarball(&manifest, &[("evil.js", "")]));
    assert_eq!(registry.resolve_after(&section, &pins).await.unwrap(), pins, "a locked tarball is not fetched again");
    let error = registry.resolve(&section).await.unwrap_err();
    assert!(matches!(error, NpmError::Mismatch { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Distrust);
    registry.change("a", "1.0.0", |version| version["dist"]["tarball"] = "http://other.invalid/a-1.0.0.tgz".into());
    let error = registry.resolve(&section).await.unwrap_err();
    assert!(matches!(error, NpmError::ForeignTarball { .. }), "{error}");
    registry.change("a", "1.0.0", |version| {
        version["dist"] = json!({ "shasum": "da39a3ee5e6b4b0d3255bfef95601890afd80709" })
    });
    let error = registry.resolve(&section).await.unwrap_err();
    assert!(matches!(error, NpmError::NoIntegrity { .. }), "{error}");
}

#[tokio::test]
async fn what_a_package_brings_along_is_not_fetched_but_must_be_there() {
    let mut registry = FakeRegistry::start();
    let manifest =
        json!({ "name": "a", "version": "1.0.0", "dependencies": { "b": "^1" }, "bundleDependencies": ["b"] });
    registry.publish(manifest.clone(), &[("node_modules/b/package.json", "{}")]);
    let pins = registry.resolve(&project(&[("a", "*")])).await.unwrap();
    assert_eq!(places(&pins), ["/p/node_modules/a a@1.0.0"]);
    registry.publish(manifest, &[]);
    let error = registry.resolve(&project(&[("a", "*")])).await.unwrap_err();
    assert_eq!(error.to_string(), "`a@1.0.0` does not bring `b` along, though it says so");
}

#[tokio::test]
async fn a_package_that_claims_to_be_another_one_is_refused() {
    let mut registry = FakeRegistry::start();
    registry.publish(json!({ "name": "b", "version": "1.0.0" }), &[]);
    registry.publish(json!({ "name": "a", "version": "1.0.0" }), &[]);
    let other = registry.documents["b"]["versions"]["1.0.0"]["dist"].clone();
    registry.change("a", "1.0.0", |version| version["dist"] = other);
    let error = registry.resolve(&project(&[("a", "*")])).await.unwrap_err();
    assert_eq!(error.to_string(), "the tarball of `a@1.0.0` says in its package.json that it is `b@1.0.0`");
    registry.change("a", "1.0.0", |version| version["name"] = "b".into());
    let error = registry.resolve(&project(&[("a", "*")])).await.unwrap_err();
    assert!(matches!(error, NpmError::NoVersion { .. }), "{error}");
}

#[tokio::test]
async fn a_scope_is_bound_to_its_source() {
    let (mut public, mut private) = (FakeRegistry::start(), FakeRegistry::start());
    public.publish(json!({ "name": "@own/a", "version": "9.0.0" }), &[]);
    public.publish(json!({ "name": "b", "version": "1.0.0" }), &[]);
    private.publish(json!({ "name": "@own/a", "version": "1.0.0", "dependencies": { "b": "*" } }), &[]);
    let own = Source { name: SourceName::parse("own").unwrap(), packages: vec!["@own/*".into()], ..private.source() };
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let http = HttpClient::new(HttpOptions::default());
    let section = project(&[("@own/a", "*")]);
    let request = NpmRequest {
        platform: Platform::LINUX_AMD64,
        section: &section,
        node_version: "20.19.2",
        previous: &[],
        as_of: None,
        keep: None,
    };
    let pins = resolve(&request, &[&public.source(), &own], &http, &store, &Progress::hidden()).await.unwrap();
    let seen: Vec<String> =
        pins.iter().map(|pin| format!("{}@{} {}", pin.name, pin.version, pin.artifact.source)).collect();
    assert_eq!(seen, ["@own/a@1.0.0 own", "b@1.0.0 npm"]);
}
