//! The real npm as judge: the same packages in the same places.
//!
//! The sample runs with the other tests and needs npm and its registry. `OCLOCK_NPM_CORPUS=FILE` (lines `name|request request…`)
//! compares all of a file instead and prints the agreement.

use std::collections::BTreeMap;
use std::process::Command;

use oclock::base::http::{HttpClient, HttpOptions};
use oclock::manifest::{NpmSection, SourceKind};
use oclock::model::{Platform, SourceName};
use oclock::resolve::npm::{NpmRequest, plan};
use oclock::source::Source;

const NODE: &str = "20.20.2";
const SAMPLE: &[&str] = &[
    "opencode|opencode-ai @opencode-ai/plugin",
    "express|express@4",
    "eslint|eslint@8.57 eslint-plugin-import@2.29 typescript@5",
    "vitest|vitest@2 vite@5",
    "alias|ansi-regex@5 strip-ansi@npm:strip-ansi@^7",
];

#[test]
fn trees_are_those_of_npm() {
    let corpus = std::env::var("OCLOCK_NPM_CORPUS").ok().map(|file| std::fs::read_to_string(file).unwrap());
    let lines: Vec<&str> = match &corpus {
        Some(text) => text.lines().collect(),
        None => SAMPLE.to_vec(),
    };
    let registry = npm_setting("registry");
    let mut differences = Vec::new();
    let mut total = 0;
    for line in lines {
        let (name, request) = line.split_once('|').unwrap();
        for mode in ["local", "global"] {
            total += 1;
            let wishes = wishes(request);
            let started = std::time::Instant::now();
            let ours = ours(mode, &wishes, &registry);
            let seconds = started.elapsed().as_secs_f64();
            let theirs = theirs(name, mode, &wishes, &registry);
            let lines = difference(&ours, &theirs);
            println!("{name} {mode}: {} places, {} differences, {seconds:.1} s", ours.len(), lines.len());
            lines.iter().take(12).for_each(|line| println!("    {line}"));
            if !lines.is_empty() {
                differences.push(format!("{name} {mode}"));
            }
        }
    }
    println!("{} of {total} trees are equal", total - differences.len());
    assert!(differences.is_empty(), "not as npm: {}", differences.join(", "));
}

/// Place below the root → `name@version`; a single `error` when there is no tree.
type Answer = BTreeMap<String, String>;

fn wishes(request: &str) -> BTreeMap<String, String> {
    let split = |wish: &str| match wish.char_indices().skip(1).find(|(_, c)| *c == '@') {
        Some((at, _)) => (wish[..at].to_owned(), wish[at + 1..].to_owned()),
        None => (wish.to_owned(), "*".to_owned()),
    };
    request.split_whitespace().map(split).collect()
}

#[tokio::main]
async fn ours(mode: &str, wishes: &BTreeMap<String, String>, registry: &str) -> Answer {
    let source = Source {
        name: SourceName::parse("npm").unwrap(),
        kind: SourceKind::Npm,
        url: registry.parse().unwrap(),
        mirrors: Vec::new(),
        authorization: None,
        packages: Vec::new(),
        suites: Vec::new(),
        components: Vec::new(),
        signed_by: None,
        found_in: "npm".into(),
    };
    let mut section = NpmSection { prefix: "/g".into(), ..NpmSection::default() };
    match mode {
        "global" => section.packages = wishes.clone(),
        _ => drop(section.projects.insert("/g/lib".into(), wishes.clone())),
    }
    let http = HttpClient::new(HttpOptions::default()).unwrap();
    let request = NpmRequest { platform: Platform::LINUX_AMD64, section: &section, node_version: NODE, previous: &[] };
    match plan(&request, &[&source], &http).await {
        Ok(places) => places
            .into_iter()
            .map(|place| {
                let below = place.place.strip_prefix("/g/lib/").unwrap().to_owned();
                (below, format!("{}@{}", place.name, place.version))
            })
            .collect(),
        Err(error) => {
            println!("    {error}: {:?}", oclock::base::explain::Explain::evidence(&error));
            Answer::from([("error".into(), String::new())])
        }
    }
}

fn theirs(name: &str, mode: &str, wishes: &BTreeMap<String, String>, registry: &str) -> Answer {
    let text = match std::env::var("OCLOCK_NPM_ANSWERS") {
        Ok(directory) => std::fs::read_to_string(format!("{directory}/{name}.{mode}.json")).unwrap(),
        Err(_) => {
            let output = Command::new("node")
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/npm.mjs"))
                .args([mode, NODE])
                .args(wishes.iter().map(|(name, range)| format!("{name}={range}")))
                .env("NPM_REGISTRY", registry)
                .output()
                .expect("node is needed: it judges the answers");
            String::from_utf8(output.stdout).unwrap()
        }
    };
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let places = answer.as_object().unwrap().iter();
    places
        .map(|(place, found)| match place.as_str() {
            "error" => (place.clone(), String::new()),
            _ => (place.clone(), format!("{}@{}", text(&found["name"]), text(&found["version"]))),
        })
        .collect()
}

fn difference(ours: &Answer, theirs: &Answer) -> Vec<String> {
    let mine = ours.iter().filter(|(place, what)| theirs.get(*place) != Some(what)).map(|(p, w)| format!("+ {p} {w}"));
    let other = theirs.iter().filter(|(place, what)| ours.get(*place) != Some(what)).map(|(p, w)| format!("- {p} {w}"));
    let mut lines: Vec<String> = mine.chain(other).collect();
    lines.sort_by_key(|line| line[2..].to_owned());
    lines
}

fn npm_setting(name: &str) -> String {
    let output =
        Command::new("npm").args(["config", "get", name]).output().expect("npm is needed: it judges the answers");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
