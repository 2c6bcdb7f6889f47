//! Provenance: what it says, that it is valid, signed as openssl understands it, and attached without changing the image.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oclock::lock::{ImagePin, Lockfile, parse_lockfile, render_lockfile};
use oclock::model::{Platform, Sha256};
use serde_json::{Value, json};
use support::oracle::{judge, python, run};
use support::project::Project;
use support::registries::Registries;
use support::registry_server::RegistryServer;

/// A project whose lockfile records an image, and that image in an OCI layout `image/` under the name `greeter:latest`.
struct Recorded {
    project: Project,
    image: ImagePin,
}

impl Recorded {
    fn new() -> Self {
        let project = Project::locked(&Registries::serve());
        let context = project.run(&["--quiet", "context"]).stdout;
        let context = Sha256::parse_prefixed(context.trim()).unwrap();
        let (digest, id) = write_image(&project.root().join("image"));
        let image = ImagePin { id, digest, context };
        let mut lock = parse_lockfile(&project.read("lockfile.toml"), "lockfile.toml").unwrap();
        lock.images.insert(Platform::LINUX_AMD64, image);
        project.write("lockfile.toml", render_lockfile(&lock));
        Self { project, image }
    }

    fn lock(&self) -> Lockfile {
        parse_lockfile(&self.project.read("lockfile.toml"), "lockfile.toml").unwrap()
    }

    fn said(&self, arguments: &[&str]) -> String {
        let answer = self.project.run(&[&["--quiet"], arguments].concat());
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{arguments:?}");
        answer.stdout
    }

    /// A new key, `NAME.pem`, and its public half, `NAME.pub`.
    fn key(&self, name: &str) {
        let (private, public) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.pub")));
        let curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"];
        run(Command::new("openssl").arg("genpkey").args(curve).arg(&private));
        run(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.project.root().join(name)
    }
}

/// An image with one layer in Docker's media types, in a layout.
fn write_image(layout: &Path) -> (Sha256, Sha256) {
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let layer = vec![0; 1024];
    let config = json!({ "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [Sha256::of(&layer).prefixed()] } });
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &layer).unwrap();
    let (config, layer) = (config.to_string().into_bytes(), packed.finish().unwrap());
    let blob = |kind: &str, bytes: &[u8]| {
        let digest = Sha256::of(bytes);
        fs::write(layout.join("blobs/sha256").join(digest.to_string()), bytes).unwrap();
        json!({ "mediaType": format!("application/vnd.docker.{kind}"), "size": bytes.len(), "digest": digest.prefixed() })
    };
    let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": blob("container.image.v1+json", &config),
        "layers": [blob("image.rootfs.diff.tar.gzip", &layer)] })
    .to_string();
    let mut entry = blob("distribution.manifest.v2+json", manifest.as_bytes());
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "greeter:latest" });
    let index =
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry] });
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    (Sha256::of(manifest), Sha256::of(config))
}

#[test]
fn every_input_is_listed_and_the_statement_is_valid() {
    let recorded = Recorded::new();
    let text = recorded.said(&["provenance"]);
    recorded.project.write("statement.json", &text);
    assert_eq!(judge("statement", &[recorded.path("statement.json")]), "");
    recorded.project.write("damaged.json", text.replace("\"buildType\"", "\"buildKind\""));
    assert_ne!(judge("statement", &[recorded.path("damaged.json")]), "");

    let statement: Value = serde_json::from_str(&text).unwrap();
    let subject = json!([{ "name": "greeter", "digest": { "sha256": recorded.image.digest.to_string() } }]);
    assert_eq!(
        (&statement["subject"], &statement["predicateType"]),
        (&subject, &json!("https://slsa.dev/provenance/v1"))
    );
    let definition = &statement["predicate"]["buildDefinition"];
    let listed: BTreeSet<String> = definition["resolvedDependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| input["digest"]["sha256"].as_str().unwrap().to_owned())
        .collect();
    let lock = recorded.lock();
    let mut inputs: BTreeSet<String> = lock.pins().map(|pin| pin.artifact.sha256.to_string()).collect();
    for archive in &lock.archives {
        inputs.insert(archive.in_release.sha256.to_string());
        inputs.extend(archive.indexes.iter().map(|index| index.sha256.to_string()));
    }
    for file in ["oclock.toml", "Containerfile.in", "lockfile.toml"] {
        inputs.insert(Sha256::of(recorded.project.read(file)).to_string());
    }
    inputs.insert(recorded.image.context.to_string());
    assert_eq!(listed, inputs);
    assert_eq!(definition["externalParameters"]["platform"], "linux/amd64");
    let byproduct = &statement["predicate"]["runDetails"]["byproducts"][0]["digest"]["sha256"];
    assert_eq!(byproduct, &json!(recorded.image.id.to_string()));
    assert_eq!(recorded.said(&["provenance"]), text, "the same again");
    let other = recorded.said(&["provenance", "--builder-id", "https://ci.example.invalid/7"]);
    assert!(other.contains("https://ci.example.invalid/7"));
}

#[test]
fn provenance_of_what_was_not_built_from_these_files_is_refused() {
    let recorded = Recorded::new();
    let project = &recorded.project;
    project.write("context/app/hello.txt", "changed\n");
    let answer = project.run(&["--quiet", "provenance"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (1, ""), "{answer:?}");
    assert!(answer.stderr.starts_with("error: the project's files are not those of the recorded image"));
    project.write("context/app/hello.txt", "hello\n");

    let whole = project.read("lockfile.toml");
    let mut lock = recorded.lock();
    lock.images.clear();
    project.write("lockfile.toml", render_lockfile(&lock));
    for command in [&["provenance"][..], &["sbom", "--attach", "oci:image"], &["sbom", "--sign", "key.pem"]] {
        let answer = project.run(&[&["--quiet"], command].concat());
        let expected = "error: the lockfile records no image for `linux/amd64`\n hint: run `oclock build --record`\n";
        assert_eq!((answer.code, answer.stderr.as_str()), (1, expected), "{command:?}");
    }
    project.write("lockfile.toml", whole);

    let digest = lock.npm[0].artifact.sha256.to_string();
    fs::remove_file(project.store().join("blobs/sha256").join(&digest[..2]).join(&digest)).unwrap();
    let answer = project.run(&["--quiet", "provenance"]);
    assert_eq!(answer.code, 3, "{answer:?}");
    assert!(answer.stderr.contains("npm:") && answer.stderr.contains("`oclock fetch`"), "{}", answer.stderr);
}

#[test]
fn a_signature_is_openssls_and_is_verified_again() {
    let recorded = Recorded::new();
    recorded.key("key");
    recorded.key("other");
    let project = &recorded.project;
    for document in [&["provenance"][..], &["sbom"], &["sbom", "--as", "spdx"]] {
        let signed = recorded.said(&[document, &["--sign", "key.pem"]].concat());
        assert_eq!(recorded.said(&[document, &["--sign", "key.pem"]].concat()), signed, "no randomness");
        project.write("signed.json", &signed);
        let envelope: Value = serde_json::from_str(&signed).unwrap();
        let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
        let payload = bytes(&envelope["payload"]);
        project.write("payload.json", &payload);
        assert_eq!(judge("statement", &[recorded.path("payload.json")]), "");
        // What is signed, by the protocol's own words.
        let head = format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len());
        project.write("signed-text", [head.as_bytes(), &payload].concat());
        project.write("signature", bytes(&envelope["signatures"][0]["sig"]));
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", "-sha256", "-verify", "key.pub", "-signature", "signature", "signed-text"]);
        assert_eq!(run(openssl.current_dir(project.root())), b"Verified OK\n");

        let verify = |key: &str, file: &str| project.run(&[&["--quiet"], document, &["--verify", key, file]].concat());
        let answer = verify("key.pub", "signed.json");
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{answer:?}");
        assert!(answer.stdout.starts_with("signed.json is signed by key sha256:"));
        let answer = verify("other.pub", "signed.json");
        assert_eq!(answer.code, 4, "{answer:?}");
        let changed = String::from_utf8(payload).unwrap().replace("greeter", "grocer");
        let mut forged = envelope.clone();
        forged["payload"] = STANDARD.encode(&changed).into();
        project.write("forged.json", forged.to_string());
        assert_eq!(verify("key.pub", "forged.json").code, 4);
        forged["payloadType"] = "text/plain".into();
        project.write("forged.json", forged.to_string());
        assert_eq!(verify("key.pub", "forged.json").code, 2);
    }
    // A good signature over something that this project does not say.
    let signed = recorded.said(&["provenance", "--sign", "key.pem", "--builder-id", "https://other.invalid/"]);
    project.write("signed.json", signed);
    let answer = project.run(&["--quiet", "provenance", "--verify", "key.pub", "signed.json"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(
        answer.stderr.contains("predicate.runDetails.builder.id  signed: \"https://other.invalid/\", here: "),
        "{answer:?}"
    );
}

#[test]
fn keys_of_other_kinds_are_refused_by_name() {
    let recorded = Recorded::new();
    recorded.key("key");
    let make = |arguments: &[&str]| run(Command::new("openssl").args(arguments).current_dir(recorded.project.root()));
    make(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "p384.pem"]);
    make(&["genpkey", "-algorithm", "ED25519", "-out", "ed25519.pem"]);
    make(&["ec", "-in", "key.pem", "-out", "sec1.pem"]);
    make(&["pkcs8", "-topk8", "-in", "key.pem", "-passout", "pass:x", "-out", "encrypted.pem"]);
    recorded.project.write(
        "cosign.key",
        "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\neyJ9\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
    );
    recorded.project.write("none.pem", "no key");
    for (key, why) in [
        ("p384.pem", "it is no ECDSA key over the curve P-256"),
        ("ed25519.pem", "it is no ECDSA key over the curve P-256"),
        ("sec1.pem", "it is not in the form PKCS#8"),
        ("encrypted.pem", "it is encrypted"),
        ("cosign.key", "it is encrypted, and no password is given"),
        ("key.pub", "it is a public key"),
        ("none.pem", "it is no key in PEM form"),
    ] {
        let answer = recorded.project.run(&["--quiet", "provenance", "--sign", key]);
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{key}: {answer:?}");
        assert!(answer.stderr.contains(why), "{key}: {}", answer.stderr);
        // No word of a key is ever shown.
        let text = recorded.project.read(key);
        assert!(
            text.lines()
                .filter(|line| line.len() > 20 && !line.contains("---"))
                .all(|line| !answer.stderr.contains(line))
        );
    }
    recorded.project.write("signed.json", recorded.said(&["provenance", "--sign", "key.pem"]));
    let answer = recorded.project.run(&["--quiet", "provenance", "--verify", "key.pem", "signed.json"]);
    assert!(answer.code == 2 && answer.stderr.contains("it is a private key"), "{answer:?}");
}

/// cosign's form of the key `key.pem`, made by Python's scrypt and libsodium.
fn encrypt(recorded: &Recorded, password: &str, cost: &str, label: &str) {
    let root = recorded.project.root();
    let wrap = ["pkcs8", "-topk8", "-nocrypt", "-in", "key.pem", "-outform", "DER", "-out", "key.der"];
    run(Command::new("openssl").args(wrap).current_dir(&root));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracles/cosign_key.py");
    let mut command = Command::new(python("cosign", &["pynacl==1.6.2"]));
    let pem = run(command.arg(script).arg(root.join("key.der")).args([password, cost, label]));
    recorded.project.write("cosign.key", pem);
}

#[test]
fn a_key_that_cosign_encrypted_signs_with_its_password() {
    let recorded = Recorded::new();
    let project = &recorded.project;
    recorded.key("key");
    let open = recorded.said(&["provenance", "--sign", "key.pem"]);
    let signed = |password: Option<&str>, more: &[&str]| {
        let mut command = project.command(&[&["--quiet", "provenance", "--sign", "cosign.key"], more].concat());
        if let Some(password) = password {
            command.env("COSIGN_PASSWORD", password);
        }
        let answer = project.answer(&mut command);
        for word in ["a long word", "an0ther-word"] {
            assert!(!format!("{answer:?}").contains(word), "a password is shown: {answer:?}");
        }
        (answer.code, answer.stdout, answer.stderr)
    };
    let refused = |(code, stdout, stderr): (i32, String, String), why: &str| {
        assert!(code == 2 && stdout.is_empty() && stderr.contains(why), "{why}: {code} {stdout} {stderr}");
    };
    for label in ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"] {
        encrypt(&recorded, "a long word", "65536", label);
        assert_eq!(signed(Some("a long word"), &[]), (0, open.clone(), String::new()));
    }
    project.write("word", "a long word\n");
    project.write("other", "an0ther-word\n");
    assert_eq!(signed(None, &["--password-file", "word"]).1, open);
    assert_eq!(signed(Some("an0ther-word"), &["--password-file", "word"]).1, open, "the file comes first");
    refused(signed(Some("an0ther-word"), &[]), "the password is not the one it was encrypted with");
    refused(signed(Some("a long word"), &["--password-file", "other"]), "the password is not the one");
    refused(signed(Some(""), &[]), "the password is not the one");
    refused(signed(None, &[]), "it is encrypted, and no password is given");
    assert_eq!(signed(None, &["--password-file", "nothing"]).0, 3);
    // Verbose output does not show it either.
    assert_eq!(signed(Some("a long word"), &["-vv"]).0, 0);
    let whole = project.read("cosign.key");
    let cut: Vec<&str> = whole.lines().enumerate().filter(|(at, _)| *at != 2).map(|(_, line)| line).collect();
    project.write("cosign.key", cut.join("\n"));
    refused(signed(Some("a long word"), &[]), "cannot be used as a key");
    encrypt(&recorded, "a long word", "524288", "ENCRYPTED SIGSTORE PRIVATE KEY");
    refused(signed(Some("a long word"), &[]), "would take more than 256 MiB");
    encrypt(&recorded, "", "32768", "ENCRYPTED SIGSTORE PRIVATE KEY");
    assert_eq!(signed(Some(""), &[]).1, open, "an empty password is one");
}

/// The digests of an image's referrers as an index lists them, with their artifact types.
fn referrers(index: &Value) -> Vec<(String, String)> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let entries = index["manifests"].as_array().unwrap().iter().filter(|entry| entry.get("artifactType").is_some());
    entries.map(|entry| (text(entry, "artifactType"), text(entry, "digest"))).collect()
}

#[test]
fn a_layout_gets_referrers_and_keeps_its_image() {
    let recorded = Recorded::new();
    recorded.key("key");
    let root = recorded.path("image");
    let inspect = || fs::read(root.join("blobs/sha256").join(recorded.image.digest.to_string())).unwrap();
    let before = inspect();
    assert_eq!(Sha256::of(&before), recorded.image.digest);
    let mut attached = Vec::new();
    for arguments in [
        &["provenance", "--sign", "key.pem", "--attach", "oci:image"][..],
        &["provenance", "--attach", "oci:image"],
        &["sbom", "--attach", "oci:image"],
        &["sbom", "--as", "spdx", "--attach", "oci:image"],
    ] {
        let digest = recorded.said(arguments);
        assert_eq!(recorded.said(arguments), digest, "attached once");
        attached.push(digest.trim().to_owned());
    }
    assert_eq!(inspect(), before);
    let index: Value = serde_json::from_str(&recorded.project.read("image/index.json")).unwrap();
    let listed = referrers(&index);
    assert_eq!(listed.iter().map(|(_, digest)| digest.clone()).collect::<Vec<_>>(), attached);
    let kinds: Vec<&str> = listed.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "application/vnd.dsse.envelope.v1+json",
            "application/vnd.in-toto+json",
            "application/vnd.cyclonedx+json",
            "application/spdx+json"
        ]
    );
    let blob = |digest: &str| fs::read(root.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))).unwrap();
    let manifest: Value = serde_json::from_slice(&blob(&attached[0])).unwrap();
    let subject = json!({ "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "digest": recorded.image.digest.prefixed(), "size": before.len() });
    assert_eq!(manifest["subject"], subject);
    assert_eq!(manifest["annotations"]["in-toto.io/predicate-type"], "https://slsa.dev/provenance/v1");
    let layer = blob(manifest["layers"][0]["digest"].as_str().unwrap());
    fs::write(recorded.path("attached.json"), layer).unwrap();
    assert_eq!(recorded.said(&["provenance", "--verify", "key.pub", "attached.json"]).lines().count(), 1);
    for entry in fs::read_dir(root.join("blobs/sha256")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(Sha256::of(fs::read(entry.path()).unwrap()).to_string(), entry.file_name().to_str().unwrap());
    }
}

#[test]
fn a_place_without_the_image_gets_nothing() {
    let recorded = Recorded::new();
    write_image(&recorded.path("empty"));
    let index = json!({ "schemaVersion": 2, "manifests": [] }).to_string();
    recorded.project.write("empty/index.json", &index);
    for (place, code, what) in [
        ("oci:empty", 1, "does not have the image"),
        ("oci:context", 2, "it is no OCI layout"),
        ("oci:nowhere", 2, "it is no OCI layout"),
        ("dir:image", 2, "the places are `oci:DIR` and `registry:NAME`"),
    ] {
        let answer = recorded.project.run(&["--quiet", "provenance", "--attach", place]);
        assert_eq!((answer.code, answer.stdout.as_str()), (code, ""), "{place}: {answer:?}");
        assert!(answer.stderr.contains(what), "{place}: {}", answer.stderr);
    }
    assert_eq!(recorded.project.read("empty/index.json"), index);
}

#[test]
fn a_registry_gets_referrers_and_keeps_its_image() {
    let recorded = Recorded::new();
    recorded.key("key");
    let server = RegistryServer::start();
    let image = format!("{}/team/greeter", server.address);
    let place = format!("registry:{image}");
    let answer = recorded.project.run(&["--quiet", "sbom", "--attach", &place]);
    assert_eq!(answer.code, 1, "before the image is there: {answer:?}");
    assert!(answer.stderr.contains("does not have the image"), "{answer:?}");

    let from = format!("oci:{}", recorded.path("image").display());
    let copy =
        ["copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false", &from, &format!("docker://{image}:1")];
    run(Command::new("skopeo").args(copy));
    let inspect = |name: &str| -> Vec<u8> {
        run(Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{image}{name}")]))
    };
    let before = inspect(":1");
    let mut attached = Vec::new();
    for arguments in [&["provenance", "--sign", "key.pem"][..], &["sbom"], &["provenance", "--sign", "key.pem"]] {
        attached.push(recorded.said(&[arguments, &["--attach", &place]].concat()).trim().to_owned());
    }
    assert_eq!(attached[0], attached[2]);
    assert_eq!(inspect(":1"), before);
    let tag = format!(":sha256-{}", recorded.image.digest);
    let index: Value = serde_json::from_slice(&inspect(&tag)).unwrap();
    let listed: Vec<String> = referrers(&index).into_iter().map(|(_, digest)| digest).collect();
    assert_eq!(listed, attached[..2]);
    let manifest: Value = serde_json::from_slice(&inspect(&format!("@{}", attached[0]))).unwrap();
    assert_eq!(manifest["subject"]["digest"], recorded.image.digest.prefixed());
    let url = format!(
        "http://{}/v2/team/greeter/blobs/{}",
        server.address,
        manifest["layers"][0]["digest"].as_str().unwrap()
    );
    let envelope = download(&url);
    recorded.project.write("pulled.json", envelope);
    assert_eq!(recorded.project.run(&["--quiet", "provenance", "--verify", "key.pub", "pulled.json"]).code, 0);
    let answer = recorded.project.run(&["--quiet", "--offline", "sbom", "--attach", &place]);
    assert_eq!(answer.code, 3, "{answer:?}");
}

fn download(url: &str) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let http = oclock::base::http::HttpClient::new(oclock::base::http::HttpOptions::default());
    runtime.block_on(http.fetch(oclock::base::http::Request::get(url.parse().unwrap()))).unwrap().body
}
