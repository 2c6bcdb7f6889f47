//! package.json and package-lock.json (versions 1 to 3).

use serde_json::{Map, Value};

use super::project::ProjectUse;
use super::{Collected, ImportError, ImportFate, Input};
use crate::manifest::{NpmOverride, NpmRequirement, check_override_wish, parse_override_key};
use crate::ops::imported::ImportedNpm;

/// The keys under which a package asks for others.
const WISHES: [&str; 4] = ["peerDependencies", "dependencies", "optionalDependencies", "devDependencies"];

/// Takes what a package.json asks for.
pub(super) fn import_package(input: &Input, collected: &mut Collected) -> Result<(), ImportError> {
    let package: Value = serde_json::from_str(&input.text).map_err(|error| input.bad(error))?;
    let package = package.as_object().ok_or_else(|| input.bad("it is no object"))?;
    if let Some(name) = package.get("name").and_then(Value::as_str) {
        collected.name.get_or_insert_with(|| name.to_owned());
    }
    let left = [
        ("workspaces", "one project is imported: name the package.json of a workspace"),
        ("resolutions", "npm does not read them: write them in `[npm.overrides]`, as npm has its `overrides`"),
    ];
    for (key, then) in left {
        if package.contains_key(key) {
            collected.note((&input.name, line_of(input, key)), ImportFate::Left, key, then);
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
    import_overrides(input, package, collected);
    Ok(())
}

/// Takes what a package.json asks for instead of what packages ask for.
fn import_overrides(input: &Input, package: &Map<String, Value>, collected: &mut Collected) {
    let Some(entries) = package.get("overrides").and_then(Value::as_object) else { return };
    let at = line_of(input, "overrides");
    let mut reader = OverrideReader { input, package, collected };
    let overrides = reader.read(entries, "");
    if overrides.is_empty() {
        return;
    }
    let keys: Vec<&str> = overrides.iter().map(|entry| entry.key.as_str()).collect();
    let then = match collected.npm.is_empty() {
        true => "[npm.overrides]",
        false => "[npm.overrides]; there they hold for global packages too, which npm does not do",
    };
    collected.note((&input.name, at), ImportFate::Taken, &format!("overrides: {}", keys.join(" ")), then);
    collected.npm_overrides = overrides;
}

/// Reads `overrides` of a package.json, and names what of it cannot be carried over.
struct OverrideReader<'a> {
    input: &'a Input,
    package: &'a Map<String, Value>,
    collected: &'a mut Collected,
}

impl OverrideReader<'_> {
    /// The entries of one table; `above` are the keys that it stands below, each with ` > ` after it.
    fn read(&mut self, entries: &Map<String, Value>, above: &str) -> Vec<NpmOverride> {
        let mut overrides = Vec::new();
        for (key, value) in entries.iter().filter(|(key, _)| *key != ".") {
            let path = format!("{above}{key}");
            let Ok(name) = parse_override_key(key) else {
                self.leave(key, &path, "its key is no package of a registry with a range");
                continue;
            };
            let below = value.as_object().map(|below| self.read(below, &format!("{path} > "))).unwrap_or_default();
            let own = if value.is_object() { value.get(".") } else { Some(value) };
            let wanted = own.and_then(|own| self.wish(&name, own, (key.as_str(), path.as_str())));
            if wanted.is_some() || !below.is_empty() {
                overrides.push(NpmOverride { key: key.clone(), wanted, below });
            }
        }
        overrides
    }

    fn wish(&mut self, name: &str, value: &Value, (key, path): (&str, &str)) -> Option<String> {
        let text = value.as_str().unwrap_or_default();
        let text = if text.is_empty() { "*" } else { text };
        let wanted = match text.strip_prefix('$') {
            Some(direct) => self.referred(direct)?,
            None => text.to_owned(),
        };
        if check_override_wish(name, &wanted).is_err() {
            self.leave(key, &format!("{path}: {text}"), "only releases of a registry are locked: name a range of them");
            return None;
        }
        Some(wanted)
    }

    /// A reference to what the project asks for; the range itself where that is left out, as what is for development may be.
    fn referred(&self, direct: &str) -> Option<String> {
        let directory = ProjectUse::of(self.collected).directory;
        if self.collected.projects.get(&directory).is_some_and(|asked| asked.contains_key(direct)) {
            return Some(format!("${direct}"));
        }
        let wishes = WISHES.iter().filter_map(|key| self.package.get(*key)?.get(direct)?.as_str());
        wishes.map(str::to_owned).next()
    }

    fn leave(&mut self, key: &str, what: &str, then: &str) {
        self.collected.note((&self.input.name, line_of(self.input, key)), ImportFate::Left, what, then);
    }
}

/// Takes what a package, or the root of a lock, asks for.
fn import_wishes(input: &Input, package: &Map<String, Value>, collected: &mut Collected) {
    let ProjectUse { directory, dev } = ProjectUse::of(collected);
    let section = format!("[npm.projects.\"{directory}\"]");
    for key in WISHES {
        let Some(wishes) = package.get(key).and_then(Value::as_object).filter(|wishes| !wishes.is_empty()) else {
            continue;
        };
        let at = line_of(input, key);
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
    let old = flattened(&lock);
    let version = lock.get("lockfileVersion").and_then(Value::as_u64);
    let packages = match version {
        Some(2 | 3) => {
            lock.get("packages").and_then(Value::as_object).ok_or_else(|| input.bad("it has no `packages`"))?
        }
        Some(1) if is_asked => &old,
        Some(1) => {
            return Err(
                input.bad("its lockfileVersion is 1, which does not say what is asked for: name package.json too")
            );
        }
        _ => return Err(input.bad("its lockfileVersion is none of 1, 2 and 3")),
    };
    if let Some(root) = packages.get("").and_then(Value::as_object).filter(|_| !is_asked) {
        if let Some(name) = root.get("name").and_then(Value::as_str) {
            collected.name.get_or_insert_with(|| name.to_owned());
        }
        import_wishes(input, root, collected);
    }
    let ProjectUse { directory, dev } = ProjectUse::of(collected);
    if version == Some(1) {
        let then = "it says neither which packages bring install scripts nor which do not run on Linux: approve the former in `[npm] scripts`, take out the latter";
        collected.note((&input.name, input.line_of("lockfileVersion")), ImportFate::Left, "lockfileVersion 1", then);
    }
    leave_out_foreign(input, packages, &directory, collected);
    let mut scripts = Vec::new();
    for (key, entry) in packages.iter().filter(|(key, _)| !key.is_empty()) {
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let is = |name: &str| entry.get(name).and_then(Value::as_bool) == Some(true);
        let at = || (input.name.as_str(), line_of(input, key));
        if is("inBundle") || is("extraneous") || (is("dev") && !dev) {
            continue;
        }
        let (Some(folder), Some(version), false) = (key.rsplit("node_modules/").next(), text("version"), is("link"))
        else {
            collected.note(
                at(),
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
            collected.note(at(), ImportFate::Left, &format!("{name} {version}"), then);
            continue;
        }
        if is("hasInstallScript") {
            scripts.push((at().1, name.to_owned()));
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

/// The line of a place; in a lock of version 1 that of its name.
fn line_of(input: &Input, key: &str) -> usize {
    let name = key.rsplit("node_modules/").next().unwrap_or(key);
    let found = [key, name].into_iter().find_map(|text| input.text.find(&format!("\"{text}\"")));
    found.map_or(1, |offset| input.line_at(offset))
}

/// The packages of a lock of version 1, by their places as later versions have them.
fn flattened(lock: &Value) -> Map<String, Value> {
    let mut packages = Map::new();
    let mut open = vec![(String::new(), lock)];
    while let Some((above, package)) = open.pop() {
        for (name, inner) in package.get("dependencies").and_then(Value::as_object).into_iter().flatten() {
            let place = format!("{above}node_modules/{name}");
            let mut entry = inner.as_object().cloned().unwrap_or_default();
            entry.remove("dependencies");
            if let Some(bundled) = entry.remove("bundled") {
                entry.insert("inBundle".to_owned(), bundled);
            }
            let version = entry.get("version").and_then(Value::as_str).unwrap_or_default().to_owned();
            if let Some((real, version)) = version.strip_prefix("npm:").and_then(|alias| alias.rsplit_once('@')) {
                entry.insert("name".to_owned(), real.into());
                entry.insert("version".to_owned(), version.into());
            } else if version.contains([':', '/']) {
                entry.insert("resolved".to_owned(), version.into());
            }
            packages.insert(place.clone(), Value::Object(entry));
            open.push((format!("{place}/"), inner));
        }
    }
    packages
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
            foreign.push((name, line_of(input, key)));
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
    fn old_locks_have_places_too() {
        let lock = serde_json::json!({ "lockfileVersion": 1, "dependencies": {
            "a": { "version": "1.0.0", "requires": { "b": "^1" }, "dependencies": { "b": { "version": "1.1.0", "bundled": true } } },
            "b": { "version": "npm:c@2.0.0" },
            "d": { "version": "git+ssh://h.invalid/d.git#1" },
        } });
        let packages = flattened(&lock);
        let keys: Vec<&String> = packages.keys().collect();
        assert_eq!(keys, ["node_modules/a", "node_modules/b", "node_modules/d", "node_modules/a/node_modules/b"]);
        assert_eq!(packages["node_modules/a/node_modules/b"]["inBundle"], true);
        assert_eq!(
            (&packages["node_modules/b"]["name"], &packages["node_modules/b"]["version"]),
            (&"c".into(), &"2.0.0".into())
        );
        assert_eq!(packages["node_modules/d"]["resolved"], "git+ssh://h.invalid/d.git#1");
    }

    #[test]
    fn systems_are_named_or_excluded() {
        let on = |os: Value| runs_on_linux(&serde_json::json!({ "os": os }));
        assert!(on(Value::Null) && on(["linux", "darwin"].into()) && on(["!win32"].into()));
        assert!(!on(["darwin"].into()) && !on(["!linux"].into()));
    }
}
