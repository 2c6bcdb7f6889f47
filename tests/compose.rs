//! examples/compose.yaml is a file that docker-compose takes, and says what docs/image.md promises. Needs docker-compose.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on may stop")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The example in a directory of its own, prepared by the commands that its first lines give.
fn prepared() -> (tempfile::TempDir, String) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/compose.yaml")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let commands = text.lines().map_while(|line| line.strip_prefix('#')).filter_map(|line| line.strip_prefix("   "));
    let commands: Vec<&str> = commands.filter(|line| !line.contains("docker compose")).collect();
    assert!(commands.len() >= 4, "{commands:?}");
    let output =
        Command::new("sh").args(["-euc", &commands.join("\n")]).current_dir(directory.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (directory, text)
}

/// What docker-compose makes of it. Releases before 2 know no top-level `name`, which is the same as `--project-name`.
fn resolved() -> (tempfile::TempDir, Value) {
    let (directory, text) = prepared();
    assert_eq!(text.matches("\nname: opencode\n").count(), 1);
    fs::write(directory.path().join("compose.yaml"), text.replace("\nname: opencode\n", "\n")).unwrap();
    let arguments = ["--file", "compose.yaml", "--project-name", "opencode", "config"];
    let output = Command::new("docker-compose").args(arguments).current_dir(directory.path()).output();
    let output = output.expect("apt-get install docker-compose");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let program = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))";
    fs::write(directory.path().join("resolved.yaml"), output.stdout).unwrap();
    let resolved = fs::File::open(directory.path().join("resolved.yaml")).unwrap();
    let output = Command::new("/usr/bin/python3").args(["-c", program]).stdin(resolved).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (directory, serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn the_compose_example_is_taken_and_keeps_its_promises() {
    let (directory, compose) = resolved();
    let services = compose["services"].as_object().unwrap();
    assert_eq!(services.keys().map(String::as_str).collect::<Vec<_>>(), ["falkordb", "opencode", "valkey"]);

    // Published on this machine alone, and no store is.
    let ports = services["opencode"]["ports"].as_array().unwrap();
    assert!(!ports.is_empty());
    for port in ports {
        let is_loopback =
            port.as_str().is_some_and(|text| text.starts_with("127.0.0.1:")) || port["host_ip"] == "127.0.0.1";
        assert!(is_loopback, "{port}");
    }
    for store in ["falkordb", "valkey"] {
        assert!(services[store]["ports"].is_null(), "{store} is published");
        assert_eq!(names(&services[store]["networks"]), ["stores"], "{store}");
    }
    assert_eq!(compose["networks"]["stores"]["internal"], true);

    // Every secret is given by a file that is there, and no variable holds one.
    let secrets = compose["secrets"].as_object().unwrap();
    for (name, secret) in secrets {
        let file = directory.path().join(secret["file"].as_str().unwrap());
        assert!(file.is_file(), "{name}: {}", file.display());
    }
    let variables = services["opencode"]["environment"].as_object().unwrap();
    let given: Vec<&String> = variables.keys().filter(|name| name.ends_with("_FILE")).collect();
    assert!(given.len() >= 5, "{given:?}");
    for (name, value) in variables {
        let is_secret = ["PASSWORD", "API_KEY", "APPLICATION_KEY", "APP_KEY"].iter().any(|end| name.ends_with(end));
        assert!(!is_secret, "{name} holds {value}");
        if let Some(file) = value.as_str().and_then(|value| value.strip_prefix("/run/secrets/")) {
            assert!(secrets.contains_key(file), "{name} names a secret that is not there");
        }
    }
    for store in ["falkordb", "valkey"] {
        assert_eq!(names(&services[store]["secrets"]), ["store.conf"], "{store}");
    }
}

/// Names in a list, in the short form or in the long one, or the keys of a table.
fn names(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(table) => table.keys().map(String::as_str).collect(),
        Value::Array(list) => {
            list.iter().filter_map(|item| item.as_str().or_else(|| item["source"].as_str())).collect()
        }
        _ => Vec::new(),
    }
}
