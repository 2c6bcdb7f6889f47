//! What a package.json says of the package it is in: its identity, and what npm would run after unpacking it.

use std::collections::BTreeMap;

use serde_json::Value;

/// The events of an installation, in the order in which they run.
pub const INSTALL_EVENTS: [&str; 3] = ["preinstall", "install", "postinstall"];

/// The command line of each install script, by event.
///
/// `manifest` is the package.json. A package with a `binding.gyp` and neither `preinstall` nor `install` gets npm's implicit
/// `node-gyp rebuild`, unless it says `"gypfile": false`.
pub fn install_scripts(manifest: &Value, has_binding: HasBinding) -> BTreeMap<String, String> {
    let command = |event: &&str| {
        let text = manifest.get("scripts")?.get(event)?.as_str()?;
        (!text.is_empty()).then(|| ((*event).to_owned(), text.to_owned()))
    };
    let mut scripts: BTreeMap<String, String> = INSTALL_EVENTS.iter().filter_map(command).collect();
    let is_built = scripts.contains_key("preinstall") || scripts.contains_key("install");
    if has_binding == HasBinding::Yes && !is_built && manifest.get("gypfile") != Some(&Value::Bool(false)) {
        scripts.insert("install".into(), "node-gyp rebuild".into());
    }
    scripts
}

/// The `name@version` that a package.json claims, in the form in which registries have it: without `v` and build metadata.
pub fn claimed_identity(manifest: &Value) -> String {
    let text = |key: &str| manifest.get(key).and_then(Value::as_str).unwrap_or_default().trim();
    let version = text("version").trim_start_matches(['v', '=']);
    format!("{}@{}", text("name"), version.split('+').next().unwrap_or_default())
}

/// Whether a package has a `binding.gyp` at its top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HasBinding {
    /// It has one.
    Yes,
    /// It has none.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_identity_is_that_of_the_registry() {
        assert_eq!(claimed_identity(&json!({"name": "@s/a", "version": " v1.0.0+build"})), "@s/a@1.0.0");
        assert_eq!(claimed_identity(&json!({})), "@");
    }

    #[test]
    fn a_binding_is_built_unless_the_package_builds_itself() {
        let implicit = install_scripts(&json!({}), HasBinding::Yes);
        assert_eq!(implicit["install"], "node-gyp rebuild");
        for manifest in [json!({"gypfile": false}), json!({"scripts": {"preinstall": "x"}})] {
            assert!(!install_scripts(&manifest, HasBinding::Yes).contains_key("install"), "{manifest}");
        }
        assert!(install_scripts(&json!({"scripts": {"prepare": "x", "test": "y"}}), HasBinding::No).is_empty());
    }
}
