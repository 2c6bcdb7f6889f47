//! The pages of docs/commands say what the program does: every option is there, every page has a command, every example
//! that can run here gives what the page shows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use support::console::run_examples;
use support::project::Project;
use support::registries::Registries;

/// The page of what all commands share.
const SHARED: &str = "README";

fn pages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands")
}

fn page(name: &str) -> String {
    fs::read_to_string(pages().join(format!("{name}.md"))).unwrap_or_else(|error| panic!("{name}.md: {error}"))
}

fn help(arguments: &[&str]) -> String {
    Project::empty().run(&[arguments, &["--help"]].concat()).stdout
}

/// The names in a section of a help text: of commands, or of options by their longest form.
fn section(help: &str, title: &str) -> BTreeSet<String> {
    let part = help.split(&format!("\n{title}:\n")).nth(1).unwrap_or_default();
    let lines = part.lines().take_while(|line| line.starts_with(' '));
    let entries = lines.filter(|line| line.find(|c| c != ' ').is_some_and(|indent| indent <= 6));
    let names = entries.filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        let long = words.iter().find(|word| word.starts_with("--")).or(words.first())?;
        Some(long.trim_end_matches(['.', ',']).to_owned())
    });
    names.filter(|name| name != "-h" && name != "--help" && name != "--version").collect()
}

fn commands() -> BTreeSet<String> {
    section(&help(&[]), "Commands")
}

#[test]
fn every_key_of_a_manifest_is_on_its_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/manifest.md")).unwrap();
    let policy = fs::read_to_string(root.join("docs/policy.md")).unwrap();
    for (section, keys) in oclock::manifest::KEYS {
        let part =
            page.split(&format!("\n## `[{section}]`\n")).nth(1).unwrap_or_else(|| panic!("no part on {section}"));
        let part = part.split("\n## ").next().unwrap();
        for key in *keys {
            let is_there =
                if *section == "policy" { policy.contains(*key) } else { part.contains(&format!("| `{key}` |")) };
            assert!(is_there, "{section}: {key}");
        }
    }
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let manifest = oclock::manifest::parse_manifest(example, "docs/manifest.md").unwrap();
    assert_eq!((manifest.apt.packages.len(), manifest.npm.overrides.len(), manifest.sources.len()), (3, 1, 1));
}

#[test]
fn every_command_has_a_page_and_every_page_a_command() {
    let files = fs::read_dir(pages()).unwrap().flatten();
    let mut names: BTreeSet<String> =
        files.map(|file| file.file_name().into_string().unwrap().trim_end_matches(".md").to_owned()).collect();
    assert!(names.remove(SHARED));
    assert_eq!(names, commands());
    assert!(names.len() >= 9, "{names:?}");
    let shared = page(SHARED);
    for name in names {
        assert!(shared.contains(&format!("({name}.md)")), "{SHARED}.md does not lead to {name}.md");
        assert!(page(&name).starts_with(&format!("# oclock {name}\n")), "{name}.md");
    }
}

#[test]
fn every_option_is_on_its_page() {
    let shared = page(SHARED);
    let global = section(&help(&[]), "Options of every command");
    assert!(global.len() >= 10, "{global:?}");
    for option in global {
        assert!(shared.contains(&format!("`{option}")), "{SHARED}.md does not say what {option} does");
    }
    for name in commands() {
        let text = page(&name);
        let below = section(&help(&[&name]), "Commands");
        let mut options = section(&help(&[&name]), "Options");
        for command in &below {
            assert!(
                text.contains(&format!("`{name} {command}")),
                "{name}.md does not say what `{name} {command}` does"
            );
            options.extend(section(&help(&[&name, command]), "Options"));
        }
        for option in options {
            assert!(
                text.contains(&format!("`{option}")) || text.contains(&format!(", `{option}")),
                "{name}.md: {option}"
            );
        }
    }
}

#[test]
fn no_page_has_an_option_that_is_not_there() {
    let global = section(&help(&[]), "Options of every command");
    for name in commands() {
        let mut known: BTreeSet<String> = global.clone();
        known.extend(section(&help(&[&name]), "Options"));
        for command in section(&help(&[&name]), "Commands") {
            known.extend(section(&help(&[&name, &command]), "Options"));
        }
        let text = page(&name);
        let rows = text.lines().filter(|line| line.starts_with("| `-"));
        for option in rows.flat_map(|row| row.split(['`', ' ', '[', ',']).filter(|word| word.starts_with("--")).take(1))
        {
            assert!(known.contains(option), "{name}.md has {option}, which is not there");
        }
    }
}

#[test]
fn the_examples_of_the_pages_run_as_shown() {
    let registries = Registries::serve();
    let mut count = 0;
    for name in commands() {
        let project = if name == "init" { Project::empty() } else { Project::locked(&registries) };
        count += run_examples(&format!("{name}.md"), &page(&name), &project);
    }
    assert!(count >= 9, "{count} examples");
}

#[test]
fn messages_and_pages_name_only_commands_that_are_there() {
    let known = commands();
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    collect(&root.join("src"), &mut files);
    collect(&root.join("docs"), &mut files);
    files.push(root.join("README.md"));
    let mut strange = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for named in text.split("`oclock ").skip(1) {
            let word: String = named.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '-').collect();
            if word.starts_with(|c: char| c.is_ascii_lowercase()) && !known.contains(&word) {
                strange.push(format!("{}: oclock {word}", file.display()));
            }
        }
    }
    assert!(strange.is_empty(), "{strange:#?}");
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
            files.push(path);
        }
    }
}
