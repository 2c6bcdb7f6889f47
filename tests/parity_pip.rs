//! The pip resolver against uv on a few real requests; all of them: `cargo run --example parity-pip` (tests/parity/pip.rs).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

#[path = "support/pip_parity.rs"]
mod pip_parity;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use oclock::store::Store;
use pip_parity::{judge, ours, uv, versions};

/// From tests/parity/pip.txt: the image's own, extras, an old release with what it needs, no solution.
const SAMPLE: [&str; 4] = ["image", "httpx-extras", "old-idna", "conflict"];
/// uv alone takes 10 to 15 s for the image's list where looking up names is slow, and several at once take longer.
const PATIENCE: Duration = Duration::from_secs(240);

#[test]
fn a_sample_resolves_as_uv_resolves_it() {
    let corpus = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/pip.txt")).unwrap();
    let requests: Vec<(&str, Vec<&str>)> = SAMPLE
        .iter()
        .map(|sample| {
            let line = corpus.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix('|')).unwrap();
            (*sample, line.split_whitespace().collect())
        })
        .collect();
    let (program, cache) = (uv_program(), tempfile::tempdir().unwrap());
    std::thread::scope(|scope| {
        let (program, cache) = (&program, cache.path());
        let theirs: Vec<_> =
            requests.iter().map(|(_, request)| scope.spawn(move || uv(program, cache, PATIENCE, request))).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        for ((name, request), theirs) in requests.iter().zip(theirs) {
            let mine = ours(&runtime, request, &store).map(|pins| versions(&pins));
            let verdict = judge(&mine, &theirs.join().unwrap());
            assert_eq!(verdict, None, "{name}");
            assert_eq!(mine.is_err(), *name == "conflict", "{name}");
        }
    });
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
