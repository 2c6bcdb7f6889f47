//! What preinst scripts do that must happen before unpacking: diversions of files that some package brings, and looks at
//! paths that the package itself brings.
//!
//! Packages are unpacked by oclock before any script runs, so a diversion comes too late for what is already there, and a
//! script that asks whether its own files are there would get another answer. Such a package is left to dpkg itself. This
//! module reads shell text without running it; what it cannot follow in a diversion it takes for the worst.

use std::collections::{BTreeMap, BTreeSet};

use super::deb::{Deb, MemberKind};

/// One call of `dpkg-divert` that adds a diversion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diverting {
    /// The diverted path; `*` stands for what only running the script would tell.
    pub pattern: String,
    /// The package whose own files keep their place; none when it is not said.
    pub package: Option<String>,
    /// Whether a file that is there is moved.
    pub renames: bool,
}

/// The packages (by index) that dpkg itself has to unpack.
///
/// Never an essential one, without which dpkg does not run. Theirs are mitigations for old systems that do nothing on an
/// empty root; should one do something after all, `configure` sees it and fails.
pub(super) fn deferred(debs: &[Deb], essential: &BTreeSet<usize>) -> BTreeSet<usize> {
    let mut deferred = BTreeSet::new();
    for (index, deb) in debs.iter().enumerate().filter(|(index, _)| !essential.contains(index)) {
        let Some(script) = deb.files.get("preinst") else { continue };
        if names_own_path(debs, index, &script.bytes) {
            deferred.insert(index);
        }
        for diverting in diversions(&script.bytes) {
            let keeper = diverting.package.as_deref().unwrap_or(&deb.name);
            // A renaming diversion moves what is there, whoever brought it; a plain one is only seen by later unpacking.
            let bringers: BTreeSet<usize> = bringers(debs, &diverting.pattern)
                .filter(|bringer| diverting.renames || debs[*bringer].name != keeper)
                .collect();
            if !bringers.is_empty() {
                deferred.insert(index);
                if !diverting.renames {
                    deferred.extend(bringers.difference(essential));
                }
            }
        }
    }
    deferred
}

/// Whether a script names a path that only its own package brings. A configuration file does not count: it is set aside
/// under another name until the package is configured, so the script finds what dpkg would let it find.
fn names_own_path(debs: &[Deb], index: usize, script: &[u8]) -> bool {
    let named = paths(script);
    let conffiles: BTreeSet<&[u8]> = debs[index].conffiles.iter().map(|conffile| conffile.path.as_bytes()).collect();
    let own = debs[index].members.iter().filter(|member| {
        let path = [b"/", member.path.as_slice()].concat();
        named.contains(&path) && !conffiles.contains(path.as_slice())
    });
    let brings = |deb: &Deb, path: &[u8]| deb.members.iter().any(|member| member.path == path);
    let others = || debs.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, deb)| deb);
    own.into_iter().any(|member| {
        !matches!(member.kind, MemberKind::Directory) || !others().any(|other| brings(other, &member.path))
    })
}

/// The absolute paths among the words of a script, as far as they can be told without running it.
fn paths(script: &[u8]) -> BTreeSet<Vec<u8>> {
    let text = String::from_utf8_lossy(script);
    let commands = commands(&text);
    let variables = variables(&commands);
    // The helper does nothing without an old version of the package.
    let commands = without_upgrades(&commands).into_iter().filter(|words| words[0] != "dpkg-maintscript-helper");
    let words = commands.flatten().map(|word| word.split_once('=').map_or(word.as_str(), |(_, value)| value));
    words
        .filter(|word| word.starts_with(['/', '$']))
        .flat_map(|word| expand(word, &variables))
        .filter(|path| path.starts_with('/'))
        .map(|path| path.trim_end_matches('/').as_bytes().to_vec())
        .collect()
}

/// Leaves out what is inside `if [ "$1" = upgrade ] … then`, up to its `else` or `fi`: nothing is upgraded here.
fn without_upgrades(commands: &[Vec<String>]) -> Vec<&Vec<String>> {
    let mut kept = Vec::new();
    let mut depth = 0_usize;
    let mut skipped_from = None;
    for (index, words) in commands.iter().enumerate() {
        if words[0] == "if" {
            let mut condition = commands[index..].iter().take_while(|words| words[0] != "then").flatten();
            let is_upgrade = words.windows(3).any(|three| three == ["$1", "=", "upgrade"]);
            if skipped_from.is_none() && is_upgrade && !condition.any(|word| word == "install" || word == "-o") {
                skipped_from = Some(depth);
            }
        }
        depth += words.iter().filter(|word| *word == "if").count();
        if skipped_from.is_none() {
            kept.push(words);
        }
        depth = depth.saturating_sub(words.iter().filter(|word| *word == "fi").count());
        let is_else =
            matches!(words[0].as_str(), "else" | "elif") && skipped_from.is_some_and(|from| depth == from + 1);
        if is_else || skipped_from.is_some_and(|from| depth <= from) {
            skipped_from = None;
        }
    }
    kept
}

fn bringers<'a>(debs: &'a [Deb], pattern: &'a str) -> impl Iterator<Item = usize> + 'a {
    let pattern = pattern.trim_start_matches('/');
    debs.iter().enumerate().filter_map(move |(index, deb)| {
        let mut files = deb.members.iter().filter(|member| !matches!(member.kind, MemberKind::Directory));
        files.any(|member| matches(pattern.as_bytes(), &member.path)).then_some(index)
    })
}

/// Whether a path fits a pattern in which `*` stands for any text.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((b'*', rest)) => (0..=path.len()).any(|skip| matches(rest, &path[skip..])),
        Some((byte, rest)) => path.split_first().is_some_and(|(first, path)| first == byte && matches(rest, path)),
    }
}

/// The calls of `dpkg-divert` in a script that can add a diversion.
pub(super) fn diversions(script: &[u8]) -> Vec<Diverting> {
    const PROGRAM: &str = "dpkg-divert";
    let text = String::from_utf8_lossy(script);
    if !text.contains(PROGRAM) {
        return Vec::new();
    }
    let anything = Diverting { pattern: "*".into(), package: None, renames: true };
    let first = text.lines().next().unwrap_or_default();
    if !(first.starts_with("#!") && first.split(['/', ' ']).any(|word| matches!(word, "sh" | "bash" | "dash"))) {
        return vec![anything];
    }
    let commands = commands(&text);
    let variables = variables(&commands);
    let calls = commands.iter().filter_map(|words| {
        let start = words.iter().position(|word| word.rsplit('/').next() == Some(PROGRAM))?;
        Some(&words[start + 1..])
    });
    calls.flat_map(|words| added(words, &variables)).collect()
}

/// The simple commands of a script as words, quotes taken off, comments left out. No more than this module needs:
/// here-documents are read as commands, which can only add to what is found.
fn commands(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines
        .flat_map(|line| line.split([';', '|', '&', '(', ')', '`']))
        .map(|command| command.replace(['"', '\''], "").split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter(|words: &Vec<String>| !words.is_empty())
        .collect()
}

/// What variables can hold: the literal words of `for NAME in …` and of `NAME=…`, over the whole script. A name that is
/// also set in another way has no entry, and so can hold anything.
fn variables(commands: &[Vec<String>]) -> BTreeMap<String, Option<Vec<String>>> {
    let mut variables: BTreeMap<String, Option<Vec<String>>> =
        BTreeMap::from([("DPKG_ROOT".to_owned(), Some(vec![String::new()]))]);
    let mut add = |name: &str, words: &[String]| {
        let values = variables.entry(name.to_owned()).or_insert_with(|| Some(Vec::new()));
        match values {
            Some(known) if !words.iter().any(|word| word.contains('$')) => known.extend(words.iter().cloned()),
            _ => *values = None,
        }
    };
    for words in commands {
        if let Some(start) = words.iter().position(|word| word == "for")
            && let [name, keyword, values @ ..] = &words[start + 1..]
            && keyword == "in"
        {
            add(name, values);
        }
        for (name, value) in words.iter().filter_map(|word| word.split_once('=')) {
            if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                add(name, &[value.to_owned()]);
            }
        }
        if let Some(start) = words.iter().position(|word| word == "read") {
            words[start + 1..].iter().for_each(|name| add(name, &["$".to_owned()]));
        }
    }
    variables
}

/// The diversions that one call adds; none when it only asks or removes.
fn added(words: &[String], variables: &BTreeMap<String, Option<Vec<String>>>) -> Vec<Diverting> {
    let mut renames = true;
    let mut package = None;
    let mut path = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (option, value) = word.split_once('=').map_or((word.as_str(), None), |(o, v)| (o, Some(v.to_owned())));
        match option {
            "--list" | "--listpackage" | "--truename" | "--remove" | "--help" | "--version" => return Vec::new(),
            "--no-rename" => renames = false,
            "--package" => package = value.or_else(|| words.next().cloned()),
            "--divert" | "--admindir" | "--instdir" | "--root" if value.is_none() => {
                words.next();
            }
            option if option.starts_with("--") => {}
            option if option.starts_with(['>', '<']) || option.starts_with("2>") => {}
            _ => path = path.or_else(|| Some(word.clone())),
        }
    }
    let package = package.filter(|package| !package.contains('$'));
    let path = path.unwrap_or_else(|| "$".to_owned());
    expand(&path, variables)
        .into_iter()
        .map(|pattern| Diverting { pattern, package: package.clone(), renames })
        .collect()
}

/// Puts the values of variables into a word; `*` for those that are not known.
fn expand(word: &str, variables: &BTreeMap<String, Option<Vec<String>>>) -> Vec<String> {
    let Some((before, after)) = word.split_once('$') else { return vec![word.to_owned()] };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (name, rest) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        Some(parts) => parts,
        None => after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len())),
    };
    let values = match variables.get(name) {
        Some(Some(values)) if !values.is_empty() => values.clone(),
        _ => vec!["*".to_owned()],
    };
    let rests = expand(rest, variables);
    values.iter().flat_map(|value| rests.iter().map(move |rest| format!("{before}{value}{rest}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(script: &str) -> Vec<(String, bool)> {
        let script = format!("#!/bin/sh\n{script}");
        diversions(script.as_bytes()).into_iter().map(|diverting| (diverting.pattern, diverting.renames)).collect()
    }

    #[test]
    fn diversions_are_found_in_shell_text() {
        assert_eq!(found("# dpkg-divert --add /x\necho dpkg"), []);
        assert_eq!(found("t=$(dpkg-divert --truename /bin/sh)"), []);
        assert_eq!(found("dpkg-divert --package p --remove --rename /x"), []);
        assert_eq!(
            found("dpkg-divert --package p --rename --divert /usr/bin/x.p --add /usr/bin/x"),
            [("/usr/bin/x".to_owned(), true)]
        );
        assert_eq!(
            found("for d in a b; do\n dpkg-divert --no-rename --add \\\n --divert \"/.$d\" \"/$d\"\ndone"),
            [("/a".to_owned(), false), ("/b".to_owned(), false)]
        );
        assert_eq!(found("if true; then /usr/bin/dpkg-divert --add \"$1\" >/dev/null; fi"), [("*".to_owned(), true)]);
        assert_eq!(found("d=$(pwd)\ndpkg-divert --add \"$d/x\""), [("*/x".to_owned(), true)]);
    }

    #[test]
    fn a_script_that_cannot_be_read_is_taken_for_the_worst() {
        assert_eq!(diversions(b"\x7fELF dpkg-divert")[0].pattern, "*");
        assert_eq!(diversions(b"#!/usr/bin/perl\nsystem('dpkg-divert --add /x')")[0].pattern, "*");
        assert!(diversions(b"\x7fELF").is_empty());
    }

    #[test]
    fn only_what_an_installation_does_is_looked_at() {
        let named = |script: &str| {
            paths(script.as_bytes()).into_iter().map(|path| String::from_utf8(path).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(
            named("if test \"$1\" = upgrade &&\n test -L /a; then\n if x; then rm /b; fi\n rm /c\nfi\nrm /d"),
            ["/d"]
        );
        assert_eq!(named("if [ \"$1\" = upgrade ]; then rm /a; else\n rm /b\nfi"), ["/b"]);
        assert_eq!(named("if [ \"$1\" = upgrade ] || [ \"$1\" = install ]; then rm /a; fi"), ["/a"]);
        assert_eq!(named("dpkg-maintscript-helper rm_conffile /a 1 -- \"$@\"\n[ -d $DPKG_ROOT/e/ ]"), ["/e"]);
    }

    #[test]
    fn patterns_match_paths() {
        assert!(matches(b"usr/*/x", b"usr/lib/a/x") && matches(b"*", b"") && matches(b"a", b"a"));
        assert!(!matches(b"usr/*/x", b"usr/x") && !matches(b"a", b"ab"));
    }
}
