//! Wheels into an environment: what stands where, and which wheels are refused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

#[path = "support/wheels.rs"]
mod wheels;

use std::collections::BTreeMap;
use std::io::Read;

use oclock::assemble::pip::{PipAssembleError, PipTree, VenvSpec, write_environment};
use oclock::base::explain::{Explain, Kind};
use oclock::base::tar::TarWriter;
use oclock::lock::{PipPin, wheel_path};
use oclock::model::{Artifact, PackageName, PackageVersion, Platform, SourceName};
use oclock::store::Store;
use wheels::WheelBuilder;

const SPEC: VenvSpec<'static> =
    VenvSpec { path: "/opt/venv", python: (3, 13), python_version: "3.13.5", executable: "/usr/bin/python3" };
const SITE: &str = "opt/venv/lib/python3.13/site-packages";

struct Bench {
    _directory: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        Self { _directory: directory, store }
    }

    fn pin(&self, wheel: &WheelBuilder, required_by: &str) -> PipPin {
        self.pin_bytes(wheel, &wheel.build(), required_by)
    }

    fn pin_bytes(&self, wheel: &WheelBuilder, bytes: &[u8], required_by: &str) -> PipPin {
        let name = PackageName::parse(&wheel.name.replace('_', "-").to_lowercase()).unwrap();
        PipPin {
            published: None,
            version: PackageVersion::parse(&wheel.version).unwrap(),
            platform: Platform::LINUX_AMD64,
            tags: wheel.tags.clone(),
            artifact: Artifact {
                source: SourceName::parse("pypi").unwrap(),
                path: wheel_path(&name, &wheel.file_name()).unwrap(),
                size: bytes.len() as u64,
                sha256: self.store.add_blob(bytes).unwrap(),
                sha512: None,
            },
            built: None,
            required_by: vec![required_by.to_owned()],
            name,
        }
    }

    fn write(&self, spec: &VenvSpec<'_>, pins: &[&PipPin]) -> Result<(Vec<u8>, PipTree), PipAssembleError> {
        let mut out = TarWriter::new(Vec::new(), 1_700_000_000);
        let tree = write_environment(spec, pins, &self.store, &mut out)?;
        Ok((out.finish().unwrap(), tree))
    }

    /// Writes an environment, and keeps it as the last one.
    fn keep(&self, pins: &[&PipPin]) -> Vec<u8> {
        let (tar, tree) = self.write(&SPEC, pins).unwrap();
        tree.laid.keep(&self.store.add_blob(&tar).unwrap(), &self.store).unwrap();
        tar
    }

    /// What the pins give where nothing is kept, or why they are refused.
    fn anew(&self, pins: &[&PipPin]) -> Result<Vec<u8>, String> {
        let other = Self::new();
        for pin in pins {
            other.store.add_blob(&self.store.read_blob(pin.wheel_sha256()).unwrap()).unwrap();
        }
        other.write(&SPEC, pins).map(|(tar, _)| tar).map_err(|error| error.to_string())
    }

    fn refused(&self, wheel: &WheelBuilder) -> String {
        let pin = self.pin(wheel, "manifest");
        let error = self.write(&SPEC, &[&pin]).unwrap_err();
        assert_eq!(error.kind(), Kind::Distrust, "{error}");
        error.to_string()
    }
}

/// Path → (mode, content or link target); directories end in a slash.
fn entries(tar: &[u8]) -> BTreeMap<String, (u32, String)> {
    let mut archive = tar::Archive::new(tar);
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = String::new();
        match entry.link_name().unwrap() {
            Some(target) => content.push_str(target.to_str().unwrap()),
            None => drop(entry.read_to_string(&mut content).unwrap()),
        }
        let known = found.insert(path.clone(), (entry.header().mode().unwrap(), content));
        assert!(known.is_none(), "{path} twice");
    }
    found
}

fn wheel(name: &str, version: &str) -> WheelBuilder {
    WheelBuilder::new(name, version)
}

fn full() -> WheelBuilder {
    wheel("Pkg_one", "1.0")
        .file("Pkg_one/tool.sh", "#!/bin/sh\n", 0o100_755)
        .file("Pkg_one-1.0.data/scripts/run", "#!python\nprint(1)\n", 0o100_644)
        .file("Pkg_one-1.0.data/scripts/shell", "#!/bin/sh\necho\n", 0o100_644)
        .file("Pkg_one-1.0.data/scripts/cli", "#!python\nreplaced by the entry point\n", 0o100_755)
        .file("Pkg_one-1.0.data/data/share/doc.txt", "doc\n", 0o100_666)
        .file("Pkg_one-1.0.data/headers/one.h", "// h\n", 0o100_644)
        .file("Pkg_one-1.0.data/platlib/Pkg_one/native.so", "ELF\n", 0o100_755)
        .file("Pkg_one-1.0.dist-info/entry_points.txt", "[console_scripts]\ncli = Pkg_one:main\n", 0o100_644)
        .file("Pkg_one-1.0.dist-info/INSTALLER", "someone\n", 0o100_644)
}

#[test]
fn everything_stands_where_pip_puts_it() {
    let bench = Bench::new();
    let pin = bench.pin(&full(), "manifest");
    let (tar, tree) = bench.write(&SPEC, &[&pin]).unwrap();
    let found = entries(&tar);
    let at = |path: &str| found.get(path).map(|(mode, text)| (*mode, text.as_str()));
    assert_eq!(at("opt/venv/"), Some((0o755, "")));
    assert_eq!(at("opt/venv/bin/python3"), Some((0o777, "/usr/bin/python3")));
    assert_eq!(at("opt/venv/bin/python"), Some((0o777, "python3")));
    assert_eq!(at("opt/venv/bin/python3.13"), Some((0o777, "python3")));
    assert_eq!(at("opt/venv/lib64"), Some((0o777, "lib")));
    let config = at("opt/venv/pyvenv.cfg").unwrap().1;
    assert!(config.contains("home = /usr/bin\n") && config.contains("version = 3.13.5\n"), "{config}");
    assert_eq!(at("opt/venv/bin/run"), Some((0o755, "#!/opt/venv/bin/python\nprint(1)\n")));
    assert_eq!(at("opt/venv/bin/shell"), Some((0o755, "#!/bin/sh\necho\n")));
    assert!(at("opt/venv/bin/cli").unwrap().1.contains("from Pkg_one import main\n"));
    assert_eq!(at("opt/venv/share/doc.txt"), Some((0o644, "doc\n")));
    assert_eq!(at("opt/venv/include/site/python3.13/pkg-one/one.h"), Some((0o644, "// h\n")));
    assert_eq!(at(&format!("{SITE}/Pkg_one/native.so")), Some((0o755, "ELF\n")));
    assert_eq!(at(&format!("{SITE}/Pkg_one/tool.sh")), Some((0o755, "#!/bin/sh\n")));
    assert_eq!(at(&format!("{SITE}/Pkg_one/__init__.py")), Some((0o644, "# Pkg_one 1.0\n")));
    assert_eq!(at(&format!("{SITE}/Pkg_one-1.0.dist-info/INSTALLER")), Some((0o644, "oclock\n")));
    assert_eq!(at(&format!("{SITE}/Pkg_one-1.0.dist-info/REQUESTED")), Some((0o644, "")));
    assert_eq!(tree.roots, ["/opt/venv"]);
    assert_eq!(tree.compile[0], "/usr/bin/python3");
    assert_eq!(tree.compile.last().unwrap(), &format!("/{SITE}"));
    check_record(&found);
}

/// The new RECORD lists exactly the files that were installed, with the hashes of what was written.
fn check_record(found: &BTreeMap<String, (u32, String)>) {
    use base64::Engine;
    let (_, record) = &found[&format!("{SITE}/Pkg_one-1.0.dist-info/RECORD")];
    let rows: Vec<Vec<&str>> = record.split_terminator("\r\n").map(|line| line.split(',').collect()).collect();
    let places: Vec<String> = rows
        .iter()
        .map(|row| match row[0].strip_prefix("../../../") {
            Some(rest) => format!("opt/venv/{rest}"),
            None => format!("{SITE}/{}", row[0]),
        })
        .collect();
    for (row, place) in rows.iter().zip(&places).filter(|(row, _)| !row[0].ends_with("/RECORD")) {
        let (_, content) = &found[place];
        let digest = oclock::model::Sha256::of(content);
        let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest.as_bytes());
        assert_eq!(row[1..], [format!("sha256={hash}"), content.len().to_string()], "{place}");
    }
    let own = [
        "opt/venv/bin/python",
        "opt/venv/bin/python3",
        "opt/venv/bin/python3.13",
        "opt/venv/lib64",
        "opt/venv/pyvenv.cfg",
    ];
    let files: Vec<&String> =
        found.keys().filter(|path| !path.ends_with('/') && !own.contains(&path.as_str())).collect();
    let mut places = places;
    places.sort();
    assert_eq!(places.iter().collect::<Vec<_>>(), files);
}

#[test]
fn the_same_pins_give_the_same_bytes() {
    let bench = Bench::new();
    let (one, two) = (bench.pin(&full(), "manifest"), bench.pin(&wheel("two", "2"), "pkg-one"));
    let (tar, _) = bench.write(&SPEC, &[&one, &two]).unwrap();
    assert_eq!(bench.write(&SPEC, &[&two, &one]).unwrap().0, tar);
    assert!(!entries(&tar).contains_key(&format!("{SITE}/two-2.dist-info/REQUESTED")));
    assert!(matches!(bench.write(&SPEC, &[&two, &two]), Err(PipAssembleError::Twice { .. })));
}

#[test]
fn another_interpreter_has_other_links() {
    let bench = Bench::new();
    let spec = VenvSpec {
        path: "/srv/env",
        python: (3, 12),
        python_version: "3.12.1",
        executable: "/usr/local/bin/python3.12",
    };
    let found = entries(&bench.write(&spec, &[]).unwrap().0);
    assert_eq!(found["srv/env/bin/python3.12"].1, "/usr/local/bin/python3.12");
    assert_eq!(found["srv/env/bin/python"].1, "python3.12");
    assert!(found.contains_key("srv/env/lib/python3.12/site-packages/"));
    for path in ["", "/", "opt/venv", "/opt/../venv", "/opt/venv/", "/opt/ve nv"] {
        let error = bench.write(&VenvSpec { path, ..SPEC }, &[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Asked, "{path}");
    }
}

#[test]
fn wheels_that_leave_their_place_are_refused() {
    let bench = Bench::new();
    let base = || wheel("a", "1");
    let cases = [
        (base().file("../evil.py", "", 0o100_644), "leaves its directory"),
        (base().file("/etc/evil", "", 0o100_644), "leaves its directory"),
        (base().file("a/./b.py", "", 0o100_644), "leaves its directory"),
        (base().file("a\\b.py", "", 0o100_644), "leaves its directory"),
        (base().file("a/\u{1b}[2J.py", "", 0o100_644), "leaves its directory"),
        (base().file("a-1.data/scripts/../../x", "", 0o100_644), "leaves its directory"),
        (base().file("a-1.data/elsewhere/x", "", 0o100_644), "no place that is known"),
        (base().file("a-1.data/x", "", 0o100_644), "no place that is known"),
        (base().file("a/link", "/etc/passwd", 0o120_777), "something else than files"),
        (base().file("a-1.data/data/pyvenv.cfg", "home = /tmp\n", 0o100_644), "would replace"),
        (base().file("a-1.data/scripts/python", "#!/bin/sh\n", 0o100_755), "would replace"),
        (base().file("a-1.data/data/bin", "a file", 0o100_644), "would replace"),
        (base().file("a/__init__.py/x", "", 0o100_644), "would replace"),
        (base().file("a-1.data/purelib/a/__init__.py", "other", 0o100_644), "go to one place"),
        (base().file("b-1.dist-info/METADATA", "Name: b\n", 0o100_644), "exactly one .dist-info"),
        (
            base().file("a-1.dist-info/entry_points.txt", "[console_scripts]\nx = a;import os:y\n", 0o100_644),
            "entry point",
        ),
    ];
    for (wheel, why) in cases {
        let said = bench.refused(&wheel);
        assert!(said.contains(why), "{said}: {why}");
    }
}

#[test]
fn a_wheel_must_be_what_its_record_and_its_pin_say() {
    let bench = Bench::new();
    let base = || wheel("a", "1");
    let wrong = "a/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,";
    let script = base().file("a-1.data/scripts/x", "#!python\n", 0o100_755);
    let cases = [
        (base().row("a/__init__.py", wrong), "other bytes than its RECORD"),
        (
            script.row("a-1.data/scripts/x", &wrong.replace("a/__init__.py", "a-1.data/scripts/x")),
            "other bytes than its RECORD",
        ),
        (base().row("a/__init__.py", &format!("{wrong}7")), "another size than its RECORD"),
        (base().row("a/__init__.py", "a/__init__.py,md5=x,"), "no sha256"),
        (base().row("a/__init__.py", ""), "does not list"),
        (base().file("a-1.dist-info/METADATA", "Name: b\nVersion: 1\n\n", 0o100_644), "another project"),
        (base().file("a-1.dist-info/METADATA", "Name: a\nVersion: 2\n\n", 0o100_644), "another version"),
        (base().file("a-1.dist-info/METADATA", "\nName: a\nVersion: 1\n", 0o100_644), "another project"),
    ];
    for (wheel, why) in cases {
        let said = bench.refused(&wheel);
        assert!(said.contains(why), "{said}: {why}");
    }
    let bytes = base().build();
    let mut pin = bench.pin_bytes(&base(), &bytes, "manifest");
    pin.name = PackageName::parse("other").unwrap();
    assert!(bench.write(&SPEC, &[&pin]).unwrap_err().to_string().contains("another project"));
    let newer = base().file("a-1.dist-info/WHEEL", "Wheel-Version: 2.0\n", 0o100_644);
    let error = bench.write(&SPEC, &[&bench.pin(&newer, "manifest")]).unwrap_err();
    assert!(matches!(error, PipAssembleError::Unsupported { .. }), "{error}");
}

#[test]
fn two_files_of_one_name_in_an_archive_are_refused() {
    let bench = Bench::new();
    let wheel = wheel("a", "1").file("a/one.py", "1", 0o100_644).file("a/two.py", "2", 0o100_644);
    let mut bytes = wheel.build();
    while let Some(at) = bytes.windows(8).position(|piece| piece == b"a/two.py") {
        bytes[at..at + 8].copy_from_slice(b"a/one.py");
    }
    let pin = bench.pin_bytes(&wheel, &bytes, "manifest");
    let error = bench.write(&SPEC, &[&pin]).unwrap_err();
    assert_eq!(error.kind(), Kind::Distrust);
    assert!(error.to_string().contains("two files of one name"), "{error}");
}

#[test]
fn a_file_of_two_wheels_must_be_the_same_in_both() {
    let bench = Bench::new();
    let shared = |name: &str, content: &str| {
        bench.pin(&wheel(name, "1").file("space/__init__.py", content, 0o100_644), "manifest")
    };
    let (a, b, c) = (shared("a", "same\n"), shared("b", "same\n"), shared("c", "other\n"));
    let found = entries(&bench.write(&SPEC, &[&a, &b]).unwrap().0);
    assert!(found[&format!("{SITE}/b-1.dist-info/RECORD")].1.contains("space/__init__.py"));
    let error = bench.write(&SPEC, &[&a, &c]).unwrap_err();
    assert_eq!(error.kind(), Kind::Distrust);
    assert!(error.to_string().contains("`c-1-py3-none-any.whl`"), "{error}");
}

#[test]
fn a_damaged_or_missing_wheel_is_never_unpacked() {
    let bench = Bench::new();
    let pin = bench.pin(&wheel("a", "1"), "manifest");
    let path = bench.store.blob_path(&pin.artifact.sha256);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(bench.write(&SPEC, &[&pin]).unwrap_err().kind(), Kind::Distrust);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(bench.write(&SPEC, &[&pin]).unwrap_err().kind(), Kind::Unable);
    let no_zip = bench.pin_bytes(&wheel("a", "1"), b"no zip", "manifest");
    assert_eq!(bench.write(&SPEC, &[&no_zip]).unwrap_err().kind(), Kind::Distrust);
}

#[test]
fn wheels_of_the_last_environment_are_copied_and_the_bytes_are_the_same() {
    let bench = Bench::new();
    let deep = |name: &str, version: &str| {
        let file = format!("space/{name}/deep/{version}.py");
        bench.pin(&wheel(name, version).file(&file, "deep\n", 0o100_644), "manifest")
    };
    let shared = |name: &str| bench.pin(&wheel(name, "1").file("top/__init__.py", "same\n", 0o100_644), "manifest");
    let (first, old, new) = (bench.pin(&full(), "manifest"), deep("b", "1"), deep("b", "2"));
    let (other, second, third) = (deep("a", "1"), shared("y"), shared("z"));
    let unasked = bench.pin(&full(), "b");
    let sets: [&[&PipPin]; 8] = [
        &[&first, &old, &other, &second, &third],
        &[&first, &new, &other, &second, &third],
        &[&first, &new, &other, &third],
        &[&first, &new, &second],
        &[&unasked, &new, &other],
        &[&new],
        &[],
        &[&first, &old, &other, &second, &third],
    ];
    for (number, pins) in sets.iter().enumerate() {
        assert!(bench.keep(pins) == bench.anew(pins).unwrap(), "set {number}");
        assert!(bench.keep(pins) == bench.anew(pins).unwrap(), "set {number} a second time");
    }
    // Which wheels were copied is seen by taking them away: not the one that has a file in common with another.
    for (pin, is_copied) in [(&first, true), (&old, true), (&other, true), (&second, true), (&third, false)] {
        let bytes = bench.store.read_blob(pin.wheel_sha256()).unwrap();
        bench.store.remove_blob(pin.wheel_sha256()).unwrap();
        assert_eq!(bench.write(&SPEC, sets[0]).is_ok(), is_copied, "{}", pin.name);
        bench.store.add_blob(&bytes).unwrap();
    }
    let elsewhere = VenvSpec { path: "/srv/env", ..SPEC };
    bench.store.remove_blob(first.wheel_sha256()).unwrap();
    assert_eq!(bench.write(&elsewhere, &[&first]).unwrap_err().kind(), Kind::Unable, "another place");
}

#[test]
fn a_wheel_that_is_damaged_in_the_last_environment_is_unpacked_again() {
    let bench = Bench::new();
    let (one, two) = (bench.pin(&full(), "manifest"), bench.pin(&wheel("two", "2"), "manifest"));
    let tar = bench.keep(&[&one, &two]);
    let path = bench.store.blob_path(&oclock::model::Sha256::of(&tar));
    let at = |needle: &[u8]| tar.windows(needle.len()).position(|bytes| bytes == needle).unwrap();
    let content = at(b"# two 2\n");
    let header = at(format!("{SITE}/two/__init__.py").as_bytes());
    for place in [content, header, header + 124, tar.len() / 2] {
        let mut damaged = tar.clone();
        damaged[place] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert!(bench.write(&SPEC, &[&one, &two]).unwrap().0 == tar, "{place}");
    }
    let mut damaged = tar.clone();
    damaged[content] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    bench.store.remove_blob(one.wheel_sha256()).unwrap();
    assert!(bench.write(&SPEC, &[&one, &two]).unwrap().0 == tar, "the other wheel is whole");
    std::fs::write(&path, &tar[..at(b"print(1)\n")]).unwrap();
    assert_eq!(bench.write(&SPEC, &[&one, &two]).unwrap_err().kind(), Kind::Unable, "cut short");
    bench.store.remove_blob(&oclock::model::Sha256::of(&tar)).unwrap();
    assert_eq!(bench.write(&SPEC, &[&two]).unwrap().0, bench.anew(&[&two]).unwrap());
}

#[test]
fn a_copied_wheel_replaces_nothing_and_is_not_replaced() {
    let bench = Bench::new();
    let with = |name: &str, path: &str| bench.pin(&wheel(name, "1").file(path, name, 0o100_644), "manifest");
    let kept = with("m", "space/file.py");
    bench.keep(&[&kept]);
    for name in ["a", "z"] {
        for path in ["space/file.py", "space", "space/file.py/more"] {
            let other = with(name, path);
            let error = bench.write(&SPEC, &[&kept, &other]).unwrap_err();
            assert_eq!(error.kind(), Kind::Distrust);
            assert_eq!(Err(error.to_string()), bench.anew(&[&kept, &other]), "{name} {path}");
        }
    }
}
