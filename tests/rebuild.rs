//! `oclock verify --rebuild`: real engines, a system of busybox alone, packages from a loopback archive.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use support::project::{Answer, Project};
use support::registries::Registries;

const MANIFEST: &str = "[image]\nname = \"again\"\nbase = { debian = \"trixie\" }\n\n[apt]\npackages = [\"hello\"]\n";

fn project(steps: &str) -> Project {
    let mut registries = Registries::serve();
    registries.shell();
    let project = Project::with(&registries);
    project.write("oclock.toml", MANIFEST);
    project.write("context/b", "b\n");
    project.write("context/a/c", "c\n");
    project.write("Containerfile.in", format!("FROM {{{{ base }}}}\n{{{{ apt.install }}}}\nCOPY a b /srv/\n{steps}"));
    for command in ["update", "fetch"] {
        let answer = project.run(&["--quiet", command]);
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    project
}

fn rebuild(project: &Project, more: &[&str]) -> Answer {
    let mut command = project.command(&[&["--quiet", "verify", "--rebuild"], more].concat());
    project.answer(command.env("PATH", std::env::var_os("PATH").unwrap()))
}

#[test]
fn a_step_that_is_not_the_same_every_time_is_found_and_named() {
    let steps = "RUN echo same > /same\nRUN cat /proc/sys/kernel/random/uuid \\\n  > /x\nRUN echo after > /after\n";
    let project = project(steps);
    let answer = rebuild(&project, &[]);
    assert_eq!(answer.code, 1, "{answer:?}");
    let out = &answer.stdout;
    assert!(
        out.contains("error: the image for linux/amd64 came out differently, in 1 path [image-rebuilt]\n"),
        "{out}"
    );
    let step = "  step 3: RUN cat /proc/sys/kernel/random/uuid \\ > /x";
    assert!(out.lines().any(|line| line.starts_with("    /x  content") && line.ends_with(step)), "{out}");
    assert!(out.ends_with("not proven\n"), "{out}");
    let kept: Vec<&str> = out.lines().filter_map(|line| line.trim().strip_prefix("kept  ")).collect();
    assert_eq!(kept.len(), 2, "{out}");
    for path in kept {
        assert!(project.root().join(path).metadata().unwrap().len() > 1_000_000, "{path}");
    }
}

#[test]
fn the_same_image_in_all_surroundings_is_proven() {
    let project = project("RUN echo same > /same\nRUN cat /srv/b /srv/c > /both && chmod 4755 /both\n");
    let answer = rebuild(&project, &["--rounds", "4"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let rounds: Vec<&str> = answer.stdout.lines().filter(|line| line.starts_with("rebuild ")).collect();
    assert_eq!(rounds.len(), 4, "{answer:?}");
    assert!(rounds[0].ends_with("; as it is here"), "{rounds:#?}");
    assert!(
        rounds[1].contains("umask")
            && rounds[1].contains("directory, order")
            && rounds[1].contains("timezone, environment, home, path"),
        "{rounds:#?}"
    );
    let id = |line: &str| line.split_whitespace().nth(3).unwrap().to_owned();
    assert!(rounds.iter().all(|line| id(line) == id(rounds[0])), "{rounds:#?}");
    let few = rebuild(&project, &["--rounds", "2", "--vary", "umask,engine"]);
    assert!(few.code == 0 && few.stdout.contains("other umask, engine"), "{few:?}");
    let wrong = rebuild(&project, &["--vary", "weather"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (2, ""), "{wrong:?}");
}
