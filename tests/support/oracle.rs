//! Programs from the Python index that judge what oclock writes, in an environment of their own below `target/`.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `tests/oracles/attest.py` needs.
const PACKAGES: &[&str] = &[
    "cyclonedx-python-lib[json-validation]==11.12.0",
    "in-toto-attestation==0.9.3",
    "lib4sbom==0.10.4",
    "packageurl-python==0.17.6",
    "protobuf>=4,<8",
    "spdx-tools==0.8.5",
];

/// An interpreter with these packages; made once, by whichever test comes first.
pub fn python(name: &str, packages: &[&str]) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oracles");
    fs::create_dir_all(&place).unwrap();
    let lock = File::create(place.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let environment = place.join(name);
    let (python, mark) = (environment.join("bin/python"), environment.join("packages"));
    let wanted = packages.join("\n");
    if fs::read_to_string(&mark).ok().as_deref() != Some(&wanted) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(packages));
        fs::write(&mark, wanted).unwrap();
    }
    python
}

/// What the judge of this kind says of the files: nothing when they are right.
pub fn judge(kind: &str, files: &[PathBuf]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracles/attest.py");
    let output = Command::new(python("attest", PACKAGES)).arg(script).arg(kind).args(files).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.success(), said.is_empty(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Runs a program that must succeed, and gives what it says.
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// uv from $UV or the PATH, else one that pip fetches once into the target directory.
pub fn uv_program() -> PathBuf {
    let named = std::env::var_os("UV").map_or_else(|| PathBuf::from("uv"), PathBuf::from);
    if Command::new(&named).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return named;
    }
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).join("uv");
    let program = own.join("bin/uv");
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("uv.lock")).unwrap();
    lock.lock().unwrap();
    if !program.is_file() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&own));
        run(Command::new(own.join("bin/pip")).args(["install", "-q", "--disable-pip-version-check", "uv"]));
    }
    program
}
