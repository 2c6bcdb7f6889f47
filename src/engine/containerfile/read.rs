//! Text → instructions, over the crate `parse-dockerfile`.

use std::time::Duration;

use parse_dockerfile::{
    AddInstruction, Command, CopyInstruction, Dockerfile, Flag, HealthcheckArguments, HealthcheckInstruction,
    Instruction as Parsed, JsonOrStringArray, RunInstruction, ShellInstruction, Source, UnescapedString,
};

use super::words::{Variables, expand, split_words};
use super::{
    CommandForm, Containerfile, ContainerfileError, CopyStep, DEFAULT_PATH, HealthcheckStep, Instruction,
    OWN_SHELL_MARK,
};
use crate::base::explain::Excerpt;

/// How the file is named in messages.
const FILE: &str = "Containerfile";

/// Reads a rendered Containerfile.
///
/// # Errors
/// When it has a mistake, or an instruction or flag that is refused: names it and its line.
pub fn parse_containerfile(text: &str) -> Result<Containerfile, ContainerfileError> {
    let parsed = parse_dockerfile::parse(text).map_err(|error| syntax_error(text, &error))?;
    refuse_directives(text, &parsed)?;
    refuse_double_backslash(text)?;
    let mut reader = Reader {
        text,
        variables: Variables::default(),
        directory: "/".into(),
        user: None,
        agreed: String::new(),
        copied: 0,
    };
    reader.variables.set("PATH", DEFAULT_PATH);
    let mut from = None;
    let mut instructions = Vec::new();
    for instruction in &parsed.instructions {
        if let Parsed::From(stage) = instruction {
            let at = stage.from.span.start;
            if from.is_some() {
                return Err(refuse(text, at, "it has more than one stage (FROM)", Some(ONE_STAGE)));
            }
            no_flags(text, "FROM", &stage.options)?;
            from = Some(stage.image.value.clone().into_owned());
        } else {
            instructions.push(reader.instruction(instruction)?);
        }
    }
    let from = from.ok_or_else(|| refuse(text, 0, "it has no FROM", None))?;
    Ok(Containerfile { from, instructions, agreed_text: reader.finish() })
}

/// What the parser does not understand, where it stands.
pub(super) fn syntax_error(text: &str, error: &parse_dockerfile::Error) -> ContainerfileError {
    refuse(text, offset_of(text, error.line(), error.column()), error.to_string(), None)
}

const ONE_STAGE: &str = "build what the other stage makes beforehand and put it into `context/`";
const NO_ARGUMENTS: &str = "write the value itself, or a name of the template (`{{ … }}`)";

struct Reader<'a> {
    text: &'a str,
    variables: Variables,
    directory: String,
    /// Another user than root, when one is set.
    user: Option<String>,
    /// The agreed text up to byte `copied` of the text.
    agreed: String,
    copied: usize,
}

impl Reader<'_> {
    fn instruction(&mut self, parsed: &Parsed<'_>) -> Result<Instruction, ContainerfileError> {
        Ok(match parsed {
            Parsed::Add(add) => Instruction::Copy(self.add(add)?),
            Parsed::Copy(copy) => {
                let step = self.copy(copy)?;
                if let Some(parent) = step.disputed_parent(&self.directory) {
                    let lines = format!("WORKDIR {}\nWORKDIR {}\n", escape(&parent), escape(&self.directory));
                    let lines = self.as_root(&lines);
                    self.insert(copy.copy.span.start, &lines);
                }
                Instruction::Copy(step)
            }
            Parsed::Run(run) => Instruction::Run(self.run(run)?),
            Parsed::Env(env) => Instruction::Env(self.environment(&env.arguments)?),
            Parsed::Label(label) => Instruction::Label(self.pairs("LABEL", &label.arguments)?),
            Parsed::Workdir(workdir) => {
                let path = self.working_directory(&workdir.arguments)?;
                if self.user.is_some() {
                    let lines = self.as_root(&format!("WORKDIR {}\n", escape(&path)));
                    self.insert(workdir.workdir.span.start, &lines);
                }
                Instruction::WorkingDirectory(path)
            }
            Parsed::User(user) => {
                let user = self.word(&user.arguments)?;
                self.user = Some(user.clone()).filter(|user| !matches!(user.as_str(), "0" | "root" | "0:0"));
                Instruction::User(user)
            }
            Parsed::Shell(shell) => self.shell(shell),
            Parsed::Cmd(cmd) => Instruction::Command(command_form(&cmd.arguments)),
            Parsed::Entrypoint(entrypoint) => Instruction::Entrypoint(command_form(&entrypoint.arguments)),
            Parsed::Expose(expose) => Instruction::Expose(self.ports(&expose.arguments)?),
            Parsed::Healthcheck(check) => Instruction::Healthcheck(self.healthcheck(check)?),
            Parsed::Volume(volume) => Instruction::Volume(self.volumes(&volume.arguments)?),
            Parsed::Stopsignal(signal) => Instruction::StopSignal(self.word(&signal.arguments)?),
            Parsed::Arg(arg) => {
                let what = "ARG would let something outside the lockfile decide";
                return Err(self.refuse(arg.arg.span.start, what, Some(NO_ARGUMENTS)));
            }
            Parsed::Onbuild(onbuild) => {
                return Err(self.refuse(onbuild.onbuild.span.start, "ONBUILD is not supported", None));
            }
            Parsed::Maintainer(maintainer) => {
                let hint = "write `LABEL org.opencontainers.image.authors=\"…\"`";
                return Err(self.refuse(maintainer.maintainer.span.start, "MAINTAINER is not supported", Some(hint)));
            }
            _ => return Err(self.refuse(0, "it has an instruction that is not known", None)),
        })
    }

    fn refuse(&self, offset: usize, what: impl Into<String>, hint: Option<&'static str>) -> ContainerfileError {
        refuse(self.text, offset, what, hint)
    }

    /// Lines that are done as root, with the user as before afterwards.
    fn as_root(&self, lines: &str) -> String {
        match &self.user {
            None => lines.to_owned(),
            Some(user) => format!("USER 0\n{lines}USER {}\n", escape(user)),
        }
    }

    /// Adds lines before the instruction at `offset`.
    fn insert(&mut self, offset: usize, lines: &str) {
        self.agreed.push_str(&self.text[self.copied..offset]);
        self.agreed.push_str(lines);
        self.copied = offset;
    }

    fn finish(mut self) -> String {
        self.agreed.push_str(&self.text[self.copied..]);
        self.agreed
    }

    fn word(&self, word: &UnescapedString<'_>) -> Result<String, ContainerfileError> {
        expand(&word.value, &self.variables).map_err(|what| self.refuse(word.span.start, what, None))
    }

    fn add(&self, add: &AddInstruction<'_>) -> Result<CopyStep, ContainerfileError> {
        if let Some(flag) = add.options.first() {
            let what = format!("builders disagree about ADD --{} of an archive", flag.name.value);
            return Err(self.refuse(
                flag.span().start,
                what,
                Some("use COPY, or pack the archive with the right owners"),
            ));
        }
        self.copy_step(true, "ADD", &add.options, &add.src, &add.dest)
    }

    fn copy(&self, copy: &CopyInstruction<'_>) -> Result<CopyStep, ContainerfileError> {
        self.copy_step(false, "COPY", &copy.options, &copy.src, &copy.dest)
    }

    fn copy_step(
        &self,
        unpacks: bool,
        name: &str,
        flags: &[Flag<'_>],
        sources: &[Source<'_>],
        destination: &UnescapedString<'_>,
    ) -> Result<CopyStep, ContainerfileError> {
        let destination = self.word(destination)?;
        let mut step = CopyStep { unpacks, owner: None, mode: None, sources: Vec::new(), destination };
        for flag in flags {
            let value = flag.value.as_ref().map(|value| self.word(value)).transpose()?;
            match (&*flag.name.value, value) {
                ("chown", Some(value)) => step.owner = Some(value),
                ("chmod", Some(value)) => step.mode = Some(value),
                _ => return Err(unknown_flag(self.text, name, flag)),
            }
        }
        for source in sources {
            step.sources.push(self.source(name, source)?);
        }
        Ok(step)
    }

    fn source(&self, name: &str, source: &Source<'_>) -> Result<String, ContainerfileError> {
        let path = match source {
            Source::Path(path) => path,
            Source::HereDoc(document) => {
                let what = format!("{name} from a here-document is not known to every builder");
                return Err(self.refuse(document.span.start, what, Some("put the text into a file of `context/`")));
            }
            _ => return Err(self.refuse(0, format!("{name} has a source that is not known"), None)),
        };
        let expanded = self.word(path)?;
        if expanded.contains("://") || expanded.starts_with("git@") {
            let what = format!("{name} fetches `{expanded}`, which is not in the lockfile");
            return Err(self.refuse(path.span.start, what, Some("put the file into `context/`")));
        }
        Ok(expanded)
    }

    fn run(&self, run: &RunInstruction<'_>) -> Result<CommandForm, ContainerfileError> {
        no_flags(self.text, "RUN", &run.options)?;
        if let Some(document) = run.here_docs.first() {
            let what = "RUN with a here-document is not known to every builder";
            return Err(self.refuse(document.span.start, what, Some("put the script into a file of `context/`")));
        }
        Ok(command_form(&run.arguments))
    }

    fn environment(&mut self, arguments: &UnescapedString<'_>) -> Result<Vec<(String, String)>, ContainerfileError> {
        let pairs = self.pairs("ENV", arguments)?;
        for (name, value) in &pairs {
            self.variables.set(name, value);
        }
        Ok(pairs)
    }

    /// `name=value …`, or the old form `name value` where the rest of the line is the value. All values see the variables
    /// as they were before the instruction.
    fn pairs(&self, name: &str, arguments: &UnescapedString<'_>) -> Result<Vec<(String, String)>, ContainerfileError> {
        let at = arguments.span.start;
        let fail = |what: String| self.refuse(at, format!("{name}: {what}"), None);
        let words = split_words(&arguments.value);
        let old_form = words.first().is_some_and(|word| !word.contains('='));
        let pairs: Vec<(String, String)> = if old_form {
            let text = arguments.value.trim_start();
            let (key, value) =
                text.split_once(char::is_whitespace).ok_or_else(|| fail(format!("`{text}` has no value")))?;
            vec![(key.to_owned(), value.trim_start().to_owned())]
        } else {
            let split = |word: &String| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            words
                .iter()
                .map(|word| split(word).ok_or_else(|| fail(format!("`{word}` has no `=`"))))
                .collect::<Result<_, _>>()?
        };
        let expand = |text: &str| expand(text, &self.variables).map_err(fail);
        let mut expanded = Vec::new();
        for (key, value) in &pairs {
            let key = expand(key)?;
            if key.is_empty() {
                return Err(fail("a name is empty".into()));
            }
            expanded.push((key, expand(value)?));
        }
        Ok(expanded)
    }

    fn working_directory(&mut self, path: &UnescapedString<'_>) -> Result<String, ContainerfileError> {
        let path = self.word(path)?;
        self.directory = join_path(&self.directory, &path);
        Ok(self.directory.clone())
    }

    fn shell(&self, shell: &ShellInstruction<'_>) -> Instruction {
        let arguments = shell.arguments.iter().map(|word| word.value.clone().into_owned()).collect();
        let before = self.text[..shell.shell.span.start].trim_end();
        let marked = before.lines().next_back().is_some_and(|line| line.trim() == OWN_SHELL_MARK);
        if marked { Instruction::OwnShell(arguments) } else { Instruction::Shell(arguments) }
    }

    fn ports(&self, words: &[UnescapedString<'_>]) -> Result<Vec<String>, ContainerfileError> {
        let mut ports = Vec::new();
        for word in words {
            let text = self.word(word)?;
            for port in text.split_whitespace() {
                let parsed = parse_ports(port);
                let what = || format!("EXPOSE: `{port}` is no port; write `4096`, `53/udp` or `8000-8003`");
                ports.extend(parsed.ok_or_else(|| self.refuse(word.span.start, what(), None))?);
            }
        }
        Ok(ports)
    }

    fn volumes(&self, arguments: &JsonOrStringArray<'_, 1>) -> Result<Vec<String>, ContainerfileError> {
        match arguments {
            JsonOrStringArray::Json(words) => words.value.iter().map(|word| self.word(word)).collect(),
            JsonOrStringArray::String(words) => words.iter().map(|word| self.word(word)).collect(),
        }
    }

    fn healthcheck(&self, check: &HealthcheckInstruction<'_>) -> Result<Option<HealthcheckStep>, ContainerfileError> {
        let HealthcheckArguments::Cmd { arguments, .. } = &check.arguments else {
            no_flags(self.text, "HEALTHCHECK NONE", &check.options)?;
            return Ok(None);
        };
        let mut step = HealthcheckStep {
            command: command_form(arguments),
            interval: None,
            timeout: None,
            start_period: None,
            start_interval: None,
            retries: None,
        };
        for flag in &check.options {
            let value = flag.value.as_ref().map(|value| self.word(value)).transpose()?.unwrap_or_default();
            let wrong = || {
                let what = format!("HEALTHCHECK: `--{}={value}` cannot be read", flag.name.value);
                self.refuse(flag.span().start, what, Some("durations look like `30s` or `1m30s`"))
            };
            let duration = || parse_duration(&value).ok_or_else(wrong);
            match &*flag.name.value {
                "interval" => step.interval = Some(duration()?),
                "timeout" => step.timeout = Some(duration()?),
                "start-period" => step.start_period = Some(duration()?),
                "start-interval" => step.start_interval = Some(duration()?),
                "retries" => step.retries = Some(value.parse().map_err(|_| wrong())?),
                _ => return Err(unknown_flag(self.text, "HEALTHCHECK", flag)),
            }
        }
        Ok(Some(step))
    }
}

fn refuse(text: &str, offset: usize, what: impl Into<String>, hint: Option<&'static str>) -> ContainerfileError {
    let excerpt = Box::new(Excerpt::at(FILE, text, offset, ""));
    ContainerfileError { what: what.into(), excerpt, hint }
}

fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    before + column.saturating_sub(1)
}

fn refuse_directives(text: &str, parsed: &Dockerfile<'_>) -> Result<(), ContainerfileError> {
    let directives = &parsed.parser_directives;
    if let Some(syntax) = &directives.syntax {
        let what = "`# syntax=` would fetch a parser that is not in the lockfile";
        return Err(refuse(text, syntax.value.span.start, what, Some("take the line away")));
    }
    if let Some(escape) = &directives.escape {
        return Err(refuse(text, escape.value.span.start, "`# escape=` is not supported", Some("escape with `\\`")));
    }
    Ok(())
}

/// docker and buildah disagree whether the next line belongs to it.
fn refuse_double_backslash(text: &str) -> Result<(), ContainerfileError> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        if bare.ends_with("\\\\") && !bare.trim_start().starts_with('#') {
            let what = "builders disagree about a line that ends in two backslashes";
            return Err(refuse(text, offset + bare.len() - 2, what, Some("put something after them")));
        }
        offset += line.len();
    }
    Ok(())
}

fn no_flags(text: &str, name: &str, flags: &[Flag<'_>]) -> Result<(), ContainerfileError> {
    flags.first().map_or(Ok(()), |flag| Err(unknown_flag(text, name, flag)))
}

fn unknown_flag(text: &str, name: &str, flag: &Flag<'_>) -> ContainerfileError {
    let what = format!("{name} --{} is not supported", crate::base::text::sanitize(&flag.name.value));
    refuse(text, flag.span().start, what, Some("`--chown` and `--chmod` of COPY are; the rest is not"))
}

fn command_form(command: &Command<'_>) -> CommandForm {
    match command {
        Command::Exec(words) => {
            CommandForm::Exec(words.value.iter().map(|word| word.value.clone().into_owned()).collect())
        }
        Command::Shell(line) => CommandForm::Shell(join_continuations(line.value)),
        _ => CommandForm::Shell(String::new()),
    }
}

/// Joins continued lines as docker's parser does: the backslash and the newline go, comment lines and empty lines between
/// are left out, blanks at a line's start stay.
fn join_continuations(text: &str) -> String {
    let mut joined = String::new();
    for (number, line) in text.lines().enumerate() {
        if number > 0 && (line.trim_start().starts_with('#') || line.trim().is_empty()) {
            continue;
        }
        let bare = line.trim_end_matches([' ', '\t', '\r']);
        joined.push_str(bare.strip_suffix('\\').unwrap_or(line.trim_end_matches('\r')));
    }
    joined
}

/// Joins and cleans paths as Go's `path.Join` does.
pub fn join_path(directory: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
    let mut parts = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A word that is read as itself: everything that may mean something is escaped.
fn escape(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@+".contains(c);
    text.chars().flat_map(|c| (!plain(c)).then_some('\\').into_iter().chain([c])).collect()
}

/// `4096`, `4096/udp` or `8000-8003/tcp` → every port with its protocol.
fn parse_ports(text: &str) -> Option<Vec<String>> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then(|| (first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// A duration in Go's notation: `300ms`, `1m30s`, `1.5h`, `0`.
fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit = &after[..after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len())];
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &after[unit.len()..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::explain::Explain;

    fn one(line: &str) -> Instruction {
        parse_containerfile(&format!("FROM scratch\n{line}\n")).unwrap().instructions.remove(0)
    }

    #[test]
    fn env_values_see_what_was_set_before() {
        let file = parse_containerfile(
            "FROM scratch\nENV A=1 B=\"two words\" \\\n    C=$A\nENV A=2 D=${A}x PATH=/v/bin:$PATH\nENV old  form $A\n",
        )
        .unwrap();
        let pairs = |list: &[(&str, &str)]| {
            Instruction::Env(list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        assert_eq!(file.instructions[0], pairs(&[("A", "1"), ("B", "two words"), ("C", "")]));
        let path = format!("/v/bin:{DEFAULT_PATH}");
        assert_eq!(file.instructions[1], pairs(&[("A", "2"), ("D", "1x"), ("PATH", &path)]));
        assert_eq!(file.instructions[2], pairs(&[("old", "form 2")]));
    }

    #[test]
    fn a_marked_shell_is_our_own() {
        let file = parse_containerfile(
            "FROM scratch\n# oclock: shell\nSHELL [\"/bin/sh\", \"/.oclock/step\"]\nRUN a\nSHELL [\"/bin/bash\", \"-c\"]\n",
        )
        .unwrap();
        assert_eq!(file.instructions[0], Instruction::OwnShell(vec!["/bin/sh".into(), "/.oclock/step".into()]));
        assert_eq!(file.instructions[2], Instruction::Shell(vec!["/bin/bash".into(), "-c".into()]));
    }

    #[test]
    fn continued_lines_are_joined_as_docker_does() {
        let run = one("RUN a && \\\n  # why\n\n    b \\c\nUSER u");
        assert_eq!(run, Instruction::Run(CommandForm::Shell("a &&     b \\c".into())));
    }

    #[test]
    fn lines_are_added_where_builders_disagree() {
        let text = "FROM scratch\nCOPY --chown=7 a /p/q/\nWORKDIR /w\nUSER svc\nCOPY --chown=7 b c d/e/\n# x\nWORKDIR $HOME/x y\nUSER 0\nWORKDIR /z\n";
        let agreed = parse_containerfile(text).unwrap().agreed_text;
        let expected = "FROM scratch\nWORKDIR /p\nWORKDIR /\nCOPY --chown=7 a /p/q/\nWORKDIR /w\nUSER svc\n\
            USER 0\nWORKDIR /w/d\nWORKDIR /w\nUSER svc\nCOPY --chown=7 b c d/e/\n# x\n\
            USER 0\nWORKDIR /x\\ y\nUSER svc\nWORKDIR $HOME/x y\nUSER 0\nWORKDIR /z\n";
        assert_eq!(agreed, expected);
        assert!(parse_containerfile(&agreed).is_ok());
    }

    #[test]
    fn what_is_not_in_the_lockfile_is_refused_by_name() {
        for (text, expected) in [
            ("# syntax=docker/dockerfile:1\nFROM scratch\n", "syntax"),
            ("FROM scratch\nFROM scratch\n", "more than one stage"),
            ("ARG A=1\nFROM scratch\n", "ARG"),
            ("FROM --platform=linux/arm64 scratch\n", "--platform"),
            ("FROM scratch\nADD https://registry.invalid/x /x\n", "registry.invalid"),
            ("FROM scratch\nADD --chown=7 x.tar /\n", "ADD --chown"),
            ("FROM scratch\nCOPY --from=x a b\n", "COPY --from"),
            ("FROM scratch\nRUN --mount=type=cache,target=/x a\n", "RUN --mount"),
            ("FROM scratch\nRUN <<EOF\na\nEOF\n", "here-document"),
            ("FROM scratch\nONBUILD RUN a\n", "ONBUILD"),
            ("FROM scratch\nHEALTHCHECK --interval=30 CMD a\n", "--interval=30"),
            ("FROM scratch\nEXPOSE 99999\n", "99999"),
            ("FROM scratch\nRUN a \\\\ \nUSER b\n", "two backslashes"),
            ("FROM scratch\nNONSENSE\n", "unknown instruction"),
        ] {
            let error = parse_containerfile(text).unwrap_err();
            assert!(error.to_string().contains(expected), "{text}: {error}");
            assert!(error.excerpt().is_some());
        }
    }

    #[test]
    fn flags_ports_and_durations() {
        let Instruction::Copy(copy) = one("COPY --chown=1:2 --chmod=755 [\"a b\", \"c\", \"/d/\"]") else { panic!() };
        assert_eq!(
            (copy.owner.as_deref(), copy.mode.as_deref(), copy.destination.as_str()),
            (Some("1:2"), Some("755"), "/d/")
        );
        assert_eq!(copy.sources, ["a b", "c"]);
        assert_eq!(
            one("EXPOSE 4096 8000-8001/udp"),
            Instruction::Expose(vec!["4096/tcp".into(), "8000/udp".into(), "8001/udp".into()])
        );
        assert_eq!(parse_duration("1m30.5s"), Some(Duration::from_millis(90_500)));
        assert_eq!([parse_duration("30"), parse_duration(""), parse_duration("s")], [None, None, None]);
        assert_eq!(join_path("/a", "../b/./c//"), "/b/c");
    }
}
