//! Scripts: those that wheels bring, pointed at the environment's interpreter, and those that entry points ask for.

use std::collections::BTreeMap;

/// The first line that stands for an interpreter (PEP 427).
const PLACEHOLDER: &[u8] = b"#!python";
/// The longest `#!` line that Linux takes, with its end.
const LONGEST: usize = 127;

/// The line that runs a script with this interpreter; one that is too long goes by way of the shell.
fn shebang(python: &str) -> String {
    if python.len() + 3 <= LONGEST {
        format!("#!{python}\n")
    } else {
        format!("#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n")
    }
}

/// Whether a wheel's script starts with a line that is to be replaced.
pub(super) fn has_placeholder(start: &[u8]) -> bool {
    start.starts_with(PLACEHOLDER)
}

/// How many first bytes [`has_placeholder`] wants to see.
pub(super) const PLACEHOLDER_LENGTH: usize = PLACEHOLDER.len();

/// Replaces the first line of such a script.
pub(super) fn point_at(python: &str, script: &[u8]) -> Vec<u8> {
    let rest = script.iter().position(|byte| *byte == b'\n').map_or(&[][..], |end| &script[end + 1..]);
    [shebang(python).as_bytes(), rest].concat()
}

/// A script that imports and calls: `name = module:attribute`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntryPoint {
    pub(super) name: String,
    module: String,
    attribute: String,
}

impl EntryPoint {
    /// The script's bytes.
    pub(super) fn render(&self, python: &str) -> Vec<u8> {
        let Self { module, attribute, .. } = self;
        let import = attribute.split('.').next().unwrap_or(attribute);
        let shebang = shebang(python);
        format!(
            "{shebang}import sys\nfrom {module} import {import}\nif __name__ == '__main__':\n    sys.exit({attribute}())\n"
        )
        .into_bytes()
    }
}

/// Reads the scripts of an `entry_points.txt`, sorted by name; the error is the line that makes no sense.
///
/// As pip does it, `pip` gets its versioned names here, since a wheel cannot know the interpreter's version.
pub(super) fn parse(text: &str, version: &str) -> Result<Vec<EntryPoint>, String> {
    let mut found = BTreeMap::new();
    let mut section = "";
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim();
        } else if matches!(section, "console_scripts" | "gui_scripts") {
            let entry = entry_point(line).ok_or_else(|| line.to_owned())?;
            found.insert(entry.name.clone(), entry);
        }
    }
    if let Some(pip) = found.get("pip").cloned() {
        found.retain(|name, _| {
            !name.strip_prefix("pip").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        let major = version.split('.').next().unwrap_or(version);
        for name in [format!("pip{major}"), format!("pip{version}")] {
            found.insert(name.clone(), EntryPoint { name, ..pip.clone() });
        }
    }
    Ok(found.into_values().collect())
}

fn entry_point(line: &str) -> Option<EntryPoint> {
    let (name, value) = line.split_once('=')?;
    let value = value.split('[').next().unwrap_or(value).trim();
    let (module, attribute) = value.split_once(':')?;
    let (name, module, attribute) = (name.trim(), module.trim(), attribute.trim());
    let dotted = |text: &str| text.split('.').all(is_identifier);
    let plain = !name.is_empty()
        && !matches!(name, "." | "..")
        && !name.contains(['/', '\\'])
        && !name.chars().any(|character| character.is_control());
    (plain && dotted(module) && dotted(attribute)).then(|| EntryPoint {
        name: name.to_owned(),
        module: module.to_owned(),
        attribute: attribute.to_owned(),
    })
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|character: char| character.is_ascii_digit())
        && text.chars().all(|character| character == '_' || character.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_points_become_scripts() {
        let text = "[other]\nx = y:z\n[console_scripts]\n# no\nrun = a.b:c.d [extra]\n[gui_scripts]\nshow=e:f\n";
        let found = parse(text, "3.13").unwrap();
        assert_eq!(found.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["run", "show"]);
        assert_eq!(
            String::from_utf8(found[0].render("/opt/venv/bin/python")).unwrap(),
            "#!/opt/venv/bin/python\nimport sys\nfrom a.b import c\nif __name__ == '__main__':\n    sys.exit(c.d())\n"
        );
    }

    #[test]
    fn pip_is_named_by_the_interpreter() {
        let found = parse("[console_scripts]\npip = p:m\npip3 = p:m\npip3.9 = p:m\npipx = q:m\n", "3.13").unwrap();
        let names: Vec<&str> = found.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["pip", "pip3", "pip3.13", "pipx"]);
    }

    #[test]
    fn no_code_and_no_path_hides_in_an_entry_point() {
        for line in ["../x = a:b", "x = a", "x = a:b()", "x = a;import os:b", "x = :b", " = a:b", "x/y = a:b"] {
            assert_eq!(parse(&format!("[console_scripts]\n{line}\n"), "3.13"), Err(line.trim().to_owned()), "{line}");
        }
    }

    #[test]
    fn the_placeholder_line_is_replaced_with_its_arguments() {
        assert_eq!(point_at("/v/bin/python", b"#!python -E\nx\n"), b"#!/v/bin/python\nx\n");
        assert_eq!(point_at("/v/bin/python", b"#!pythonw"), b"#!/v/bin/python\n");
        assert!(!has_placeholder(b"#!/usr/bin/env python"));
        assert!(shebang(&"/v".repeat(80)).starts_with("#!/bin/sh\n'''exec' /v"));
    }
}
