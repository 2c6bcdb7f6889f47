//! Whether a version is affected: 1,000 made-up advisories, judged by oclock and by tests/parity/osv.py, which is the
//! schema's algorithm written down a second time, with versions compared by Python's `packaging`, dpkg and SemVer's rules.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use oclock::audit::advisory::{Package, Verdict, evaluate_record};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const CASES: usize = 1000;

const NPM: &[&str] = &[
    "0.0.1",
    "0.9.0",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.0+build.7",
    "1.0.1",
    "1.2.0",
    "1.9.9",
    "1.10.0",
    "2.0.0-0",
    "2.0.0",
    "2.0.0-x.7.z.92",
    "10.0.0",
    "3.0.0-1",
    "3.0.0-a",
    "3.0.0",
];
const PIP: &[&str] = &[
    "0.1",
    "1.0.dev1",
    "1.0a1",
    "1.0a2",
    "1.0b1",
    "1.0rc1",
    "1.0",
    "1.0.0",
    "1.0.post1",
    "1.0.post1.dev2",
    "1.0+local.1",
    "1.0.1",
    "1.1",
    "1.9",
    "1.10",
    "2!0.1",
    "2.0",
    "2.0.0.0",
    "2.0.1",
    "3",
    "2024.1",
    "1.1.dev0",
];
const APT: &[&str] = &[
    "0.1-1",
    "1.0~rc1-1",
    "1.0-0",
    "1.0",
    "1.0-1~deb13u1",
    "1.0-1",
    "1.0-1+deb13u1",
    "1.0-1+deb13u2",
    "1.0-1+b1",
    "1.0.1-1",
    "1.0a-1",
    "1.2+dfsg-1",
    "1.2-1",
    "1.10-1",
    "2.0~~-1",
    "2.0-1",
    "1:0.5-1",
    "1:0.5-1+deb13u1",
    "2:0-1",
    "3.5.1-1",
];

/// A scope, versions of it, and kinds of its ranges.
const SCOPES: &[(&str, &[&str], &[&str])] =
    &[("npm", NPM, &["SEMVER", "ECOSYSTEM"]), ("PyPI", PIP, &["ECOSYSTEM"]), ("Debian:13", APT, &["ECOSYSTEM"])];

struct Case {
    package: Value,
    version: String,
    record: Value,
}

fn case(random: &mut StdRng, number: usize) -> Case {
    let (scope, versions, kinds) = SCOPES[number % SCOPES.len()];
    let package = json!({ "ecosystem": scope, "name": "some-thing" });
    let affected: Vec<Value> = (0..random.gen_range(1..=3))
        .map(|_| {
            let about = match random.gen_range(0..10) {
                0 => json!({ "ecosystem": scope, "name": "other" }),
                1 => json!({ "ecosystem": "Debian:12", "name": "some-thing" }),
                2 if scope == "PyPI" => json!({ "ecosystem": scope, "name": "Some_Thing" }),
                _ => package.clone(),
            };
            let own = if about["ecosystem"] == "Debian:12" { (APT, &["ECOSYSTEM"][..]) } else { (versions, kinds) };
            affected(random, about, own.0, own.1)
        })
        .collect();
    let record = json!({ "id": format!("TEST-{number}"), "modified": "2026-01-02T03:04:05Z", "affected": affected });
    Case { package, version: pick(random, versions), record }
}

fn affected(random: &mut StdRng, package: Value, versions: &[&str], kinds: &[&str]) -> Value {
    let mut affected = json!({ "package": package });
    let listed: Vec<String> = (0..random.gen_range(0..4)).map(|_| pick(random, versions)).collect();
    let mut ranges: Vec<Value> = (0..random.gen_range(0..3))
        .map(|_| json!({ "type": pick(random, kinds), "events": events(random, versions) }))
        .collect();
    // A range of commits comes with a list of versions, which says it in words that can be judged.
    if !listed.is_empty() && random.gen_bool(0.2) {
        ranges.push(json!({ "type": "GIT", "repo": "x", "events": [{ "introduced": "0" }, { "fixed": "a1b2" }] }));
    }
    if !listed.is_empty() || random.gen_bool(0.5) {
        affected["versions"] = json!(listed);
    }
    if !ranges.is_empty() {
        affected["ranges"] = json!(ranges);
    }
    affected
}

/// Events in any order, of any number, with repeated versions among them.
fn events(random: &mut StdRng, versions: &[&str]) -> Vec<Value> {
    let end = if random.gen_bool(0.6) { "fixed" } else { "last_affected" };
    let mut events = Vec::new();
    for _ in 0..random.gen_range(1..=3) {
        let start = if random.gen_bool(0.4) { "0".to_owned() } else { pick(random, versions) };
        events.push(json!({ "introduced": start }));
        if random.gen_bool(0.8) {
            events.push(json!({ end: pick(random, versions) }));
        }
    }
    for _ in 0..random.gen_range(0..3) {
        if random.gen_bool(0.2) {
            let limit = if random.gen_bool(0.3) { "*".to_owned() } else { pick(random, versions) };
            events.push(json!({ "limit": limit }));
        }
    }
    events.shuffle(random);
    events
}

fn pick(random: &mut StdRng, from: &[&str]) -> String {
    (*from.choose(random).unwrap()).to_owned()
}

fn ours(case: &Case) -> &'static str {
    let text = |field: &str| case.package[field].as_str().unwrap().to_owned();
    let package = Package::new(&text("ecosystem"), &text("name")).unwrap();
    match evaluate_record(case.record.to_string().as_bytes(), &package, &case.version).unwrap() {
        Verdict::Affected { .. } => "affected",
        Verdict::NotAffected => "not-affected",
        Verdict::Unknown(why) => panic!("{}: {why}", case.record),
    }
}

fn theirs(cases: &[Case]) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/osv.py");
    let mut judge = Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = judge.stdin.take().unwrap();
    let lines: String = cases
        .iter()
        .map(|case| format!("{}\n", json!({ "package": case.package, "version": case.version, "record": case.record })))
        .collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = judge.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "tests/parity/osv.py needs python3 with packaging or pip, and dpkg");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_answer_is_that_of_the_schema() {
    let mut random = StdRng::seed_from_u64(20_261_129);
    let cases: Vec<Case> = (0..CASES).map(|number| case(&mut random, number)).collect();
    let theirs = theirs(&cases);
    assert_eq!(theirs.len(), CASES);
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut differing = Vec::new();
    for (case, judged) in cases.iter().zip(&theirs) {
        if ours(case) != judged {
            differing.push(format!("{} {}: {judged}, not {}\n{}", case.package, case.version, ours(case), case.record));
        }
        let scope = case.package["ecosystem"].as_str().unwrap().to_owned();
        *counts.entry((scope, judged.clone())).or_default() += 1;
    }
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
    assert!(counts.len() == 6 && counts.values().all(|count| *count >= 80), "the cases are one-sided: {counts:?}");
}
