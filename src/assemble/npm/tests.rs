//! Trees from tarballs made here: what is laid out, and what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use serde_json::json;

use super::*;
use crate::base::explain::{Explain, Kind};
use crate::model::{Artifact, ArtifactPath, PackageVersion, Platform, Sha512, SourceName};

/// A tarball entry: type, path, mode, content or link target.
type Entry<'a> = (tar::EntryType, &'a str, u32, &'a str);

const FILE: tar::EntryType = tar::EntryType::Regular;
const DIRECTORY: tar::EntryType = tar::EntryType::Directory;

struct Bench {
    store: Store,
    pins: Vec<NpmPin>,
    section: NpmSection,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let section = NpmSection { prefix: "/usr/local".into(), ..NpmSection::default() };
        Self { store, pins: Vec::new(), section, _directory: directory }
    }

    fn add(&mut self, place: &str, manifest: Value, more: &[Entry<'_>]) -> &mut NpmPin {
        let text = manifest.to_string();
        let entries = [&[(FILE, "package/package.json", 0o644, text.as_str())], more].concat();
        let bytes = tarball(&entries);
        let scripts = install_scripts(&manifest, crate::resolve::npm::HasBinding::No);
        self.pins.push(NpmPin {
            published: None,
            name: PackageName::parse(manifest["name"].as_str().unwrap()).unwrap(),
            version: PackageVersion::parse(manifest["version"].as_str().unwrap()).unwrap(),
            platform: Platform::LINUX_AMD64,
            places: vec![place.to_owned()],
            artifact: Artifact {
                source: SourceName::parse("npm").unwrap(),
                path: ArtifactPath::parse("a/-/a.tgz").unwrap(),
                size: bytes.len() as u64,
                sha256: self.store.add_blob(&bytes).unwrap(),
                sha512: Some(Sha512::of(&bytes)),
            },
            scripts: scripts.into_iter().map(|(event, command)| (event, Sha256::of(command))).collect(),
            required_by: vec!["manifest".into()],
        });
        self.pins.last_mut().unwrap()
    }

    fn write(&self) -> Result<(NpmTree, BTreeMap<String, String>), NpmAssembleError> {
        let mut out = TarWriter::new(Vec::new(), 7);
        let pins: Vec<&NpmPin> = self.pins.iter().collect();
        let tree = write_trees(&self.section, &pins, |_| true, &self.store, &mut out)?;
        let bytes = out.finish().unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entries = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let mode = entry.header().mode().unwrap();
            let what = match entry.link_name().unwrap() {
                Some(target) => format!("→ {}", target.display()),
                None => format!("{mode:o} {text}"),
            };
            assert!(entries.insert(path.clone(), what).is_none(), "{path} is there twice");
        }
        Ok((tree, entries))
    }
}

fn tarball(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut writer = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (kind, path, mode, content) in entries {
        let mut header = tar::Header::new_old();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        let is_link = matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link);
        if is_link {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        let data = if is_link { "" } else { content };
        header.set_size(data.len() as u64);
        header.set_cksum();
        writer.append(&header, data.as_bytes()).unwrap();
    }
    writer.into_inner().unwrap().finish().unwrap()
}

const GLOBAL: &str = "/usr/local/lib/node_modules";

#[test]
fn modes_commands_and_manual_pages_are_as_npm_leaves_them() {
    let mut bench = Bench::new();
    let manifest = json!({ "name": "@s/tool", "version": "1.0.0", "bin": { "tool": "./cli.js", "gone": "x" }, "man": ["man/tool.1"] });
    let files = [
        (FILE, "package/cli.js", 0o600, "#!/usr/bin/env node\r\nline\r\n"),
        (FILE, "package/data", 0o666, "d"),
        (FILE, "package/run", 0o4775, "r"),
        (FILE, "package/man/tool.1", 0o644, "m"),
        (FILE, "package/.gitignore", 0o644, "g"),
        (DIRECTORY, "package/empty", 0o700, ""),
        (tar::EntryType::Symlink, "package/link", 0o777, "/etc/passwd"),
        (tar::EntryType::Char, "package/device", 0o666, ""),
        (FILE, "package/data", 0o644, "later"),
    ];
    bench.add(&format!("{GLOBAL}/@s/tool"), manifest, &files);
    let (tree, entries) = bench.write().unwrap();
    let place = "usr/local/lib/node_modules/@s/tool";
    let at = |path: &str| entries.get(&format!("{place}/{path}")).map(String::as_str);
    assert_eq!(at("cli.js"), Some("755 #!/usr/bin/env node\nline\r\n"));
    assert_eq!(at("data"), Some("644 later"));
    assert_eq!(at("run"), Some("755 r"));
    assert_eq!(at("empty/"), Some("755 "));
    assert_eq!((at(".gitignore"), at(".npmignore")), (None, Some("644 g")));
    assert_eq!((at("link"), at("device")), (None, None));
    assert_eq!(entries["usr/local/bin/tool"], "→ ../lib/node_modules/@s/tool/cli.js");
    assert_eq!(entries["usr/local/share/man/man1/tool.1"], "→ ../../../lib/node_modules/@s/tool/man/tool.1");
    assert!(!entries.contains_key("usr/local/bin/gone"));
    assert_eq!(tree.roots, ["/usr/local/bin/tool", GLOBAL, "/usr/local/share/man/man1/tool.1"]);
}

#[test]
fn large_files_are_streamed_and_come_out_whole() {
    let mut bench = Bench::new();
    let large = "x".repeat(5 << 20);
    let script = format!("#!/bin/sh\r\n{large}");
    let manifest = json!({ "name": "a", "version": "1.0.0", "bin": "run" });
    let files = [(FILE, "package/blob", 0o755, large.as_str()), (FILE, "package/run", 0o644, &script)];
    bench.add(&format!("{GLOBAL}/a"), manifest, &files);
    let (_, entries) = bench.write().unwrap();
    assert!(entries["usr/local/lib/node_modules/a/blob"] == format!("755 {large}"));
    assert!(entries["usr/local/lib/node_modules/a/run"] == format!("755 #!/bin/sh\n{large}"));
}

#[test]
fn a_project_gets_its_lockfiles_and_local_commands() {
    let mut bench = Bench::new();
    let wishes = BTreeMap::from([("a".to_owned(), "^1".to_owned())]);
    bench.section.projects.insert("/root/.opencode".into(), wishes);
    let base = "/root/.opencode/node_modules";
    let a = json!({ "name": "a", "version": "1.0.0", "license": { "type": "MIT" }, "dependencies": { "b": "*" },
        "optionalDependencies": { "o": "*" }, "peerDependencies": { "p": "*" } });
    bench.add(&format!("{base}/a"), a, &[]);
    bench.add(
        &format!("{base}/b"),
        json!({ "name": "b", "version": "2.0.0", "bin": "b.js" }),
        &[(FILE, "package/b.js", 0o644, "")],
    );
    bench.add(&format!("{base}/o"), json!({ "name": "o", "version": "1.0.0" }), &[]);
    bench.add(&format!("{base}/p"), json!({ "name": "real", "version": "1.0.0" }), &[]);
    let (tree, entries) = bench.write().unwrap();
    assert_eq!(entries["root/"], "700 ");
    assert_eq!(entries["root/.opencode/"], "755 ");
    assert_eq!(entries["root/.opencode/node_modules/.bin/b"], "→ ../b/b.js");
    assert_eq!(entries["root/.opencode/package.json"], "644 {\n  \"dependencies\": {\n    \"a\": \"^1\"\n  }\n}\n");
    let lock: Value = serde_json::from_str(&entries["root/.opencode/package-lock.json"][4..]).unwrap();
    assert_eq!(lock["packages"][""], json!({ "dependencies": { "a": "^1" } }));
    assert_eq!(lock["packages"]["node_modules/a"]["license"], "MIT");
    assert_eq!(lock["packages"]["node_modules/b"]["bin"], json!({ "b": "b.js" }));
    assert_eq!(lock["packages"]["node_modules/o"]["optional"], true);
    assert_eq!(lock["packages"]["node_modules/p"]["peer"], true);
    assert_eq!(lock["packages"]["node_modules/p"]["name"], "real");
    let hidden: Value = serde_json::from_str(&entries["root/.opencode/node_modules/.package-lock.json"][4..]).unwrap();
    assert!(hidden["packages"].get("").is_none());
    assert_eq!(hidden["packages"]["node_modules/b"], lock["packages"]["node_modules/b"]);
    assert_eq!(tree.roots, [base, "/root/.opencode/package-lock.json", "/root/.opencode/package.json"]);
}

#[test]
fn only_approved_scripts_run_and_only_as_locked() {
    let mut bench = Bench::new();
    let with = |name: &str, scripts: Value| json!({ "name": name, "version": "1.0.0", "scripts": scripts });
    bench.add(&format!("{GLOBAL}/a"), with("a", json!({ "postinstall": "node a", "install": "node i" })), &[]);
    bench.add(&format!("{GLOBAL}/a/node_modules/b"), with("b", json!({ "preinstall": "node b" })), &[]);
    bench.section.scripts = BTreeSet::from([PackageName::parse("a").unwrap()]);
    let (tree, _) = bench.write().unwrap();
    let commands = |scripts: &[NpmScript]| scripts.iter().map(|script| script.command.clone()).collect::<Vec<_>>();
    assert_eq!(
        (commands(&tree.scripts), commands(&tree.skipped)),
        (vec!["node i".into(), "node a".into()], vec!["node b".into()])
    );
    assert_eq!(tree.skipped[0].directory, format!("{GLOBAL}/a/node_modules/b"));
    bench.pins[0].scripts.remove("install");
    let error = bench.write().unwrap_err();
    assert!(matches!(error, NpmAssembleError::ScriptChanged { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Distrust);
}

#[test]
fn hostile_tarballs_are_refused() {
    for (path, why) in [
        ("package/../../etc/passwd", "it steps upwards"),
        ("/etc/passwd", "it is absolute"),
        ("package/a\nb", "it has a control character"),
        ("package/package.json/x", "it is a file in one place and a directory in another"),
    ] {
        let mut bench = Bench::new();
        bench.add(&format!("{GLOBAL}/a"), json!({ "name": "a", "version": "1.0.0" }), &[(FILE, path, 0o644, "x")]);
        let error = bench.write().unwrap_err();
        assert_eq!(error.evidence(), [format!("because  {why}")], "{path}: {error}");
        assert_eq!(error.kind(), Kind::Distrust);
    }
}

#[test]
fn a_package_must_be_the_one_that_is_locked_and_in_a_place_of_the_manifest() {
    let mut bench = Bench::new();
    bench.add(&format!("{GLOBAL}/a"), json!({ "name": "a", "version": "1.0.0" }), &[]).version =
        PackageVersion::parse("1.0.1").unwrap();
    assert!(matches!(bench.write().unwrap_err(), NpmAssembleError::WrongPackage { found, .. } if found == "a@1.0.0"));
    for place in ["/etc/node_modules/a", "/usr/local/lib/node_modules/../../../etc/a", "/usr/local/lib/a"] {
        let mut bench = Bench::new();
        bench.add(place, json!({ "name": "a", "version": "1.0.0" }), &[]);
        assert!(matches!(bench.write().unwrap_err(), NpmAssembleError::ForeignPlace { .. }), "{place}");
    }
}

#[test]
fn two_global_packages_cannot_bring_the_same_command() {
    let mut bench = Bench::new();
    for name in ["a", "b"] {
        let manifest = json!({ "name": name, "version": "1.0.0", "bin": { "same": "x" } });
        bench.add(&format!("{GLOBAL}/{name}"), manifest, &[(FILE, "package/x", 0o644, "")]);
    }
    assert!(
        matches!(bench.write().unwrap_err(), NpmAssembleError::BinConflict { path, .. } if path == "/usr/local/bin/same")
    );
}

#[test]
fn what_a_package_brings_along_is_listed_and_does_not_cover_other_places() {
    let mut bench = Bench::new();
    bench.section.projects.insert("/p".into(), BTreeMap::from([("a".into(), "*".into())]));
    let manifest =
        json!({ "name": "a", "version": "1.0.0", "dependencies": { "b": "*", "c": "*" }, "bundleDependencies": ["b"] });
    let inner = r#"{ "name": "b", "version": "3.0.0", "bin": "cli" }"#;
    let files = [
        (FILE, "package/node_modules/b/package.json", 0o644, inner),
        (FILE, "package/node_modules/b/cli", 0o644, ""),
        (FILE, "package/node_modules/c/old", 0o644, ""),
        (FILE, "package/node_modules/.bin/b", 0o755, "covered by the link"),
        (FILE, "package/node_modules/.bin/other", 0o755, "stays"),
    ];
    bench.add("/p/node_modules/a", manifest, &files);
    bench.add("/p/node_modules/a/node_modules/c", json!({ "name": "c", "version": "1.0.0" }), &[]);
    let (_, entries) = bench.write().unwrap();
    assert!(!entries.contains_key("p/node_modules/a/node_modules/c/old"));
    assert_eq!(entries["p/node_modules/a/node_modules/b/cli"], "755 ");
    assert_eq!(entries["p/node_modules/a/node_modules/.bin/b"], "→ ../b/cli");
    assert_eq!(entries["p/node_modules/a/node_modules/.bin/other"], "755 stays");
    let lock: Value = serde_json::from_str(&entries["p/package-lock.json"][4..]).unwrap();
    assert_eq!(lock["packages"]["node_modules/a/node_modules/b"]["inBundle"], true);
}

#[test]
fn the_same_pins_give_the_same_bytes_in_any_order() {
    let mut bench = Bench::new();
    for name in ["b", "a", "c"] {
        bench.add(
            &format!("{GLOBAL}/{name}"),
            json!({ "name": name, "version": "1.0.0" }),
            &[(FILE, "package/z", 0o644, name)],
        );
    }
    let bytes = |pins: Vec<&NpmPin>| {
        let mut out = TarWriter::new(Vec::new(), 7);
        write_trees(&bench.section, &pins, |_| true, &bench.store, &mut out).unwrap();
        out.finish().unwrap()
    };
    assert_eq!(bytes(bench.pins.iter().collect()), bytes(bench.pins.iter().rev().collect()));
}

#[test]
fn nothing_is_written_for_nothing() {
    let (tree, entries) = Bench::new().write().unwrap();
    assert_eq!((tree, entries.len()), (NpmTree::default(), 0));
}
