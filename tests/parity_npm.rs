//! The real npm as judge: the same packages in the same places.
//!
//! A sample runs with the other tests and needs npm and its registry; all of tests/parity/npm.txt with `make parity`. The judge is
//! the newest npm, which this fetches once into the target directory, with a Node that it runs on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test program")]

#[path = "support/npm_judge.rs"]
mod npm_judge;
#[path = "support/parity.rs"]
mod parity;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use npm_judge::{Judge, NODE, npm};
use oclock::assemble::npm::write_trees;
use oclock::base::http::{HttpClient, HttpOptions};
use oclock::base::progress::Progress;
use oclock::base::tar::TarWriter;
use oclock::manifest::{NpmOverride, NpmSection, SourceKind};
use oclock::model::{Architecture, Platform, SourceName};
use oclock::resolve::npm::{NpmRequest, plan, resolve};
use oclock::source::Source;
use oclock::store::Store;

/// From tests/parity/npm.txt.
const SAMPLE: &[&str] = &["opencode", "peers", "alias-deps", "override-flat"];
/// How many npm processes run at once.
const JUDGES: usize = 4;

#[test]
fn trees_are_those_of_npm() {
    let is_sampled = |line: &String| SAMPLE.contains(&line.split('|').next().unwrap());
    let lines = parity::lines("npm");
    let lines: Vec<String> = match parity::is_whole() {
        true => lines,
        false => lines.into_iter().filter(is_sampled).collect(),
    };
    let requests: Vec<Wanted> = lines.iter().flat_map(|line| Wanted::parse(line)).collect();
    let (fresh, registry) = (Judge::ready(), npm(&["config", "get", "registry"]));
    let cache = tempfile::tempdir().unwrap();
    let judge = if parity::is_whole() { fresh.with_cache(cache.path()) } else { fresh.clone() };
    let answers: Vec<OnceLock<Answer>> = requests.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let mut tally = parity::Tally::new("npm", "trees");
    std::thread::scope(|scope| {
        for _ in 0..JUDGES {
            scope.spawn(|| {
                while let Some(wanted) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let at = requests.iter().position(|other| std::ptr::eq(other, wanted)).unwrap();
                    answers[at].set(theirs(&judge, wanted)).unwrap();
                }
            });
        }
        for (wanted, theirs) in requests.iter().zip(&answers) {
            let (mut mine, mut other) = (ours(wanted, &registry), theirs.wait().clone());
            if !difference(&mine, &other).is_empty() {
                // The registry may have moved between the two.
                (mine, other) = (ours(wanted, &registry), ask(&fresh, wanted));
            }
            if let (Some(why), true) = (mine.get("error"), other.contains_key("error")) {
                tally.add_refusal(&wanted.name, why);
            }
            let mut lines = difference(&mine, &other);
            if !lines.is_empty() && !mine.contains_key("error") && wanted.mode == "local" {
                let verdict = judge.run("npm-ls.mjs", &arguments(wanted), &serde_json::to_string(&mine).unwrap());
                lines.insert(0, format!("by `npm ls`: {}", verdict.trim()));
            }
            tally.add(&wanted.name, &lines);
        }
    });
    tally.finish();
}

/// One request of the corpus, in one of npm's two ways.
struct Wanted {
    /// With the way, as explained.txt names it.
    name: String,
    mode: &'static str,
    platform: Platform,
    packages: BTreeMap<String, String>,
    overrides: serde_json::Value,
}

impl Wanted {
    /// `name|request request…|arm64 overrides={…}`; overrides are of a project alone, since `npm install -g` knows none.
    fn parse(line: &str) -> Vec<Self> {
        let fields: Vec<&str> = line.split('|').collect();
        let (name, packages) = (fields[0], line[fields[0].len() + 1..].to_owned());
        let (request, options) = match packages.rsplit_once('|') {
            Some((request, options)) if options.starts_with("arm64") || options.starts_with("overrides=") => {
                (request.to_owned(), options.to_owned())
            }
            _ => (packages, String::new()),
        };
        let overrides = options.split(' ').find_map(|option| option.strip_prefix("overrides="));
        let modes: &[&str] = if overrides.is_some() { &["local"] } else { &["local", "global"] };
        let architecture = if options.starts_with("arm64") { Architecture::Arm64 } else { Architecture::Amd64 };
        let wanted = modes.iter().map(|mode| Self {
            name: format!("{name}.{mode}"),
            mode,
            platform: Platform { architecture },
            packages: wishes(&request),
            overrides: overrides.map_or_else(|| serde_json::json!({}), |text| serde_json::from_str(text).unwrap()),
        });
        wanted.collect()
    }
}

/// A JSON object of overrides as the manifest has them.
fn overrides_of(value: &serde_json::Value) -> Vec<NpmOverride> {
    let entries = value.as_object().unwrap().iter().filter(|(key, _)| *key != ".");
    let text = |value: Option<&serde_json::Value>| value.and_then(|value| Some(value.as_str()?.to_owned()));
    entries
        .map(|(key, value)| match value.is_object() {
            true => NpmOverride { key: key.clone(), wanted: text(value.get(".")), below: overrides_of(value) },
            false => NpmOverride { key: key.clone(), wanted: text(Some(value)), below: Vec::new() },
        })
        .collect()
}

/// Every file, mode and link of a project and of global packages, laid out by us and by npm.
///
/// `OCLOCK_NPM_GLOBAL=NAME` and `OCLOCK_NPM_PROJECT=NAME` compare other packages (a space between several).
#[test]
fn files_are_those_of_npm() {
    let wanted = |variable: &str, default: &str| wishes(&std::env::var(variable).unwrap_or(default.into()));
    let registry = npm(&["config", "get", "registry"]);
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
    let http = HttpClient::new(HttpOptions::default());
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
    let pins: Vec<_> = pins.iter().collect();
    let tree = write_trees(section, &pins, |_| true, &store, &mut writer).unwrap();
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
        Some((at, _)) => (wish[..at].to_owned(), wish[at + 1..].replace('_', " ")),
        None => (wish.to_owned(), "*".to_owned()),
    };
    request.split_whitespace().map(split).collect()
}

#[tokio::main]
async fn ours(wanted: &Wanted, registry: &str) -> Answer {
    let source = source(registry);
    let mut section = NpmSection { prefix: "/g".into(), ..NpmSection::default() };
    section.overrides = overrides_of(&wanted.overrides);
    match wanted.mode {
        "global" => section.packages = wanted.packages.clone(),
        _ => drop(section.projects.insert("/g/lib".into(), wanted.packages.clone())),
    }
    let http = HttpClient::new(HttpOptions::default());
    let request = NpmRequest {
        platform: wanted.platform,
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
            let evidence = oclock::base::explain::Explain::evidence(&error).join("; ");
            Answer::from([("error".into(), format!("{error}: {evidence}"))])
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

fn arguments(wanted: &Wanted) -> Vec<String> {
    let cpu = wanted.platform.architecture.node_cpu();
    let fixed = [wanted.mode, NODE, cpu].map(str::to_owned).to_vec();
    let packages = wanted.packages.iter().map(|(name, range)| format!("{name}={range}"));
    [fixed, vec![wanted.overrides.to_string()], packages.collect()].concat()
}

/// Place below the root → `name@version`. Where OCLOCK_NPM_ANSWERS names a directory, answers are kept there and not asked for
/// again: a run that was broken off goes on where it was.
fn theirs(judge: &Judge, wanted: &Wanted) -> Answer {
    let Ok(directory) = std::env::var("OCLOCK_NPM_ANSWERS") else { return ask(judge, wanted) };
    let file = Path::new(&directory).join(format!("{}.json", wanted.name));
    if let Ok(text) = std::fs::read_to_string(&file) {
        return serde_json::from_str(&text).unwrap();
    }
    let answer = ask(judge, wanted);
    std::fs::write(file, serde_json::to_string(&answer).unwrap()).unwrap();
    answer
}

fn ask(judge: &Judge, wanted: &Wanted) -> Answer {
    let text = judge.run("npm.mjs", &arguments(wanted), "");
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(error) = answer.get("error").filter(|error| error.is_string()) {
        return Answer::from([("error".into(), format!("{}: {}", text(error), text(&answer["message"])))]);
    }
    let places = answer.as_object().unwrap().iter();
    places
        .map(|(place, found)| (place.clone(), format!("{}@{}", text(&found["name"]), text(&found["version"]))))
        .collect()
}

/// Two refusals are the same answer.
fn difference(ours: &Answer, theirs: &Answer) -> Vec<String> {
    if ours.contains_key("error") && theirs.contains_key("error") {
        return Vec::new();
    }
    let mine = ours.iter().filter(|(place, what)| theirs.get(*place) != Some(what)).map(|(p, w)| format!("+ {p} {w}"));
    let other = theirs.iter().filter(|(place, what)| ours.get(*place) != Some(what)).map(|(p, w)| format!("- {p} {w}"));
    let mut lines: Vec<String> = mine.chain(other).collect();
    lines.sort_by_key(|line| line[2..].to_owned());
    lines
}
