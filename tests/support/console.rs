//! The examples of a page, carried out: every ```console block is one shell session, whose `$ ` lines are typed and whose
//! other lines must come out. A line `...` stands for any lines.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

use std::os::unix::fs::symlink;
use std::path::Path;

use super::project::Project;

/// What examples may use beside oclock itself; no engine is among it.
const TOOLS: &[&str] = &["cat", "grep", "head", "ls", "mkdir", "rm", "sed", "tail", "wc"];
/// Ends the output of one command.
const END: &str = "\u{1}end";

/// Runs the ```console blocks of a page in a project, one after the other, and returns how many there were.
pub fn run_examples(page: &str, text: &str, project: &Project) -> usize {
    link_tools(project);
    let blocks = blocks(text);
    for block in &blocks {
        let steps = steps(block);
        assert!(!steps.is_empty(), "{page}: a console block without a command:\n{block}");
        let script: String = steps.iter().map(|(typed, _)| format!("{{ {typed}\n}} 2>&1; echo '{END}'\n")).collect();
        let mut shell = std::process::Command::new("/bin/sh");
        shell.arg("-c").arg(script).current_dir(project.root()).env_clear();
        shell.env("HOME", project.home()).env("PATH", project.tools());
        let said = project.answer(&mut shell).stdout;
        let said: Vec<&str> = said.split(&format!("{END}\n")).collect();
        for ((typed, expected), found) in steps.iter().zip(said) {
            let found: Vec<String> = found.lines().map(as_written).collect();
            let found: Vec<&str> = found.iter().map(String::as_str).collect();
            assert!(
                fits(expected, &found),
                "{page}: `{typed}` says something else:\n--- page\n{}\n--- found\n{}",
                expected.join("\n"),
                found.join("\n")
            );
        }
    }
    blocks.len()
}

fn link_tools(project: &Project) {
    let tools = project.tools();
    if tools.join("oclock").exists() {
        return;
    }
    symlink(env!("CARGO_BIN_EXE_oclock"), tools.join("oclock")).unwrap();
    for tool in TOOLS {
        let found = ["/usr/bin", "/bin"]
            .map(|directory| Path::new(directory).join(tool))
            .into_iter()
            .find(|path| path.exists());
        symlink(found.unwrap(), tools.join(tool)).unwrap();
    }
}

fn blocks(text: &str) -> Vec<String> {
    let parts = text.split("```console\n").skip(1);
    parts.map(|part| part.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[allow(clippy::panic, reason = "a page that is no dialogue fails its test")]
fn steps(block: &str) -> Vec<(String, Vec<&str>)> {
    let mut steps: Vec<(String, Vec<&str>)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(typed), _) => steps.push((typed.to_owned(), Vec::new())),
            (None, Some((_, expected))) => expected.push(line),
            (None, None) => panic!("output before a command: {line}"),
        }
    }
    steps
}

/// What differs from machine to machine, as pages write it.
fn as_written(line: &str) -> String {
    line.replace("TEMP/home", "~").replace("http://LOOPBACK", "https://registry.invalid")
}

fn fits(expected: &[&str], found: &[&str]) -> bool {
    match (expected, found) {
        ([], []) => true,
        (["...", rest @ ..], _) => (0..=found.len()).any(|skipped| fits(rest, &found[skipped..])),
        ([first, rest @ ..], [line, lines @ ..]) if first == line => fits(rest, lines),
        _ => false,
    }
}
