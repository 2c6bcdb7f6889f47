//! `oclock audit --signatures` and `--challenge` with the real program, against registries on loopback that sign with keys of
//! this test, or not, or wrongly.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oclock::lock::{Lockfile, parse_lockfile};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey;
use serde_json::{Value, json};

use support::advisories::{harmless, write};
use support::project::{Answer, Project};
use support::registries::Registries;

const UNAVAILABLE: &str = "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

fn bench() -> (Registries, Project) {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    write(&project, &harmless());
    (registries, project)
}

fn audit(project: &Project, options: &[&str]) -> (Answer, Value) {
    let answer =
        project.run(&[&["--quiet", "--format", "json", "audit", "--advisories", "advisories"], options].concat());
    let outcome = serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    (answer, outcome)
}

fn findings(outcome: &Value) -> Vec<String> {
    let findings = outcome["findings"].as_array().unwrap().iter();
    findings.map(|f| format!("{} {}", f["rule"].as_str().unwrap(), f["subject"].as_str().unwrap())).collect()
}

fn states(outcome: &Value) -> BTreeMap<String, String> {
    let signed = outcome["signatures"].as_array().unwrap().iter();
    signed.map(|s| (s["name"].as_str().unwrap().to_owned(), s["state"].as_str().unwrap().to_owned())).collect()
}

fn lock(project: &Project) -> Lockfile {
    parse_lockfile(&project.read("lockfile.toml"), "lockfile.toml").unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn listed(id: &str, key: &SigningKey, expires: Option<&str>) -> Value {
    let der = key.verifying_key().to_public_key_der().unwrap();
    json!({
        "keyid": id,
        "keytype": "ecdsa-sha2-nistp256",
        "scheme": "ecdsa-sha2-nistp256",
        "key": STANDARD.encode(der.as_bytes()),
        "expires": expires,
    })
}

/// What npm signs of a pin of the lock.
fn message(lock: &Lockfile, name: &str) -> String {
    let pin = lock.npm.iter().find(|pin| pin.name.as_str() == name).unwrap();
    let integrity = STANDARD.encode(pin.artifact.sha512.unwrap().as_bytes());
    format!("{name}@{}:sha512-{integrity}", pin.version)
}

fn signature(id: &str, key: &SigningKey, message: &str) -> Value {
    let signature: Signature = key.sign(message.as_bytes());
    json!({ "keyid": id, "sig": STANDARD.encode(signature.to_der().as_bytes()) })
}

/// Puts signatures into the registry's document of a package.
fn serve(registries: &Registries, name: &str, version: &str, published: &str, signatures: Value) {
    let document = json!({
        "versions": { version: { "dist": { "signatures": signatures } } },
        "time": { version: published },
    });
    registries.site.put(&format!("/npm/{name}"), document.to_string());
}

fn serve_keys(registries: &Registries, keys: &[Value]) {
    registries.site.put("/npm/-/npm/v1/keys", json!({ "keys": keys }).to_string());
}

/// Both npm packages, each with its signatures; gives the answer about them.
fn judged(shout: impl Fn(&str) -> Value, keys: &[Value]) -> (i32, String, Vec<String>) {
    let (registries, project) = bench();
    let lock = lock(&project);
    let good = signature("one", &key(1), &message(&lock, "pad-left"));
    serve(&registries, "pad-left", "1.3.0", "2026-06-01T00:00:00Z", json!([good]));
    serve(&registries, "shout", "2.0.0", "2026-06-01T00:00:00Z", shout(&message(&lock, "shout")));
    serve_keys(&registries, keys);
    let (answer, outcome) = audit(&project, &["--signatures"]);
    let states = states(&outcome);
    assert_eq!(states["pad-left"], "verified", "{outcome}");
    let findings = findings(&outcome).into_iter().filter(|text| !text.contains("pypi")).collect();
    (answer.code, states["shout"].clone(), findings)
}

#[test]
fn a_signature_of_the_locked_bytes_is_verified() {
    let keys = [listed("one", &key(1), None)];
    let (_, state, findings) = judged(|message| json!([signature("one", &key(1), message)]), &keys);
    assert_eq!((state.as_str(), findings.len()), ("verified", 0), "{findings:?}");
}

#[test]
fn a_signature_of_other_bytes_is_distrust() {
    let keys = [listed("one", &key(1), None), listed("two", &key(2), None)];
    for wrong in [
        signature("one", &key(1), "shout@2.0.0:sha512-AAAA"),
        signature("one", &key(2), "shout@2.0.0:sha512-AAAA"),
        json!({ "keyid": "one", "sig": "AAAA" }),
        json!({ "keyid": "one", "sig": "not base64" }),
    ] {
        // One that is wrong counts, also beside one that holds.
        let served = |message: &str| json!([signature("two", &key(2), message), wrong.clone()]);
        let (code, state, findings) = judged(served, &keys);
        assert_eq!((code, state.as_str(), &findings[..]), (4, "bad", &["signature-bad npm:shout".to_owned()][..]));
    }
}

#[test]
fn a_key_counts_until_it_expires() {
    for (expires, state) in
        [("2026-06-01T00:00:01Z", "verified"), ("2026-06-01T00:00:00Z", "expired-key"), ("soon", "expired-key")]
    {
        let keys = [listed("one", &key(1), None), listed("old", &key(3), Some(expires))];
        let (code, found, findings) = judged(|message| json!([signature("old", &key(3), message)]), &keys);
        assert_eq!(found, state, "{expires}");
        let expected: &[&str] = if state == "verified" { &[] } else { &["signature-key npm:shout"] };
        assert_eq!((code, findings), (1, expected.iter().map(ToString::to_string).collect()), "{expires}");
    }
}

#[test]
fn a_key_that_is_not_listed_does_not_count() {
    let keys = [listed("one", &key(1), None)];
    let (code, state, findings) = judged(|message| json!([signature("other", &key(9), message)]), &keys);
    assert_eq!((code, state.as_str(), &findings[..]), (1, "unknown-key", &["signature-key npm:shout".to_owned()][..]));
    // Beside one that counts it does no harm.
    let both = |message: &str| json!([signature("other", &key(9), message), signature("one", &key(1), message)]);
    assert_eq!(judged(both, &keys).1, "verified");
}

#[test]
fn what_is_not_served_is_never_verified() {
    let keys = [listed("one", &key(1), None)];
    for none in [json!([]), Value::Null] {
        let (code, state, findings) = judged(|_| none.clone(), &keys);
        let expected = vec!["signature-not-served signatures npm".to_owned()];
        assert_eq!((code, state.as_str(), findings), (1, "not-served", expected));
    }
    // The registries of this test serve nothing by themselves.
    let (_registries, project) = bench();
    let (answer, outcome) = audit(&project, &["--signatures"]);
    assert_eq!(answer.code, 1);
    assert!(states(&outcome).values().all(|state| state == "not-served"), "{outcome}");
    assert_eq!(audit(&project, &["--signatures", "--allow-not-audited"]).0.code, 0);
}

#[test]
fn a_registry_that_cannot_be_asked_is_not_audited() {
    let (registries, project) = bench();
    registries.site.put_answer("/npm/shout", UNAVAILABLE);
    registries.site.put_answer("/simple/sums/", UNAVAILABLE);
    let (answer, outcome) = audit(&project, &["--signatures"]);
    let states = states(&outcome);
    assert_eq!((answer.code, states["shout"].as_str(), states["sums"].as_str()), (1, "not-audited", "not-audited"));
    let offline = audit(&project, &["--signatures", "--offline"]);
    assert_eq!(offline.0.code, 1);
    assert!(offline.1["signatures"].as_array().unwrap().iter().all(|one| one["state"] == "not-audited"));
}

#[test]
fn a_key_that_is_swapped_is_noticed() {
    let (registries, project) = bench();
    let lock = lock(&project);
    let sign = |key: &SigningKey| {
        for (name, version) in [("pad-left", "1.3.0"), ("shout", "2.0.0")] {
            let served = json!([signature("one", key, &message(&lock, name))]);
            serve(&registries, name, version, "2026-06-01T00:00:00Z", served);
        }
        serve_keys(&registries, &[listed("one", key, None)]);
    };
    sign(&key(1));
    assert_eq!(states(&audit(&project, &["--signatures"]).1)["shout"], "verified");
    // The list is kept while it cannot be had.
    registries.site.put_answer("/npm/-/npm/v1/keys", UNAVAILABLE);
    assert_eq!(states(&audit(&project, &["--signatures"]).1)["shout"], "verified");
    let (registries_again, key_list) = (&registries, json!({ "keys": [listed("one", &key(2), None)] }).to_string());
    sign(&key(2));
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", key_list.len());
    registries_again.site.put_answer("/npm/-/npm/v1/keys", format!("{head}{key_list}"));
    let (answer, outcome) = audit(&project, &["--signatures"]);
    assert_eq!((answer.code, states(&outcome)["shout"].as_str()), (4, "bad"));
}

/// Makes the index link to an attestation of `sums` that names a file and a hash, and that nobody logged.
fn attest(registries: &Registries, project: &Project, sha256: &str, version: u64) {
    let lock = lock(project);
    let pin = lock.pip.iter().find(|pin| pin.name.as_str() == "sums").unwrap();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": pin.artifact.path.file_name(), "digest": { "sha256": sha256 } }],
        "predicateType": "https://slsa.dev/provenance/v1",
    });
    let envelope = json!({ "statement": STANDARD.encode(statement.to_string()), "signature": "AAAA" });
    let material = json!({ "certificate": "AAAA", "transparency_entries": [] });
    let attestation = json!({ "version": version, "verification_material": material, "envelope": envelope });
    let bundle = json!({ "publisher": { "kind": "Forge" }, "attestations": [attestation] });
    registries.site.put("/integrity/sums", json!({ "version": 1, "attestation_bundles": [bundle] }).to_string());
    registries.site.change("/simple/sums/", |page| {
        let mut page: Value = serde_json::from_slice(&page).unwrap();
        page["files"][0]["provenance"] = "../../integrity/sums".into();
        page.to_string().into_bytes()
    });
}

#[test]
fn an_attestation_is_not_believed() {
    let (registries, project) = bench();
    let lock = lock(&project);
    let sha256 = lock.pip.iter().find(|pin| pin.name.as_str() == "sums").unwrap().artifact.sha256.to_string();
    // Of the locked file, by nobody; of another file; of a form that is not known.
    for (sha256, version, code, state) in
        [(&sha256, 1, 4, "bad"), (&"0".repeat(64), 1, 4, "bad"), (&sha256, 2, 1, "served-not-checked")]
    {
        attest(&registries, &project, sha256, version);
        let (answer, outcome) = audit(&project, &["--signatures"]);
        assert_eq!((answer.code, states(&outcome)["sums"].as_str()), (code, state), "{outcome}");
    }
    let (_, outcome) = audit(&project, &["--signatures"]);
    assert!(findings(&outcome).contains(&"signature-not-checked signatures pypi".to_owned()), "{outcome}");
    registries.site.change("/integrity/sums", |text| text[..text.len() / 2].to_vec());
    let (answer, outcome) = audit(&project, &["--signatures"]);
    assert_eq!((answer.code, states(&outcome)["sums"].as_str()), (1, "not-audited"), "{outcome}");
}

/// Names a mirror for each source of the user.
fn mirrored(registries: &Registries, project: &Project) {
    let url = &registries.site.url;
    let settings = project.home().join(".config/oclock/config.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let text = text
        .replace(&format!("url = \"{url}npm/\"\n"), &format!("url = \"{url}npm/\"\nmirrors = [\"{url}mirror/npm/\"]\n"))
        .replace(
            &format!("url = \"{url}simple/\"\n"),
            &format!("url = \"{url}simple/\"\nmirrors = [\"{url}mirror/simple/\"]\n"),
        )
        .replace(
            &format!("url = \"{url}debian/\"\n"),
            &format!("url = \"{url}debian/\"\nmirrors = [\"{url}mirror/debian/\"]\n"),
        );
    std::fs::write(settings, text).unwrap();
}

/// The three files as their mirrors have them.
fn mirror(registries: &Registries, project: &Project, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    let lock = lock(project);
    let bytes =
        |sha256: &str| std::fs::read(project.store().join("blobs/sha256").join(&sha256[..2]).join(sha256)).unwrap();
    assert_eq!(project.run(&["--quiet", "fetch"]).code, 0);
    for pin in lock.pins() {
        let held = change(bytes(&pin.artifact.sha256.to_string()));
        let path = pin.artifact.path.as_str();
        match pin.artifact.source.as_str() {
            "pypi" => {
                let file = pin.artifact.path.file_name();
                registries.site.put(&format!("/mirror/files/{file}"), held);
                let page = json!({ "files": [{ "filename": file, "url": format!("../../files/{file}") }] });
                registries.site.put(&format!("/mirror/simple/{}/", pin.name), page.to_string());
            }
            source => registries.site.put(&format!("/mirror/{source}/{path}"), held),
        }
    }
}

#[test]
fn places_that_agree_are_an_answer() {
    let (registries, project) = bench();
    mirrored(&registries, &project);
    mirror(&registries, &project, |bytes| bytes);
    let (answer, outcome) = audit(&project, &["--challenge"]);
    assert_eq!((answer.code, findings(&outcome)), (0, Vec::new()), "{outcome}");
    assert_eq!(outcome["challenged"].as_array().unwrap().len(), 10);
}

#[test]
fn other_bytes_elsewhere_are_distrust() {
    let (registries, project) = bench();
    mirrored(&registries, &project);
    for change in [|_: Vec<u8>| b"other".to_vec(), |bytes: Vec<u8>| [&bytes[..], b"more"].concat()] {
        mirror(&registries, &project, change);
        let (answer, outcome) = audit(&project, &["--challenge", "npm:shout", "pip:sums", "apt:hello"]);
        let expected = ["apt:hello", "npm:shout", "pip:sums"].map(|name| format!("challenge-differs {name}"));
        assert_eq!((answer.code, findings(&outcome)), (4, expected.to_vec()));
    }
}

#[test]
fn a_place_that_cannot_be_asked_or_is_alone_is_not_audited() {
    let (registries, project) = bench();
    let (answer, outcome) = audit(&project, &["--challenge", "npm:shout"]);
    assert_eq!((answer.code, findings(&outcome)), (1, vec!["not-audited challenge npm:shout".to_owned()]));
    mirrored(&registries, &project);
    let (answer, _) = audit(&project, &["--challenge", "npm:shout"]);
    assert_eq!(answer.code, 1, "the mirror has nothing");
    mirror(&registries, &project, |bytes| bytes);
    let path = lock(&project).npm.iter().find(|pin| pin.name.as_str() == "shout").unwrap().artifact.path.to_string();
    registries.site.put_answer(&format!("/mirror/npm/{path}"), UNAVAILABLE);
    let (answer, outcome) = audit(&project, &["--challenge", "npm:shout"]);
    assert_eq!((answer.code, findings(&outcome)), (1, vec!["not-audited challenge npm:shout".to_owned()]));
    assert!(outcome["findings"][0]["message"].as_str().unwrap().contains("answered 405"), "{outcome}");
}
