//! A Dockerfile: packages go to the manifest, what every engine does alike stays in order, the rest is commented out and told.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use parse_dockerfile::{Command, CopyInstruction, Flag, Instruction, RunInstruction, Source};

use super::run::{self, Place, Verdict};
use super::shell::{Unit, bare_words, take_apart};
use super::{Collected, ImportError, ImportFate, Input, without_credentials};
use crate::base::fs::sorted_entries;
use crate::model::{ImageReference, Platform};

/// Reads a Dockerfile.
pub(super) fn import(input: &Input, given: &[&Path], collected: &mut Collected) -> Result<(), ImportError> {
    let parsed = parse_dockerfile::parse(&input.text).map_err(|error| input.bad(error))?;
    if let Some(escape) = &parsed.parser_directives.escape
        && escape.value.value != '\\'
    {
        return Err(input.bad("it has another escape character than `\\`"));
    }
    if let Some(syntax) = &parsed.parser_directives.syntax {
        let line = input.line_at(syntax.value.span.start);
        let then = "what stays is what every engine reads alike";
        collected.note((&input.name, line), ImportFate::Needless, "# syntax", then);
    }
    let starts: Vec<usize> = parsed.instructions.iter().map(keyword).collect();
    let ends = starts.iter().skip(1).copied().chain([input.text.len()]);
    let ranges: Vec<Range<usize>> = starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect();
    let mut walk = Walk {
        input,
        given,
        collected,
        arguments: BTreeMap::new(),
        directory: "/".to_owned(),
        out: preface(&input.text[..starts.first().copied().unwrap_or(0)]),
    };
    let kept = walk.stages(&parsed.instructions)?;
    for (index, instruction) in parsed.instructions.iter().enumerate() {
        let range = ranges[index].clone();
        if kept.iter().any(|stage| stage.contains(&index)) {
            let (body, gap) = split_gap(&input.text[range.clone()]);
            walk.instruction(instruction, body, range.start);
            walk.out.push_str(gap);
        }
    }
    let Walk { out, directory, .. } = walk;
    collected.rest = Some(out);
    collected.directory = Some(directory).filter(|directory| directory != "/");
    Ok(())
}

/// Where an instruction starts.
fn keyword(instruction: &Instruction<'_>) -> usize {
    match instruction {
        Instruction::Add(it) => it.add.span.start,
        Instruction::Arg(it) => it.arg.span.start,
        Instruction::Cmd(it) => it.cmd.span.start,
        Instruction::Copy(it) => it.copy.span.start,
        Instruction::Entrypoint(it) => it.entrypoint.span.start,
        Instruction::Env(it) => it.env.span.start,
        Instruction::Expose(it) => it.expose.span.start,
        Instruction::From(it) => it.from.span.start,
        Instruction::Healthcheck(it) => it.healthcheck.span.start,
        Instruction::Label(it) => it.label.span.start,
        Instruction::Maintainer(it) => it.maintainer.span.start,
        Instruction::Onbuild(it) => it.onbuild.span.start,
        Instruction::Run(it) => it.run.span.start,
        Instruction::Shell(it) => it.shell.span.start,
        Instruction::Stopsignal(it) => it.stopsignal.span.start,
        Instruction::User(it) => it.user.span.start,
        Instruction::Volume(it) => it.volume.span.start,
        Instruction::Workdir(it) => it.workdir.span.start,
        // The parser may learn of more; each would be refused by the template's check anyway.
        _ => 0,
    }
}

/// The comments above the first instruction, without the parser's directives.
fn preface(text: &str) -> String {
    let is_directive = |line: &&str| {
        let bare = line.trim_start_matches('#').trim_start().to_lowercase();
        ["syntax", "escape", "check"]
            .iter()
            .any(|name| bare.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('=')))
    };
    text.split_inclusive('\n').filter(|line| !is_directive(line)).collect::<String>().trim_start().to_owned()
}

/// An instruction's own lines, and the comments and empty lines after them.
fn split_gap(text: &str) -> (&str, &str) {
    let mut end = text.len();
    for line in text.split_inclusive('\n').collect::<Vec<_>>().into_iter().rev() {
        let bare = line.trim();
        if !(bare.is_empty() || bare.starts_with('#')) {
            break;
        }
        end -= line.len();
    }
    text.split_at(end)
}

struct Walk<'a> {
    input: &'a Input,
    given: &'a [&'a Path],
    collected: &'a mut Collected,
    /// The defaults of ARGs.
    arguments: BTreeMap<String, String>,
    directory: String,
    out: String,
}

const SAME: &str = "the image must be the same under every engine";

impl Walk<'_> {
    fn note(&mut self, offset: usize, fate: ImportFate, what: &str, then: impl Into<String>) {
        let line = self.input.line_at(offset);
        self.collected.note((&self.input.name, line), fate, what, then);
    }

    /// Finds the stages that the last one stands on, and tells of the others.
    fn stages(&mut self, instructions: &[Instruction<'_>]) -> Result<Vec<Range<usize>>, ImportError> {
        let mut stages: Vec<Range<usize>> = Vec::new();
        for (index, instruction) in instructions.iter().enumerate() {
            match (instruction, stages.last_mut()) {
                (Instruction::From(_), _) => stages.push(index..index + 1),
                (_, Some(stage)) => stage.end = index + 1,
                (Instruction::Arg(arg), None) => {
                    self.global_argument(&arg.arguments.value);
                    let what = format!("ARG {}", arg.arguments.value);
                    let then = "its default stands where FROM names it";
                    self.note(arg.arg.span.start, ImportFate::Needless, &what, then);
                }
                (_, None) => {}
            }
        }
        let from = |stage: &Range<usize>| match &instructions[stage.start] {
            Instruction::From(from) => Some(from),
            _ => None,
        };
        let alias = |stage: &Range<usize>| Some(from(stage)?.as_.as_ref()?.1.value.to_lowercase());
        let Some(last) = stages.last().cloned() else { return Err(self.input.bad("it has no FROM")) };
        let mut kept = vec![last];
        while let Some(image) = from(&kept[0]).map(|from| from.image.value.to_lowercase()) {
            let mut below =
                stages.iter().filter(|stage| stage.start < kept[0].start && alias(stage).as_ref() == Some(&image));
            let Some(below) = below.next_back().cloned() else { break };
            kept.insert(0, below);
        }
        for stage in stages.iter().filter(|stage| !kept.contains(stage)) {
            let Some(found) = from(stage) else { continue };
            let name = alias(stage).unwrap_or_else(|| found.image.value.to_string());
            let then = "one image is built in one stage: build this elsewhere and put what it gives into context/";
            self.note(found.from.span.start, ImportFate::Left, &format!("stage {name}"), then);
        }
        if let Some(found) = from(&kept[0]) {
            self.base(&found.image.value, &found.options, found.from.span.start);
        }
        Ok(kept)
    }

    fn base(&mut self, image: &str, flags: &[Flag<'_>], offset: usize) {
        for flag in flags {
            let value = flag.value.as_ref().map(|value| value.value.to_string()).unwrap_or_default();
            match Platform::parse(&value) {
                Ok(_) => self.collected.platforms.push(value.clone()),
                Err(_) => {
                    let then = "the platforms are `[image] platforms`";
                    self.note(offset, ImportFate::Needless, &format!("--{}={value}", flag.name.value), then);
                }
            }
        }
        let image = self.expanded(image);
        let debian = "{ debian = \"trixie\" }";
        let is_other =
            ["alpine", "ubuntu", "fedora", "centos", "rockylinux", "almalinux", "archlinux", "busybox", "distroless"]
                .iter()
                .find(|name| image.to_lowercase().contains(*name));
        let parsed = whole_reference(&image);
        let (base, fate, then) = match (parsed, is_other) {
            _ if image == "scratch" => (
                debian.to_owned(),
                ImportFate::Left,
                "oclock's images are Debian: `base` is trixie from signed packages".to_owned(),
            ),
            (_, Some(other)) => {
                let then = format!(
                    "a base must be Debian, not {other}: `base` is trixie from signed packages; names of packages may differ"
                );
                (debian.to_owned(), ImportFate::Left, then)
            }
            (Some(reference), None) => {
                let fate = if reference == image { ImportFate::Taken } else { ImportFate::Changed };
                (quoted(&reference), fate, format!("[image] base = \"{reference}\""))
            }
            (None, None) => {
                let then = "it is no image that can be named before the build: write one into `[image] base`, which is trixie now";
                (debian.to_owned(), ImportFate::Left, then.to_owned())
            }
        };
        self.note(offset, fate, &format!("FROM {image}"), then);
        self.collected.base = Some(base);
    }

    /// A text with the defaults of ARGs in it.
    fn expanded(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.arguments {
            text = text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
            while let Some(start) = text.find(&format!("${{{name}:-")) {
                let Some(end) = text[start..].find('}') else { break };
                text.replace_range(start..=start + end, value);
            }
        }
        while let Some(start) = text.find("${") {
            let Some(end) = text[start..].find('}') else { break };
            let Some((_, default)) = text[start + 2..start + end].split_once(":-") else { break };
            let default = default.to_owned();
            text.replace_range(start..=start + end, &default);
        }
        text
    }

    fn global_argument(&mut self, text: &str) {
        for (name, value) in assignments(text) {
            if let Some(value) = value {
                self.arguments.insert(name, value);
            }
        }
    }

    fn instruction(&mut self, instruction: &Instruction<'_>, body: &str, offset: usize) {
        match instruction {
            Instruction::From(_) => {}
            Instruction::Run(run) => self.run(run, body, offset),
            Instruction::Copy(copy) => self.copy(copy, body, offset),
            Instruction::Add(add) => {
                let names: Vec<String> = add.src.iter().map(source_name).collect();
                let is_remote = |name: &String| name.contains("://") || name.starts_with("git@");
                let is_archive = |name: &String| {
                    [".tar", ".tgz", ".tbz", ".txz", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst"]
                        .iter()
                        .any(|end| name.ends_with(end))
                };
                if names.iter().any(is_remote) {
                    self.leave(body, offset, "a build has no network: put the file into context/ and COPY it");
                } else if names.iter().any(is_archive) {
                    self.leave(body, offset, "ADD unpacks by rules that differ: unpack it into context/ and COPY that");
                } else {
                    let copy = CopyParts { flags: &add.options, sources: &add.src, destination: &add.dest.value };
                    self.note(offset, ImportFate::Changed, body, "COPY does the same here");
                    self.copy_parts(&copy, body, offset, true);
                }
            }
            Instruction::Arg(arg) => self.argument(&arg.arguments.value, body, offset),
            Instruction::Env(env) => {
                let text = &env.arguments.value;
                let is_production = ["NODE_ENV=production", "NODE_ENV production", "NODE_ENV=\"production\""];
                self.collected.production |= is_production.iter().any(|form| text.contains(form));
                self.keep(body);
            }
            Instruction::Workdir(workdir) => {
                self.directory = joined(&self.directory, &self.expanded(&workdir.arguments.value));
                self.keep(body);
            }
            Instruction::Maintainer(maintainer) => {
                let label = format!("LABEL maintainer={}\n", quoted(maintainer.name.value.trim()));
                self.note(offset, ImportFate::Changed, body, label.trim());
                self.keep(&label);
            }
            Instruction::Shell(_) => {
                self.leave(
                    body,
                    offset,
                    "oclock's own shell closes the environment of every RUN: write `RUN bash -c '…'` where it matters",
                );
            }
            Instruction::Onbuild(_) => self.leave(body, offset, "it acts on other builds: write the instruction there"),
            _ => self.keep(body),
        }
    }

    fn keep(&mut self, body: &str) {
        self.out.push_str(&escaped(body));
        if !body.ends_with('\n') {
            self.out.push('\n');
        }
    }

    /// Tells that an instruction could not be carried over, and comments it out.
    fn leave(&mut self, body: &str, offset: usize, then: &str) {
        self.note(offset, ImportFate::Left, body, then);
        self.comment_out(body, offset, then);
    }

    fn comment_out(&mut self, body: &str, offset: usize, then: &str) {
        let line = self.input.line_at(offset);
        let mut text = format!("# Line {line} was not carried over: {then}\n");
        for line in without_credentials(body.trim_end()).lines() {
            text.push_str(&format!("# {line}\n"));
        }
        self.keep(&text);
    }

    fn argument(&mut self, text: &str, body: &str, offset: usize) {
        for (name, value) in assignments(text) {
            let value = value.or_else(|| self.arguments.get(&name).cloned());
            let Some(value) = value else {
                let then = "flags may not change what is built: write its value where it is used";
                self.leave(body, offset, then);
                continue;
            };
            if name == "DEBIAN_FRONTEND" {
                self.note(offset, ImportFate::Needless, body, "maintainer scripts never ask here");
                continue;
            }
            self.note(
                offset,
                ImportFate::Changed,
                &format!("ARG {name}"),
                format!("ENV {name}={value}: the image keeps it"),
            );
            self.keep(&format!("ENV {name}={}\n", quoted(&value)));
            self.arguments.insert(name, value);
        }
    }

    fn run(&mut self, run: &RunInstruction<'_>, body: &str, offset: usize) {
        let mut odd = None;
        for flag in &run.options {
            let value = flag.value.as_ref().map(|value| value.value.to_string()).unwrap_or_default();
            let shown = format!("RUN --{}={value}", flag.name.value);
            if flag.name.value == "mount" && value.split(',').any(|part| part == "type=cache") {
                self.note(offset, ImportFate::Needless, &shown, "nothing is fetched while building");
            } else if flag.name.value == "network" {
                self.note(offset, ImportFate::Needless, &shown, "the network is always off");
            } else {
                odd = Some(shown);
            }
        }
        let is_script = run.here_docs.len() == 1 && is_here_document(body);
        let (text, at) = match (&run.arguments, run.here_docs.first()) {
            (Command::Exec(words), _) => {
                let words: Vec<String> = words.value.iter().map(|word| word.value.to_string()).collect();
                return self.run_words(&words, body, offset, odd);
            }
            (Command::Shell(_), Some(document)) if is_script => {
                let within = self.input.text[offset..].find(&*document.value).unwrap_or(0);
                (document.value.to_string(), offset + within)
            }
            (Command::Shell(_), Some(_)) => {
                let then = format!("{SAME}, and here-documents are not: put the script into context/ and COPY it");
                return self.leave(body, offset, &then);
            }
            (Command::Shell(shell), None) => (shell.value.to_owned(), shell.span.start),
            _ => return self.leave(body, offset, SAME),
        };
        let Some(units) = take_apart(&text) else { return self.run_whole(&text, body, offset, is_script) };
        let mut directory = self.directory.clone();
        let mut verdicts = Vec::new();
        for unit in &units {
            let line = self.input.line_at(at + unit.range.start);
            verdicts.push(self.judge(unit, &text, line, &mut directory));
        }
        self.write_run(&Judged { units, verdicts, text: &text, is_script, odd }, body, offset);
    }

    fn run_words(&mut self, words: &[String], body: &str, offset: usize, odd: Option<String>) {
        let directory = self.directory.clone();
        let line = self.input.line_at(offset);
        let place = Place { at: (&self.input.name, line), directory: &directory, text: body };
        match (run::judge(words, &place, self.collected), odd) {
            (Verdict::TakenOut, _) => {}
            (Verdict::Unable(why), _) => self.leave(body, offset, &why),
            (Verdict::Keep, Some(flag)) => self.leave(body, offset, &format!("{flag}: {SAME}")),
            (Verdict::Keep, None) => self.keep(&without_flags(body)),
        }
    }

    /// A RUN with a construct of the shell around its commands.
    fn run_whole(&mut self, text: &str, body: &str, offset: usize, is_script: bool) {
        let installs = ["apt-get", "apt", "npm", "pip", "pip3"];
        let found = bare_words(text).find(|word| installs.contains(word) || run::fetches(word, &[]).is_some());
        match found {
            Some(word) => {
                let then = format!(
                    "`{word}` stands in a construct of the shell: write what it installs into oclock.toml, what it fetches into context/"
                );
                self.leave(body, offset, &then);
            }
            None if is_script => self.leave(body, offset, "put the script into context/ and COPY it"),
            None => self.keep(&without_flags(body)),
        }
    }

    fn judge(&mut self, unit: &Unit, text: &str, line: usize, directory: &mut String) -> Verdict {
        let shown = &text[unit.range.clone()];
        if unit.is_plain {
            if let [cd, to] = &unit.commands[0][..]
                && cd == "cd"
            {
                *directory = joined(directory, to);
            }
            let place = Place { at: (&self.input.name, line), directory, text: shown };
            return run::judge(&unit.commands[0], &place, self.collected);
        }
        let installs = ["apt-get", "apt", "npm", "pip", "pip3"];
        let first = |words: &Vec<String>| {
            let words: Vec<&str> = super::shell::essential_words(words);
            let (program, rest) = words.split_first()?;
            let why = "it stands in a pipeline: write what it installs into oclock.toml".to_owned();
            if installs.contains(program) { Some(why) } else { run::fetches(program, rest) }
        };
        let inside = shown.split("$(").skip(1).find_map(|part| run::fetches(bare_words(part).next()?, &[]));
        match unit.commands.iter().find_map(first).or(inside) {
            Some(why) => Verdict::Unable(why),
            None => Verdict::Keep,
        }
    }

    fn write_run(&mut self, judged: &Judged<'_>, body: &str, offset: usize) {
        let Judged { units, verdicts, text, .. } = judged;
        let kept: Vec<&Unit> = units
            .iter()
            .zip(verdicts)
            .filter(|(_, verdict)| **verdict != Verdict::TakenOut)
            .map(|(unit, _)| unit)
            .collect();
        let is_trivial = |unit: &&Unit| {
            let first = unit.commands[0].first().map(String::as_str);
            unit.is_plain && matches!(first, Some("set" | "true" | ":" | "export" | "cd"))
        };
        let takes = kept.len() < units.len();
        let rest = joined_units(&kept, text);
        let why = units.iter().zip(verdicts).filter_map(|(unit, verdict)| match verdict {
            Verdict::Unable(why) => Some((unit, why.clone())),
            _ => None,
        });
        let why: Vec<(&Unit, String)> = why.collect();
        if let Some((_, first)) = why.first() {
            for (unit, why) in &why {
                self.note(
                    self.offset_of(text, unit, body, offset),
                    ImportFate::Left,
                    &text[unit.range.clone()],
                    why.as_str(),
                );
            }
            return self.comment_out(&format!("RUN {rest}"), offset, first);
        }
        if takes && kept.iter().all(is_trivial) {
            return;
        }
        match (&judged.odd, takes || judged.is_script) {
            (Some(flag), _) => self.leave(&format!("RUN {rest}"), offset, &format!("{flag}: {SAME}")),
            (None, true) => self.keep(&format!("RUN {rest}\n")),
            (None, false) => self.keep(&without_flags(body)),
        }
    }

    /// Where a command stands in the file.
    fn offset_of(&self, text: &str, unit: &Unit, body: &str, offset: usize) -> usize {
        offset + body.find(&text[unit.range.clone()]).unwrap_or(0)
    }

    fn copy(&mut self, copy: &CopyInstruction<'_>, body: &str, offset: usize) {
        let parts = CopyParts { flags: &copy.options, sources: &copy.src, destination: &copy.dest.value };
        self.copy_parts(&parts, body, offset, false);
    }

    fn copy_parts(&mut self, parts: &CopyParts<'_>, body: &str, offset: usize, was_add: bool) {
        let mut flags = String::new();
        let mut is_changed = was_add;
        for flag in parts.flags {
            let value = flag.value.as_ref().map(|value| value.value.to_string()).unwrap_or_default();
            match flag.name.value.as_ref() {
                "chown" => flags.push_str(&format!("--chown={value} ")),
                "from" => {
                    let then = "it is another image's file: put it into context/";
                    return self.leave(body, offset, then);
                }
                name => {
                    is_changed = true;
                    let then = match name {
                        "chmod" => "files of context/ keep their executable bit: chmod them there",
                        _ => SAME,
                    };
                    let fate = if name == "link" { ImportFate::Needless } else { ImportFate::Left };
                    self.note(offset, fate, &format!("--{name}={value}"), then);
                }
            }
        }
        let mut sources = Vec::new();
        for source in parts.sources {
            let Source::Path(path) = source else {
                return self.leave(body, offset, "put the file into context/ and COPY it");
            };
            if path.value.contains('$') {
                return self.leave(body, offset, "write the path without variables");
            }
            match path.value.contains(['*', '?', '[']) {
                false => sources.push(path.value.to_string()),
                true => {
                    let found = self.matching(&path.value);
                    if found.is_empty() {
                        return self.leave(body, offset, "nothing is found by this pattern here: name the files");
                    }
                    is_changed = true;
                    self.note(
                        offset,
                        ImportFate::Changed,
                        &path.value,
                        format!("named one by one: {}", found.join(" ")),
                    );
                    sources.extend(found);
                }
            }
        }
        let shown = sources.join(" ").replace("./", "");
        let shown = if ["", "."].contains(&shown.as_str()) { "the project's files" } else { &shown };
        let then = format!("looked for below context/: put {shown} there");
        self.note(offset, ImportFate::Changed, body, then);
        if !is_changed {
            return self.keep(body);
        }
        sources.push(parts.destination.to_owned());
        let has_space = sources.iter().any(|path| path.contains(char::is_whitespace));
        let paths = match has_space {
            true => format!("[{}]", sources.iter().map(|path| quoted(path)).collect::<Vec<_>>().join(", ")),
            false => sources.join(" "),
        };
        self.keep(&format!("COPY {flags}{paths}\n"));
    }

    /// The files beside the Dockerfile, or given with it, that a pattern means. Only the last part of it may be one.
    fn matching(&self, pattern: &str) -> Vec<String> {
        let (folder, last) = pattern.rsplit_once('/').map_or(("", pattern), |(folder, last)| (folder, last));
        if folder.contains(['*', '?', '[']) || last.contains('[') {
            return Vec::new();
        }
        let beside = self.input.path.parent().map_or_else(PathBuf::new, Path::to_owned).join(folder);
        let beside = if beside.as_os_str().is_empty() { PathBuf::from(".") } else { beside };
        let listed = sorted_entries(&beside).unwrap_or_default();
        let mut names: Vec<String> =
            listed.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        if folder.is_empty() || folder == "." {
            let given = self.given.iter().filter_map(|path| path.file_name());
            names.extend(given.map(|name| name.to_string_lossy().into_owned()));
        }
        names.sort();
        names.dedup();
        names.retain(|name| crate::manifest::is_like(last.as_bytes(), name.as_bytes()));
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        names.into_iter().map(|name| format!("{prefix}{name}")).collect()
    }
}

/// A RUN's commands and what becomes of each.
struct Judged<'a> {
    units: Vec<Unit>,
    verdicts: Vec<Verdict>,
    text: &'a str,
    is_script: bool,
    odd: Option<String>,
}

struct CopyParts<'a> {
    flags: &'a [Flag<'a>],
    sources: &'a [Source<'a>],
    destination: &'a str,
}

fn source_name(source: &Source<'_>) -> String {
    match source {
        Source::Path(path) => path.value.to_string(),
        _ => String::new(),
    }
}

/// The commands that stay, with what stood between them.
fn joined_units(units: &[&Unit], text: &str) -> String {
    let mut rest = String::new();
    for (index, unit) in units.iter().enumerate() {
        rest.push_str(text[unit.range.clone()].trim());
        if index + 1 < units.len() {
            rest.push_str(if unit.end == "&&" { " \\\n && " } else { "; \\\n    " });
        }
    }
    rest
}

/// Whether a RUN is a here-document and nothing else.
fn is_here_document(body: &str) -> bool {
    let first = body.lines().next().unwrap_or_default();
    let mut words = first.split_whitespace().skip(1).skip_while(|word| word.starts_with("--"));
    words.next().is_some_and(|word| word.starts_with("<<")) && words.next().is_none()
}

/// A RUN without its flags, all of which were told of.
fn without_flags(body: &str) -> String {
    let Some((keyword, rest)) = body.split_once(char::is_whitespace) else { return body.to_owned() };
    let mut rest = rest.trim_start_matches([' ', '\t']);
    if !rest.starts_with("--") {
        return body.to_owned();
    }
    while rest.starts_with("--") {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        rest = rest[end..].trim_start_matches(|c: char| c.is_whitespace() || c == '\\');
    }
    format!("{keyword} {rest}")
}

/// `NAME=VALUE` and `NAME`, one after the other.
fn assignments(text: &str) -> Vec<(String, Option<String>)> {
    let words = take_apart(text).and_then(|units| units.into_iter().next()?.commands.into_iter().next());
    let words = words.unwrap_or_else(|| text.split_whitespace().map(str::to_owned).collect());
    let parts = words.into_iter().map(|word| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (word, None),
    });
    parts.collect()
}

/// Where `cd` leads.
fn joined(directory: &str, to: &str) -> String {
    let whole = if to.starts_with('/') { to.to_owned() } else { format!("{directory}/{to}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    format!("/{}", parts.join("/"))
}

/// A text in which nothing is of the template's language.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() {
        safe.push_str(&rest[..at]);
        safe.push_str(&format!("{{{{ \"{}\" }}}}", &rest[at..at + 2]));
        rest = &rest[at + 2..];
    }
    safe + rest
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// An image with its tag, `latest` where none is named; nothing where it is none.
fn whole_reference(image: &str) -> Option<String> {
    let reference = ImageReference::parse(image).ok()?;
    let is_whole = reference.tag.is_some() || reference.digest.is_some();
    Some(if is_whole { image.to_owned() } else { format!("{image}:latest") })
}
