//! Every command, as a user meets it: the real binary in a temporary project against registries on loopback.
//! Exit code, standard output, standard error and written files.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on may stop")]

#[path = "support/project.rs"]
mod project;
#[path = "support/registries.rs"]
mod registries;
#[path = "support/site.rs"]
mod site;
#[path = "support/wheels.rs"]
mod wheels;

use project::Project;
use registries::Registries;

#[test]
fn explore() {
    let mut registries = Registries::serve();
    let project = Project::locked(&registries);
    let show = |arguments: &[&str]| {
        let answer = project.run(arguments);
        println!("$ {arguments:?} -> {}\n{}--\n{}", answer.code, answer.stdout, answer.stderr);
    };
    let edit = |from: &str, to: &str, arguments: &[&str]| {
        let before = project.read("oclock.toml");
        project.edit("oclock.toml", from, to);
        println!("=== {to}");
        show(arguments);
        project.write("oclock.toml", before);
    };
    edit("packages = [\"hello\"", "pakages = [\"hello\"", &["update"]);
    edit("packages = [\"hello\", \"nodejs\", \"python3\"]", "packages = \"hello\"", &["update"]);
    edit("shout = \"^2.0\"", "opencode = \"*\"", &["update"]);
    edit("shout = \"^2.0\"", "shout = \"^3.0\"", &["update"]);
    edit("shout = \"^2.0\"", "shout = \"^3.0\"", &["update", "--check"]);
    edit("shout = \"^2.0\"", "shout = \"^3.0\"", &["build"]);
    edit("\"hello\"", "\"hello=9.*\"", &["update"]);
    edit("\"hello\"", "\"helo\"", &["update"]);
    edit("\"sums>=3\"", "\"sums>=9\"", &["update"]);
    edit("\"sums>=3\"", "\"summs\"", &["update"]);
    edit("\"sums>=3\"]", "\"sums>=3\"]\nconstraints = [\"numbers<1\"]", &["update"]);
    registries.npm("plugin", "1.0.0", serde_json::json!({"peerDependencies": {"shout": "^1.0.0"}}));
    edit("shout = \"^2.0\"", "[npm.projects.\"/app\"]\nshout = \"^2.0\"\nplugin = \"^1\"", &["update"]);
    registries.deb("broken", "1", "Depends: hello (>= 3)\n");
    edit("\"hello\"", "\"broken\"", &["update"]);
    registries.deb("broken", "1", "Conflicts: hello\n");
    edit("\"hello\"", "\"hello\", \"broken\"", &["update"]);
    let lock = |from: &str, to: &str, arguments: &[&str]| {
        let before = project.read("lockfile.toml");
        project.edit("lockfile.toml", from, to);
        println!("=== {to}");
        show(arguments);
        project.write("lockfile.toml", before);
    };
    lock("d7f31186cdb3", "d7f31186cdb4", &["build"]);
    lock("d7f31186cdb3", "D7f31186cdb4", &["build"]);
    lock("version = \"3.1\"", "version = \"3.2\"", &["build"]);
    lock("version = \"2.0.0\"", "version = \"2.0.1\"", &["build"]);
    lock("pool/hello_2.10-3_amd64.deb", "pool/libhello_1.4-2+b1_amd64.deb", &["build"]);
    lock("pool/hello_2.10-3_amd64.deb", "../hello_2.10-3_amd64.deb", &["build"]);
    lock(
        "tags = \"py3-none-any\"\nplatform = \"linux/amd64\"\nsource = \"pypi\"\nrequired-by = [\"manifest\"]",
        "tags = \"py3-none-any\"\nplatform = \"linux/amd64\"\nflavour = \"x\"\nsource = \"pypi\"\nrequired-by = [\"manifest\"]",
        &["build"],
    );
    registries.site.change("pool/hello_", |mut bytes| {
        bytes[600] ^= 1;
        bytes
    });
    show(&["fetch"]);
    show(&["build"]);
    registries.site.remove("pool/hello_");
    show(&["fetch"]);
    show(&["fetch", "--offline"]);
    show(&["update", "--offline"]);
    let before = project.read("Containerfile.in");
    project.write("Containerfile.in", before.replace("apt.install", "apt.instal"));
    show(&["render"]);
    project.write("Containerfile.in", before.replace("npm:shout", "npm:shoot"));
    show(&["render"]);
    project.write("Containerfile.in", before.replace("pip.install", "pipp.install"));
    show(&["render"]);
    project.write("Containerfile.in", before.replace("COPY app/", "COPY apq/"));
    show(&["context"]);
    project.write("Containerfile.in", &before);
    registries
        .site
        .change("trixie/InRelease", |b| String::from_utf8(b).unwrap().replace("Origin: Test", "Origin: Tesu").into());
    show(&["update"]);
    show(&["init"]);
    show(&["init", "sub"]);
    show(&["-C", "sub", "update"]);
    show(&["-C", "sub", "list"]);
    show(&["-C", "nowhere", "list"]);
    show(&["build", "-o", "tar:x"]);
    show(&["build", "--platform", "linux/riscv"]);
    show(&["build", "--platform", "linux/arm64"]);
    show(&["--store", "/proc/x", "list"]);
}
