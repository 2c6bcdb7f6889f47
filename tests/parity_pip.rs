//! The pip resolver against uv on a few real requests; on all of tests/parity/pip.txt with `make parity`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test program")]

#[path = "support/parity.rs"]
mod parity;
#[path = "support/pip_parity.rs"]
mod pip_parity;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use oclock::store::Store;
use pip_parity::{LIMIT, judge, ours, uv, versions};

/// From tests/parity/pip.txt: the image's own, extras, an old release with what it needs, no solution.
const SAMPLE: [&str; 4] = ["image", "httpx-extras", "old-idna", "conflict"];
/// How many runs of uv there are at once.
const JUDGES: usize = 4;

#[test]
fn requests_resolve_as_uv_resolves_them() {
    let is_sampled = |line: &String| parity::is_whole() || SAMPLE.contains(&line.split('|').next().unwrap());
    let lines: Vec<String> = parity::lines("pip").into_iter().filter(is_sampled).collect();
    let split = |line: &'static str| {
        let (name, request) = line.split_once('|').unwrap();
        (name, request.split_whitespace().collect::<Vec<_>>())
    };
    let requests: Vec<(&str, Vec<&str>)> = lines.into_iter().map(|line| split(line.leak())).collect();
    let (program, cache) = (uv_program(), tempfile::tempdir().unwrap());
    let answers: Vec<OnceLock<_>> = requests.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let mut tally = parity::Tally::new("pip", "sets of pins");
    std::thread::scope(|scope| {
        for _ in 0..JUDGES {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((name, request)) = requests.get(at) else { break };
                    let answer = recalled(name).unwrap_or_else(|| uv(&program, cache.path(), LIMIT, request));
                    assert!(answers[at].set(answer).is_ok());
                }
            });
        }
        for ((name, request), theirs) in requests.iter().zip(&answers) {
            let mine = ours(&runtime, request, &store).map(|pins| versions(&pins));
            if let (Err(error), Err(_)) = (&mine, theirs.wait()) {
                tally.add_refusal(name, &error.to_string());
            }
            tally.add(name, &judge(&mine, theirs.wait()).unwrap_or_default());
            assert!(*name != "conflict" || mine.is_err(), "an answer to what has none");
        }
    });
    tally.finish();
}

/// An answer of before: OCLOCK_PIP_ANSWERS is a directory with what uv printed, or `error: …`.
fn recalled(name: &str) -> Option<Result<BTreeMap<String, String>, String>> {
    let text = std::fs::read_to_string(Path::new(&std::env::var_os("OCLOCK_PIP_ANSWERS")?).join(name)).ok()?;
    Some(if text.starts_with("error") { Err(text) } else { Ok(pip_parity::parse_pins(&text)) })
}

/// uv from $UV or the PATH, else one that pip fetches once into the target directory.
fn uv_program() -> PathBuf {
    let named = std::env::var_os("UV").map_or_else(|| PathBuf::from("uv"), PathBuf::from);
    if Command::new(&named).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return named;
    }
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).join("uv");
    let program = own.join("bin/uv");
    if !program.is_file() {
        let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
        run(Command::new("python3").args(["-m", "venv"]).arg(&own));
        run(Command::new(own.join("bin/pip")).args(["install", "-q", "--disable-pip-version-check", "uv"]));
    }
    program
}
