//! requirements.txt: as pip reads it, with pip-compile's and uv's hashes and `# via` comments.

use std::collections::BTreeSet;
use std::path::Path;

use uv_pep440::Operator;
use uv_pep508::VersionOrUrl;

use super::{Collected, ImportError, ImportFate, Input};
use crate::manifest::{PipRequirement, parse_pip_constraint, parse_pip_release, parse_pip_requirement};
use crate::model::ValueError;
use crate::ops::imported::ImportedPip;

/// A line with what belongs to it.
#[derive(Debug, Default)]
struct Line {
    number: usize,
    text: String,
    hashes: BTreeSet<String>,
    /// Whether a comment says who asked.
    has_via: bool,
}

/// Reads a file of requirements. One that a tool compiled is a lock where another file says what is asked for. Where none does,
/// all of it is asked for: what extras brought in cannot be told from the rest.
pub(super) fn import(input: &Input, given: &[&Path], collected: &mut Collected) -> Result<(), ImportError> {
    let lines = logical_lines(&input.text);
    let is_called = |start| input.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start));
    let (is_constraints, is_overrides) = (is_called("constraints"), is_called("overrides"));
    let is_compiled = lines.iter().any(|line| !line.hashes.is_empty() || line.has_via);
    let is_asked = collected.asks_pip;
    for line in &lines {
        let at = (input.name.as_str(), line.number);
        if line.text.starts_with('-') {
            option(&line.text, at, given, collected);
            continue;
        }
        let Ok(requirement) = parse_pip_requirement(&line.text) else {
            let then = "only releases of an index are locked: name one, or put the files into context/";
            collected.note(at, ImportFate::Left, &line.text, then);
            continue;
        };
        if let Some(version) = exact(&requirement) {
            let name = requirement.name.to_string();
            collected.imported.add_pip(ImportedPip { name, version, hashes: line.hashes.clone() });
        }
        let shown = line.text.split_whitespace().collect::<Vec<_>>().join(" ");
        if is_constraints {
            constraint(&shown, at, collected);
        } else if is_overrides {
            instead(&shown, at, collected);
        } else if is_compiled && is_asked {
            collected.note(at, ImportFate::Taken, &shown, "a version that `oclock update` keeps");
        } else {
            add(&shown, collected);
            collected.note(at, ImportFate::Taken, &shown, "[pip] packages");
        }
    }
    collected.asks_pip |= !is_compiled && !is_constraints && !is_overrides;
    Ok(())
}

/// Adds a requirement once.
pub(super) fn add(requirement: &str, collected: &mut Collected) {
    let same = |known: &String| match (parse_pip_requirement(known), parse_pip_requirement(requirement)) {
        (Ok(one), Ok(other)) => one.to_string() == other.to_string(),
        _ => known == requirement,
    };
    if !collected.pip.iter().any(same) {
        collected.pip.push(requirement.to_owned());
    }
}

/// Adds a constraint once, without what a constraint cannot have.
pub(super) fn constraint(text: &str, at: (&str, usize), collected: &mut Collected) {
    let flaw = parse_pip_constraint(text).err();
    take((text, flaw), at, "[pip] constraints", |collected| &mut collected.constraints, collected);
}

/// Adds an override once.
pub(super) fn instead(text: &str, at: (&str, usize), collected: &mut Collected) {
    let flaw = parse_pip_release(text).err();
    take((text, flaw), at, "[pip] overrides", |collected| &mut collected.pip_overrides, collected);
}

/// Adds a text to a list once, unless something is wrong with it, and says what became of it.
fn take(
    (text, flaw): (&str, Option<ValueError>),
    at: (&str, usize),
    place: &str,
    list: impl Fn(&mut Collected) -> &mut Vec<String>,
    collected: &mut Collected,
) {
    if let Some(flaw) = flaw {
        collected.note(at, ImportFate::Left, text, flaw.to_string());
        return;
    }
    let list = list(collected);
    if !list.iter().any(|known| known == text) {
        list.push(text.to_owned());
    }
    collected.note(at, ImportFate::Taken, text, place);
}

/// The one version that a requirement names.
fn exact(requirement: &PipRequirement) -> Option<String> {
    let Some(VersionOrUrl::VersionSpecifier(specifiers)) = &requirement.version_or_url else { return None };
    let mut exact = specifiers.iter().filter(|one| matches!(one.operator(), Operator::Equal | Operator::ExactEqual));
    let found = exact.next()?;
    exact.next().is_none().then(|| found.version().to_string())
}

fn option(text: &str, at: (&str, usize), given: &[&Path], collected: &mut Collected) {
    let (name, value) = text.split_once([' ', '=']).map_or((text, ""), |(name, value)| (name, value.trim()));
    let base = Path::new(value).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match name {
        "-r" | "--requirement" | "-c" | "--constraint" if given.iter().any(|path| path.ends_with(&base)) => {
            collected.note(at, ImportFate::Taken, text, "that file was given too");
        }
        "-r" | "--requirement" | "-c" | "--constraint" => {
            let then = format!("it was not given: name it too, `--from {} {base}`", at.0);
            collected.note(at, ImportFate::Left, text, then);
        }
        "-e" | "--editable" => {
            collected.note(
                at,
                ImportFate::Left,
                text,
                "your own code is no package here: put it into context/ and COPY it",
            );
        }
        "--require-hashes" | "--only-binary" | "--prefer-binary" | "--no-cache-dir" | "--use-feature" => {
            collected.note(
                at,
                ImportFate::Needless,
                text,
                "every file is locked by its hash, and wheels are preferred",
            );
        }
        "-i" | "--index-url" | "--extra-index-url" | "-f" | "--find-links" | "--no-index" | "--trusted-host" => {
            let then = "name the index in `[sources.NAME]` with its `packages`; a password belongs into pip.conf or your own config.toml";
            collected.note(at, ImportFate::Left, text, then);
        }
        "--pre" => collected.note(
            at,
            ImportFate::Left,
            text,
            "write a pre-release into the requirement, such as `name>=2.0rc1`",
        ),
        _ => collected.note(at, ImportFate::Left, text, "this option has no counterpart in `[pip]`"),
    }
}

/// Lines with their continuations, hashes and the comments that say who asked.
fn logical_lines(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut open: Option<Line> = None;
    for (index, raw) in text.lines().enumerate() {
        let bare = raw.trim();
        if let Some(comment) = bare.strip_prefix('#') {
            let line = open.as_mut().or(lines.last_mut()).filter(|_| raw.starts_with(' '));
            if let Some(line) = line.filter(|_| comment.trim_start().starts_with("via")) {
                line.has_via = true;
            }
            continue;
        }
        let (bare, comment) = bare.split_once(" #").unwrap_or((bare, ""));
        let continues = bare.ends_with('\\');
        let line = open.get_or_insert_with(|| Line { number: index + 1, ..Line::default() });
        for part in bare.trim_end_matches('\\').split_whitespace() {
            match part.strip_prefix("--hash=") {
                Some(hash) => _ = line.hashes.insert(hash.to_owned()),
                None => line.text.push_str(&format!("{}{part}", if line.text.is_empty() { "" } else { " " })),
            }
        }
        line.has_via |= comment.trim_start().starts_with("via");
        if !continues {
            lines.extend(open.take().filter(|line| !line.text.is_empty()));
        }
    }
    lines.extend(open.filter(|line| !line.text.is_empty()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_lines_have_hashes_and_who_asked() {
        let text = "# by a tool\nidna==3.10 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via\n    #   -r requirements.in\n    #   requests\n\nrequests[socks] == 2.0 ; python_version > '3'  # via -r requirements.in, x\n--index-url https://h.invalid/\n";
        let lines = logical_lines(text);
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [2, 9, 10]);
        assert_eq!((lines[0].text.as_str(), lines[0].hashes.len()), ("idna==3.10", 2));
        assert_eq!(lines.iter().map(|line| line.has_via).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(lines[1].text, "requests[socks] == 2.0 ; python_version > '3'");
        let requirement = |text| parse_pip_requirement(text).unwrap();
        assert_eq!(exact(&requirement("a==1.0")).as_deref(), Some("1.0"));
        assert_eq!((exact(&requirement("a>=1.0")), exact(&requirement("a==1.*"))), (None, None));
    }
}
