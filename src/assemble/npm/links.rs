//! The commands and manual pages that npm links (behaviour of npm-normalize-package-bin 5 and bin-links 6).

use std::collections::BTreeMap;

use serde_json::Value;

/// A package's commands: name of the link → file, relative to the package. In the order of the manifest.
///
/// `directories.bin` needs the list of files and is turned into `bin` by [`expand_directory`] before.
pub(super) fn commands(manifest: &Value) -> Vec<(String, String)> {
    let listed: Vec<(&str, &str)> = match manifest.get("bin") {
        Some(Value::String(file)) => match manifest.get("name").and_then(Value::as_str) {
            Some(name) => vec![(name, file)],
            None => Vec::new(),
        },
        Some(Value::Array(files)) => files.iter().filter_map(Value::as_str).map(|file| (file, file)).collect(),
        Some(Value::Object(bins)) => {
            bins.iter().filter_map(|(name, file)| Some((name.as_str(), file.as_str()?))).collect()
        }
        _ => Vec::new(),
    };
    let mut commands: Vec<(String, String)> = Vec::new();
    for (name, file) in listed {
        let name = name.replace(['\\', ':'], "/");
        let name = clean(name.trim_end_matches('/').rsplit('/').next().unwrap_or_default());
        let file = clean(&file.replace('\\', "/"));
        if name.is_empty() || file.is_empty() {
            continue;
        }
        match commands.iter_mut().find(|(other, _)| *other == name) {
            Some(known) => known.1 = file,
            None => commands.push((name, file)),
        }
    }
    commands
}

/// Turns `directories.bin` into `bin`, as npm does for a package that has no `bin`: one command for each file there.
pub(super) fn expand_directory<'a>(manifest: &mut Value, files: impl Iterator<Item = &'a str>) {
    let directory = manifest.get("directories").and_then(|all| all.get("bin")).and_then(Value::as_str).map(clean);
    let Some(directory) = directory.filter(|_| manifest.get("bin").is_none_or(Value::is_null)) else { return };
    let is_hidden = |path: &str| path.split('/').any(|part| part.starts_with('.'));
    let below = files
        .filter(|file| file.strip_prefix(&directory).is_some_and(|rest| rest.starts_with('/') && !is_hidden(rest)));
    let bins = below.map(|file| (file.rsplit('/').next().unwrap_or(file).to_owned(), Value::from(file)));
    let bins: serde_json::Map<String, Value> = bins.collect();
    if let Some(manifest) = manifest.as_object_mut()
        && !bins.is_empty()
    {
        manifest.insert("bin".into(), bins.into());
    }
}

/// A package's manual pages: link below `share/man` → file, relative to the package. Like npm, only from a list.
pub(super) fn manuals(manifest: &Value) -> BTreeMap<String, String> {
    let files = manifest.get("man").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let link = |file: &str| {
        let file = clean(&clean(file).replace(['\\', ':'], "/"));
        let base = file.rsplit('/').next()?.to_owned();
        let section = base.strip_suffix(".gz").unwrap_or(&base).rsplit_once('.')?.1.to_owned();
        let is_section = !section.is_empty() && section.bytes().all(|byte| byte.is_ascii_digit());
        is_section.then(|| (format!("man{section}/{base}"), file.clone()))
    };
    files.filter_map(link).collect()
}

/// A path as if its directory were the root: what steps upwards stays inside.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The way from the directory of one absolute path to another one.
pub(super) fn relative(from_directory: &str, to: &str) -> String {
    let from: Vec<&str> = from_directory.split('/').filter(|part| !part.is_empty()).collect();
    let to: Vec<&str> = to.split('/').filter(|part| !part.is_empty()).collect();
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    [vec![".."; from.len() - common], to[common..].to_vec()].concat().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn commands_are_read_in_all_their_forms() {
        let one = |manifest| commands(&manifest);
        let pair = |name: &str, file: &str| vec![(name.to_owned(), file.to_owned())];
        assert_eq!(one(json!({"name": "@s/tool", "bin": "./cli.js"})), pair("tool", "cli.js"));
        assert_eq!(one(json!({"bin": ["bin/a.js"]})), pair("a.js", "bin/a.js"));
        assert_eq!(one(json!({"bin": {"../../evil": "../../../etc/x"}})), pair("evil", "etc/x"));
        assert_eq!(one(json!({"bin": {"a": 1, "": "x", "b": ""}})), []);
        assert_eq!(one(json!({"bin": "x"})), []);
    }

    #[test]
    fn a_directory_of_commands_counts_where_there_is_no_other_list() {
        let files = ["bin/a", "bin/.hidden", "bins/x", "b"];
        let mut manifest = json!({"name": "p", "directories": {"bin": "./bin"}});
        expand_directory(&mut manifest, files.into_iter());
        assert_eq!(commands(&manifest), [("a".to_owned(), "bin/a".to_owned())]);
        let mut manifest = json!({"name": "p", "bin": "b", "directories": {"bin": "bin"}});
        expand_directory(&mut manifest, files.into_iter());
        assert_eq!(commands(&manifest), [("p".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn manual_pages_need_a_section() {
        let found = manuals(&json!({"man": ["man/a.1", "/b.7.gz", "../c.txt"]}));
        let expected = [("man1/a.1", "man/a.1"), ("man7/b.7.gz", "b.7.gz")];
        assert!(manuals(&json!({"man": "man/a.1"})).is_empty());
        assert_eq!(found, expected.map(|(link, file)| (link.to_owned(), file.to_owned())).into());
    }

    #[test]
    fn links_are_relative() {
        assert_eq!(relative("/usr/local/bin", "/usr/local/lib/node_modules/a/b"), "../lib/node_modules/a/b");
        assert_eq!(relative("/r/node_modules/.bin", "/r/node_modules/@s/x/c.js"), "../@s/x/c.js");
    }
}
