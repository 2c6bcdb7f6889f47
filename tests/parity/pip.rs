//! Holds the pip resolver against `uv pip compile` on a list of requests and says where they differ.
//!
//! ```text
//! cargo run --example parity-pip -- compare tests/parity/pip.txt [NAME…]   (uv from $UV or the PATH)
//! cargo run --example parity-pip -- resolve 'fastapi[all]' 'pydantic<2'    (-c 'openai<3' for a constraint)
//! cargo run --example parity-pip -- environment DIR 'fastapi[all]'         (DIR/venv.tar, DIR/wheels, DIR/compile; see pip-environment.sh)
//! ```
//!
//! The index is the one that pip itself would ask: PIP_INDEX_URL, or the default that `pip install --help` prints.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use oclock::assemble::pip::{VenvSpec, write_environment};
use oclock::base::explain::Explain;
use oclock::base::http::{HttpClient, HttpOptions, Request};
use oclock::base::progress::Progress;
use oclock::base::tar::TarWriter;
use oclock::lock::PipPin;
use oclock::manifest::{PipSection, SourceKind};
use oclock::model::{Platform, SourceName};
use oclock::resolve::pip::{PipError, PipRequest, locate, resolve};
use oclock::source::Source;
use oclock::store::Store;

const PYTHON: &str = "3.13.5";
const LIMIT: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &texts[..] {
        ["compare", corpus, names @ ..] => compare(&runtime, Path::new(corpus), names),
        ["resolve", request @ ..] => show(&runtime, request),
        ["environment", directory, request @ ..] => environment(&runtime, Path::new(directory), request),
        _ => eprintln!("compare CORPUS [NAME…] | resolve REQUIREMENT… [-c CONSTRAINT]…"),
    }
}

fn show(runtime: &tokio::runtime::Runtime, request: &[&str]) {
    let started = Instant::now();
    match ours(runtime, request, &store()) {
        Err(error) => print_error(&error),
        Ok(pins) => {
            for pin in &pins {
                println!(
                    "{}=={}  {}  < {}",
                    pin.name,
                    pin.version,
                    pin.artifact.path.file_name(),
                    pin.required_by.join(" ")
                );
            }
            eprintln!("{} wheels, {:.2} s", pins.len(), started.elapsed().as_secs_f64());
        }
    }
}

/// Resolves, fetches and writes the environment, beside the wheels for pip to install.
fn environment(runtime: &tokio::runtime::Runtime, directory: &Path, request: &[&str]) {
    let store = store();
    let pins = match ours(runtime, request, &store) {
        Ok(pins) => pins,
        Err(error) => {
            print_error(&error);
            std::process::exit(1);
        }
    };
    let started = Instant::now();
    runtime.block_on(fetch(&pins, &store));
    eprintln!("{} wheels fetched, {:.2} s", pins.len(), started.elapsed().as_secs_f64());
    std::fs::create_dir_all(directory.join("wheels")).unwrap();
    for pin in &pins {
        let to = directory.join("wheels").join(pin.artifact.path.file_name());
        std::fs::copy(store.blob_path(&pin.artifact.sha256), to).unwrap();
    }
    let started = Instant::now();
    let spec = VenvSpec { path: "/opt/venv", python: (3, 13), python_version: PYTHON, executable: "/usr/bin/python3" };
    let file = std::io::BufWriter::new(std::fs::File::create(directory.join("venv.tar")).unwrap());
    let mut writer = TarWriter::new(file, 1_700_000_000);
    match write_environment(&spec, &pins.iter().collect::<Vec<_>>(), &store, &mut writer) {
        Ok(tree) => std::fs::write(directory.join("compile"), tree.compile.join("\0")).unwrap(),
        Err(error) => {
            println!("error: {error}");
            error.evidence().iter().for_each(|line| println!("  {line}"));
            std::process::exit(1);
        }
    }
    writer.finish().unwrap();
    eprintln!("environment written, {:.2} s", started.elapsed().as_secs_f64());
}

async fn fetch(pins: &[PipPin], store: &Store) {
    let http = HttpClient::new(HttpOptions::default()).unwrap();
    let source = index();
    let missing = pins.iter().filter(|pin| !store.contains(&pin.artifact.sha256));
    futures::future::join_all(missing.map(|pin| {
        let (http, source) = (&http, &source);
        async move {
            let url = locate(&pin.artifact, source, http).await.unwrap();
            let answer = http.fetch(Request::get(url).limit(pin.artifact.size)).await.unwrap();
            let mut blob = store.create_blob().unwrap();
            blob.write_all(&answer.body).unwrap();
            blob.commit(Some(&pin.artifact.sha256)).unwrap();
        }
    }))
    .await;
}

fn print_error(error: &PipError) {
    println!("error: {error}");
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        println!("because: {inner}");
        cause = inner.source();
    }
    error.evidence().iter().for_each(|line| println!("  {line}"));
    error.notes().iter().for_each(|line| println!("note: {line}"));
    error.hints().iter().for_each(|line| println!("hint: {line}"));
}

fn compare(runtime: &tokio::runtime::Runtime, corpus: &Path, names: &[&str]) {
    let text = std::fs::read_to_string(corpus).unwrap();
    let (mut same, mut all) = (0, 0);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, request)) = line.split_once('|') else { continue };
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        let request: Vec<&str> = request.split_whitespace().collect();
        let cold = tempfile::tempdir().unwrap();
        let started = Instant::now();
        let mine = ours(runtime, &request, &Store::open(cold.path()).unwrap());
        let seconds = started.elapsed().as_secs_f64();
        let mine = mine.map(|pins| versions(&pins));
        let started = Instant::now();
        let theirs = uv(&request);
        let verdict = judge(&mine, &theirs);
        all += 1;
        same += usize::from(verdict.is_none());
        let size = mine.as_ref().map_or(0, BTreeMap::len);
        println!(
            "{:4} {name:20} {size:4} wheels  ours {seconds:6.2} s  uv {:6.2} s",
            if verdict.is_none() { "same" } else { "DIFF" },
            started.elapsed().as_secs_f64()
        );
        for line in verdict.iter().flatten() {
            println!("       {line}");
        }
    }
    println!("{same} of {all} like uv");
}

fn judge(
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
            let names: std::collections::BTreeSet<_> = mine.keys().chain(theirs.keys()).collect();
            let differing = names.into_iter().filter(|name| mine.get(*name) != theirs.get(*name));
            Some(
                differing.map(|name| format!("{name}: ours {:?}, uv {:?}", mine.get(name), theirs.get(name))).collect(),
            )
        }
    }
}

fn versions(pins: &[PipPin]) -> BTreeMap<String, String> {
    pins.iter().map(|pin| (pin.name.to_string(), pin.version.to_string())).collect()
}

fn store() -> Store {
    Store::open(std::env::temp_dir().join("oclock-parity-pip")).unwrap()
}

fn section(request: &[&str]) -> PipSection {
    let mut section = PipSection { path: "/opt/venv".to_owned(), ..PipSection::default() };
    let mut rest = request.iter();
    while let Some(text) = rest.next() {
        match *text {
            "-c" => section.constraints.extend(rest.next().map(|text| (*text).to_owned())),
            text => section.packages.push(text.to_owned()),
        }
    }
    section
}

fn ours(runtime: &tokio::runtime::Runtime, request: &[&str], store: &Store) -> Result<Vec<PipPin>, PipError> {
    let section = section(request);
    let request =
        PipRequest { platform: Platform::LINUX_AMD64, section: &section, python_version: PYTHON, glibc: (2, 41) };
    let http = HttpClient::new(HttpOptions::default()).unwrap();
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
fn index() -> Source {
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

fn uv(request: &[&str]) -> Result<BTreeMap<String, String>, String> {
    let directory = tempfile::tempdir().unwrap();
    let section = section(request);
    let write = |name: &str, lines: &[String]| {
        let path = directory.path().join(name);
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    };
    let (input, limits) = (write("in.txt", &section.packages), write("limits.txt", &section.constraints));
    let uv = std::env::var("UV").unwrap_or_else(|_| "uv".to_owned());
    let output = Command::new("timeout")
        .arg(LIMIT.as_secs().to_string())
        .args([&uv, "pip", "compile", "--no-cache", "--no-header", "--no-annotate", "--only-binary", ":all:", "-q"])
        .args(["--python-platform", "x86_64-manylinux_2_40", "--python-version", PYTHON])
        .arg("--constraints")
        .arg(limits)
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
    let text = String::from_utf8(output.stdout).unwrap();
    Ok(text
        .lines()
        .filter_map(|line| line.trim().split_once("=="))
        .map(|(name, version)| (name.to_owned(), version.split([' ', ';']).next().unwrap().to_owned()))
        .collect())
}
