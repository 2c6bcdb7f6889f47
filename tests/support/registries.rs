//! A signed Debian archive, an npm registry and a Python index, all on one loopback site, with packages made up for tests.
//!
//! Everything is the same bytes on each run: fixed dates, one test key, archives written without compression.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on may stop")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oclock::model::{Sha256, Sha512};
use pgp::composed::{ArmorOptions, CleartextSignedMessage, Deserializable, SignedSecretKey};
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails, Password, Timestamp};
use serde_json::{Value, json};

use super::site::Site;
use super::wheels::WheelBuilder;

/// The Date of the archive, 2024-03-01, in seconds since 1970.
pub const DATE: u32 = 1_709_251_200;
/// The fingerprint of the key that signs the archive.
pub const KEY: &str = "C825B1E4F05785F3BCAC9DC0C9A30F5FF33D7963";
const PUBLIC_KEY: &str = include_str!("../data/apt/archive.asc");
const SECRET_KEY: &str = include_str!("../data/apt/archive-secret.asc");

/// What a package has below `/usr/share/doc`.
pub enum Documentation<'a> {
    /// A copyright file.
    Copyright(&'a str),
    /// A link to the documentation of another package.
    Of(&'a str),
}

/// The registries and what was published to them.
pub struct Registries {
    pub site: Site,
    packages: BTreeMap<String, String>,
    documents: BTreeMap<String, Value>,
    pages: BTreeMap<String, Vec<Value>>,
    moment: Option<String>,
    architectures: Vec<&'static str>,
}

impl Registries {
    /// With the packages that a project of every ecosystem needs: an essential base, a tool that needs a library, Node and
    /// Python, two npm packages, two wheels.
    pub fn serve() -> Self {
        Self::serve_from(None)
    }

    /// The same, which say that all of it was published at a moment (RFC 3339).
    pub fn serve_since(moment: &str) -> Self {
        Self::serve_from(Some(moment.to_owned()))
    }

    fn serve_from(moment: Option<String>) -> Self {
        let (packages, documents, pages) = Default::default();
        let mut registries =
            Self { site: Site::serve(), packages, documents, pages, moment, architectures: vec!["amd64"] };
        registries.deb("base-files", "13.8", "Essential: yes\nPriority: required\n");
        registries.deb("apt", "3.0.3", "Priority: required\n");
        registries.deb("ca-certificates", "20250419", "");
        registries.deb("libhello", "1.4-2+b1", "");
        registries.deb("hello", "2.10-3", "Depends: libhello (>= 1.2)\n");
        registries.deb("nodejs", "20.19.2+dfsg-1", "");
        registries.deb("python3", "3.13.5-1", "");
        registries.npm("pad-left", "1.3.0", json!({}));
        registries.npm("shout", "2.0.0", json!({ "dependencies": { "pad-left": "^1.0.0" } }));
        registries.wheel(&WheelBuilder::new("numbers", "1.5"));
        registries.wheel(&WheelBuilder::new("sums", "3.1").requires("numbers>=1"));
        registries
    }

    /// What makes a user's oclock ask these registries: `~/.config/oclock/config.toml` and the file it names.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        let url = &self.site.url;
        let settings = format!(
            "[sources.debian]\nkind = \"apt\"\nurl = \"{url}debian/\"\nsuites = [\"{{suite}}\"]\nsigned-by = \"archive.asc\"\n\n\
             [sources.debian-security]\nkind = \"apt\"\nurl = \"{url}security/\"\nsigned-by = \"archive.asc\"\n\n\
             [sources.npm]\nkind = \"npm\"\nurl = \"{url}npm/\"\n\n\
             [sources.pypi]\nkind = \"pip\"\nurl = \"{url}simple/\"\n"
        );
        [("config.toml", settings), ("archive.asc", PUBLIC_KEY.to_owned())]
    }

    /// Publishes a Debian package with one file and the fields given; takes a version's place where it is there.
    pub fn deb(&mut self, name: &str, version: &str, fields: &str) {
        self.publish(deb(name, version, fields), name, version, fields);
    }

    /// The same with files of the caller's: an uncompressed tar with paths that start with `./`.
    pub fn deb_of(&mut self, name: &str, version: &str, fields: &str, data: &[u8]) {
        self.publish(packed(name, version, fields, data), name, version, fields);
    }

    /// The same for a package that has documentation and nothing else.
    pub fn documented_deb(&mut self, name: &str, version: &str, fields: &str, documentation: &Documentation<'_>) {
        self.publish(documented_deb(name, version, fields, documentation), name, version, fields);
    }

    /// Publishes an essential package with what a step needs to run: busybox, and stand-ins for dpkg and what it is called with.
    pub fn shell(&mut self) {
        let (fields, data) = ("Essential: yes\nPriority: required\n", shell_data());
        self.publish(packed("shell", "1.0", fields, &data), "shell", "1.0", fields);
    }

    /// Publishes this machine's Python in place of the one that is none, so that a room can run it.
    pub fn python(&mut self) {
        self.packages.remove("python3 3.13.5-1");
        let (version, data) = own_python();
        let version = format!("{version}-1");
        self.publish(packed("python3", &version, "", &data), "python3", &version, "");
    }

    /// Publishes a file of a Python project that is no wheel, with what else its page says of it.
    pub fn pip_file(&mut self, project: &str, file: &str, bytes: &[u8], said: Value) {
        let mut entry = json!({
            "filename": file,
            "url": format!("../../files/{file}"),
            "hashes": { "sha256": Sha256::of(bytes).to_string() },
            "size": bytes.len(),
        });
        entry.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
        self.site.put(&format!("/files/{file}"), bytes);
        self.pages.entry(project.to_owned()).or_default().push(entry);
        self.edit_page(project, |_| {});
    }

    fn publish(&mut self, bytes: Vec<u8>, name: &str, version: &str, fields: &str) {
        let path = format!("pool/{name}_{version}_amd64.deb");
        self.site.put(&format!("/debian/{path}"), bytes.clone());
        let paragraph = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}Filename: {path}\nSize: {}\nSHA256: {}\n",
            bytes.len(),
            Sha256::of(&bytes)
        );
        self.packages.insert(format!("{name} {version}"), paragraph);
        self.sign();
    }

    /// Lists all packages for arm64 as well, as such that run everywhere.
    pub fn add_arm64(&mut self) {
        self.architectures.push("arm64");
        for path in self.site.paths().iter().filter(|path| path.ends_with("_amd64.deb")) {
            self.site.copy(path, &path.replace("_amd64.deb", "_all.deb"));
        }
        self.sign();
    }

    /// What is published from now on is said to be published at this moment.
    pub fn at(&mut self, moment: &str) {
        self.moment = Some(moment.to_owned());
    }

    /// Keeps both archives with their lists, as a snapshot archive does, below `/TIME/`.
    pub fn take_snapshot(&self, time: &str) {
        for path in self.site.paths() {
            if path.starts_with("/debian/") || path.starts_with("/security/") {
                self.site.copy(&path, &format!("/snapshot/{time}{path}"));
            }
        }
    }

    /// Publishes a version in place of another, whose file stays for a while, as it does on mirrors.
    pub fn supersede_deb(&mut self, name: &str, old: &str, new: &str, fields: &str) {
        self.packages.remove(&format!("{name} {old}"));
        self.deb(name, new, fields);
    }

    /// Publishes a version in place of another, which is dropped as a mirror drops what is superseded.
    pub fn replace_deb(&mut self, name: &str, old: &str, new: &str, fields: &str) {
        self.packages.remove(&format!("{name} {old}"));
        self.site.remove(&format!("/debian/pool/{name}_{old}_amd64.deb"));
        self.deb(name, new, fields);
    }

    /// Publishes an npm package, which becomes `latest`.
    pub fn npm(&mut self, name: &str, version: &str, fields: Value) {
        let mut manifest = json!({ "name": name, "version": version });
        manifest.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let tarball = npm_tarball(&manifest);
        let path = format!("{name}/-/{name}-{version}.tgz");
        let integrity = format!("sha512-{}", STANDARD.encode(Sha512::of(&tarball).as_bytes()));
        self.site.put(&format!("/npm/{path}"), tarball);
        manifest["dist"] = json!({ "integrity": integrity, "tarball": format!("{}npm/{path}", self.site.url) });
        let document = self.documents.entry(name.to_owned()).or_insert_with(|| json!({ "name": name, "versions": {} }));
        document["versions"][version] = manifest;
        document["dist-tags"]["latest"] = version.into();
        if let Some(moment) = &self.moment {
            document["time"][version] = moment.as_str().into();
        }
        self.site.put(&format!("/npm/{name}"), document.to_string());
    }

    /// Changes what the registry says of an npm package, and nothing that it serves.
    pub fn edit_npm(&mut self, name: &str, edit: impl Fn(&mut Value)) {
        let document = self.documents.get_mut(name).unwrap();
        edit(document);
        self.site.put(&format!("/npm/{name}"), document.to_string());
    }

    /// Changes what the index says of the files of a Python project, and nothing that it serves.
    pub fn edit_page(&mut self, name: &str, edit: impl Fn(&mut Vec<Value>)) {
        let files = self.pages.get_mut(name).unwrap();
        edit(files);
        let page = json!({ "meta": { "api-version": "1.1" }, "files": files });
        self.site.put(&format!("/simple/{name}/"), page.to_string());
    }

    /// Publishes a wheel.
    pub fn wheel(&mut self, wheel: &WheelBuilder) {
        let (bytes, file) = (wheel.build(), wheel.file_name());
        let metadata = wheel.metadata_text();
        self.site.put(&format!("/files/{file}.metadata"), metadata.clone());
        let mut entry = json!({
            "filename": file,
            "url": format!("../../files/{file}"),
            "hashes": { "sha256": Sha256::of(&bytes).to_string() },
            "size": bytes.len(),
            "yanked": false,
            "core-metadata": { "sha256": Sha256::of(&metadata).to_string() },
        });
        if let Some(moment) = &self.moment {
            entry["upload-time"] = moment.as_str().into();
        }
        self.site.put(&format!("/files/{file}"), bytes);
        let page = self.pages.entry(wheel.name.clone()).or_default();
        page.push(entry);
        let page = json!({ "meta": { "api-version": "1.1" }, "files": page });
        self.site.put(&format!("/simple/{}/", wheel.name), page.to_string());
    }

    /// Writes and signs the lists of both archives anew.
    fn sign(&self) {
        let packages: Vec<&str> = self.packages.values().map(String::as_str).collect();
        for (archive, suite, packages) in
            [("debian", "trixie", packages.join("\n")), ("security", "trixie-security", String::new())]
        {
            let mut release = format!(
                "Origin: Test\nSuite: {suite}\nCodename: {suite}\nDate: Fri, 01 Mar 2024 00:00:00 UTC\nArchitectures: {}\n\
                 Components: main\nSHA256:\n",
                self.architectures.join(" ")
            );
            for architecture in &self.architectures {
                let index = format!("main/binary-{architecture}/Packages");
                let listed = match *architecture {
                    "amd64" => packages.clone(),
                    _ => packages.replace("Architecture: amd64", "Architecture: all").replace("_amd64.deb", "_all.deb"),
                };
                release.push_str(&format!(" {} {} {index}\n", Sha256::of(&listed), listed.len()));
                self.site.put(&format!("/{archive}/dists/{suite}/{index}"), listed);
            }
            self.site.put(&format!("/{archive}/dists/{suite}/InRelease"), clear_signed(&release));
        }
    }
}

fn clear_signed(text: &str) -> String {
    let (key, _) = SignedSecretKey::from_string(SECRET_KEY).unwrap();
    let key = &key.primary_key;
    let mut config =
        SignatureConfig::v4(SignatureType::Text, key.algorithm(), pgp::crypto::hash::HashAlgorithm::Sha256);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::from_secs(DATE))).unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
    ];
    let message = CleartextSignedMessage::new(text, config, key, &Password::empty()).unwrap();
    message.to_armored_string(ArmorOptions::default()).unwrap()
}

/// A package with one file below `/usr/share`, its parts uncompressed (deb(5)).
fn deb(name: &str, version: &str, fields: &str) -> Vec<u8> {
    let data = format!("{name} {version}\n");
    let directories = ["./", "./usr/", "./usr/share/"];
    packed(name, version, fields, &plain_tar(&directories, &format!("./usr/share/{name}"), &data))
}

fn documented_deb(name: &str, version: &str, fields: &str, documentation: &Documentation<'_>) -> Vec<u8> {
    let (own, above) = (format!("./usr/share/doc/{name}"), ["./", "./usr/", "./usr/share/", "./usr/share/doc/"]);
    let data = match documentation {
        Documentation::Copyright(text) => {
            let directory = format!("{own}/");
            let directories = [&above[..], &[directory.as_str()]].concat();
            plain_tar(&directories, &format!("{own}/copyright"), text)
        }
        Documentation::Of(other) => {
            let mut tar = tar::Builder::new(plain_tar(&above, "./usr/share/doc/.keep", ""));
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            header.set_mtime(u64::from(DATE));
            header.set_uid(0);
            header.set_gid(0);
            // Before the two empty blocks that end the archive.
            let end = tar.get_mut().len() - 1024;
            tar.get_mut().truncate(end);
            header.set_link_name(other).unwrap();
            header.as_mut_bytes()[..own.len()].copy_from_slice(own.as_bytes());
            header.set_cksum();
            tar.append(&header, &[][..]).unwrap();
            tar.into_inner().unwrap()
        }
    };
    packed(name, version, fields, &data)
}

fn packed(name: &str, version: &str, fields: &str, data: &[u8]) -> Vec<u8> {
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: A <a@example.invalid>\n{fields}Description: {name}\n"
    );
    let mut bytes = b"!<arch>\n".to_vec();
    for (part, content) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", plain_tar(&["./"], "./control", &control)),
        ("data.tar", data.to_vec()),
    ] {
        bytes.extend(format!("{part:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", DATE, 0, 0, 100_644, content.len()).bytes());
        bytes.extend(&content);
        bytes.extend(if content.len() % 2 == 1 { &b"\n"[..] } else { b"" });
    }
    bytes
}

fn plain_tar(directories: &[&str], path: &str, content: &str) -> Vec<u8> {
    tar_of(directories, &[(path.trim_start_matches("./").to_owned(), content.as_bytes().to_vec())])
}

/// A tar of files by their paths; those in a `bin` directory can be run.
fn tar_of(directories: &[&str], files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let header = |path: &str, kind, mode, size| {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::from(DATE));
        header.set_size(size);
        header.set_cksum();
        header
    };
    for directory in directories {
        tar.append(&header(directory, tar::EntryType::Directory, 0o755, 0), &[][..]).unwrap();
    }
    for (path, content) in files {
        let mode = if path.contains("bin/") || path.contains("/ld-") { 0o755 } else { 0o644 };
        let header = header(&format!("./{path}"), tar::EntryType::Regular, mode, content.len() as u64);
        tar.append(&header, &content[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A tar of what a step needs to run: busybox, and stand-ins for dpkg and what it is called with.
pub fn shell_data() -> Vec<u8> {
    let mut busybox = std::fs::read("/bin/busybox").expect("apt-get install busybox-static");
    // Its shell runs its own dpkg rather than the one on the PATH, unless that is called otherwise.
    let own = busybox.windows(15).position(|name| name == b"\0dpkg\0dpkg-deb\0");
    if let Some(own) = own {
        busybox[own + 4] = b'f';
    }
    let mut files = vec![("bin/busybox".to_owned(), busybox.clone()), ("bin/sh".to_owned(), busybox)];
    let mut script = |path: &str, text: &str| files.push((path.into(), format!("#!/bin/sh\n{text}\n").into_bytes()));
    for applet in
        ["usr/bin/env", "bin/cat", "bin/chmod", "bin/cp", "bin/mkdir", "bin/mv", "bin/rm", "bin/sed", "bin/tr"]
    {
        let name = applet.rsplit('/').next().unwrap();
        script(applet, &format!("exec /bin/busybox {name} \"$@\""));
    }
    script("usr/bin/setsid", "shift; exec \"$@\"");
    script("usr/bin/timeout", "shift 2; exec \"$@\"");
    script("usr/bin/dpkg", "[ \"$1\" != --version ] || echo \"Debian dpkg version 1.22.21 (amd64).\"");
    script("usr/sbin/stand-in", "exit 0");
    tar_of(&["./", "./bin/", "./usr/", "./usr/bin/", "./usr/sbin/"], &files)
}

/// The version of `/usr/bin/python3`, and a tar of it with its libraries and the standard library.
pub fn own_python() -> (String, Vec<u8>) {
    const PROGRAM: &str = "/usr/bin/python3";
    let ask = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().expect("apt-get install python3");
        String::from_utf8(output.stdout).unwrap()
    };
    let version = ask(PROGRAM, &["-c", "import platform; print(platform.python_version(), end='')"]);
    let library = ask(PROGRAM, &["-c", "import os; print(os.path.dirname(os.__file__), end='')"]);
    let shared = ask("ldd", &[PROGRAM]);
    let mut files = vec![PathBuf::from(PROGRAM)];
    files.extend(shared.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    add_modules(Path::new(&library), &mut files);
    let below = |path: &Path| path.strip_prefix("/").unwrap().to_str().unwrap().to_owned();
    let directories: BTreeSet<String> = files
        .iter()
        .flat_map(|path| path.ancestors().skip(1))
        .map(|path| format!("./{}/", below(path)).replace("//", "/"))
        .collect();
    let directories: Vec<&str> = directories.iter().map(String::as_str).collect();
    let files: Vec<_> = files.iter().map(|path| (below(path), std::fs::read(path).unwrap())).collect();
    (version, tar_of(&directories, &files))
}

/// The modules of the standard library that a build of a wheel may want.
fn add_modules(directory: &Path, files: &mut Vec<PathBuf>) {
    const LEFT_OUT: &[&str] =
        &["__pycache__", "dist-packages", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test", "tkinter"];
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() && !LEFT_OUT.contains(&name.as_str()) && !name.starts_with("config-") {
            add_modules(&path, files);
        } else if path.is_file() && (name.ends_with(".py") || name.ends_with(".so")) {
            files.push(path);
        }
    }
    files.sort();
}

fn npm_tarball(manifest: &Value) -> Vec<u8> {
    let file = |name: &str, content: String| (name.to_owned(), content);
    tar_gz("package", &[file("package.json", manifest.to_string()), file("index.js", "module.exports = 1\n".into())])
}

/// A compressed tar of files below one directory.
pub fn tar_gz(directory: &str, files: &[(String, String)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, format!("{directory}/{name}"), content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}
