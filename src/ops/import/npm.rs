//! package.json and package-lock.json (versions 2 and 3).

use serde_json::{Map, Value};

use super::project::ProjectUse;
use super::{Collected, ImportError, ImportFate, Input};
use crate::manifest::NpmRequirement;
use crate::ops::imported::ImportedNpm;

/// Takes what a package.json asks for.
pub(super) fn import_package(input: &Input, collected: &mut Collected) -> Result<(), ImportError> {
    let package: Value = serde_json::from_str(&input.text).map_err(|error| input.bad(error))?;
    let package = package.as_object().ok_or_else(|| input.bad("it is no object"))?;
    if let Some(name) = package.get("name").and_then(Value::as_str) {
        collected.name.get_or_insert_with(|| name.to_owned());
    }
    let left = [
        ("overrides", "write them in `[npm.overrides]`, in the same form"),
        ("workspaces", "one project is imported: name the package.json of a workspace"),
    ];
    for (key, then) in left {
        if package.contains_key(key) {
            collected.note((&input.name, input.line_of(&format!("\"{key}\""))), ImportFate::Left, key, then);
        }
    }
    let scripts = package.get("scripts").and_then(Value::as_object);
    for name in ["preinstall", "install", "postinstall", "prepare"] {
        if scripts.is_some_and(|scripts| scripts.contains_key(name)) {
            let then =
                "the project's own script is not run: write it as a RUN in Containerfile.in where the image needs it";
            collected.note(
                (&input.name, input.line_of(&format!("\"{name}\""))),
                ImportFate::Left,
                &format!("scripts.{name}"),
                then,
            );
        }
    }
    if package.contains_key("engines") {
        let line = input.line_of("\"engines\"");
        collected.note((&input.name, line), ImportFate::Needless, "engines", "which Node it is, base or [apt] say");
    }
    import_wishes(input, package, collected);
    Ok(())
}

/// Takes what a package, or the root of a lock, asks for.
fn import_wishes(input: &Input, package: &Map<String, Value>, collected: &mut Collected) {
    let ProjectUse { directory, dev } = ProjectUse::of(collected);
    let section = format!("[npm.projects.\"{directory}\"]");
    for key in ["peerDependencies", "dependencies", "optionalDependencies", "devDependencies"] {
        let Some(wishes) = package.get(key).and_then(Value::as_object).filter(|wishes| !wishes.is_empty()) else {
            continue;
        };
        let at = input.line_of(&format!("\"{key}\""));
        if key == "devDependencies" && !dev {
            let names: Vec<&str> = wishes.keys().map(String::as_str).collect();
            let then = "what is for development is left out of an image";
            collected.note((&input.name, at), ImportFate::Needless, &format!("{key}: {}", names.join(" ")), then);
            continue;
        }
        let mut taken = Vec::new();
        for (name, wanted) in wishes {
            let wanted = wanted.as_str().unwrap_or_default();
            let wanted = if wanted.is_empty() { "*" } else { wanted };
            match NpmRequirement::parse(name, wanted) {
                Ok(_) => {
                    collected.projects.entry(directory.clone()).or_default().insert(name.clone(), wanted.to_owned());
                    taken.push(name.as_str());
                }
                Err(_) => {
                    let then = "only releases of a registry are locked: publish it, or put its files into context/";
                    let line = input.line_of(&format!("\"{name}\""));
                    collected.note((&input.name, line), ImportFate::Left, &format!("{name}: {wanted}"), then);
                }
            }
        }
        if !taken.is_empty() {
            collected.note(
                (&input.name, at),
                ImportFate::Taken,
                &format!("{key}: {}", taken.join(" ")),
                section.as_str(),
            );
        }
    }
}

/// Takes the versions and places of a package-lock.json; and what it asks for, where no package.json says it.
pub(super) fn import_lock(input: &Input, is_asked: bool, collected: &mut Collected) -> Result<(), ImportError> {
    let lock: Value = serde_json::from_str(&input.text).map_err(|error| input.bad(error))?;
    let version = lock.get("lockfileVersion").and_then(Value::as_u64);
    if !matches!(version, Some(2 | 3)) {
        let why = "its lockfileVersion is neither 2 nor 3: `npm install --package-lock-only` writes a new one with the same versions";
        return Err(input.bad(why));
    }
    let packages = lock.get("packages").and_then(Value::as_object).ok_or_else(|| input.bad("it has no `packages`"))?;
    if let Some(root) = packages.get("").and_then(Value::as_object).filter(|_| !is_asked) {
        if let Some(name) = root.get("name").and_then(Value::as_str) {
            collected.name.get_or_insert_with(|| name.to_owned());
        }
        import_wishes(input, root, collected);
    }
    let ProjectUse { directory, dev } = ProjectUse::of(collected);
    leave_out_foreign(input, packages, &directory, collected);
    let mut scripts = Vec::new();
    for (key, entry) in packages.iter().filter(|(key, _)| !key.is_empty()) {
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let is = |name: &str| entry.get(name).and_then(Value::as_bool) == Some(true);
        let at = (input.name.as_str(), input.line_of(&format!("\"{key}\"")));
        if is("inBundle") || is("extraneous") || (is("dev") && !dev) {
            continue;
        }
        let (Some(folder), Some(version), false) = (key.rsplit("node_modules/").next(), text("version"), is("link"))
        else {
            collected.note(
                at,
                ImportFate::Left,
                key,
                "it is a folder of the project: put it into context/ and COPY it",
            );
            continue;
        };
        let name = text("name").unwrap_or(folder);
        let is_registered =
            key.starts_with("node_modules/") && text("resolved").is_none_or(|from| from.starts_with("http"));
        if !is_registered {
            let then = "only releases of a registry are locked: publish it, or put its files into context/";
            collected.note(at, ImportFate::Left, &format!("{name} {version}"), then);
            continue;
        }
        if is("hasInstallScript") {
            scripts.push((at.1, name.to_owned()));
        }
        let (place, integrity) = (format!("{directory}/{key}"), text("integrity").map(str::to_owned));
        collected.imported.add_npm(ImportedNpm {
            name: name.to_owned(),
            version: version.to_owned(),
            places: vec![place],
            integrity,
        });
    }
    for (line, name) in scripts {
        let then = "its install script is not run unless `[npm] scripts` names it: it then runs inside, offline";
        collected.note((&input.name, line), ImportFate::Left, &name, then);
    }
    Ok(())
}

/// Takes out what is optional and does not run on Linux: the manifest's own packages must all run.
fn leave_out_foreign(input: &Input, packages: &Map<String, Value>, directory: &str, collected: &mut Collected) {
    let Some(asked) = collected.projects.get_mut(directory) else { return };
    let mut foreign = Vec::new();
    for (key, entry) in packages {
        let is_optional = entry.get("optional").and_then(Value::as_bool) == Some(true);
        let Some(name) = key.strip_prefix("node_modules/").filter(|_| is_optional && !runs_on_linux(entry)) else {
            continue;
        };
        if asked.remove(name).is_some() {
            foreign.push((name, input.line_of(&format!("\"{key}\""))));
        }
    }
    for (name, line) in foreign {
        collected.note((&input.name, line), ImportFate::Needless, name, "it is optional and does not run on Linux");
    }
}

/// What `os` of a package says: names, or names with `!` of those that are out.
fn runs_on_linux(entry: &Value) -> bool {
    let systems: Vec<&str> =
        entry.get("os").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let has_names = systems.iter().any(|name| !name.starts_with('!'));
    !systems.contains(&"!linux") && (!has_names || systems.contains(&"linux"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_named_or_excluded() {
        let on = |os: Value| runs_on_linux(&serde_json::json!({ "os": os }));
        assert!(on(Value::Null) && on(["linux", "darwin"].into()) && on(["!win32"].into()));
        assert!(!on(["darwin"].into()) && !on(["!linux"].into()));
    }
}
