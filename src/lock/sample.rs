//! Lockfiles for tests: one small and readable, and a strategy that makes any that holds together.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::model::*;
use crate::model::{
    Architecture, Artifact, ArtifactPath, ImageReference, PackageName, PackageVersion, Platform, Sha256, Sha512,
    SourceName,
};

pub(super) fn name(text: &str) -> PackageName {
    PackageName::parse(text).unwrap()
}

pub(super) fn version(text: &str) -> PackageVersion {
    PackageVersion::parse(text).unwrap()
}

pub(super) fn source(text: &str) -> SourceName {
    SourceName::parse(text).unwrap()
}

pub(super) fn artifact(from: &str, path: &str) -> Artifact {
    Artifact {
        source: source(from),
        path: ArtifactPath::parse(path).unwrap(),
        size: path.len() as u64 * 1000,
        sha256: Sha256::of(path),
        sha512: None,
    }
}

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

pub(super) fn apt_pin(package: &str, at: &str, required_by: &[&str]) -> AptPin {
    AptPin {
        name: name(package),
        version: version(at),
        platform: Platform::LINUX_AMD64,
        architecture: "amd64".into(),
        suite: "trixie".into(),
        source_package: name(package),
        source_version: version(at),
        artifact: artifact("debian", &format!("pool/main/{package}_{at}_amd64.deb")),
        required_by: texts(required_by),
    }
}

pub(super) fn npm_pin(package: &str, at: &str, places: &[&str], required_by: &[&str]) -> NpmPin {
    let file = package.rsplit('/').next().unwrap();
    let path = format!("{package}/-/{file}-{at}.tgz");
    NpmPin {
        name: name(package),
        version: version(at),
        platform: Platform::LINUX_AMD64,
        published: Some(1_794_000_000),
        places: texts(places),
        artifact: Artifact { sha512: Some(Sha512::of(&path)), ..artifact("npm", &path) },
        scripts: BTreeMap::new(),
        required_by: texts(required_by),
    }
}

pub(super) fn pip_pin(package: &str, at: &str, required_by: &[&str]) -> PipPin {
    PipPin {
        name: name(package),
        version: version(at),
        platform: Platform::LINUX_AMD64,
        tags: "py3-none-any".into(),
        published: Some(1_793_000_000),
        artifact: artifact("pypi", &format!("{package}/{}-{at}-py3-none-any.whl", package.replace('-', "_"))),
        built: None,
        required_by: texts(required_by),
    }
}

/// A pin that is built from source, and what builds it.
pub(super) fn built_pin(package: &str, at: &str, required_by: &[&str]) -> (PipPin, PipBuildPin) {
    let file = format!("{}-{at}", package.replace('-', "_"));
    let wheel = format!("{file}-py3-none-any.whl");
    let pin = PipPin {
        artifact: artifact("pypi", &format!("{package}/{file}.tar.gz")),
        built: Some(BuiltWheel { size: 7000, sha256: Sha256::of(&wheel), file: wheel }),
        ..pip_pin(package, at, required_by)
    };
    let builder = PipBuildPin { builds: name(package), wheel: pip_pin("setuptools", "80.9.0", &["build-system"]) };
    (pin, builder)
}

/// [`lock`] with `redis` built from source.
pub(super) fn building_lock() -> Lockfile {
    let mut lock = lock();
    let (pin, builder) = built_pin("redis", "6.4.0", &["graphiti-core", "manifest"]);
    lock.pip[2] = pin;
    lock.pip_builds = vec![builder];
    lock.fingerprints = super::fingerprints(&building_manifest());
    lock
}

/// [`manifest`] with what [`building_lock`] needs.
pub(super) fn building_manifest() -> crate::manifest::Manifest {
    crate::manifest::parse_manifest(&format!("{}build = [\"redis\"]\n", manifest_text()), "oclock.toml").unwrap()
}

/// What the manifest of [`manifest_text`] could have been locked to.
pub(super) fn lock() -> Lockfile {
    let mut opencode = npm_pin("opencode-ai", "1.18.33", &["/usr/local/lib/node_modules/opencode-ai"], &["manifest"]);
    opencode.scripts.insert("postinstall".into(), Sha256::of("node ./postinstall.mjs"));
    let place = "/usr/local/lib/node_modules/opencode-ai/node_modules/opencode-linux-x64";
    let binary = npm_pin("opencode-linux-x64", "1.18.33", &[place], &["/usr/local/lib/node_modules/opencode-ai"]);
    let plugin = "/root/.opencode/node_modules/@opencode-ai/plugin";
    Lockfile {
        epoch: 1_795_132_800,
        platforms: vec![Platform::LINUX_AMD64],
        fingerprints: super::fingerprints(&manifest()),
        seal: SealPin { rules: Sha256::of("rules"), encoder: "gzip-libdeflate-1.26.1-6-4MiB".into() },
        base: BasePin::Debian { suite: "trixie".into() },
        archives: vec![ArchivePin {
            source: source("debian"),
            suite: "trixie".into(),
            date: 1_795_132_800,
            snapshot: None,
            keys: vec!["0123456789ABCDEF0123456789ABCDEF01234567".into()],
            in_release: artifact("debian", "dists/trixie/InRelease"),
            indexes: vec![artifact("debian", "dists/trixie/main/binary-amd64/Packages.xz")],
        }],
        apt: vec![
            apt_pin("git", "1:2.47.3-0+deb13u1", &["manifest"]),
            apt_pin("libc6", "2.41-12", &["essential", "git"]),
            apt_pin("nodejs", "20.19.2+dfsg-1", &["manifest"]),
        ],
        npm: vec![npm_pin("@opencode-ai/plugin", "1.18.33", &[plugin], &["manifest"]), opencode, binary],
        pip: vec![
            pip_pin("graphiti-core", "0.31.2", &["manifest"]),
            pip_pin("openai", "2.9.0", &["graphiti-core"]),
            pip_pin("redis", "6.4.0", &["graphiti-core", "manifest"]),
        ],
        pip_builds: Vec::new(),
        images: BTreeMap::from([(
            Platform::LINUX_AMD64,
            ImagePin { id: Sha256::of("id"), digest: Sha256::of("digest"), context: Sha256::of("context") },
        )]),
    }
}

pub(super) fn manifest_text() -> &'static str {
    r#"[image]
name = "opencode-server"
base = { debian = "trixie" }

[apt]
packages = ["git", "nodejs=20.*"]

[npm.packages]
"opencode-ai" = "^1.18"

[npm.projects."/root/.opencode"]
"@opencode-ai/plugin" = "1.18.33"

[pip]
packages = ["graphiti-core[falkordb]>=0.31", "redis"]
constraints = ["openai<3"]
"#
}

pub(super) fn manifest() -> crate::manifest::Manifest {
    crate::manifest::parse_manifest(manifest_text(), "oclock.toml").unwrap()
}

/// Any lockfile that holds together.
pub(super) fn any_lock() -> impl Strategy<Value = Lockfile> {
    let platforms = prop_oneof![
        Just(vec![Architecture::Amd64]),
        Just(vec![Architecture::Arm64]),
        Just(vec![Architecture::Amd64, Architecture::Arm64]),
    ];
    let names = || btree_set("[a-z][a-z0-9.+-]{0,11}", 0..6);
    let projects = btree_set("[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,5}){0,2}", 0..6);
    let versions = vec("[0-9][a-zA-Z0-9.+~:-]{0,8}", 1..4);
    let releases = vec("[1-9][0-9]{0,2}\\.[1-9][0-9]{0,2}(rc[1-9])?", 1..4);
    (platforms, names(), names(), projects, versions, releases, any::<u64>(), 0..253_402_300_799i64).prop_map(
        |(architectures, apt, npm, pip, versions, releases, seed, epoch)| {
            let platforms: Vec<_> = architectures.into_iter().map(|architecture| Platform { architecture }).collect();
            let mut lock = Lockfile { epoch, platforms: platforms.clone(), ..lock() };
            lock.fingerprints.apt = Sha256::of(seed.to_be_bytes());
            let at = |index: usize| versions[index % versions.len()].as_str();
            let each = |names: &BTreeSet<String>| -> Vec<(Platform, usize, String)> {
                let named = |platform: &Platform| {
                    let platform = *platform;
                    names
                        .iter()
                        .enumerate()
                        .map(move |(index, text)| (platform, index, text.clone()))
                        .collect::<Vec<_>>()
                };
                platforms.iter().flat_map(named).collect()
            };
            lock.apt =
                each(&apt).iter().map(|(platform, index, text)| any_apt(*platform, *index, text, at(*index))).collect();
            lock.npm =
                each(&npm).iter().map(|(platform, index, text)| any_npm(*platform, *index, text, at(*index))).collect();
            lock.pip.clear();
            for (platform, index, text) in each(&pip) {
                let release = &releases[index % releases.len()];
                let (mut built, mut builder) = built_pin(text.as_str(), release, &["manifest"]);
                (built.platform, builder.wheel.platform) = (platform, platform);
                match index % 3 {
                    0 => {
                        lock.pip.push(built);
                        lock.pip_builds.push(builder);
                    }
                    _ => lock.pip.push(PipPin { platform, ..pip_pin(&text, release, &["manifest"]) }),
                }
            }
            if seed.is_multiple_of(3) {
                lock.archives.iter_mut().for_each(|archive| archive.snapshot = Some(epoch));
            }
            if seed.is_multiple_of(2) {
                lock.base = image_base(&platforms, seed);
                lock.images.clear();
            } else {
                let image = ImagePin { id: Sha256::of("i"), digest: Sha256::of("d"), context: Sha256::of("c") };
                lock.images = platforms.iter().map(|platform| (*platform, image)).collect();
            }
            lock
        },
    )
}

fn any_apt(platform: Platform, index: usize, text: &str, at: &str) -> AptPin {
    let architecture = if index.is_multiple_of(2) { "all" } else { platform.architecture.as_str() };
    let path = format!("pool/main/{text}_{at}_{architecture}.deb");
    AptPin {
        platform,
        architecture: architecture.into(),
        artifact: artifact("debian", &path),
        ..apt_pin(text, at, &["essential", "manifest"])
    }
}

fn any_npm(platform: Platform, index: usize, text: &str, at: &str) -> NpmPin {
    let places = [format!("/a/{text}"), format!("/b/{text}")];
    let places: Vec<&str> = places[..1 + index % 2].iter().map(String::as_str).collect();
    let scripts = ["install", "preinstall"][..index % 3].iter().map(|name| ((*name).to_owned(), Sha256::of(name)));
    let published = (!index.is_multiple_of(2)).then_some(index as i64 * 86_400);
    NpmPin { platform, published, scripts: scripts.collect(), ..npm_pin(text, at, &places, &["manifest"]) }
}

fn image_base(platforms: &[Platform], seed: u64) -> BasePin {
    let layer = |number: u64| BaseLayer {
        digest: Sha256::of(number.to_be_bytes()),
        size: number % (i64::MAX as u64),
        diff_id: Sha256::of(number.to_le_bytes()),
    };
    let manifest = BaseManifest {
        digest: Sha256::of("manifest"),
        size: 1,
        config: Sha256::of("config"),
        layers: (0..seed % 4).map(|number| layer(seed ^ number)).collect(),
    };
    BasePin::Image {
        reference: ImageReference::parse("node:20-slim").unwrap(),
        source: source("images"),
        index: Sha256::of("index"),
        manifests: platforms.iter().map(|platform| (*platform, manifest.clone())).collect(),
    }
}
