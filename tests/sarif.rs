//! SARIF logs are valid by the official schema of SARIF 2.1.0, as an npm package of the standard's editors ships it, judged
//! by Python's jsonschema.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use support::advisories::{advisory, harmless, write};
use support::project::Project;
use support::registries::Registries;

const PACKAGE: &str = "@microsoft/jest-sarif@1.0.0-beta.0";

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The interpreter with jsonschema, and the schema; fetched once.
fn judge() -> (PathBuf, PathBuf) {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sarif");
    fs::create_dir_all(&place).unwrap();
    let lock = File::create(place.join("lock")).unwrap();
    lock.lock().unwrap();
    let (python, schema) = (place.join("python/bin/python"), place.join("schema.json"));
    if !schema.is_file() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(place.join("python")));
        run(Command::new(&python).args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "jsonschema"]));
        let packed = run(Command::new("npm").args(["pack", "--silent", PACKAGE]).current_dir(&place));
        run(Command::new("tar").arg("xzf").arg(packed.trim()).current_dir(&place));
        fs::rename(place.join("package/lib/schemas/sarif-2.1.0-rtm.5.json"), &schema).unwrap();
    }
    (python, schema)
}

fn complaints(log: &str) -> String {
    let (python, schema) = judge();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log.sarif");
    fs::write(&file, log).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/sarif.py");
    run(Command::new(python).arg(script).arg(schema).arg(file))
}

#[test]
fn what_audit_writes_is_valid_sarif() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    write(&project, &harmless());
    let log = |options: &[&str]| {
        let fixed = ["--quiet", "--format", "sarif", "audit", "--advisories", "advisories"];
        project.run(&[&fixed[..], options].concat()).stdout
    };
    let nothing = log(&[]);
    assert_eq!(complaints(&nothing), "");
    write(&project, &[advisory("CVE-1", "npm", "shout", Some("3.0.0")), advisory("CVE-2", "PyPI", "sums", None)]);
    let manifest = project.read("oclock.toml");
    let policy = "\n[policy]\nsources = [\"npm\"]\nkeep-evidence = true\nunfixed-advisories = \"warning\"\n";
    let waiver = |subject: &str, end: &str| {
        format!(
            "[[policy.waivers]]\nrule = \"advisory\"\nsubject = \"{subject}\"\nreason = \"known\"\nexpires = {end}\n"
        )
    };
    let waivers = [waiver("npm:shout CVE-1", "2999-01-01"), waiver("npm:nobody CVE-1", "2999-01-01")].concat();
    project.write("oclock.toml", format!("{manifest}{policy}{waivers}"));
    let full = log(&["--signatures"]);
    let parsed: Value = serde_json::from_str(&full).unwrap();
    let results = parsed["runs"][0]["results"].as_array().unwrap();
    assert!(results.iter().any(|result| result["suppressions"][0]["justification"] == "known"), "{full}");
    assert!(results.iter().any(|result| result["locations"][0]["physicalLocation"]["region"]["startLine"].is_u64()));
    assert_eq!(complaints(&full), "");
    // A judge that takes everything would be none.
    assert_ne!(complaints(&full.replacen("\"ruleId\"", "\"rule\"", 1)), "");
}
