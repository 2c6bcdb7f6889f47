//! A base image of a registry, read from the store without running anything: its config, its layers laid over each other,
//! and what dpkg says is in it. It knows nothing of registries, and nothing of what is put on top.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::archive::decompress;
use crate::base::explain::{Explain, Kind};
use crate::base::fs::FsError;
use crate::base::path_map::PathMap;
use crate::base::text::sanitize;
use crate::base::tree::Tree;
use crate::lock::{BaseLayer, BaseManifest, upstream_version};
use crate::model::{Hasher, PackageVersion, Sha256};
use crate::store::{Store, StoreError};

const STATUS: &str = "var/lib/dpkg/status";
/// Where Python is in images that bring one of their own.
const LOCAL_PYTHON: &str = "usr/local/bin/python3";
/// In which such an image says its Python's version.
pub const PYTHON_VARIABLE: &str = "PYTHON_VERSION";
/// In which an image whose Node is no Debian package says its version.
pub const NODE_VARIABLE: &str = "NODE_VERSION";
const MEMO: &str = "base-facts";
/// Raised whenever the same layers would be described otherwise.
const FACTS_VERSION: &str = "1";

/// Why a base image cannot be built on.
#[derive(Debug, thiserror::Error)]
pub enum BaseImageError {
    /// A layer's bytes are those that were locked, but they unpack to something else than the image's config says.
    #[error("a layer of the base image unpacks to other bytes than its config says")]
    OtherContent {
        /// The layer as it was fetched.
        layer: Sha256,
        /// What it should unpack to.
        expected: Sha256,
        /// What it does unpack to.
        found: Sha256,
    },
    /// A layer that is no archive, or one with a meaning that unpackers disagree about.
    #[error("a layer of the base image cannot be read")]
    Layer {
        /// The layer as it was fetched.
        layer: Sha256,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// The image's config is not understood.
    #[error("the base image's config cannot be used: {}", sanitize(detail))]
    Config {
        /// What is wrong.
        detail: String,
    },
    /// There is no dpkg in it.
    #[error("the base image has no dpkg status")]
    NoDpkg,
    /// Its dpkg database is not understood.
    #[error("the base image's dpkg database cannot be read: {}", sanitize(why))]
    Database {
        /// What is wrong.
        why: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Explain for BaseImageError {
    fn kind(&self) -> Kind {
        match self {
            Self::OtherContent { .. } => Kind::Distrust,
            Self::Store(error) => error.kind(),
            _ => Kind::Unable,
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::OtherContent { layer, expected, found } => vec![
                format!("   layer  sha256:{layer}"),
                format!("expected  sha256:{expected}"),
                format!("unpacked  sha256:{found}"),
            ],
            Self::Layer { layer, .. } => vec![format!("layer  sha256:{layer}")],
            Self::Store(error) => error.evidence(),
            _ => Vec::new(),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::NoDpkg => vec![format!("there is no `/{STATUS}` in its layers")],
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoDpkg => {
                vec!["take a base that is Debian, or build from packages: `base = { debian = \"trixie\" }`".to_owned()]
            }
            Self::Store(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

/// What the config of a base image says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseConfig {
    /// ENV, in its order.
    pub environment: Vec<(String, String)>,
    /// USER; empty for root.
    pub user: String,
    /// WORKDIR; empty for `/`.
    pub directory: String,
    /// When it was made, in seconds since 1970; nothing where that is not said or before 1970.
    pub created: Option<i64>,
    /// All that a runtime is told, as it is written there, without what is null.
    pub runtime: Value,
    /// How its layers came to be, as it is written there.
    pub history: Vec<Value>,
}

impl BaseConfig {
    /// Reads the config of a locked manifest.
    ///
    /// # Errors
    /// When it is not in the store, or says something that would not be kept.
    pub fn read(manifest: &BaseManifest, store: &Store) -> Result<Self, BaseImageError> {
        Self::parse(&store.read_blob(&manifest.config)?)
    }

    fn parse(bytes: &[u8]) -> Result<Self, BaseImageError> {
        #[derive(Deserialize)]
        struct Raw {
            created: Option<String>,
            #[serde(default)]
            config: Option<serde_json::Map<String, Value>>,
            #[serde(default)]
            history: Option<Vec<Value>>,
        }
        let wrong = |detail: String| BaseImageError::Config { detail };
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        let mut runtime = raw.config.unwrap_or_default();
        runtime.retain(|_, value| !value.is_null());
        if runtime.get("OnBuild").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
            return Err(wrong("it has ONBUILD triggers, which no lockfile could show".to_owned()));
        }
        let text = |name: &str| runtime.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let variables = runtime.get("Env").and_then(Value::as_array).into_iter().flatten();
        let variables = variables.filter_map(Value::as_str).filter_map(|pair| pair.split_once('='));
        let created = raw.created.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        Ok(Self {
            environment: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            user: text("User"),
            directory: text("WorkingDir"),
            created: created.map(|time| time.as_second()).filter(|seconds| *seconds > 0),
            history: raw.history.unwrap_or_default(),
            runtime: Value::Object(runtime),
        })
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is in a base image, as far as resolving and assembling ask. Kept by its layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseFacts {
    /// The text of dpkg's status.
    pub status: String,
    /// The Debian suite that its os-release names.
    pub suite: Option<String>,
    /// Whether there is a Python below `/usr/local`, which no package brought.
    pub has_local_python: bool,
}

impl BaseFacts {
    /// Reads what the layers hold; from a memo when the same layers were read before.
    ///
    /// # Errors
    /// When a layer is missing, is not what it should be, or there is no dpkg in it.
    pub fn read(manifest: &BaseManifest, store: &Store) -> Result<Self, BaseImageError> {
        let mut question = Hasher::default();
        question.field(FACTS_VERSION);
        manifest.layers.iter().for_each(|layer| question.field(layer.diff_id.as_bytes()));
        let question = question.finish();
        let kept = store.memo(MEMO, &question).and_then(|answer| serde_json::from_slice(&answer).ok());
        if let Some(facts) = kept {
            return Ok(facts);
        }
        let facts = BaseImage::read(manifest, store)?.facts()?;
        store.set_memo(MEMO, &question, &serde_json::to_vec(&facts).unwrap_or_default())?;
        Ok(facts)
    }

    /// The upstream version of a Debian package that is installed in it: `3.11.2` of `3.11.2-1+b1`.
    pub fn installed_upstream(&self, name: &str) -> Option<String> {
        let stanza = self.status.split("\n\n").find(|stanza| field(stanza, "Package") == Some(name))?;
        let is_installed = field(stanza, "Status").is_some_and(|status| status.ends_with(" installed"));
        let version = field(stanza, "Version").filter(|_| is_installed)?;
        Some(upstream_version(&PackageVersion::parse(version).ok()?))
    }
}

fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// The root filesystem of a base image.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// Every path.
    pub tree: Tree,
    /// The paths' own times, in seconds since 1970.
    pub times: PathMap<i64>,
}

impl BaseImage {
    /// Unpacks the layers where that was not done before, and lays them over each other.
    ///
    /// # Errors
    /// When a layer is missing, is not what it should be, or is not understood.
    pub fn read(manifest: &BaseManifest, store: &Store) -> Result<Self, BaseImageError> {
        let (mut tree, mut times) = (Tree::default(), PathMap::default());
        for layer in &manifest.layers {
            let archive = Arc::new(unpack(layer, store)?);
            let fail = |source| BaseImageError::Layer { layer: layer.digest, source };
            let note = |path: &Path, time| {
                times.insert(path.to_owned(), time);
            };
            tree.add_tar(&archive, 0, note).map_err(fail)?;
            tree.ensure_parents().map_err(fail)?;
        }
        Ok(Self { tree, times })
    }

    fn facts(&self) -> Result<BaseFacts, BaseImageError> {
        let status = self.database_file(STATUS)?.filter(|text| !text.trim_ascii().is_empty());
        let status = String::from_utf8_lossy(&status.ok_or(BaseImageError::NoDpkg)?).into_owned();
        let release = self.database_file("etc/os-release")?.unwrap_or_default();
        let release = String::from_utf8_lossy(&release);
        let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let suite = codename.map(|name| name.trim().trim_matches(['"', '\''])).filter(|name| !name.is_empty());
        Ok(BaseFacts {
            status,
            suite: suite.map(str::to_owned),
            has_local_python: self.tree.resolve(Path::new(LOCAL_PYTHON)).is_some(),
        })
    }

    fn database_file(&self, path: impl AsRef<Path>) -> Result<Option<Vec<u8>>, BaseImageError> {
        let path = path.as_ref();
        let why = |error: io::Error| BaseImageError::Database { why: format!("{}: {error}", path.display()) };
        self.tree.read_file(path).map_err(why)
    }
}

/// The layer's archive as a blob of the store, uncompressed. Its bytes were verified when it was fetched; now its content is.
fn unpack(layer: &BaseLayer, store: &Store) -> Result<std::fs::File, BaseImageError> {
    if !store.contains(&layer.diff_id) {
        let fail = |source| BaseImageError::Layer { layer: layer.digest, source };
        let mut reader = decompress(store.open_blob(&layer.digest)?).map_err(fail)?;
        let mut writer = BufWriter::with_capacity(1 << 18, store.create_blob()?);
        io::copy(&mut reader, &mut writer).map_err(fail)?;
        writer.flush().map_err(FsError::new("write to", store.root())).map_err(StoreError::from)?;
        let blob = writer.into_inner().map_err(|error| fail(error.into_error()))?;
        match blob.commit(Some(&layer.diff_id)) {
            Err(StoreError::Unexpected { expected, found, .. }) => {
                return Err(BaseImageError::OtherContent { layer: layer.digest, expected, found });
            }
            other => other?,
        };
    }
    Ok(store.open_blob(&layer.diff_id)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::tar::{TarMeta, TarWriter};

    fn tar(files: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = TarWriter::new(Vec::new(), 9);
        for (path, text) in files {
            writer.file(Path::new(path), &TarMeta::root(0o644), text.len() as u64, &mut text.as_bytes()).unwrap();
        }
        writer.finish().unwrap()
    }

    fn manifest(store: &Store, layers: &[(Vec<u8>, Vec<u8>)]) -> BaseManifest {
        let layers = layers.iter().map(|(plain, packed)| BaseLayer {
            digest: store.add_blob(packed).unwrap(),
            size: packed.len() as u64,
            diff_id: Sha256::of(plain),
        });
        BaseManifest { digest: Sha256::of(""), size: 1, config: Sha256::of(""), layers: layers.collect() }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    const DPKG: &str = "Package: python3\nStatus: install ok installed\nVersion: 3.11.2-1+b1\n\nPackage: gone\n\
        Status: deinstall ok config-files\nVersion: 1\n";

    #[test]
    fn layers_of_every_compression_are_one_tree() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let lowest = tar(&[
            ("var/lib/dpkg/status", "old"),
            ("var/lib/dpkg/info/a.list", "/.\n"),
            ("usr/lib/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n"),
        ]);
        let mut links = TarWriter::new(Vec::new(), 9);
        links.symlink(Path::new("etc/os-release"), &TarMeta::root(0o777), "../usr/lib/os-release".as_ref()).unwrap();
        let middle = links.finish().unwrap();
        let highest = tar(&[("var/lib/dpkg/status", DPKG), ("var/lib/dpkg/info/.wh.a.list", "")]);
        let packed = [lowest.clone(), gzip(&middle), zstd::encode_all(&highest[..], 3).unwrap()];
        let layers: Vec<_> = [lowest, middle, highest].into_iter().zip(packed).collect();
        let manifest = manifest(&store, &layers);
        let facts = BaseFacts::read(&manifest, &store).unwrap();
        assert_eq!((facts.suite.as_deref(), facts.status.as_str()), (Some("bookworm"), DPKG));
        assert_eq!(facts.installed_upstream("python3").as_deref(), Some("3.11.2"));
        assert_eq!((facts.installed_upstream("gone"), facts.installed_upstream("python")), (None, None));
        let image = BaseImage::read(&manifest, &store).unwrap();
        assert!(image.tree.get(Path::new("var/lib/dpkg/info")).unwrap().is_directory());
        assert!(image.tree.get(Path::new("var/lib/dpkg/info/a.list")).is_none());
        assert_eq!(image.times.get(Path::new("etc/os-release")), Some(&9));
    }

    #[test]
    fn a_layer_that_unpacks_to_something_else_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let other = manifest(&store, &[(tar(&[("a", "a")]), gzip(&tar(&[("a", "b")])))]);
        let error = BaseFacts::read(&other, &store).unwrap_err();
        assert_eq!(error.kind(), Kind::Distrust, "{error}");
        let cut = gzip(&tar(&[("a", "a")]));
        let cut = manifest(&store, &[(tar(&[("a", "a")]), cut[..cut.len() - 9].to_vec())]);
        assert!(matches!(BaseFacts::read(&cut, &store), Err(BaseImageError::Layer { .. })));
    }

    #[test]
    fn a_base_without_dpkg_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let alpine = tar(&[("etc/os-release", "ID=alpine\n")]);
        let error = BaseFacts::read(&manifest(&store, &[(alpine.clone(), alpine)]), &store).unwrap_err();
        assert!(matches!(error, BaseImageError::NoDpkg) && error.hints()[0].contains("debian"));
    }

    #[test]
    fn a_config_is_read_with_its_nulls() {
        let text = r#"{"created":"2024-03-01T00:00:00.5Z","config":{"Env":["PATH=/bin","A=b=c"],"User":"node","Volumes":null,
            "OnBuild":[],"WorkingDir":"/srv"},"history":[{"created_by":"x"}],"rootfs":{}}"#;
        let config = BaseConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (config.variable("A"), config.user.as_str(), config.directory.as_str()),
            (Some("b=c"), "node", "/srv")
        );
        assert_eq!((config.created, config.history.len()), (Some(1_709_251_200), 1));
        assert!(config.runtime.get("Volumes").is_none());
        assert_eq!(BaseConfig::parse(b"{\"config\":null}").unwrap().environment, []);
        assert!(BaseConfig::parse(br#"{"config":{"OnBuild":["RUN x"]}}"#).is_err());
    }
}
