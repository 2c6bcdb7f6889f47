//! Small packages built with `dpkg-deb`, unpacked by oclock and by dpkg itself: the trees and databases must be equal.
//!
//! Offline. Needs dpkg, which every Debian machine has; owners are compared only when the test runs as root.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use oclock::assemble::apt::{AptAssembleError, AptTree, AptTreeRequest, BaseFiles, write_root};
use oclock::base::explain::{Explain, Kind};
use oclock::base::path_map::PathMap;
use oclock::base::tar::{TarMeta, TarWriter};
use oclock::base::tree::Tree;
use oclock::lock::AptPin;
use oclock::model::{Artifact, ArtifactPath, PackageName, PackageVersion, Platform, Sha256, SourceName};
use oclock::store::Store;

const EPOCH: i64 = 1_700_000_000;

/// A directory with a store, packages in the making and finished ones.
struct Bench {
    directory: tempfile::TempDir,
    store: Store,
    pins: Vec<AptPin>,
    debs: Vec<PathBuf>,
}

/// A package in the making.
struct Package {
    root: PathBuf,
    name: String,
    version: String,
    architecture: String,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        Self { directory, store, pins: Vec::new(), debs: Vec::new() }
    }

    fn package(&self, name: &str, architecture: &str, fields: &str) -> Package {
        let root = self.directory.path().join("build").join(name);
        fs::create_dir_all(root.join("DEBIAN")).unwrap();
        let (version, architecture) = ("1.0-1".to_owned(), architecture.to_owned());
        let package = Package { root, name: name.to_owned(), version, architecture };
        package.control(fields);
        package
    }

    /// Builds the package, puts it into the store and pins it.
    fn add(&mut self, package: &Package, compression: &str) {
        let deb = self.directory.path().join(format!("{}.deb", package.name));
        let option = format!("-Z{compression}");
        let output = Command::new("dpkg-deb")
            .args(["--root-owner-group", "--nocheck", &option, "-b"])
            .args([&package.root, &deb])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bytes = fs::read(&deb).unwrap();
        self.add_bytes(&package.name, &package.version, &package.architecture, &bytes);
        self.debs.push(deb);
    }

    fn add_bytes(&mut self, name: &str, version: &str, architecture: &str, bytes: &[u8]) {
        let sha256 = self.store.add_blob(bytes).unwrap();
        self.pins.push(AptPin {
            name: PackageName::parse(name).unwrap(),
            version: PackageVersion::parse(version).unwrap(),
            platform: platform(),
            architecture: architecture.to_owned(),
            suite: "trixie".into(),
            source_package: PackageName::parse(name).unwrap(),
            source_version: PackageVersion::parse(version).unwrap(),
            artifact: Artifact {
                source: SourceName::parse("debian").unwrap(),
                path: ArtifactPath::parse(&format!("pool/{name}.deb")).unwrap(),
                size: bytes.len() as u64,
                sha256,
                sha512: None,
            },
            required_by: Vec::new(),
        });
    }

    fn write_onto(&self, base: Option<BaseFiles<'_>>) -> Result<(AptTree, Vec<u8>), AptAssembleError> {
        let pins: Vec<&AptPin> = self.pins.iter().collect();
        let request = AptTreeRequest { pins: &pins, platform: platform(), epoch: EPOCH, base };
        let mut out = TarWriter::new(Vec::new(), EPOCH);
        let tree = write_root(&request, &self.store, &mut out)?;
        Ok((tree, out.finish().unwrap()))
    }

    fn write(&self) -> Result<(AptTree, Vec<u8>), AptAssembleError> {
        self.write_onto(None)
    }

    fn error(&self) -> AptAssembleError {
        self.write().unwrap_err()
    }

    /// What dpkg itself makes of the packages, in oclock's order.
    fn reference(&self) -> BTreeMap<String, String> {
        let root = self.directory.path().join("reference");
        for directory in ["info", "updates", "triggers", "alternatives", "parts"] {
            fs::create_dir_all(root.join("var/lib/dpkg").join(directory)).unwrap();
        }
        for file in ["status", "info/format"] {
            fs::write(root.join("var/lib/dpkg").join(file), if file == "status" { "" } else { "1\n" }).unwrap();
        }
        let mut debs = self.debs.clone();
        debs.sort_by_key(|deb| (!deb.ends_with("base-files.deb"), deb.clone()));
        let output = Command::new("dpkg")
            .arg(format!("--root={}", root.display()))
            .args(["--force-unsafe-io", "--force-not-root", "--force-depends", "--log=/dev/null", "--unpack"])
            .args(&debs)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut found = BTreeMap::new();
        let mut inodes = BTreeMap::new();
        describe_directory(&root, &root, &mut inodes, &mut found);
        found
    }
}

impl Package {
    fn control(&self, fields: &str) {
        let text = format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: A <a@example.invalid>\nDescription: one\n two\n .\n{fields}",
            self.name, self.version, self.architecture
        );
        self.info("control", 0o644, &text);
    }

    fn info(&self, name: &str, mode: u32, text: &str) {
        let path = self.root.join("DEBIAN").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn file(&self, path: &str, mode: u32, content: &[u8]) {
        let path = self.directory_of(path);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn directory(&self, path: &str, mode: u32) {
        let path = self.directory_of(path);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn symlink(&self, path: &str, target: &str) {
        symlink(target, self.directory_of(path)).unwrap();
    }

    fn hard_link(&self, path: &str, target: &str) {
        fs::hard_link(self.root.join(target), self.directory_of(path)).unwrap();
    }

    fn directory_of(&self, path: &str) -> PathBuf {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }
}

fn architecture() -> String {
    let output = Command::new("dpkg").arg("--print-architecture").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn platform() -> Platform {
    Platform::parse(&format!("linux/{}", architecture())).unwrap()
}

fn is_root(directory: &Path) -> bool {
    fs::metadata(directory).unwrap().uid() == 0
}

/// One line for each path: kind, mode, content or target; hard links name the first path of their inode.
fn describe_directory(
    root: &Path,
    directory: &Path,
    inodes: &mut BTreeMap<u64, String>,
    found: &mut BTreeMap<String, String>,
) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort_by_key(|path| path.strip_prefix(root).unwrap().as_os_str().to_owned());
    for path in entries {
        let metadata = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let owner = format!("{}:{}", metadata.uid(), metadata.gid());
        let owner = if is_root(root) { owner } else { "0:0".to_owned() };
        let mode = metadata.mode() & 0o7777;
        let text = if metadata.is_symlink() {
            format!("link {owner} {}", fs::read_link(&path).unwrap().display())
        } else if metadata.is_dir() {
            describe_directory(root, &path, inodes, found);
            format!("directory {mode:o} {owner}")
        } else {
            let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            format!("file {mode:o} {owner} {content}")
        };
        found.insert(name.clone(), text);
        if metadata.is_file() && metadata.nlink() > 1 {
            inodes.entry(metadata.ino()).or_insert(name);
        }
    }
    for name in inodes.values() {
        found.entry(format!("{name} (shared)")).or_default();
    }
}

/// The same for a tar, and that every entry has the one time.
fn describe_tar(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().trim_end_matches('/').to_owned();
        let header = entry.header();
        assert_eq!(header.mtime().unwrap(), EPOCH as u64, "{name}");
        let owner = format!("{}:{}", header.uid().unwrap(), header.gid().unwrap());
        let mode = header.mode().unwrap();
        let link = entry.link_name().unwrap().map(|link| link.to_str().unwrap().to_owned());
        let text = match header.entry_type() {
            tar::EntryType::Directory => format!("directory {mode:o} {owner}"),
            tar::EntryType::Symlink => format!("link {owner} {}", link.unwrap()),
            tar::EntryType::Link => {
                let target = link.unwrap();
                let text: String = found.get(&target).cloned().unwrap();
                found.insert(format!("{target} (shared)"), String::new());
                text
            }
            _ => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                format!("file {mode:o} {owner} {}", String::from_utf8_lossy(&content))
            }
        };
        assert!(found.insert(name.clone(), text).is_none(), "{name} twice");
    }
    found
}

/// Packages with everything that makes unpacking more than extracting.
fn rich_set() -> Bench {
    let mut bench = Bench::new();
    let native = architecture();
    let base = bench.package("base-files", &native, "Essential: yes\n");
    for directory in ["usr/bin", "usr/lib", "usr/sbin", "etc", "var/lib", "usr/share/doc"] {
        base.directory(directory, 0o755);
    }
    base.directory("tmp", 0o1777);
    base.directory("srv/shared", 0o2775);
    for (link, target) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("sbin", "usr/sbin")] {
        base.symlink(link, target);
    }
    bench.add(&base, "xz");

    let tool = bench.package("a-tool", "all", "Depends: b-lib (>= 1.0), c | d\nX-Own: kept \nSection: misc\n");
    tool.info("conffiles", 0o644, "/etc/a/a.conf\n/etc/a/taken.conf\nremove-on-upgrade /etc/a/gone.conf\n");
    tool.info("postinst", 0o755, "#!/bin/sh\nexit 0\n");
    tool.file("etc/a/a.conf", 0o640, b"conf");
    tool.file("etc/a/taken.conf", 0o644, b"old");
    tool.hard_link("usr/share/a/a.conf.link", "etc/a/a.conf");
    tool.file("bin/a-tool", 0o4755, b"through a link");
    tool.hard_link("usr/bin/a-tool-too", "bin/a-tool");
    tool.symlink("usr/bin/a-alias", "a-tool");
    tool.file("usr/share/a/taken", 0o644, b"old");
    tool.file(&format!("usr/share/a/{}/näme with spaces", "long-".repeat(30)), 0o600, b"long");
    tool.directory("srv/shared", 0o700);
    bench.add(&tool, "gzip");

    let lib = bench.package("b-lib", &native, "Multi-Arch: same\nProvides: b-virtual (= 1.0)\n");
    lib.info(
        "triggers",
        0o644,
        "# a comment\nactivate-noawait ldconfig\ninterest-noawait /usr/share/a\ninterest named-one\n",
    );
    lib.file("lib/b/libb.so.1.0", 0o644, &vec![b'x'; 100_000]);
    lib.symlink("lib/b/libb.so.1", "libb.so.1.0");
    lib.symlink("usr/share/a", "/usr/share/b");
    lib.directory("usr/share/b", 0o755);
    bench.add(&lib, "none");

    let taker = bench.package("c-taker", "all", "Replaces: a-tool (<< 2)\n");
    taker.info("conffiles", 0o644, "/etc/a/taken.conf\n");
    taker.info("triggers", 0o644, "interest /usr/lib/b\ninterest-noawait named-one\nactivate named-one\n");
    taker.file("etc/a/taken.conf", 0o644, b"new");
    taker.file("usr/share/a/taken", 0o755, b"new");
    bench.add(&taker, "xz");

    let loser = bench.package("d-loser", "all", "");
    loser.file("usr/share/a/taken", 0o644, b"never seen");
    loser.file("usr/share/d/own", 0o644, b"own");
    taker.control("Replaces: a-tool (<< 2), d-loser\n");
    bench.pins.pop();
    bench.debs.pop();
    bench.add(&taker, "xz");
    bench.add(&loser, "xz");
    bench
}

#[test]
fn a_set_is_unpacked_as_dpkg_does_it() {
    let bench = rich_set();
    let (tree, bytes) = bench.write().unwrap();
    assert_eq!((tree.packages, tree.deferred.len()), (5, 0));
    let mut ours = describe_tar(&bytes);
    let mut reference = bench.reference();
    // dpkg's own leavings, and what oclock adds for the engine.
    let leavings = ["status-old", "lock", "lock-frontend", "triggers/Lock", "available", "diversions", "statoverride"];
    reference.retain(|path, _| !leavings.iter().any(|name| *path == format!("var/lib/dpkg/{name}")));
    ours.retain(|path, _| !path.starts_with(".oclock") && !["dev", "proc", "sys", "run"].contains(&path.as_str()));
    for (path, text) in &reference {
        assert_eq!(ours.get(path), Some(text), "{path}");
    }
    let more: Vec<_> = ours.keys().filter(|path| !reference.contains_key(*path)).collect();
    assert!(more.is_empty(), "dpkg has no {more:?}");
    assert!(ours.contains_key("etc/a/a.conf.dpkg-new") && ours.contains_key("usr/bin/a-tool"));
    assert_eq!(ours["srv/shared"], "directory 2775 0:0");
}

#[test]
fn the_order_of_pins_does_not_matter() {
    let mut bench = rich_set();
    let (tree, bytes) = bench.write().unwrap();
    for turn in 0..bench.pins.len() {
        bench.pins.rotate_left(1);
        bench.pins.swap(0, turn);
        assert_eq!(bench.write().unwrap(), (tree.clone(), bytes.clone()));
    }
}

/// What the twins run: it writes the digest of the tar of the packages it is given.
#[test]
#[ignore = "run by umask_directory_and_zone_do_not_matter"]
fn twin() {
    let directory = std::env::var("OCLOCK_TWIN").unwrap();
    let mut bench = Bench::new();
    for name in ["a-tool", "b-lib", "base-files", "c-taker", "d-loser"] {
        let bytes = fs::read(format!("{directory}/{name}.deb")).unwrap();
        let own = if name == "base-files" || name == "b-lib" { architecture() } else { "all".into() };
        bench.add_bytes(name, "1.0-1", &own, &bytes);
    }
    fs::write(std::env::var("OCLOCK_TWIN_OUT").unwrap(), Sha256::of(bench.write().unwrap().1).to_string()).unwrap();
}

#[test]
fn umask_directory_and_zone_do_not_matter() {
    let bench = rich_set();
    let digest = Sha256::of(bench.write().unwrap().1).to_string();
    for (umask, directory, zone) in [("077", "/", "Asia/Kolkata"), ("000", "/usr", "America/Lima")] {
        let out = bench.directory.path().join("twin");
        let status = Command::new("sh")
            .args(["-c", &format!("umask {umask}; exec \"$0\" --exact --ignored twin")])
            .arg(std::env::current_exe().unwrap())
            .current_dir(directory)
            .envs([("TZ", zone), ("LC_ALL", "C")])
            .env("OCLOCK_TWIN", bench.directory.path())
            .env("OCLOCK_TWIN_OUT", &out)
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(fs::read_to_string(&out).unwrap(), digest);
    }
}

#[test]
fn a_package_that_diverts_is_left_to_dpkg() {
    let mut bench = rich_set();
    let diverter = bench.package("e-diverter", "all", "Pre-Depends: c-taker\n");
    diverter.info(
        "preinst",
        0o755,
        "#!/bin/sh\nset -e\ndpkg-divert --package e-diverter --rename \\\n  --divert /usr/bin/a-tool.real --add /usr/bin/a-tool-too\n",
    );
    diverter.file("usr/bin/a-tool-too", 0o755, b"mine");
    bench.add(&diverter, "xz");
    let plain = bench.package("f-plain", "all", "");
    plain.info("preinst", 0o755, "#!/bin/sh\ndpkg-divert --no-rename --add /nobody/has/this\n");
    bench.add(&plain, "xz");
    let looker = bench.package("g-looker", "all", "");
    looker.info("conffiles", 0o644, "/etc/g.conf\n");
    looker.info("preinst", 0o755, "#!/bin/sh\nd=/usr/share/g\nif [ -e \"$DPKG_ROOT$d/seen\" ]; then touch /x; fi\n");
    looker.file("usr/share/g/seen", 0o644, b"");
    looker.file("etc/g.conf", 0o644, b"");
    bench.add(&looker, "xz");
    let (tree, bytes) = bench.write().unwrap();
    assert_eq!(tree.deferred, ["e-diverter", "g-looker"]);
    bench.pins.pop();
    looker.info("preinst", 0o755, "#!/bin/sh\n[ -e /etc/g.conf ] || rm -rf /usr/share /usr/share/h\n");
    bench.add(&looker, "xz");
    assert_eq!(bench.write().unwrap().0.deferred, ["e-diverter"]);
    let ours = describe_tar(&bytes);
    assert!(ours.contains_key(".oclock/apt/debs/0005_e-diverter.deb"));
    assert!(!ours["var/lib/dpkg/status"].contains("e-diverter"));
    let plan = ours[".oclock/apt/plan"].split_once("0:0 ").unwrap().1;
    assert_eq!(
        plan,
        "configure base-files\npreinst f-plain f-plain all preinst\nconfigure c-taker\nunpack 0005_e-diverter.deb\n\
         unpack 0007_g-looker.deb\n"
    );
}

#[test]
fn on_a_base_image_its_own_dpkg_unpacks() {
    let mut layer = TarWriter::new(tempfile::tempfile().unwrap(), 5);
    for directory in ["usr", "usr/bin"] {
        layer.directory(Path::new(directory), &TarMeta::root(0o755)).unwrap();
    }
    layer.file(Path::new("usr/bin/old"), &TarMeta::root(0o4755), 3, &mut &b"old"[..]).unwrap();
    layer.hard_link(Path::new("usr/bin/other"), &TarMeta::root(0o4755), Path::new("usr/bin/old")).unwrap();
    layer.symlink(Path::new("bin"), &TarMeta::root(0o777), "usr/bin".as_ref()).unwrap();
    let (mut tree, mut times) = (Tree::default(), PathMap::default());
    let note = |path: &Path, time| {
        times.insert(path.to_owned(), time);
    };
    tree.add_tar(&Arc::new(layer.finish().unwrap()), 0, note).unwrap();
    let base = BaseFiles { tree: &tree, times: &times };

    let mut bench = Bench::new();
    let new = bench.package("new", "all", "Essential: yes\n");
    new.file("usr/bin/new", 0o755, b"new");
    new.info("preinst", 0o755, "#!/bin/sh\ntest -e /usr/bin/new && exit 1\n");
    bench.add(&new, "xz");
    let (written, tar) = bench.write_onto(Some(base)).unwrap();
    assert_eq!((written.packages, written.deferred), (1, vec!["new".to_owned()]));
    let mut archive = tar::Archive::new(Cursor::new(&tar));
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let link = entry.link_name().unwrap().map(|path| path.to_string_lossy().into_owned());
        let name = entry.path().unwrap().to_string_lossy().trim_end_matches('/').to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let text = link.unwrap_or_else(|| String::from_utf8_lossy(&bytes).into_owned());
        found.insert(name, (entry.header().mtime().unwrap(), text));
    }
    assert_eq!(found["usr/bin/old"], (5, "old".to_owned()));
    assert_eq!(found["usr/bin/other"], (5, "usr/bin/old".to_owned()));
    assert_eq!(found["bin"], (5, "usr/bin".to_owned()));
    assert_eq!(found[".oclock/apt/debs/0000_new.deb"].0, EPOCH as u64);
    assert!(!found.contains_key("usr/bin/new") && !found.contains_key("var/lib/dpkg/status"));
    assert_eq!(found[".oclock/apt/plan"].1, "unpack /.oclock/apt/debs/0000_new.deb\n");
    assert!(found[".oclock/configure"].1.contains("--unpack $arguments ||"));
    let forced = "DPKG_FORCE=confdef,confold\n";
    assert!(found[".oclock/environment"].1.contains(forced));
    assert!(!describe_tar(&bench.write().unwrap().1)[".oclock/environment"].contains(forced));
}

#[test]
fn a_package_must_be_the_one_pinned() {
    let mut bench = Bench::new();
    let package = bench.package("p", "all", "");
    bench.add(&package, "xz");
    bench.pins[0].version = PackageVersion::parse("1.0-2").unwrap();
    let error = bench.error();
    assert_eq!(
        (error.kind(), error.to_string()),
        (Kind::Distrust, "`apt:p` is not what the lock pins: its Version differs".into())
    );
    assert_eq!(error.evidence(), ["  locked  1.0-2", "   found  1.0-1"]);

    let mut bench = Bench::new();
    bench.add_bytes("p", "1", "all", b"no archive");
    assert_eq!(bench.error().kind(), Kind::Distrust);
    bench.pins[0].artifact.sha256 = Sha256::of(b"missing");
    assert_eq!(
        (bench.error().kind(), bench.error().to_string()),
        (Kind::Unable, "could not read `apt:p 1` from the store".into())
    );
    bench.pins.push(bench.pins[0].clone());
    assert_eq!(bench.error().to_string(), "`apt:p` is pinned twice for one platform");
}

#[test]
fn overlapping_packages_are_refused() {
    let mut bench = Bench::new();
    for name in ["one", "two"] {
        let package = bench.package(name, "all", "Replaces: one (<< 0.5)\n");
        package.file("usr/x", 0o644, name.as_bytes());
        bench.add(&package, "xz");
    }
    let error = bench.error();
    assert_eq!((error.kind(), error.to_string()), (Kind::Unable, "`apt:one` and `apt:two` both bring `/usr/x`".into()));
    assert_eq!(error.hints().len(), 1);
}

/// A `.deb` by hand, with the members that a function writes.
fn crafted(members: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let control = "Package: evil\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.invalid>\nDescription: x\n";
    let mut info = tar::Builder::new(Vec::new());
    append(&mut info, "./control", tar::EntryType::Regular, "", control.as_bytes());
    let mut data = tar::Builder::new(Vec::new());
    append(&mut data, "./", tar::EntryType::Directory, "", b"");
    members(&mut data);
    let mut deb = Cursor::new(Vec::new());
    deb.write_all(b"!<arch>\n").unwrap();
    let parts = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", info.into_inner().unwrap()),
        ("data.tar", data.into_inner().unwrap()),
    ];
    for (name, bytes) in parts {
        writeln!(deb, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, bytes.len()).unwrap();
        deb.write_all(&bytes).unwrap();
    }
    deb.into_inner()
}

/// Appends a member with any name, also those that the crate would refuse.
fn append(builder: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, link: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    header.set_cksum();
    builder.append(&header, content).unwrap();
}

#[test]
fn hostile_packages_are_refused() {
    use tar::EntryType::{Block, Char, Directory, Link, Regular, Symlink};
    type Members<'a> = &'a [(&'a str, tar::EntryType, &'a str)];
    let cases: &[(&str, Members)] = &[
        ("leads out of the root", &[("../etc/passwd", Regular, "")]),
        ("leads out of the root", &[("./a/../../x", Regular, "")]),
        ("it brings the path `/etc/passwd`", &[("/etc/passwd", Regular, "")]),
        ("it brings the device `null`", &[("./null", Char, "")]),
        ("it brings the device `disk`", &[("./disk", Block, "")]),
        ("brings that path twice", &[("./x", Regular, ""), ("./x", Regular, "")]),
        ("no file of the package before it", &[("./x", Link, "shadow")]),
        ("leads out of the root", &[("./x", Link, "../etc/shadow")]),
        ("no package brings its directory `/usr`", &[("./usr/x", Regular, "")]),
        ("is no directory", &[("./x", Regular, ""), ("./x/y", Regular, "")]),
        ("brings that path twice", &[("./x", Directory, ""), ("./x", Regular, "")]),
        ("where the engine or dpkg keeps its own", &[("./proc/", Directory, ""), ("./proc/x", Regular, "")]),
        ("oclock keeps that name for itself", &[("./.oclock/", Directory, ""), ("./.oclock/step", Regular, "")]),
        ("no package brings its directory", &[("./l", Symlink, "/outside"), ("./l/x", Regular, "")]),
    ];
    for (why, members) in cases {
        let mut bench = Bench::new();
        let deb = crafted(|data| members.iter().for_each(|(name, kind, link)| append(data, name, *kind, link, b"")));
        bench.add_bytes("evil", "1", "all", &deb);
        let error = bench.error();
        assert_eq!(error.kind(), Kind::Distrust, "{error}");
        assert!(error.to_string().contains(why), "{error}\n{why}");
    }
}

#[test]
fn a_path_never_leaves_the_root_through_links_of_another_package() {
    for (target, why) in
        [("../../etc", "leads out of the root"), ("loop", "lead to each other"), ("/none", "no package brings")]
    {
        let mut bench = Bench::new();
        let links = bench.package("a-links", "all", "");
        links.symlink("loop", target);
        bench.add(&links, "xz");
        let deb = crafted(|data| append(data, "./loop/x", tar::EntryType::Regular, "", b""));
        bench.add_bytes("evil", "1", "all", &deb);
        let error = bench.error();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn a_step_sees_the_fixed_environment_and_the_images_own() {
    let bench = rich_set();
    let ours = describe_tar(&bench.write().unwrap().1);
    let own = bench.directory.path().join("own");
    fs::create_dir_all(&own).unwrap();
    for name in ["clean", "step", "environment"] {
        let text = ours[&format!(".oclock/{name}")].split_once("0:0 ").unwrap().1;
        fs::write(own.join(name), text.replace("/.oclock", own.to_str().unwrap())).unwrap();
    }
    fs::write(own.join("env"), "TOLD\nUNSET\n").unwrap();
    let output = Command::new("/bin/sh")
        .args([own.join("step").to_str().unwrap(), "env; umask; pwd; [ -t 0 ] || cat; echo \"$TOLD\""])
        .env_clear()
        .envs([("TOLD", "two  words; $(x)"), ("LEAK", "1"), ("TZ", "Asia/Kolkata"), ("PATH", "/usr/bin:/bin")])
        .current_dir("/usr")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    for line in ["TOLD=two  words; $(x)", "TZ=UTC0", "SOURCE_DATE_EPOCH=1700000000", "0022", "/usr", "two  words; $(x)"]
    {
        assert!(lines.contains(&line), "{line}\n{text}");
    }
    assert!(!text.contains("LEAK") && !text.contains("UNSET"));
}
