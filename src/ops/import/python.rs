//! pyproject.toml, uv.lock and pylock.toml (PEP 621, PEP 751).

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::requirements::{add, constraint, instead};
use super::{Collected, ImportError, ImportFate, Input};
use crate::manifest::parse_pip_requirement;
use crate::ops::imported::ImportedPip;

const NOT_AN_INDEX: &str = "only releases of an index are locked: name one, or put its files into context/";

fn table(input: &Input) -> Result<Table, ImportError> {
    input.text.parse().map_err(|error: toml::de::Error| input.bad(error.message()))
}

fn get<'a>(value: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (last, above) = path.split_last()?;
    above.iter().try_fold(value, |table, key| table.get(*key)?.as_table())?.get(*last)
}

fn strings<'a>(value: Option<&'a Value>) -> impl Iterator<Item = &'a str> + use<'a> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn tables<'a>(value: Option<&'a Value>) -> impl Iterator<Item = &'a Table> + use<'a> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

/// Takes what a project asks for.
pub(super) fn import_pyproject(input: &Input, collected: &mut Collected) -> Result<(), ImportError> {
    let file = table(input)?;
    if let Some(name) = get(&file, &["project", "name"]).and_then(Value::as_str) {
        collected.name.get_or_insert_with(|| name.to_owned());
    }
    let at = |needle: &str| (input.name.as_str(), input.line_of(needle));
    let sources = get(&file, &["tool", "uv", "sources"]).and_then(Value::as_table);
    for text in strings(get(&file, &["project", "dependencies"])) {
        let Ok(requirement) = parse_pip_requirement(text) else {
            collected.note(at(text), ImportFate::Left, text, NOT_AN_INDEX);
            continue;
        };
        let own = sources.and_then(|sources| sources.get(requirement.name.as_ref()));
        if own.is_some_and(|own| own.get("index").is_none()) {
            collected.note(at(text), ImportFate::Left, text, NOT_AN_INDEX);
            continue;
        }
        if own.is_some() {
            let then = "bind it to its index: `[sources.NAME]` with this name under `packages`";
            collected.note(at(text), ImportFate::Left, requirement.name.as_ref(), then);
        }
        add(text, collected);
        collected.note(at(text), ImportFate::Taken, text, "[pip] packages");
    }
    for text in strings(get(&file, &["tool", "uv", "constraint-dependencies"])) {
        constraint(text, at(text), collected);
    }
    for text in strings(get(&file, &["tool", "uv", "override-dependencies"])) {
        instead(text, at(text), collected);
    }
    let left = [
        (
            &["tool", "poetry", "dependencies"][..],
            "tool.poetry.dependencies",
            "export them: `poetry export -o requirements.txt`, and name that file",
        ),
        (
            &["tool", "pdm", "dev-dependencies"],
            "tool.pdm",
            "export them: `pdm export -o requirements.txt`, and name that file",
        ),
    ];
    for (path, shown, then) in left {
        if get(&file, path).is_some() {
            collected.note(at(path[path.len() - 1]), ImportFate::Left, shown, then);
        }
    }
    if strings(get(&file, &["project", "dynamic"])).any(|name| name == "dependencies") {
        let then = "a build of the project says them: compile them into requirements.txt, and name that file";
        collected.note(at("dynamic"), ImportFate::Left, "dynamic dependencies", then);
    }
    let groups = [&["project", "optional-dependencies"][..], &["dependency-groups"]];
    for group in groups.iter().filter_map(|path| get(&file, path)).filter_map(Value::as_table) {
        for name in group.keys() {
            let then = "nothing asks for it; write what the image needs of it into [pip] packages";
            collected.note(at(&format!("\n{name}")), ImportFate::Needless, name, then);
        }
    }
    if let Some(python) = get(&file, &["project", "requires-python"]).and_then(Value::as_str) {
        let then = "which Python it is, base or [apt] say";
        collected.note(at("requires-python"), ImportFate::Needless, &format!("requires-python {python}"), then);
    }
    collected.asks_pip = true;
    Ok(())
}

/// Takes the versions of a uv.lock; and what its project asks for, where nothing else says it.
pub(super) fn import_uv(input: &Input, is_asked: bool, collected: &mut Collected) -> Result<(), ImportError> {
    let lock = table(input)?;
    if lock.get("version").and_then(Value::as_integer) != Some(1) {
        return Err(input.bad("its version is not 1"));
    }
    if !is_asked {
        let at = |text: &str| (input.name.as_str(), input.line_of(text));
        for wanted in tables(get(&lock, &["manifest", "constraints"])) {
            let text = requirement_of(wanted);
            constraint(&text, at("constraints"), collected);
        }
        for wanted in tables(get(&lock, &["manifest", "overrides"])) {
            let text = requirement_of(wanted);
            instead(&text, at("overrides"), collected);
        }
    }
    let registries: BTreeSet<&str> =
        tables(lock.get("package")).filter_map(|package| source(package, "registry")).collect();
    let usual = registries
        .iter()
        .max_by_key(|url| tables(lock.get("package")).filter(|p| source(p, "registry") == Some(url)).count());
    for package in tables(lock.get("package")) {
        let text = |key: &str| package.get(key).and_then(Value::as_str);
        let name = text("name").unwrap_or_default();
        let at = || (input.name.as_str(), input.line_of(&format!("name = \"{name}\"")));
        if source(package, "virtual") == Some(".") || source(package, "editable") == Some(".") {
            collected.name.get_or_insert_with(|| name.to_owned());
            if !is_asked {
                import_wanted(input, package, collected);
            }
            if source(package, "editable").is_some() {
                let then = "your own code is no package here: put it into context/ and COPY it";
                collected.note(at(), ImportFate::Left, name, then);
            }
            continue;
        }
        let (Some(registry), Some(version)) = (source(package, "registry"), text("version")) else {
            collected.note(at(), ImportFate::Left, name, NOT_AN_INDEX);
            continue;
        };
        if Some(&registry) != usual {
            let then = "it comes from another index than most: bind it with `[sources.NAME]` and its `packages`";
            collected.note(at(), ImportFate::Left, name, then);
        }
        let files = tables(package.get("wheels")).chain(package.get("sdist").and_then(Value::as_table));
        let hashes = files.filter_map(|file| file.get("hash")?.as_str()).map(str::to_owned).collect();
        collected.imported.add_pip(ImportedPip { name: name.to_owned(), version: version.to_owned(), hashes });
    }
    Ok(())
}

fn source<'a>(package: &'a Table, kind: &str) -> Option<&'a str> {
    get(package, &["source", kind])?.as_str()
}

/// What the project of a uv.lock asks for.
fn import_wanted(input: &Input, package: &Table, collected: &mut Collected) {
    for wanted in tables(get(package, &["metadata", "requires-dist"])) {
        let text = |key: &str| wanted.get(key).and_then(Value::as_str);
        let Some(name) = text("name") else { continue };
        let at = (input.name.as_str(), input.line_of(&format!("{{ name = \"{name}\"")));
        let marker = text("marker").unwrap_or_default();
        if marker.contains("extra ==") {
            collected.note(at, ImportFate::Needless, name, "nothing asks for the extra that it belongs to");
            continue;
        }
        if ["git", "url", "path", "directory", "editable"].iter().any(|kind| wanted.contains_key(*kind)) {
            collected.note(at, ImportFate::Left, name, NOT_AN_INDEX);
            continue;
        }
        ask(&requirement_of(wanted), at, collected);
    }
}

/// A requirement of a uv.lock as PEP 508 has it.
fn requirement_of(wanted: &Table) -> String {
    let text = |key: &str| wanted.get(key).and_then(Value::as_str).unwrap_or_default();
    let extras: Vec<&str> = strings(wanted.get("extras")).collect();
    let extras = if extras.is_empty() { String::new() } else { format!("[{}]", extras.join(",")) };
    let marker = if text("marker").is_empty() { String::new() } else { format!(" ; {}", text("marker")) };
    format!("{}{extras}{}{marker}", text("name"), text("specifier"))
}

fn ask(text: &str, at: (&str, usize), collected: &mut Collected) {
    match parse_pip_requirement(text) {
        Ok(_) => {
            add(text, collected);
            collected.note(at, ImportFate::Taken, text, "[pip] packages");
        }
        Err(error) => collected.note(at, ImportFate::Left, text, error.to_string()),
    }
}

/// Takes the versions of a pylock.toml. It does not say who asked: without another file that does, all are asked for.
pub(super) fn import_pylock(input: &Input, is_asked: bool, collected: &mut Collected) -> Result<(), ImportError> {
    let lock = table(input)?;
    let version = lock.get("lock-version").and_then(Value::as_str).unwrap_or_default();
    if version.split('.').next() != Some("1") {
        return Err(input.bad("its lock-version is not 1"));
    }
    for package in tables(lock.get("packages")) {
        let text = |key: &str| package.get(key).and_then(Value::as_str);
        let name = text("name").unwrap_or_default();
        let at = || (input.name.as_str(), input.line_of(&format!("name = \"{name}\"")));
        let is_elsewhere = ["vcs", "directory", "archive"].iter().any(|kind| package.contains_key(*kind));
        let (Some(version), false) = (text("version"), is_elsewhere) else {
            collected.note(at(), ImportFate::Left, name, NOT_AN_INDEX);
            continue;
        };
        let files = tables(package.get("wheels")).chain(package.get("sdist").and_then(Value::as_table));
        let hashes =
            files.filter_map(|file| get(file, &["hashes", "sha256"])?.as_str()).map(|hex| format!("sha256:{hex}"));
        let hashes = hashes.collect();
        collected.imported.add_pip(ImportedPip { name: name.to_owned(), version: version.to_owned(), hashes });
        if !is_asked {
            let marker = text("marker").map(|marker| format!(" ; {marker}")).unwrap_or_default();
            ask(&format!("{name}=={version}{marker}"), at(), collected);
        }
    }
    Ok(())
}
