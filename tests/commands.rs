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

use project::{Answer, Project};
use registries::Registries;

#[test]
fn explore() {
    let registries = Registries::serve();
    let project = Project::greeter(&registries);
    let show = |arguments: &[&str]| {
        let answer = project.run(arguments);
        println!("$ {arguments:?} -> {}\n{}--\n{}", answer.code, answer.stdout, answer.stderr);
    };
    show(&["update"]);
    println!("{}", project.read("lockfile.toml"));
    show(&["update"]);
    show(&["update", "--check"]);
    show(&["list"]);
    show(&["list", "--format", "json"]);
    show(&["render"]);
    show(&["context"]);
    show(&["fetch"]);
    show(&["info"]);
    show(&["store", "path"]);
    show(&["store", "size"]);
    show(&["store", "verify"]);
    show(&["build"]);
    show(&["update", "--frob"]);
    show(&["store"]);
    let _: Option<Answer> = None;
}
