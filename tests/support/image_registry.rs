//! Debian's `docker-registry` on loopback, filled by skopeo, and images made by hand for it.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use oclock::base::tar::{TarMeta, TarWriter};
use oclock::model::Sha256;
use serde_json::{Value, json};

/// A running registry server. It ends when this is dropped.
pub struct ImageRegistry {
    server: Child,
    pub port: u16,
    pub directory: tempfile::TempDir,
}

impl Drop for ImageRegistry {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

impl ImageRegistry {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// One that asks for a login: `htpasswd` lines of users with bcrypt passwords.
    pub fn for_users(htpasswd: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), htpasswd).unwrap();
        let (_, path) = file.keep().unwrap();
        Self::start_with(&format!("auth: {{htpasswd: {{realm: it, path: {}}}}}\n", path.display()))
    }

    fn start_with(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let root = directory.path().join("registry");
        let settings = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n{more}",
            root.display()
        );
        let file = directory.path().join("config.yml");
        fs::write(&file, settings).unwrap();
        let server =
            Command::new("docker-registry").arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = server.unwrap_or_else(|_| panic!("docker-registry is missing: apt-get install docker-registry"));
        let registry = Self { server, port, directory };
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        registry
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Pushes all that a layout has under the tag `it`, as it is.
    pub fn push(&self, layout: &Path, name: &str, login: Option<&str>) {
        let to = format!("docker://127.0.0.1:{}/{name}", self.port);
        let from = format!("oci:{}:it", layout.display());
        let mut copy = Command::new("skopeo");
        copy.args(["copy", "--quiet", "--all", "--preserve-digests", "--dest-tls-verify=false", "--insecure-policy"]);
        if let Some(login) = login {
            copy.args(["--dest-creds", login]);
        }
        let output = copy.args([&from, &to]).output();
        let output = output.unwrap_or_else(|_| panic!("skopeo is missing: apt-get install skopeo"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

struct Layer {
    diff_id: Sha256,
    packing: Packing,
    packed: Vec<u8>,
}

/// An image in the making.
pub struct HandMade {
    layers: Vec<Layer>,
    /// The config's `config`.
    pub runtime: Value,
    pub history: Vec<Value>,
    pub architecture: &'static str,
}

impl HandMade {
    pub fn new() -> Self {
        Self { layers: Vec::new(), runtime: json!({}), history: Vec::new(), architecture: "amd64" }
    }

    #[must_use]
    pub fn layer(self, tar: Vec<u8>, packing: Packing) -> Self {
        let packed = match packing {
            Packing::Plain => tar.clone(),
            Packing::Gzip => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                writer.write_all(&tar).unwrap();
                writer.finish().unwrap()
            }
            Packing::Zstd => zstd::encode_all(&tar[..], 1).unwrap(),
        };
        self.packed_layer(Sha256::of(&tar), packing, packed)
    }

    /// A layer that was packed elsewhere.
    #[must_use]
    pub fn packed_layer(mut self, diff_id: Sha256, packing: Packing, packed: Vec<u8>) -> Self {
        self.layers.push(Layer { diff_id, packing, packed });
        self
    }

    /// The digests of its uncompressed layers.
    pub fn diff_ids(&self) -> Vec<Sha256> {
        self.layers.iter().map(|layer| layer.diff_id).collect()
    }

    /// Writes an OCI layout with an index of this image under the tag `it`; gives the index's digest and the layers'.
    pub fn write(&self, layout: &Path) -> (Sha256, Vec<Sha256>) {
        fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        let mut layers = Vec::new();
        for layer in &self.layers {
            let kind = match layer.packing {
                Packing::Plain => "layer.v1.tar",
                Packing::Gzip => "layer.v1.tar+gzip",
                Packing::Zstd => "layer.v1.tar+zstd",
            };
            layers.push(described(layout, kind, &layer.packed));
        }
        let diff_ids: Vec<String> = self.diff_ids().iter().map(|digest| digest.prefixed()).collect();
        let config = json!({ "architecture": self.architecture, "os": "linux", "created": "2024-03-01T00:00:00Z",
            "config": self.runtime, "history": self.history, "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        let config = described(layout, "config.v1+json", config.to_string().as_bytes());
        let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": layers });
        let mut entry = described(layout, "manifest.v1+json", manifest.to_string().as_bytes());
        entry["platform"] = json!({ "os": "linux", "architecture": self.architecture });
        let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry] });
        let mut top = described(layout, "index.v1+json", index.to_string().as_bytes());
        top["annotations"] = json!({ "org.opencontainers.image.ref.name": "it" });
        fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        fs::write(layout.join("index.json"), json!({ "schemaVersion": 2, "manifests": [top] }).to_string()).unwrap();
        let digest = |described: &Value| Sha256::parse_prefixed(described["digest"].as_str().unwrap()).unwrap();
        (digest(&top), layers.iter().map(digest).collect())
    }
}

fn described(layout: &Path, kind: &str, bytes: &[u8]) -> Value {
    let digest = Sha256::of(bytes);
    fs::write(blob(layout, &digest), bytes).unwrap();
    json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest.prefixed(), "size": bytes.len() })
}

/// Where a layout has a blob.
pub fn blob(layout: &Path, digest: &Sha256) -> PathBuf {
    layout.join("blobs/sha256").join(digest.to_string())
}

/// A tar of small files; a name that ends in `/` is a directory, a text that starts with `-> ` a link.
pub fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new(), 1_700_000_000);
    for (name, text) in files {
        let path = Path::new(name.trim_end_matches('/'));
        match (name.ends_with('/'), text.strip_prefix("-> ")) {
            (true, _) => writer.directory(path, &TarMeta::root(0o755)).unwrap(),
            (_, Some(target)) => writer.symlink(path, &TarMeta::root(0o777), target.as_ref()).unwrap(),
            _ => writer.file(path, &TarMeta::root(0o644), text.len() as u64, &mut text.as_bytes()).unwrap(),
        }
    }
    writer.finish().unwrap()
}
