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

#[path = "../support/pip_parity.rs"]
mod pip_parity;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use oclock::assemble::pip::{VenvSpec, write_environment};
use oclock::base::explain::Explain;
use oclock::base::http::{HttpClient, HttpOptions, Request};
use oclock::base::tar::TarWriter;
use oclock::lock::PipPin;
use oclock::resolve::pip::{PipError, locate};
use oclock::store::Store;
use pip_parity::{LIMIT, PYTHON, index, judge, ours, uv, versions};

fn main() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
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
    let http = HttpClient::new(HttpOptions::default());
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
    let program = std::env::var("UV").unwrap_or_else(|_| "uv".to_owned());
    let (mut same, mut all) = (0, 0);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, request)) = line.split_once('|') else { continue };
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        let request: Vec<&str> = request.split_whitespace().collect();
        let (cold, uv_cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let started = Instant::now();
        let mine = ours(runtime, &request, &Store::open(cold.path()).unwrap());
        let seconds = started.elapsed().as_secs_f64();
        let mine = mine.map(|pins| versions(&pins));
        let started = Instant::now();
        let theirs = uv(Path::new(&program), uv_cache.path(), LIMIT, &request);
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

fn store() -> Store {
    Store::open(std::env::temp_dir().join("oclock-parity-pip")).unwrap()
}
