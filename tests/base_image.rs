//! Images of a registry as base: a real registry server on loopback, images made by hand and from Debian packages.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it does"
)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::image_registry::{HandMade, ImageRegistry, Packing, tar};
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
            tar(&[
                ("var/lib/dpkg/status", &old),
                ("usr/lib/os-release", "ID=debian\nVERSION_CODENAME=trixie\n"),
                ("etc/os-release", "-> ../usr/lib/os-release"),
                ("opt/hidden", "x"),
            ]),
            Packing::Gzip,
        )
        .layer(tar(&[("var/lib/dpkg/status", &new), ("opt/.wh..wh..opq", "")]), Packing::Zstd)
        .layer(tar(&[("srv/", "")]), Packing::Plain);
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
    let alpine = HandMade::new().layer(tar(&[("etc/os-release", "ID=alpine\n")]), Packing::Gzip);
    let mut foreign = small_base();
    foreign.architecture = "s390x";
    let mut triggers = small_base();
    triggers.runtime = json!({ "OnBuild": ["RUN true"] });
    let below = HandMade::new().layer(tar(&[("lib", "-> usr/lib"), ("lib/x", "x")]), Packing::Gzip);
    let bare = HandMade::new().layer(tar(&[("var/lib/dpkg/status", &status(&[("libc6", "2.41-12")]))]), Packing::Gzip);
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
