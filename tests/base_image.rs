//! Images of a registry as base: a real registry server on loopback, images made by hand and from Debian packages.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it does"
)]

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oclock::model::Sha256;
use serde_json::{Value, json};
use support::image_registry::{HandMade, ImageRegistry, Packing, blob, tar as tar_of};
use support::project::Project;
use support::registries::Registries;

const MANIFEST: &str = r#"[image]
name = "on-a-base"
base = "node:20-slim"

[apt]
packages = ["hello", "libhello"]

[npm.packages]
shout = "^2.0"

[pip]
packages = ["sums>=3"]
"#;

const TEMPLATE: &str = "FROM {{ base }}\n\n{{ apt.install }}\n{{ npm.install }}\n{{ pip.install }}\n\nENV PATH=/opt/bin:$PATH\nCMD [\"/bin/sh\"]\n";

fn status(packages: &[(&str, &str)]) -> String {
    let stanza = |(name, version): &(&str, &str)| {
        format!("Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n")
    };
    packages.iter().map(stanza).collect()
}

/// What a base needs for the packages of [`Registries`]; the lowest layer has what the others hide or replace.
fn small_base() -> HandMade {
    let old = status(&[("base-files", "1")]);
    let new =
        status(&[("base-files", "13.8"), ("libhello", "1.4-2+b1"), ("python3", "3.13.5-1"), ("libc6", "2.41-12")]);
    let mut base = HandMade::new()
        .layer(
            tar_of(&[
                ("var/lib/dpkg/status", &old),
                ("usr/lib/os-release", "ID=debian\nVERSION_CODENAME=trixie\n"),
                ("etc/os-release", "-> ../usr/lib/os-release"),
                ("opt/hidden", "x"),
            ]),
            Packing::Gzip,
        )
        .layer(tar_of(&[("var/lib/dpkg/status", &new), ("opt/.wh..wh..opq", "")]), Packing::Zstd)
        .layer(tar_of(&[("srv/", "")]), Packing::Plain);
    base.runtime = json!({ "Env": ["NODE_VERSION=20.19.2", "PATH=/usr/local/bin:/usr/bin"], "User": "node",
        "WorkingDir": "/srv", "Entrypoint": ["docker-entrypoint.sh"], "Volumes": null });
    base
}

struct World {
    registries: Registries,
    images: ImageRegistry,
}

impl World {
    fn new() -> Self {
        Self { registries: Registries::serve(), images: ImageRegistry::start() }
    }

    fn serve(&self, base: &HandMade, name: &str) {
        let layout = self.images.directory.path().join(name.replace([':', '/'], "-"));
        base.write(&layout);
        self.images.push(&layout, name, None);
    }

    /// A project whose registry of images is this one.
    fn project(&self) -> Project {
        let project = Project::with(&self.registries);
        add_registry(&project, &self.images.url());
        project.write("oclock.toml", MANIFEST);
        project.write("Containerfile.in", TEMPLATE);
        project
    }
}

fn add_registry(project: &Project, url: &str) {
    let settings = project.home().join(".config/oclock/config.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{text}\n[sources.registry]\nkind = \"image\"\nurl = \"{url}\"\n")).unwrap();
}

fn listed(project: &Project) -> Vec<String> {
    let answer = project.run(&["list", "--format", "json"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let outcome: Value = serde_json::from_str(&answer.stdout).unwrap();
    let name = |pin: &Value| format!("{}:{}", pin["ecosystem"].as_str().unwrap(), pin["name"].as_str().unwrap());
    outcome["pins"].as_array().unwrap().iter().map(name).collect()
}

#[test]
fn packages_are_solved_on_what_the_base_has() {
    let world = World::new();
    let base = small_base();
    world.serve(&base, "node:20-slim");
    let project = world.project();
    let answer = project.run(&["update"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(listed(&project), ["apt:hello", "npm:pad-left", "npm:shout", "pip:numbers", "pip:sums"]);
    let lock = project.read("lockfile.toml");
    for part in ["image = \"node:20-slim\"\n", "source = \"registry\"\n", "[base.manifests.\"linux/amd64\"]\n"] {
        assert!(lock.contains(part), "{part}\n{lock}");
    }
    for diff_id in base.diff_ids() {
        assert!(lock.contains(&format!("diff-id = \"{diff_id}\"")), "{lock}");
    }
    assert_eq!(project.run(&["update", "--check"]).code, 0);
    assert!(project.run(&["update"]).stdout.ends_with("nothing changed\n"));
    assert_eq!(project.run(&["update", "--pruned"]).code, 0);

    let rendered = project.run(&["render"]).stdout;
    assert!(
        rendered.starts_with("FROM scratch\nENV NODE_VERSION=\"20.19.2\"\nENV PATH=\"/usr/local/bin:/usr/bin\"\n"),
        "{rendered}"
    );
    assert!(rendered.contains("RUN [\"/bin/sh\", \"/.oclock/configure\"]\nWORKDIR /srv\nUSER node\n"), "{rendered}");
    assert!(rendered.contains("USER root\nRUN sh /.oclock/compile\nUSER node\n"), "{rendered}");
    let info = project.run(&["info"]);
    assert!(info.stdout.contains("source    registry"), "{info:?}");

    project.edit("oclock.toml", "node:20-slim", "node:22-slim");
    let drift = project.run(&["update", "--check"]);
    assert_eq!(drift.code, 1);
    assert!(drift.stderr.contains("the lockfile stands on node:20-slim"), "{drift:?}");
}

#[test]
fn a_fresh_machine_fetches_the_base_by_digest() {
    let world = World::new();
    world.serve(&small_base(), "node:20-slim");
    let project = world.project();
    assert_eq!(project.run(&["update"]).code, 0);
    let context = project.run(&["context"]);
    assert_eq!(context.code, 0, "{context:?}");
    // The tag names another image by now.
    let mut other = small_base();
    other.runtime = json!({ "Env": ["NODE_VERSION=20.19.3"] });
    world.serve(&other, "node:20-slim");
    fs::remove_dir_all(project.store()).unwrap();
    let offline = project.run(&["--offline", "render"]);
    assert_eq!(offline.code, 3, "{offline:?}");
    assert!(project.run(&["render"]).stdout.contains("NODE_VERSION"));
    let fetched = project.run(&["fetch"]);
    assert!(fetched.stdout.starts_with("13 files fetched, 12.9 kB"), "{fetched:?}");
    assert_eq!(project.run(&["store", "verify"]).code, 0);
    assert_eq!(project.run(&["--offline", "context"]).stdout, context.stdout);
    let moved = project.run(&["update", "--dry-run"]);
    assert!(moved.stdout.contains("the lockfile would change"), "{moved:?}");
}

#[test]
fn what_is_installed_in_an_older_version_is_brought_up_to_date() {
    let mut world = World::new();
    world.serve(&small_base(), "node:20-slim");
    world.registries.deb("libhello", "1.5-1", "");
    world.registries.deb("hello", "2.11-1", "Depends: libhello (>= 1.5)\n");
    let project = world.project();
    let answer = project.run(&["update"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(listed(&project)[..2], ["apt:hello", "apt:libhello"]);
}

#[test]
fn a_base_that_cannot_be_built_on_is_named() {
    let world = World::new();
    let alpine = HandMade::new().layer(tar_of(&[("etc/os-release", "ID=alpine\n")]), Packing::Gzip);
    let mut foreign = small_base();
    foreign.architecture = "s390x";
    let mut triggers = small_base();
    triggers.runtime = json!({ "OnBuild": ["RUN true"] });
    let below = HandMade::new().layer(tar_of(&[("lib", "-> usr/lib"), ("lib/x", "x")]), Packing::Gzip);
    let bare =
        HandMade::new().layer(tar_of(&[("var/lib/dpkg/status", &status(&[("libc6", "2.41-12")]))]), Packing::Gzip);
    for (name, base, code, words) in [
        ("alpine:1", alpine, 3, "error: the base image has no dpkg status\n"),
        ("foreign:1", foreign, 3, "`foreign:1` has no image for `linux/amd64`\n note: it has linux/s390x\n"),
        ("triggers:1", triggers, 3, "it has ONBUILD triggers"),
        ("below:1", below, 3, "error: a layer of the base image cannot be read\n"),
        ("bare:1", bare, 2, "error: which Debian suite the image will have is not known\n"),
    ] {
        world.serve(&base, name);
        let project = world.project();
        project.edit("oclock.toml", "node:20-slim", name);
        let answer = project.run(&["update"]);
        assert_eq!(answer.code, code, "{name}: {answer:?}");
        assert!(answer.stderr.contains(words), "{name}: {}", answer.stderr);
        assert!(!project.root().join("lockfile.toml").exists());
    }
    let project = world.project();
    for (asked, words) in [
        ("node:99", "error: no registry image is named `node:99`\n note: asked the source `registry`\n"),
        ("nothing:1", "error: no registry image is named `nothing:1`\n"),
    ] {
        project.write("oclock.toml", MANIFEST.replace("node:20-slim", asked));
        let answer = project.run(&["update"]);
        assert_eq!(answer.code, 3, "{answer:?}");
        assert!(answer.stderr.contains(words), "{}", answer.stderr);
    }
}

#[test]
fn without_a_version_of_node_the_old_hint_is_given() {
    let world = World::new();
    let mut base = small_base();
    base.runtime = json!({});
    world.serve(&base, "node:20-slim");
    let answer = world.project().run(&["update"]);
    assert_eq!(answer.code, 2, "{answer:?}");
    assert!(answer.stderr.contains("add `nodejs` to `[apt] packages`, or set `[npm] node`"), "{answer:?}");
}

/// `user` with the password `secret` (bcrypt).
const HTPASSWD: &str = "user:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

#[test]
fn logins_are_those_of_docker_and_podman() {
    let registries = Registries::serve();
    let images = ImageRegistry::for_users(HTPASSWD);
    let layout = images.directory.path().join("layout");
    small_base().write(&layout);
    images.push(&layout, "team/node:20-slim", Some("user:secret"));
    let host = format!("127.0.0.1:{}", images.port);
    let right = STANDARD.encode("user:secret");
    let wrong = STANDARD.encode("user:wrong");
    let update = |file: &str, text: &str| {
        let project = Project::with(&registries);
        project.write("oclock.toml", MANIFEST.replace("node:20-slim", &format!("{host}/team/node:20-slim")));
        project.write("Containerfile.in", TEMPLATE);
        for tool in ["sh", "cat"] {
            std::os::unix::fs::symlink(format!("/bin/{tool}"), project.tools().join(tool)).unwrap();
        }
        let helper = project.tools().join("docker-credential-it");
        fs::write(&helper, HELPER.replace("HOST", &host)).unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        let path = project.home().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        project.run(&["update"])
    };
    let docker = ".docker/config.json";
    let podman = ".config/containers/auth.json";
    for (file, text) in [
        (docker, json!({ "auths": { &host: { "auth": right } } })),
        (docker, json!({ "auths": { format!("https://{host}/v2/"): { "auth": right } } })),
        (docker, json!({ "auths": { &host: {} }, "credsStore": "it" })),
        (docker, json!({ "credHelpers": { &host: "it" } })),
        (podman, json!({ "auths": { &host: { "auth": wrong }, format!("{host}/team"): { "auth": right } } })),
        (
            podman,
            json!({ "auths": { format!("{host}/team/node"): { "auth": right }, format!("{host}/team"): { "auth": wrong } } }),
        ),
    ] {
        let answer = update(file, &text.to_string());
        assert_eq!(answer.code, 0, "{file} {text}: {answer:?}");
    }
    for text in [
        json!({}),
        json!({ "auths": { &host: { "auth": wrong } } }),
        json!({ "auths": { format!("{host}/other"): { "auth": right }, "127.0.0.1": { "auth": right } } }),
    ] {
        let answer = update(podman, &text.to_string());
        assert_eq!(answer.code, 3, "{text}: {answer:?}");
        assert!(answer.stderr.contains("the registry does not let us read"), "{answer:?}");
        assert!(answer.stderr.contains("log in with the engine"), "{answer:?}");
        assert!(!format!("{answer:?}").contains("secret"));
    }
}

/// docker's protocol: the server's name on standard input.
const HELPER: &str =
    "#!/bin/sh\ntest \"$1\" = get && test \"$(cat)\" = HOST && echo '{\"Username\":\"user\",\"Secret\":\"secret\"}'\n";

const NAME: &str = "node-20-slim-example:test";

/// `examples/node-20-slim` on an image of that name, which oclock makes from Debian packages first. The base has
/// layers of every packing; the highest hides something, the one below it has a package in an older version.
#[test]
fn the_example_is_one_image_under_every_engine() {
    let images = ImageRegistry::start();
    let place = images.directory.path();
    let layout = place.join("base");
    let base = node_base(place);
    let (_, layers) = base.write(&layout);
    images.push(&layout, "node:20-slim", None);

    let example = place.join("example");
    run(Command::new("cp").arg("-r").arg(repository().join("examples/node-20-slim")).arg(&example));
    let manifest = fs::read_to_string(example.join("oclock.toml")).unwrap();
    let source = format!("\n[sources.registry]\nkind = \"image\"\nurl = \"{}\"\n", images.url());
    fs::write(example.join("oclock.toml"), manifest + &source).unwrap();
    oclock(&example, &["update"]);
    oclock(&example, &["update", "--check"]);
    let pins = oclock(&example, &["list"]);
    for name in ["apt:git ", "apt:tini ", "apt:python3 ", "npm:semver ", "pip:idna "] {
        assert!(pins.contains(name), "{name}\n{pins}");
    }
    for name in ["apt:libc6 ", "apt:nodejs ", "apt:dpkg ", "apt:perl-base "] {
        assert!(!pins.contains(name), "the base has {name}\n{pins}");
    }

    let build = |engine: &str, more: &[&str]| -> Value {
        let words = ["--format", "json", "build", "--no-reuse", "--engine", engine];
        serde_json::from_str(&oclock(&example, &[&words[..], more].concat())).unwrap()
    };
    let directory = format!("dir:{}", place.join("dir").display());
    let first = build("buildah-chroot", &["--output", &directory]);
    let second = build("docker", &["--tag", NAME]);
    println!("{first}\n{second}");
    for key in ["id", "digest", "context"] {
        assert_eq!(first[key], second[key], "{key}");
    }
    assert_ne!(first["engine"], second["engine"]);
    base_layers_are_untouched(&place.join("dir"), &base, &layers);
    what_was_built_runs();
    run(Command::new("docker").args(["rmi", NAME]));
}

/// The blobs of the registry, in both the manifest and the config, and nothing of the base anew above them.
fn base_layers_are_untouched(directory: &Path, base: &HandMade, layers: &[Sha256]) {
    let read = |name: &str| -> Value { serde_json::from_slice(&fs::read(directory.join(name)).unwrap()).unwrap() };
    let manifest = read("manifest.json");
    let digest = |layer: &Value| Sha256::parse_prefixed(layer["digest"].as_str().unwrap()).unwrap();
    let found: Vec<Sha256> = manifest["layers"].as_array().unwrap().iter().map(digest).collect();
    let number = layers.len();
    assert_eq!(found[..number], *layers);
    let upper = manifest["layers"].as_array().unwrap().iter().skip(number - 3);
    for (layer, kind) in upper.zip(["tar.gzip", "tar.zstd", "tar", "tar.gzip"]) {
        assert!(layer["mediaType"].as_str().unwrap().ends_with(&format!(".diff.{kind}")), "{layer}");
    }
    assert_eq!(Sha256::of(fs::read(directory.join(layers[0].to_string())).unwrap()), layers[0]);
    let config = read(&digest(&manifest["config"]).to_string());
    let diff_ids: Vec<String> = base.diff_ids().iter().map(|digest| digest.prefixed()).collect();
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap()[..number], diff_ids);
    assert_eq!(config["history"][number - 1]["empty_layer"], true);
    assert_eq!(config["config"]["Labels"]["of"], "the base");
    assert!(config["config"].get("Cmd").is_none(), "an ENTRYPOINT drops the base's CMD");
    assert!(found.len() > number && found.len() <= 60, "{} layers", found.len());
    let mut names = Vec::new();
    for own in &found[number..] {
        let own = flate2::read::MultiGzDecoder::new(fs::File::open(directory.join(own.to_string())).unwrap());
        for entry in tar::Archive::new(own).entries().unwrap() {
            let entry = entry.unwrap();
            if !entry.header().entry_type().is_dir() {
                names.push(entry.path().unwrap().to_string_lossy().into_owned());
            }
        }
    }
    assert!(names.contains(&"etc/motd".to_owned()) && names.contains(&"usr/bin/git".to_owned()));
    for name in ["usr/bin/node", "etc/passwd", "etc/hosts", "etc/debian_version", "usr/share/doc/git/RelNotes"] {
        assert!(!names.iter().any(|found| found.starts_with(name)), "{name} is written again");
    }
}

fn what_was_built_runs() {
    let docker = |arguments: &[&str]| {
        run(Command::new("docker").args(["run", "--rm", "--network", "none", "--entrypoint"]).args(arguments))
    };
    let answer: Value = serde_json::from_str(&docker(&["node", NAME, "/app/server.js", "--once"])).unwrap();
    assert_eq!(answer["isTwenty"], true, "{answer}");
    assert_eq!(
        docker(&["sh", NAME, "-c", "dpkg --audit; cat /opt/kept; tail -n1 /etc/motd; test ! -e /opt/gone"]),
        "kept\nOne image for all.\n"
    );
    assert!(docker(&["tini", NAME, "--version"]).starts_with("tini version"));
    assert!(docker(&["git", NAME, "--version"]).starts_with("git version"));
    // The base says so to its dpkg, which keeps directories and links all the same.
    let documents = docker(&["find", NAME, "/usr/share/doc/git", "-type", "f"]);
    assert_eq!(documents.trim(), "/usr/share/doc/git/copyright");
}

/// An image of the name that the example asks for: Debian with Node, as oclock makes it from packages, as the lowest
/// layers, and two more on them.
fn node_base(place: &Path) -> HandMade {
    let project = place.join("maker");
    fs::create_dir_all(project.join("context")).unwrap();
    let manifest = "[image]\nname = \"base-maker\"\nbase = { debian = \"trixie\" }\n[apt]\npackages = [\"nodejs\"]\n";
    fs::write(project.join("oclock.toml"), manifest).unwrap();
    fs::write(project.join("Containerfile.in"), "FROM {{ base }}\n{{ apt.install }}\n").unwrap();
    oclock(&project, &["update"]);
    let made = place.join("made");
    oclock(&project, &["build", "--engine", "buildah-chroot", "--output", &format!("oci:{}", made.display())]);
    let read = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let digest = |text: &Value| Sha256::parse_prefixed(text.as_str().unwrap()).unwrap();
    let manifest = read(blob(&made, &digest(&read(made.join("index.json"))["manifests"][0]["digest"])));
    let config = read(blob(&made, &digest(&manifest["config"]["digest"])));
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap().iter();
    let lowest: Vec<(Sha256, Vec<u8>)> = diff_ids
        .zip(manifest["layers"].as_array().unwrap())
        .map(|(diff_id, layer)| (digest(diff_id), fs::read(blob(&made, &digest(&layer["digest"]))).unwrap()))
        .collect();
    let status = lowest.iter().find_map(|(_, packed)| file_of(packed, "var/lib/dpkg/status")).unwrap();
    let tini = "Package: tini\nStatus: install ok installed\nPriority: optional\nSection: admin\nInstalled-Size: 1\n\
        Maintainer: A <a@example.invalid>\nArchitecture: amd64\nVersion: 0.1-1\nDescription: an older one\n\n";
    let status = format!("{}\n{tini}", status.trim_end().to_owned() + "\n");
    let middle = tar_of(&[
        ("etc/dpkg/dpkg.cfg.d/", ""),
        ("etc/dpkg/dpkg.cfg.d/docker", "path-exclude=/usr/share/doc/*\npath-include=/usr/share/doc/*/copyright\n"),
        ("opt/gone/", ""),
        ("opt/gone/a", "a"),
        ("opt/kept", "kept\n"),
        ("usr/bin/tini", "#!/bin/sh\necho older\n"),
        ("var/lib/dpkg/info/tini.list", "/.\n/usr\n/usr/bin\n/usr/bin/tini\n"),
        ("var/lib/dpkg/status", &status),
    ]);
    let highest = tar_of(&[("opt/.wh.gone", ""), ("usr/share/doc/.wh.zlib1g", "")]);
    let mut history = vec![json!({ "created_by": "debian" }); lowest.len()];
    let base = lowest
        .into_iter()
        .fold(HandMade::new(), |base, (diff_id, packed)| base.packed_layer(diff_id, Packing::Gzip, packed));
    let mut base = base.layer(middle, Packing::Zstd).layer(highest, Packing::Plain);
    base.runtime = json!({ "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "NODE_VERSION=20.19.2"],
        "Cmd": ["node"], "Labels": { "of": "the base" } });
    history.extend([
        json!({ "created_by": "more" }),
        json!({ "created_by": "ENV", "empty_layer": true }),
        json!({ "created_by": "less" }),
    ]);
    base.history = history;
    base
}

fn file_of(packed: &[u8], name: &str) -> Option<String> {
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(packed));
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let mut entry = entries.find(|entry| entry.path().unwrap() == Path::new(name))?;
    let mut text = String::new();
    entry.read_to_string(&mut text).unwrap();
    Some(text)
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The binary with the machine's own settings: real Debian, npm and Python sources.
fn oclock(directory: &Path, arguments: &[&str]) -> String {
    run(Command::new(env!("CARGO_BIN_EXE_oclock")).arg("-C").arg(directory).args(arguments))
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{}{said}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}
