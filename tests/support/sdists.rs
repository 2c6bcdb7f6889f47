//! Source distributions made up for tests, with a build backend of their own.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

use serde_json::json;

use super::registries::{Registries, tar_gz};

/// A backend that comes with the source and needs nothing: it packs `NAME.py`, and what the test has it do besides.
const BACKEND: &str = r#"import base64, hashlib, os, zipfile

def get_requires_for_build_wheel(settings=None):
    return @ASKS@

def build_wheel(directory, settings=None, metadata=None):
    name, version = "@NAME@", "@VERSION@"
    files = {"@NAME@.py": open("@NAME@.py").read()}
    @EXTRA@
    info = "%s-%s.dist-info/" % (name, version)
    files[info + "METADATA"] = "Metadata-Version: 2.1\nName: %s\nVersion: %s\n@REQUIRES@" % (name, version)
    files[info + "WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    wheel = "%s-%s-py3-none-any.whl" % (name, version)
    with zipfile.ZipFile(os.path.join(directory, wheel), "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(info + "RECORD", "")
    return wheel
"#;

/// A source distribution under construction.
#[derive(Clone)]
pub struct Sdist {
    pub name: &'static str,
    pub version: &'static str,
    /// `[build-system] requires`.
    pub system: Vec<&'static str>,
    /// What the backend asks for besides, as Python.
    pub asks: &'static str,
    /// A statement of the backend's that may change `files`.
    pub extra: &'static str,
    /// What the wheel's METADATA says that it requires.
    pub requires: Vec<&'static str>,
    /// The lines of PKG-INFO below name and version.
    pub info: &'static str,
}

impl Sdist {
    pub fn new(name: &'static str, version: &'static str) -> Self {
        let (system, requires) = (Vec::new(), Vec::new());
        Self { name, version, system, asks: "[]", extra: "pass", requires, info: "" }
    }

    fn file(&self) -> String {
        format!("{}-{}.tar.gz", self.name, self.version)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let Self { name, version, info, .. } = self;
        let requires: String = self.requires.iter().map(|name| format!("Requires-Dist: {name}\\n")).collect();
        let backend = [
            ("@NAME@", *name),
            ("@VERSION@", *version),
            ("@ASKS@", self.asks),
            ("@EXTRA@", self.extra),
            ("@REQUIRES@", &requires),
        ];
        let backend = backend.iter().fold(BACKEND.to_owned(), |text, (mark, value)| text.replace(mark, value));
        let system = format!(
            "[build-system]\nrequires = {:?}\nbuild-backend = \"backend\"\nbackend-path = [\"in\"]\n",
            self.system
        );
        let version_line = if info.is_empty() { "Metadata-Version: 1.0" } else { "Metadata-Version: 2.2" };
        let files = [
            ("PKG-INFO".to_owned(), format!("{version_line}\nName: {name}\nVersion: {version}\n{info}")),
            ("pyproject.toml".to_owned(), system),
            ("in/backend.py".to_owned(), backend),
            (format!("{name}.py"), format!("version = \"{version}\"\n")),
        ];
        tar_gz(&format!("{name}-{version}"), &files)
    }

    pub fn publish(&self, registries: &mut Registries) {
        registries.pip_file(self.name, &self.file(), &self.bytes(), json!({}));
    }
}
