//! The pip resolver and `uv pip compile` on one request, and what tells their answers apart.
//!
//! The index is the one that pip itself would ask: PIP_INDEX_URL, or the default that `pip install --help` prints.
#![allow(dead_code, reason = "each program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use oclock::base::explain::Explain;
use oclock::base::http::{HttpClient, HttpOptions};
use oclock::base::progress::Progress;
use oclock::lock::PipPin;
use oclock::manifest::{PipSection, SourceKind};
use oclock::model::{Architecture, Platform, SourceName};
use oclock::resolve::pip::{PipError, PipRequest, resolve};
use oclock::source::Source;
use oclock::store::Store;

pub const PYTHON: &str = "3.13.5";
/// For one answer; on a busy machine some take minutes.
pub const LIMIT: Duration = Duration::from_secs(600);

pub fn judge(
    mine: &Result<BTreeMap<String, String>, PipError>,
    theirs: &Result<BTreeMap<String, String>, String>,
) -> Option<Vec<String>> {
    match (mine, theirs) {
        (Ok(mine), Ok(theirs)) if mine == theirs => None,
        (Err(_), Err(uv)) if !uv.contains("time limit") => None,
        (Err(mine), Err(uv)) => Some(vec![format!("ours: {mine}"), format!("uv: {uv}")]),
        (Err(error), Ok(theirs)) => {
            let mut lines = vec![format!("ours: {error}; uv has {} packages", theirs.len())];
            lines.extend(error.evidence());
            lines.extend(error.notes());
            Some(lines)
        }
        (Ok(_), Err(error)) => Some(vec![format!("uv: {}", error.lines().take(6).collect::<Vec<_>>().join(" / "))]),
        (Ok(mine), Ok(theirs)) => {
            let names: BTreeSet<_> = mine.keys().chain(theirs.keys()).collect();
            let differing = names.into_iter().filter(|name| mine.get(*name) != theirs.get(*name));
            Some(
                differing.map(|name| format!("{name}: ours {:?}, uv {:?}", mine.get(name), theirs.get(name))).collect(),
            )
        }
    }
}

pub fn versions(pins: &[PipPin]) -> BTreeMap<String, String> {
    pins.iter().map(|pin| (pin.name.to_string(), pin.version.to_string())).collect()
}

/// A request of the corpus: requirements, `-c CONSTRAINT`, `-o OVERRIDE`, `--python VERSION`, `--arm64`.
pub struct Wanted {
    pub section: PipSection,
    pub python: String,
    pub architecture: Architecture,
}

impl Wanted {
    pub fn parse(request: &[&str]) -> Self {
        let section = PipSection { path: "/opt/venv".to_owned(), ..PipSection::default() };
        let mut wanted = Self { section, python: PYTHON.to_owned(), architecture: Architecture::Amd64 };
        let mut rest = request.iter();
        while let Some(text) = rest.next() {
            let mut value = || (*rest.next().unwrap()).to_owned();
            match *text {
                "-c" => wanted.section.constraints.push(value()),
                "-o" => wanted.section.overrides.push(value()),
                "--python" => wanted.python = value(),
                "--arm64" => wanted.architecture = Architecture::Arm64,
                text => wanted.section.packages.push(text.to_owned()),
            }
        }
        wanted
    }
}

pub fn ours(runtime: &tokio::runtime::Runtime, request: &[&str], store: &Store) -> Result<Vec<PipPin>, PipError> {
    let wanted = Wanted::parse(request);
    let request = PipRequest {
        wished: &[],
        built: &BTreeMap::new(),
        platform: Platform { architecture: wanted.architecture },
        section: &wanted.section,
        python_version: &wanted.python,
        glibc: (2, 41),
        as_of: None,
        keep: None,
    };
    let http = HttpClient::new(HttpOptions::default());
    let source = index();
    runtime.block_on(async {
        let (sources, progress) = ([&source], Progress::hidden());
        let work = resolve(&request, &sources, &http, store, &progress);
        match tokio::time::timeout(LIMIT, work).await {
            Ok(result) => result,
            Err(_) => {
                Err(PipError::NoSolution { facts: vec!["ran into the time limit".to_owned()], notes: Vec::new() })
            }
        }
    })
}

/// The index that pip on this machine asks.
pub fn index() -> Source {
    static FOUND: OnceLock<Source> = OnceLock::new();
    FOUND.get_or_init(find_index).clone()
}

fn find_index() -> Source {
    let url = std::env::var("PIP_INDEX_URL").ok().unwrap_or_else(|| {
        let help =
            Command::new("python3").args(["-m", "pip", "install", "--help"]).env("COLUMNS", "500").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let after = help.split("--index-url").nth(1).unwrap().split("(default").nth(1).unwrap();
        after.trim().split(')').next().unwrap().to_owned()
    });
    let url = url::Url::parse(&format!("{}/", url.trim_end_matches('/'))).unwrap();
    Source {
        name: SourceName::parse("pypi").unwrap(),
        kind: SourceKind::Pip,
        url,
        mirrors: Vec::new(),
        authorization: None,
        packages: Vec::new(),
        suites: Vec::new(),
        components: Vec::new(),
        signed_by: None,
        found_in: "pip".to_owned(),
    }
}

/// What uv chooses. `uv` is the program, `cache` a directory that several runs may share.
pub fn uv(uv: &Path, cache: &Path, limit: Duration, request: &[&str]) -> Result<BTreeMap<String, String>, String> {
    let directory = tempfile::tempdir().unwrap();
    let Wanted { section, python, architecture } = Wanted::parse(request);
    let write = |name: &str, lines: &[String]| {
        let path = directory.path().join(name);
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    };
    let (input, limits) = (write("in.txt", &section.packages), write("limits.txt", &section.constraints));
    let overrides = write("overrides.txt", &section.overrides);
    let output = Command::new("timeout")
        .arg(limit.as_secs().to_string())
        .arg(uv)
        .args(["pip", "compile", "--no-header", "--no-annotate", "--only-binary", ":all:", "-q"])
        .args(["--python-platform", &format!("{}-manylinux_2_40", architecture.machine()), "--python-version", &python])
        .arg("--cache-dir")
        .arg(cache)
        .arg("--constraints")
        .arg(limits)
        .arg("--overrides")
        .arg(overrides)
        .arg(input)
        .env_remove("PIP_FIND_LINKS")
        .output()
        .unwrap();
    if output.status.code() == Some(124) {
        return Err("time limit".to_owned());
    }
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(parse_pins(&String::from_utf8(output.stdout).unwrap()))
}

/// `name==version`, one a line.
pub fn parse_pins(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim().split_once("=="))
        .map(|(name, version)| (name.to_owned(), version.split([' ', ';']).next().unwrap().to_owned()))
        .collect()
}
