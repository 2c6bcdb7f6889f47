//! The real npm as judge: the same packages in the same places.
//!
//! The sample runs with the other tests and needs npm and its registry. `OCLOCK_NPM_CORPUS=FILE` (lines `name|request request…`)
//! compares all of a file instead and prints the agreement.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test program")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use oclock::assemble::npm::write_tree;
use oclock::base::http::{HttpClient, HttpOptions};
use oclock::base::progress::Progress;
use oclock::base::tar::TarWriter;
use oclock::manifest::{NpmSection, SourceKind};
use oclock::model::{Platform, SourceName};
use oclock::resolve::npm::{NpmRequest, plan, resolve};
use oclock::source::Source;
use oclock::store::Store;

const NODE: &str = "20.20.2";
const SAMPLE: &[&str] = &[
    "opencode|opencode-ai @opencode-ai/plugin",
    "peers|eslint@8.57 eslint-plugin-import@2.29 typescript@5",
    "aliases|ansi-regex@5 strip-ansi@npm:strip-ansi@^7",
];

#[test]
fn trees_are_those_of_npm() {
    let corpus = std::env::var("OCLOCK_NPM_CORPUS").ok().map(|file| std::fs::read_to_string(file).unwrap());
    let lines: Vec<&str> = match &corpus {
        Some(text) => text.lines().collect(),
        None => SAMPLE.to_vec(),
    };
    let (registry, modules, cache) = (npm_setting("registry"), npm(&["root", "-g"]), npm_setting("cache"));
    let settings =
        [("NPM_REGISTRY", registry.clone()), ("NPM_MODULES", format!("{modules}/npm")), ("NPM_CACHE", cache)];
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
            let theirs = theirs(name, mode, &wishes, &settings);
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

/// Every file, mode and link of a project and of global packages, laid out by us and by npm.
///
/// `OCLOCK_NPM_GLOBAL=NAME` and `OCLOCK_NPM_PROJECT=NAME` compare other packages (a space between several).
#[test]
fn files_are_those_of_npm() {
    let wanted = |variable: &str, default: &str| wishes(&std::env::var(variable).unwrap_or(default.into()));
    let registry = npm_setting("registry");
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let (theirs, ours) = (root.join("npm"), root.join("oclock"));
    let global = wanted("OCLOCK_NPM_GLOBAL", "semver@7 acorn@8");
    let project = wanted("OCLOCK_NPM_PROJECT", "@opencode-ai/plugin@1.18.33");

    std::fs::create_dir_all(theirs.join("project")).unwrap();
    let manifest = serde_json::json!({ "dependencies": project });
    std::fs::write(theirs.join("project/package.json"), serde_json::to_string_pretty(&manifest).unwrap() + "\n")
        .unwrap();
    let names = global.iter().map(|(name, range)| format!("{name}@{range}"));
    npm_install(&theirs.join("project"), &registry, &[]);
    npm_install(
        &theirs,
        &registry,
        &[["-g", "--prefix", "global"].map(String::from).to_vec(), names.collect()].concat(),
    );

    let section = NpmSection {
        packages: global,
        prefix: "/global".into(),
        projects: BTreeMap::from([("/project".into(), project)]),
        ..NpmSection::default()
    };
    std::fs::create_dir(&ours).unwrap();
    let tar = root.join("tree.tar");
    lay_out(&section, &registry, &root.join("store"), &tar);
    assert!(Command::new("tar").arg("-xpf").arg(&tar).arg("-C").arg(&ours).status().unwrap().success());

    // npm's package-lock.json also lists what does not run on the target; the hidden one does not.
    let mut differences = Vec::new();
    let (mine, other) = (listing(&ours), listing(&theirs));
    for (path, entry) in &other {
        if mine.get(path) != Some(entry) && path != "project/package-lock.json" {
            differences.push(format!("- {path} {} / {:?}", entry.0, mine.get(path).map(|(kind, _)| kind)));
        }
    }
    differences.extend(mine.keys().filter(|path| !other.contains_key(*path)).map(|path| format!("+ {path}")));
    println!("{} entries", other.len());
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
    for (place, arguments) in [("project", vec!["ls", "--all"]), ("", vec!["ls", "-g", "--all", "--prefix", "global"])]
    {
        let output = Command::new("npm").args(arguments).current_dir(ours.join(place)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn npm_install(directory: &Path, registry: &str, arguments: &[String]) {
    let output = Command::new("npm")
        .args([
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--omit-lockfile-registry-resolved",
            "--registry",
            registry,
        ])
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::main]
async fn lay_out(section: &NpmSection, registry: &str, store: &Path, tar: &Path) {
    let source = source(registry);
    let http = HttpClient::new(HttpOptions::default()).unwrap();
    let store = Store::open(store).unwrap();
    let request = NpmRequest {
        platform: Platform::LINUX_AMD64,
        section,
        node_version: NODE,
        previous: &[],
        as_of: None,
        keep: None,
    };
    let started = std::time::Instant::now();
    let pins = resolve(&request, &[&source], &http, &store, &Progress::hidden()).await.unwrap();
    println!("resolved in {:.1} s", started.elapsed().as_secs_f64());
    let again = NpmRequest { previous: &pins, ..request };
    let empty = Store::open(store.root().join("other")).unwrap();
    assert_eq!(resolve(&again, &[&source], &http, &empty, &Progress::hidden()).await.unwrap(), pins);
    assert_eq!(empty.blobs().unwrap(), [], "what is locked already is not fetched again");
    let started = std::time::Instant::now();
    let mut writer = TarWriter::new(std::io::BufWriter::new(std::fs::File::create(tar).unwrap()), 1_700_000_000);
    let tree = write_tree(section, &pins.iter().collect::<Vec<_>>(), &store, &mut writer).unwrap();
    writer.finish().unwrap();
    println!("laid out in {:.1} s: {tree:#?}", started.elapsed().as_secs_f64());
}

/// Path → kind with mode, and content or target.
fn listing(root: &Path) -> BTreeMap<String, (String, Vec<u8>)> {
    let mut entries = BTreeMap::new();
    let mut queue = vec![root.to_owned()];
    while let Some(directory) = queue.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let mode = meta.permissions().mode() & 0o7777;
            let entry = if meta.is_symlink() {
                ("link".into(), std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes())
            } else if meta.is_dir() {
                queue.push(path);
                (format!("directory {mode:o}"), Vec::new())
            } else {
                (format!("file {mode:o}"), std::fs::read(&path).unwrap())
            };
            entries.insert(name, entry);
        }
    }
    entries
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
    let source = source(registry);
    let mut section = NpmSection { prefix: "/g".into(), ..NpmSection::default() };
    match mode {
        "global" => section.packages = wishes.clone(),
        _ => drop(section.projects.insert("/g/lib".into(), wishes.clone())),
    }
    let http = HttpClient::new(HttpOptions::default()).unwrap();
    let request = NpmRequest {
        platform: Platform::LINUX_AMD64,
        section: &section,
        node_version: NODE,
        previous: &[],
        as_of: None,
        keep: None,
    };
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

fn source(registry: &str) -> Source {
    Source {
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
    }
}

fn theirs(name: &str, mode: &str, wishes: &BTreeMap<String, String>, settings: &[(&str, String)]) -> Answer {
    let text = match std::env::var("OCLOCK_NPM_ANSWERS") {
        Ok(directory) => std::fs::read_to_string(format!("{directory}/{name}.{mode}.json")).unwrap(),
        Err(_) => {
            let output = Command::new("node")
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/npm.mjs"))
                .args([mode, NODE])
                .args(wishes.iter().map(|(name, range)| format!("{name}={range}")))
                .envs(settings.iter().cloned())
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
    npm(&["config", "get", name])
}

fn npm(arguments: &[&str]) -> String {
    let output = Command::new("npm").args(arguments).output().expect("npm is needed: it judges the answers");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
