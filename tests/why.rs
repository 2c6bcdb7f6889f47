//! `oclock why` with the real program: the chains from the manifest's lines down to a pin.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use serde_json::{Value, json};
use support::project::Project;
use support::registries::Registries;

fn said(project: &Project, arguments: &[&str]) -> String {
    let answer = project.run(arguments);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{answer:?}");
    answer.stdout
}

#[test]
fn chains_lead_from_lines_of_the_manifest() {
    let project = Project::locked(&Registries::serve());
    assert_eq!(
        said(&project, &["why", "npm:shout"]),
        "npm:shout 2.0.0\n  oclock.toml:9  shout = \"^2.0\"  > shout 2.0.0\n"
    );
    assert_eq!(
        said(&project, &["why", "pip:Numbers"]),
        "pip:numbers 1.5\n  oclock.toml:12  sums>=3  > sums 3.1 > numbers 1.5\n"
    );
    let base = said(&project, &["why", "base"]);
    assert!(base.contains("apt:base-files 13.8\n  the essential set  > base-files 13.8\n"), "{base}");
}

#[test]
fn every_requirement_that_leads_there_is_told_shortest_first() {
    let mut registries = Registries::serve();
    registries.deb("tree", "2.2.1-1", "Depends: hello\n");
    let project = Project::greeter(&registries);
    project.edit("oclock.toml", "\"hello\", ", "\"tree\", \"libhello=*\", \"hello\", ");
    project.edit("oclock.toml", "shout = \"^2.0\"", "shout = \"^2.0\"\npad-left = \"1\"");
    assert_eq!(project.run(&["update"]).code, 0);
    assert_eq!(
        said(&project, &["why", "apt:libhello"]),
        "apt:libhello 1.4-2+b1\n  oclock.toml:6  libhello=*  > libhello 1.4-2+b1\n  \
         oclock.toml:6  hello       > hello 2.10-3 > libhello 1.4-2+b1\n  \
         oclock.toml:6  tree        > tree 2.2.1-1 > hello 2.10-3 > libhello 1.4-2+b1\n"
    );
    let answer: Value = serde_json::from_str(&said(&project, &["why", "npm:pad-left", "--format", "json"])).unwrap();
    let chains = answer["pins"][0]["chains"].as_array().unwrap();
    assert_eq!(chains.len(), 2, "{answer}");
    assert_eq!(
        chains[0]["asked"],
        json!({ "manifest": { "file": "oclock.toml", "line": 10, "requirement": "pad-left = \"1\"" } })
    );
    assert_eq!(chains[1]["links"][0], json!({ "ecosystem": "npm", "name": "shout", "version": "2.0.0" }));
}

#[test]
fn what_is_not_locked_is_refused() {
    let project = Project::locked(&Registries::serve());
    let answer = project.run(&["why", "npm:pad-lefd"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (2, ""));
    assert!(answer.stderr.contains("hint: did you mean `npm:pad-left`?"), "{answer:?}");
    assert_eq!(project.run(&["why", "shout"]).code, 2);
    assert_eq!(Project::empty().run(&["why", "npm:shout"]).code, 2);
}
