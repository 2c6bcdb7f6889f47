//! Attestations of the Python index: real ones, made on GitHub, GitLab, Google Cloud and CircleCI and logged by Sigstore, judged
//! as the index's own program judges them; and `oclock audit --signatures` on one of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oclock::audit::{SignatureState, SigstoreRoot, judge_attestations};
use oclock::model::Sha256;
use serde_json::{Value, json};
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, SIGSTORE_STAGING_TRUSTED_ROOT};

use support::oracle::{python, run};
use support::project::Project;
use support::registries::Registries;

const JUDGE: &str = "pypi-attestations==0.0.30";
const WHEEL: &str = "circleci_sign_publish_example-0.0.1.dev137-py3-none-any.whl";

/// The files that the tests of the judge have: attestations and what they are of. From its source archive, fetched once.
fn assets() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("attestations");
        let assets = place.join("pypi_attestations-0.0.30/test/assets");
        if !assets.exists() {
            let python = python("attestations", &[JUDGE]);
            let get = ["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest"];
            run(Command::new(python).args(get).arg(&place).arg(JUDGE));
            let archive = place.join("pypi_attestations-0.0.30.tar.gz");
            run(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&place));
        }
        assets
    })
}

fn asset(name: &str) -> Value {
    serde_json::from_slice(&fs::read(assets().join(name)).unwrap()).unwrap()
}

/// What an index would serve about a file.
#[derive(Clone)]
struct Case {
    served: Value,
    file: String,
    sha256: String,
}

impl Case {
    fn new(file: &str, publisher: Value, attestations: &[Value]) -> Self {
        let served =
            json!({ "version": 1, "attestation_bundles": [{ "publisher": publisher, "attestations": attestations }] });
        Self::served(file, served)
    }

    fn served(file: &str, served: Value) -> Self {
        let sha256 = Sha256::of(fs::read(assets().join(file)).unwrap()).to_string();
        Self { served, file: file.to_owned(), sha256 }
    }

    fn with(&self, change: impl FnOnce(&mut Value)) -> Self {
        let mut case = self.clone();
        change(&mut case.served["attestation_bundles"][0]);
        case
    }

    fn judged(&self) -> (SignatureState, String) {
        let sha256 = Sha256::parse(&self.sha256).unwrap();
        judge_attestations(self.served.to_string().as_bytes(), &self.file, &sha256, &SigstoreRoot::built_in().unwrap())
    }
}

/// Real ones, by each kind of publisher.
fn genuine() -> Vec<Case> {
    let (own, lab) = ("pypi_attestations-0.0.19.tar.gz", "gitlab_oidc_project-0.0.3.tar.gz");
    let models = "pypi_attestation_models-0.0.4a2.tar.gz";
    let of = |file: &str, kind: &str| asset(&format!("{file}.{kind}"));
    let hub = |name: &str| json!({ "kind": "GitHub", "repository": format!("trailofbits/{name}"), "workflow": "release.yml" });
    vec![
        Case::new(own, hub("pypi-attestations"), &[of(own, "publish.attestation"), of(own, "slsa.attestation")]),
        Case::new(models, hub("pypi-attestation-models"), &[of(models, "attestation")]),
        Case::new(
            lab,
            json!({ "kind": "GitLab", "repository": "facutuesca/gitlab-oidc-project", "workflow_filepath": ".gitlab-ci.yml" }),
            &[of(lab, "publish.attestation")],
        ),
        Case::served("gcb_attestation_test-0.0.0.tar.gz", asset("gcb_attestation_test-0.0.0.tar.gz.provenance")),
        Case::served(WHEEL, asset(&format!("{WHEEL}.provenance"))),
    ]
}

/// Base64 of the same bytes with one bit changed.
fn flipped(text: &mut Value, at: usize) {
    let mut bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 1;
    *text = STANDARD.encode(bytes).into();
}

/// The same with one thing wrong.
fn wrong(case: &Case, others: &[Case]) -> Vec<Case> {
    let entry = "/attestations/0/verification_material/transparency_entries/0";
    let mut wrong = vec![
        Case { sha256: Sha256::of("other").to_string(), ..case.clone() },
        Case { file: "other-1.0.tar.gz".to_owned(), ..case.clone() },
        case.with(|bundle| bundle["attestations"][0]["verification_material"]["transparency_entries"] = json!([])),
    ];
    for (key, value) in [("repository", "else/where"), ("email", "a@example.invalid"), ("project_id", "0")] {
        if case.served["attestation_bundles"][0]["publisher"].get(key).is_some() {
            wrong.push(case.with(|bundle| bundle["publisher"][key] = value.into()));
        }
    }
    for (key, value) in [
        ("workflow", "tests.yml"),
        ("workflow_filepath", "ci.yml"),
        ("pipeline_definition_id", "0"),
        ("vcs_ref", "refs/heads/main"),
    ] {
        if case.served["attestation_bundles"][0]["publisher"].get(key).is_some() {
            wrong.push(case.with(|bundle| bundle["publisher"][key] = value.into()));
        }
    }
    for other in others.iter().filter(|other| other.file != case.file) {
        let (publisher, attestations) = ("/attestation_bundles/0/publisher", "/attestation_bundles/0/attestations");
        let stranger = other.served.pointer(publisher).unwrap().clone();
        wrong.push(case.with(|bundle| bundle["publisher"] = stranger));
        let stranger = other.served.pointer(attestations).unwrap().clone();
        wrong.push(case.with(|bundle| bundle["attestations"] = stranger));
        // The certificate or the entry of another one.
        for part in ["certificate", "transparency_entries"] {
            let stranger = other.served.pointer(attestations).unwrap()[0]["verification_material"][part].clone();
            wrong.push(case.with(|bundle| bundle["attestations"][0]["verification_material"][part] = stranger));
        }
    }
    for part in [
        "/attestations/0/envelope/signature",
        "/attestations/0/envelope/statement",
        "/attestations/0/verification_material/certificate",
    ] {
        wrong.extend((0..6).map(|step| case.with(|bundle| flipped(bundle.pointer_mut(part).unwrap(), 7 + 53 * step))));
    }
    for part in [
        "canonicalizedBody",
        "inclusionPromise/signedEntryTimestamp",
        "inclusionProof/rootHash",
        "inclusionProof/hashes/1",
    ] {
        let part = format!("{entry}/{part}");
        wrong.extend((0..2).map(|step| case.with(|bundle| flipped(bundle.pointer_mut(&part).unwrap(), 5 + 11 * step))));
    }
    for cut in ["inclusionProof", "inclusionPromise", "integratedTime", "logId", "canonicalizedBody"] {
        let entry = |bundle: &mut Value| _ = bundle.pointer_mut(entry).unwrap().as_object_mut().unwrap().remove(cut);
        wrong.push(case.with(entry));
    }
    wrong.push(case.with(|bundle| bundle.pointer_mut(entry).unwrap()["integratedTime"] = "1733354000".into()));
    wrong
}

#[test]
fn they_are_judged_as_the_index_judges_them() {
    let genuine = genuine();
    let mut cases = genuine.clone();
    cases.extend(genuine.iter().flat_map(|case| wrong(case, &genuine)));
    assert!(cases.len() > 250, "{}", cases.len());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cases.json");
    let listed: Vec<Value> =
        cases.iter().map(|case| json!({ "served": case.served, "file": case.file, "sha256": case.sha256 })).collect();
    fs::write(&file, Value::from(listed).to_string()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracles/attestations.py");
    let said = run(Command::new(python("attestations", &[JUDGE])).arg(script).arg(&file));
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said.lines().count(), cases.len());
    let mut verified = 0;
    for (number, (case, theirs)) in cases.iter().zip(said.lines()).enumerate() {
        let (state, why) = case.judged();
        assert_eq!(
            state == SignatureState::Verified,
            theirs == "yes",
            "{number}: {state:?} {why}; {theirs}; {}",
            case.served
        );
        verified += usize::from(theirs == "yes");
    }
    assert_eq!(verified, genuine.len(), "each genuine one, and nothing else");
}

/// A project that pins a wheel with a real attestation, of an index that serves it.
fn audited(served: &str, policy: &str) -> (i32, Value, String) {
    let registries = Registries::serve();
    let wheel = fs::read(assets().join(WHEEL)).unwrap();
    let page = json!({ "meta": { "api-version": "1.1" }, "files": [{
        "filename": WHEEL,
        "url": format!("../../files/{WHEEL}"),
        "hashes": { "sha256": Sha256::of(&wheel).to_string() },
        "size": wheel.len(),
        "provenance": "../../integrity/example",
    }] });
    registries.site.put("/simple/circleci-sign-publish-example/", page.to_string());
    registries.site.put(&format!("/files/{WHEEL}"), wheel);
    registries.site.put("/integrity/example", served.to_owned());
    let project = Project::greeter(&registries);
    project.write(
        "oclock.toml",
        format!(
            "[image]\nname = \"greeter\"\nbase = {{ debian = \"trixie\" }}\n\n[apt]\npackages = [\"python3\"]\n\n[pip]\n\
             packages = [\"circleci-sign-publish-example==0.0.1.dev137\"]\n\n[policy]\nadvisories = [\"none\"]\n{policy}"
        ),
    );
    project.write("Containerfile.in", "FROM {{ base }}\n{{ apt.install }}\n{{ pip.install }}\n");
    project.write("other_root.json", "{}");
    let answer = project.run(&["--quiet", "update"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let answer = project.run(&["--quiet", "--format", "json", "audit", "--signatures", "--allow-not-audited"]);
    (answer.code, serde_json::from_str(&answer.stdout).unwrap_or_default(), answer.stderr)
}

#[test]
fn a_real_wheel_is_verified_by_the_command() {
    let served = asset(&format!("{WHEEL}.provenance")).to_string();
    let (code, outcome, stderr) = audited(&served, "");
    let signed = &outcome["signatures"][0];
    assert_eq!((code, signed["state"].as_str()), (0, Some("verified")), "{outcome} {stderr}");
    assert_eq!(signed["why"], "attested by CircleCI fdd9283f-e619-46af-8f9c-851f7d3e8b2b");
    let other = served.replace("fdd9283f-e619", "fdd9283f-0000");
    let (code, outcome, _) = audited(&other, "");
    assert_eq!((code, outcome["signatures"][0]["state"].as_str()), (4, Some("bad")), "{outcome}");
    assert!(
        outcome["signatures"][0]["why"].as_str().unwrap().contains("its certificate has the pipeline"),
        "{outcome}"
    );
    // A gap is waived here, a wrong one is not.
    let (code, outcome, _) = audited(&served[..served.len() / 2], "");
    assert_eq!((code, outcome["signatures"][0]["state"].as_str()), (0, Some("not-audited")), "{outcome}");
}

#[test]
fn the_root_of_trust_of_the_policy_is_the_one() {
    let served = asset(&format!("{WHEEL}.provenance")).to_string();
    let (code, _, stderr) = audited(&served, "sigstore-root = \"other_root.json\"\n");
    assert!(code == 2 && stderr.contains("is no root of trust of Sigstore"), "{code} {stderr}");
    let (code, _, stderr) = audited(&served, "sigstore-root = \"none.json\"\n");
    assert!(code == 2 || code == 3, "{code} {stderr}");
}

/// One of a release on GitHub, kept here: what is judged without a network.
type Answer = (SignatureState, String);
const ATTESTATION: &str = include_str!("data/attestations/github-slsa.json");
const FILE: &str = "pypi_attestations-0.0.19.tar.gz";
const SHA256: &str = "9bb1add04b1b4e182be6b0b80931593f7a291eb49d69b4fd728a5d4cbcdc4bd3";

fn one() -> Value {
    let publisher =
        json!({ "kind": "GitHub", "repository": "trailofbits/pypi-attestations", "workflow": "release.yml" });
    let attestation: Value = serde_json::from_str(ATTESTATION).unwrap();
    json!({ "version": 1, "attestation_bundles": [{ "publisher": publisher, "attestations": [attestation] }] })
}

fn judged_with(served: &Value, root: &str) -> Answer {
    let (root, sha256) = (SigstoreRoot::parse(root).unwrap(), Sha256::parse(SHA256).unwrap());
    judge_attestations(served.to_string().as_bytes(), FILE, &sha256, &root)
}

fn judged(served: &Value) -> Answer {
    judged_with(served, SIGSTORE_PRODUCTION_TRUSTED_ROOT)
}

/// The genuine one with one thing changed, and what is said of it.
fn changed(change: impl Fn(&mut Value)) -> Answer {
    let mut served = one();
    change(&mut served);
    assert_ne!(served, one());
    judged(&served)
}

fn attestation(served: &mut Value) -> &mut Value {
    &mut served["attestation_bundles"][0]["attestations"][0]
}

fn entry(served: &mut Value) -> &mut Value {
    &mut attestation(served)["verification_material"]["transparency_entries"][0]
}

/// Base64 of the same bytes with the last but one changed.
fn bent(text: &Value) -> Value {
    let mut bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
    let at = bytes.len() - 2;
    bytes[at] ^= 1;
    STANDARD.encode(bytes).into()
}

#[track_caller]
fn expect(answer: Answer, state: SignatureState, words: &str) {
    assert!(answer.0 == state && answer.1.contains(words), "{words}: {answer:?}");
}

#[test]
fn a_genuine_one_is_verified() {
    let expected = "attested by GitHub trailofbits/pypi-attestations release.yml".to_owned();
    assert_eq!(judged(&one()), (SignatureState::Verified, expected));
}

#[test]
fn one_of_another_file_is_wrong() {
    let root = SigstoreRoot::built_in().unwrap();
    let served = one().to_string();
    let (own, other) = (Sha256::parse(SHA256).unwrap(), Sha256::of("other"));
    for (file, sha256) in [(FILE, other), ("pypi_attestations-0.0.20.tar.gz", own), ("pypi_attestations.whl", own)] {
        let answer = judge_attestations(served.as_bytes(), file, &sha256, &root);
        expect(answer, SignatureState::Bad, "of another file than the locked one");
    }
}

#[test]
fn one_by_another_publisher_is_wrong() {
    let with = |publisher: Value| changed(|served| served["attestation_bundles"][0]["publisher"] = publisher.clone());
    let (repository, workflow) = ("trailofbits/pypi-attestations", "release.yml");
    for (publisher, words) in [
        (json!({ "kind": "GitHub", "repository": "else/pypi-attestations", "workflow": workflow }), "the repository"),
        (json!({ "kind": "GitHub", "repository": "trailofbits/pypi", "workflow": workflow }), "the repository"),
        (json!({ "kind": "GitHub", "repository": repository, "workflow": "tests.yml" }), "the workflow"),
        (json!({ "kind": "GitHub", "repository": repository, "workflow": "release.yml@refs/tags" }), "the workflow"),
        (json!({ "kind": "GitLab", "repository": repository, "workflow_filepath": workflow }), "the issuer"),
        (json!({ "kind": "Google", "email": "somebody@example.invalid" }), "the issuer"),
        (json!({ "kind": "CircleCI", "project_id": "a", "pipeline_definition_id": "b" }), "the issuer"),
        (json!({ "kind": "GitHub", "repository": repository }), "the publisher cannot be read"),
    ] {
        expect(with(publisher), SignatureState::Bad, words);
    }
    expect(with(json!({ "kind": "Forge" })), SignatureState::ServedNotChecked, "`Forge`, which is not known here");
    expect(with(Value::Null), SignatureState::ServedNotChecked, "names no publisher");
}

#[test]
fn a_broken_signature_is_wrong() {
    let broken = changed(|served| {
        let envelope = &mut attestation(served)["envelope"];
        envelope["signature"] = bent(&envelope["signature"]);
    });
    expect(broken, SignatureState::Bad, "invalid signature");
    // The same file, and something else said of it.
    let other = changed(|served| {
        let envelope = &mut attestation(served)["envelope"];
        let mut statement: Value =
            serde_json::from_slice(&STANDARD.decode(envelope["statement"].as_str().unwrap()).unwrap()).unwrap();
        statement["predicate"] = json!({});
        envelope["statement"] = STANDARD.encode(statement.to_string()).into();
    });
    expect(other, SignatureState::Bad, "invalid signature");
    for text in ["", "AAAA", "%"] {
        let none = changed(|served| attestation(served)["envelope"]["signature"] = text.into());
        expect(none, SignatureState::Bad, "");
    }
}

#[test]
fn one_that_the_log_does_not_prove_is_wrong() {
    let cut = |name: &'static str| changed(|served| _ = entry(served).as_object_mut().unwrap().remove(name));
    expect(cut("inclusionProof"), SignatureState::Bad, "has no inclusion proof");
    expect(cut("inclusionPromise"), SignatureState::Bad, "no verified timestamp");
    let other = changed(|served| {
        let proof = &mut entry(served)["inclusionProof"];
        proof["hashes"][0] = bent(&proof["hashes"][0]);
    });
    expect(other, SignatureState::Bad, "inclusion proof");
    let unsigned = changed(|served| entry(served)["inclusionProof"]["checkpoint"]["envelope"] = "".into());
    expect(unsigned, SignatureState::Bad, "checkpoint");
    let later = changed(|served| entry(served)["integratedTime"] = "1733354027".into());
    expect(later, SignatureState::Bad, "inclusion promise");
    let body = changed(|served| {
        let body = &mut entry(served)["canonicalizedBody"];
        *body = bent(body);
    });
    expect(body, SignatureState::Bad, "");
    let none = changed(|served| attestation(served)["verification_material"]["transparency_entries"] = json!([]));
    expect(none, SignatureState::Bad, "no entry in a transparency log");
    let two = changed(|served| {
        let mut second = entry(served).clone();
        second.as_object_mut().unwrap().remove("inclusionProof");
        let entries = &mut attestation(served)["verification_material"]["transparency_entries"];
        entries.as_array_mut().unwrap().push(second);
    });
    expect(two, SignatureState::Bad, "has no inclusion proof");
}

#[test]
fn a_certificate_hangs_on_the_root_of_trust() {
    let broken = changed(|served| {
        let material = &mut attestation(served)["verification_material"];
        material["certificate"] = bent(&material["certificate"]);
    });
    expect(broken, SignatureState::UnknownKey, "certificate chain is invalid");
    let none = changed(|served| attestation(served)["verification_material"]["certificate"] = "AAAA".into());
    expect(none, SignatureState::Bad, "certificate");
    let staging: Value = serde_json::from_str(SIGSTORE_STAGING_TRUSTED_ROOT).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut root: Value = serde_json::from_str(SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
        change(&mut root);
        judged_with(&one(), &root.to_string())
    };
    expect(with(&|root| *root = staging.clone()), SignatureState::UnknownKey, "is not in the root of trust");
    let other = "certificateAuthorities";
    expect(with(&|root| root[other] = staging[other].clone()), SignatureState::UnknownKey, "chain is invalid");
    let over = with(&|root| root[other][1]["validFor"]["end"] = "2024-12-04T00:00:00Z".into());
    expect(over, SignatureState::ExpiredKey, "no trusted certificate authority is valid at 2024-12-04");
    let over = with(&|root| root["tlogs"][0]["publicKey"]["validFor"]["end"] = "2024-12-04T00:00:00Z".into());
    expect(over, SignatureState::Bad, "No log key valid");
    expect(with(&|root| root["ctlogs"] = staging["ctlogs"].clone()), SignatureState::Bad, "certificate timestamp");
}

#[test]
fn the_worst_answer_counts() {
    let with = |second: &dyn Fn(&mut Value)| {
        let mut served = one();
        let mut more = one();
        second(&mut more);
        let more = attestation(&mut more).clone();
        served["attestation_bundles"][0]["attestations"].as_array_mut().unwrap().push(more);
        judged(&served)
    };
    expect(with(&|_| ()), SignatureState::Verified, "");
    let newer = |served: &mut Value| attestation(served)["version"] = 2.into();
    expect(with(&newer), SignatureState::ServedNotChecked, "version 2");
    let cut = |served: &mut Value| _ = entry(served).as_object_mut().unwrap().remove("inclusionProof");
    expect(with(&cut), SignatureState::Bad, "has no inclusion proof");
}

#[test]
fn what_cannot_be_read_is_not_audited() {
    let (text, root) = (one().to_string(), SigstoreRoot::built_in().unwrap());
    for end in [0, 1, text.len() / 2, text.len() - 1] {
        let answer = judge_attestations(&text.as_bytes()[..end], FILE, &Sha256::parse(SHA256).unwrap(), &root);
        expect(answer, SignatureState::NotAudited, "cannot be read");
    }
    let none = changed(|served| served["attestation_bundles"] = json!([]));
    expect(none, SignatureState::NotServed, "is empty");
}
