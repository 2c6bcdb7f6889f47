//! `oclock diff --image`: archives and layouts of any builder, kept images and those of real engines.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use oclock::base::progress::Progress;
use oclock::base::tar::{Special, TarMeta, TarWriter};
use oclock::image::{SealedImage, SealedLayer, manifest_of, write_directory, write_docker_archive, write_oci};
use oclock::model::{LayerCompression, Platform, Sha256};
use oclock::store::Store;
use serde_json::{Value, json};
use support::project::{Answer, Project};

const TIME: i64 = 1_700_000_000;

/// A layer as a tar: `path` with a slash at its end is a directory, `a -> b` a symbolic and `a => b` a hard link.
fn layer(entries: &[(&str, &str)]) -> Vec<u8> {
    let meta = &TarMeta::root(0o644);
    let mut tar = TarWriter::new(Vec::new(), TIME);
    for (path, content) in entries {
        if let Some(directory) = path.strip_suffix('/') {
            tar.directory(Path::new(directory), &TarMeta::root(0o755)).unwrap();
        } else if let Some((path, target)) = path.split_once(" -> ") {
            tar.symlink(Path::new(path), meta, OsStr::new(target)).unwrap();
        } else if let Some((path, target)) = path.split_once(" => ") {
            tar.hard_link(Path::new(path), meta, Path::new(target)).unwrap();
        } else {
            tar.file(Path::new(path), meta, content.len() as u64, &mut content.as_bytes()).unwrap();
        }
    }
    tar.finish().unwrap()
}

fn config(layers: &[Vec<u8>], steps: &[&str], env: &str) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| Sha256::of(layer).prefixed()).collect();
    let history: Vec<Value> = steps.iter().map(|step| json!({ "created_by": step })).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": { "Env": [env], "Cmd": ["/bin/sh"] },
        "history": history, "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    serde_json::to_vec(&config).unwrap()
}

/// What docker save writes, with the layers as they are given.
fn docker_archive(path: &Path, config: &[u8], layers: &[Vec<u8>]) {
    let mut tar = TarWriter::new(File::create(path).unwrap(), 0);
    let mut add = |name: &str, bytes: &[u8]| {
        tar.file(Path::new(name), &TarMeta::root(0o644), bytes.len() as u64, &mut &*bytes).unwrap();
    };
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    let manifest = json!([{ "Config": "config.json", "RepoTags": ["a:latest"], "Layers": names }]);
    add("manifest.json", manifest.to_string().as_bytes());
    add("config.json", config);
    for (name, layer) in names.iter().zip(layers) {
        add(name, layer);
    }
    tar.finish().unwrap();
}

/// One image of an OCI layout: config and layers, uncompressed.
type Image<'a> = (&'a str, &'a [u8], &'a [Vec<u8>]);

/// An OCI layout of one image for each platform, its layers compressed by `pack`.
fn oci_layout(path: &Path, images: &[Image<'_>], pack: impl Fn(&[u8]) -> Vec<u8>) {
    let blobs = path.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let add = |kind: &str, bytes: &[u8]| {
        let digest = Sha256::of(bytes);
        fs::write(blobs.join(digest.to_string()), bytes).unwrap();
        json!({ "mediaType": kind, "digest": digest.prefixed(), "size": bytes.len() })
    };
    let mut manifests = Vec::new();
    for (architecture, config, layers) in images {
        let layers: Vec<Value> = layers.iter().map(|layer| add("layer", &pack(layer))).collect();
        let manifest = json!({ "schemaVersion": 2, "config": add("config", config), "layers": layers });
        let mut entry = add("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        manifests.push(entry);
    }
    let attestation = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1,
        "digest": Sha256::of("none").prefixed(), "platform": { "os": "unknown", "architecture": "unknown" } });
    manifests.push(attestation);
    let nested =
        add("application/vnd.oci.image.index.v1+json", json!({ "manifests": manifests }).to_string().as_bytes());
    fs::write(path.join("index.json"), json!({ "schemaVersion": 2, "manifests": [nested] }).to_string()).unwrap();
    fs::write(path.join("oci-layout"), "{}").unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstandard(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn diff(project: &Project, first: &str, second: &str) -> Answer {
    project.run(&["--quiet", "diff", "--image", first, second])
}

fn json_of(project: &Project, first: &str, second: &str) -> Value {
    let answer = project.run(&["--quiet", "--format", "json", "diff", "--image", first, second]);
    serde_json::from_str(&answer.stdout).unwrap_or_else(|_| panic!("{answer:?}"))
}

#[test]
fn layers_of_any_builder_are_laid_over_each_other() {
    let project = Project::empty();
    let lower = layer(&[
        ("a/", ""),
        ("a/hidden", "1"),
        ("a/kept", "2"),
        ("b/", ""),
        ("b/old", "3"),
        ("b/deep/", ""),
        ("b/deep/x", "4"),
        ("c", "file"),
        ("d/", ""),
        ("d/e", "5"),
        ("f", "old"),
        ("l -> a/kept", ""),
    ]);
    let upper = layer(&[
        ("b/", ""),
        ("b/new", "6"),
        ("b/.wh..wh..opq", ""),
        ("a/.wh.hidden", ""),
        ("c/", ""),
        ("c/inside", "7"),
        (".wh.d", ""),
        ("f", "new"),
        ("g", "8"),
        ("h => g", ""),
        (".wh..wh.plnk/", ""),
    ]);
    let whole = layer(&[
        ("a/", ""),
        ("a/kept", "2"),
        ("b/", ""),
        ("b/new", "6"),
        ("c/", ""),
        ("c/inside", "7"),
        ("f", "new"),
        ("h", "8"),
        ("g => h", ""),
        ("l -> a/kept", ""),
    ]);
    let (two, one) = ([lower, upper], [whole]);
    docker_archive(&project.root().join("two.tar"), &config(&two, &["step"], "A=1"), &two);
    docker_archive(
        &project.root().join("packed.tar"),
        &config(&two, &["step"], "A=1"),
        &two.each_ref().map(|l| gzip(l)),
    );
    oci_layout(&project.root().join("one"), &[("amd64", &config(&one, &["step"], "A=1"), &one)], zstandard);
    let answer = diff(&project, "docker-archive:two.tar", "oci:one");
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stdout.ends_with("\n\nthe files are the same; the layers are others\n"), "{answer:?}");
    let answer = diff(&project, "two.tar", "packed.tar");
    assert!(answer.code == 0 && answer.stdout.starts_with("packed.tar is the same image: sha256:"), "{answer:?}");
    let mut tar = TarWriter::new(File::create(project.root().join("one.tar")).unwrap(), 0);
    add_all(&mut tar, &project.root().join("one"), Path::new(""));
    tar.finish().unwrap();
    let answer = diff(&project, "oci-archive:one.tar", "one");
    assert!(answer.code == 0 && answer.stdout.starts_with("one is the same image"), "{answer:?}");
}

fn add_all(tar: &mut TarWriter<File>, root: &Path, below: &Path) {
    for entry in fs::read_dir(root.join(below)).unwrap().flatten() {
        let path = below.join(entry.file_name());
        if entry.path().is_dir() {
            add_all(tar, root, &path);
        } else {
            let bytes = fs::read(entry.path()).unwrap();
            tar.file(&path, &TarMeta::root(0o644), bytes.len() as u64, &mut &bytes[..]).unwrap();
        }
    }
}

const STATUS: &str = "Package: tool\nStatus: install ok installed\nVersion: 1:2.0-1\n\nPackage: other\nVersion: 3\n";

/// An image with a Debian package, an npm package, a Python distribution, and files of nobody.
fn rich(changed: bool) -> [Vec<u8>; 3] {
    let is = |before: &'static str, after: &'static str| if changed { after } else { before };
    let system = layer(&[
        ("usr/", ""),
        ("usr/bin/", ""),
        ("usr/bin/tool", is("one", "three")),
        (is("usr/bin/link -> tool", "usr/bin/link -> other"), ""),
        ("etc/", ""),
        (is("etc/only-first", "etc/only-second"), ""),
        ("var/lib/dpkg/status", STATUS),
        ("var/lib/dpkg/info/tool:amd64.list", "/.\n/usr\n/bin/tool\n/usr/bin/link\n"),
        ("var/lib/dpkg/info/tool:amd64.md5sums", is("x", "y")),
    ]);
    let npm = layer(&[("usr/lib/node_modules/@s/shout/index.js", is("a", "b"))]);
    let pip = layer(&[
        ("opt/v/lib/sums/__init__.py", "same"),
        ("opt/v/lib/sums/__pycache__/__init__.cpython-313.pyc", is("a", "b")),
        ("opt/v/bin/sum", is("a", "b")),
        ("opt/v/lib/Sums_x-3.1.dist-info/RECORD", "sums/__init__.py,sha256=x,1\n../bin/sum,sha256=y,2\n"),
    ]);
    [system, npm, pip]
}

const STEPS: [&str; 3] = ["oclock build # system", "oclock build # npm", "oclock build # pip"];

#[test]
fn each_difference_has_its_package_and_step() {
    let project = Project::empty();
    for (name, changed, env) in [("first.tar", false, "A=1"), ("second.tar", true, "A=2")] {
        let layers = rich(changed);
        docker_archive(&project.root().join(name), &config(&layers, &STEPS, env), &layers);
    }
    let answer = diff(&project, "first.tar", "second.tar");
    assert_eq!((answer.code, answer.stderr.as_str()), (1, ""));
    let (head, rest) = answer.stdout.split_once("\n\n").unwrap();
    assert!(head.starts_with("first   sha256:") && head.ends_with("  second.tar"), "{head}");
    let expected = "\
/etc/only-first  only in the first  RUN or a maintainer script
/etc/only-second  only in the second  RUN or a maintainer script
/opt/v/bin/sum  content  pip:sums-x 3.1  pip.install
/opt/v/lib/sums/__pycache__/__init__.cpython-313.pyc  content  pip:sums-x 3.1  pip.install
/usr/bin/link  link tool -> other  apt:tool 1:2.0-1  apt.install
/usr/bin/tool  content 3 B -> 5 B  apt:tool 1:2.0-1  apt.install
/usr/lib/node_modules/@s/shout/index.js  content  npm:@s/shout  npm.install
/var/lib/dpkg/info/tool:amd64.md5sums  content  apt:tool 1:2.0-1  apt.install
config.Env
    was  [\"A=1\"]
     is  [\"A=2\"]

8 paths differ: 3 of apt:tool 1:2.0-1, 2 of no package, 2 of pip:sums-x 3.1, 1 of npm:@s/shout; 1 value differs of the config
";
    assert_eq!(rest, expected);
    let outcome = json_of(&project, "first.tar", "second.tar");
    let tool = outcome["files"].as_array().unwrap().iter().find(|file| file["path"] == "usr/bin/tool").unwrap();
    assert_eq!(tool["differences"], json!(["content"]));
    assert_eq!((&tool["first"]["size"], &tool["second"]["size"]), (&json!(3), &json!(5)));
    assert_eq!(tool["second"]["sha256"], Sha256::of("three").to_string());
    assert_eq!((&tool["package"], &tool["step"]), (&json!("apt:tool 1:2.0-1"), &json!("apt.install")));
    assert_eq!(outcome["config"][0]["key"], "config.Env");
}

#[test]
fn metadata_is_compared_too() {
    let project = Project::empty();
    let plain = TarMeta::root(0o644);
    let capable = |value: &[u8]| {
        let mut meta = plain.clone();
        meta.xattrs.insert("security.capability".into(), value.to_vec());
        meta
    };
    let image = |name: &str, time: i64, meta: &TarMeta, special: Special, linked: bool| {
        let mut tar = TarWriter::new(Vec::new(), time);
        tar.file(Path::new("file"), meta, 1, &mut &b"x"[..]).unwrap();
        tar.special(Path::new("device"), &plain, special).unwrap();
        tar.file(Path::new("one"), &plain, 1, &mut &b"y"[..]).unwrap();
        if linked {
            tar.hard_link(Path::new("two"), &plain, Path::new("one")).unwrap();
        } else {
            tar.file(Path::new("two"), &plain, 1, &mut &b"y"[..]).unwrap();
        }
        let layers = [tar.finish().unwrap()];
        docker_archive(&project.root().join(name), &config(&layers, &["s"], "A=1"), &layers);
    };
    let (fifo, device) = (Special::Fifo, Special::CharacterDevice(1, 3));
    image("base", TIME, &plain, fifo, false);
    image("mode", TIME, &TarMeta { mode: 0o4755, ..plain.clone() }, fifo, false);
    image("owner", TIME, &TarMeta { uid: 7, gid: 8, ..plain.clone() }, fifo, false);
    image("attributes", TIME, &capable(b"a\nb"), fifo, false);
    image("device", TIME, &plain, device, false);
    image("linked", TIME, &plain, fifo, true);
    image("time", TIME + 1, &plain, fifo, false);
    let lines = |name: &str| -> Vec<String> {
        let text = diff(&project, "base", name).stdout;
        text.lines().filter(|line| line.starts_with('/')).map(str::to_owned).collect()
    };
    assert_eq!(lines("base"), [""; 0]);
    assert_eq!(lines("mode"), ["/file  mode 0644 -> 4755  s"]);
    assert_eq!(lines("owner"), ["/file  owner 0:0 -> 7:8  s"]);
    assert_eq!(lines("attributes"), ["/file  attributes none -> security.capability  s"]);
    assert_eq!(lines("device"), ["/device  kind fifo -> character-device  s"]);
    assert_eq!(lines("linked"), ["/one  link none -> /one  s", "/two  link none -> /one  s"]);
    assert_eq!(lines("time").len(), 4);
    assert_eq!(lines("time")[0], "/device  time 2023-11-14T22:13:20Z -> 2023-11-14T22:13:21Z  s");
}

#[test]
fn what_is_damaged_is_not_trusted() {
    let project = Project::empty();
    let layers = [layer(&[("a", "x")])];
    let config = config(&layers, &["s"], "A=1");
    let image: [Image<'_>; 1] = [("amd64", &config, &layers)];
    for name in ["whole", "layer", "config"] {
        oci_layout(&project.root().join(name), &image, <[u8]>::to_vec);
    }
    let flip = |name: &str, blob: &[u8]| {
        let path = project.root().join(name).join("blobs/sha256").join(Sha256::of(blob).to_string());
        let mut bytes = fs::read(&path).unwrap();
        let place = bytes.iter().position(|byte| *byte == b'x' || *byte == b'A').unwrap();
        bytes[place] ^= 1;
        fs::write(&path, bytes).unwrap();
    };
    flip("layer", &layers[0]);
    flip("config", &config);
    for (name, what) in [("layer", "a layer"), ("config", "a document")] {
        // The whole one is read first, so that the same layer is known already.
        let answer = diff(&project, "whole", name);
        assert_eq!((answer.code, answer.stdout.as_str()), (4, ""), "{answer:?}");
        let expected =
            format!("error: `{name}` is damaged: {what} has other bytes than its digest says\n  named  sha256:");
        assert!(answer.stderr.starts_with(&expected), "{answer:?}");
    }
    let mut short =
        fs::read(project.root().join("whole/blobs/sha256").join(Sha256::of(&layers[0]).to_string())).unwrap();
    short.truncate(600);
    docker_archive(&project.root().join("short.tar"), &config, &[short]);
    let answer = diff(&project, "whole", "short.tar");
    assert_eq!(answer.code, 4, "{answer:?}");
    let answer = diff(&project, "short.tar", "whole");
    assert_eq!(answer.code, 3, "{answer:?}");
    assert!(answer.stderr.starts_with("error: a layer of `short.tar` cannot be read\n"), "{answer:?}");
}

#[test]
fn what_is_no_image_or_several_is_told() {
    let project = Project::empty();
    let layers = [layer(&[("a", "x")])];
    let config = config(&layers, &["s"], "A=1");
    oci_layout(
        &project.root().join("both"),
        &[("amd64", &config, &layers), ("arm64", &self::config(&layers, &["s"], "A=2"), &layers)],
        gzip,
    );
    let answer = diff(&project, "both", "both");
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.starts_with("error: `both` holds several images\n  linux/"), "{answer:?}");
    assert!(answer.stderr.ends_with(" hint: choose one with `--platform`\n"), "{answer:?}");
    let answer = project.run(&["--quiet", "diff", "--image", "--platform", "linux/arm64", "both", "both"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    project.write("text", "no image");
    for (asked, words) in [
        ("text", "error: `text` is no image that can be read: "),
        ("nowhere", "error: `nowhere` is no image that can be read: nothing is there\n hint: images are "),
        ("sha256:12", "error: `sha256:12` is no image that can be read: "),
        ("docker-archive:nowhere", "error: could not read `nowhere`\n"),
    ] {
        let answer = diff(&project, asked, "both");
        assert_eq!(answer.code, 2, "{answer:?}");
        assert!(answer.stderr.starts_with(words), "{answer:?}");
    }
    let id = Sha256::of("nothing").prefixed();
    let answer = diff(&project, &id, "both");
    assert_eq!(answer.code, 3);
    assert!(answer.stderr.starts_with(&format!("error: the store keeps no image `{id}`\n")), "{answer:?}");
    let answer = project.run(&["--format", "markdown", "diff", "--image", "both", "both"]);
    assert_eq!(answer.code, 2, "{answer:?}");
}

/// An image in the project's store, as a build keeps it.
fn kept(project: &Project, changed: bool) -> (SealedImage, Store) {
    let store = Store::open(project.store()).unwrap();
    let layers = rich(changed);
    let id = store.add_blob(&config(&layers, &STEPS, "A=1")).unwrap();
    let sealed = ["system", "npm", "pip"].iter().zip(&layers).map(|(origin, layer)| SealedLayer {
        origin: (*origin).to_owned(),
        diff_id: store.add_blob(layer).unwrap(),
        size: layer.len() as u64,
        blob: None,
    });
    let image = SealedImage { id, platform: Platform::LINUX_AMD64, has_healthcheck: false, layers: sealed.collect() };
    store.set_memo("image-by-id", &id, &serde_json::to_vec(&image).unwrap()).unwrap();
    (image, store)
}

#[test]
fn a_kept_image_is_the_same_in_every_form_it_is_written_in() {
    let project = Project::empty();
    let (image, store) = kept(&project, false);
    let id = image.id.prefixed();
    write_docker_archive(&project.root().join("a.tar"), &image, &["a".into()], &store).unwrap();
    let manifest = manifest_of(&image, LayerCompression::Gzip, &store, &Progress::hidden()).unwrap();
    write_oci(&project.root().join("layout"), &manifest, Platform::LINUX_AMD64, &["a".into(), "b".into()], &store)
        .unwrap();
    write_directory(&project.root().join("dir"), &manifest, &store).unwrap();
    for form in ["docker-archive:a.tar", "oci:layout", "dir:dir", "a.tar", "layout", "dir"] {
        let answer = diff(&project, &id, form);
        let name = form.split_once(':').map_or(form, |(_, path)| path);
        assert_eq!(answer.stdout, format!("{name} is the same image: {id}\n"), "{answer:?}");
        assert_eq!(answer.code, 0);
    }
    let (other, _) = kept(&project, true);
    let found = json_of(&project, &id, &other.id.prefixed());
    assert_eq!(found["files"].as_array().unwrap().len(), 8);
    assert_eq!(found["config"], json!([]), "the layers' digests alone are no difference of the config");
}

/// An image that is larger than the memory the program may use.
#[test]
fn a_large_image_is_not_held_in_memory() {
    const SIZE: u64 = 600_000_000;
    let project = Project::empty();
    let mut tar = TarWriter::new(
        Tee {
            packed: flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()),
            hasher: oclock::model::Hasher::default(),
        },
        TIME,
    );
    tar.file(Path::new("large"), &TarMeta::root(0o644), SIZE, &mut io::repeat(0).take(SIZE)).unwrap();
    let written = tar.finish().unwrap();
    let (diff_id, packed) = (written.hasher.finish(), written.packed.finish().unwrap());
    let config = json!({ "rootfs": { "diff_ids": [diff_id.prefixed()] }, "config": {} }).to_string();
    docker_archive(&project.root().join("large.tar"), config.as_bytes(), &[packed]);
    let small = [layer(&[("small", "x")])];
    docker_archive(&project.root().join("small.tar"), &self::config(&small, &["s"], "A=1"), &small);
    let oclock = env!("CARGO_BIN_EXE_oclock");
    let mut shell = Command::new("/bin/sh");
    // 128 MiB of data, while the file alone has 600 MB.
    shell.args(["-c", &format!("ulimit -d 131072; exec {oclock} --quiet diff --image small.tar large.tar")]);
    shell.current_dir(project.root()).env_clear().env("HOME", project.home());
    let answer = project.answer(&mut shell);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stdout.contains("/large  only in the second\n"), "{answer:?}");
}

struct Tee {
    packed: flate2::write::GzEncoder<Vec<u8>>,
    hasher: oclock::model::Hasher,
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.packed.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.packed.flush()
    }
}

fn program(name: &str) -> PathBuf {
    let directories = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&directories).map(|directory| directory.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("this test needs {name}"))
}

fn run(name: &str, arguments: &[&str]) {
    let output = Command::new(program(name)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn images_of_engines_are_written_out_and_compared() {
    let project = Project::empty();
    for name in ["docker", "buildah"] {
        symlink(program(name), project.tools().join(name)).unwrap();
    }
    let (image, store) = kept(&project, false);
    let name = format!("localhost/oclock-diff-{}:one", std::process::id());
    let archive = project.root().join("a.tar");
    write_docker_archive(&archive, &image, std::slice::from_ref(&name), &store).unwrap();
    let archive = archive.to_str().unwrap();
    run("docker", &["load", "--quiet", "--input", archive]);
    let answer = diff(&project, &format!("docker:{name}"), archive);
    run("docker", &["image", "rm", &name]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stdout.ends_with(&format!(" is the same image: {}\n", image.id.prefixed())), "{answer:?}");
    let source = format!("docker-archive:{archive}");
    run("skopeo", &["copy", "--quiet", "--insecure-policy", &source, &format!("containers-storage:{name}")]);
    let answer = diff(&project, archive, &format!("buildah:{name}"));
    run("buildah", &["rmi", &name]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(answer.stdout, format!("buildah:{name} is the same image: {}\n", image.id.prefixed()));
    let answer = diff(&project, "docker:no-such-image-here", archive);
    assert_eq!(answer.code, 3);
    assert!(answer.stderr.starts_with("error: docker could not write out the image\n"), "{answer:?}");
}
