//! Which instructions a rendered Containerfile may hold: those that every engine and builder carries out alike, offline.

use parse_dockerfile::{Flag, Instruction, Source, Span};

use super::blocks::SHELL_MARK;
use super::error::TemplateError;
use super::{RESERVED, TEMPLATE_FILE};
use crate::base::explain::Excerpt;

/// What later steps need to know of the instructions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instructions {
    /// The COPY and ADD instructions that bring the project's own files.
    pub copies: Vec<Copy>,
    /// The names that ENV sets, in the order of their first mention.
    pub variables: Vec<String>,
}

/// One COPY or ADD of the project's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Paths below `context/`.
    pub sources: Vec<String>,
    /// Where they go.
    pub destination: String,
    /// The instruction in the template, or in the rendered text where the template does not have it as it is.
    pub excerpt: Excerpt,
}

/// Where the project's own files are in the staged context.
const STAGED: &str = "context/";

const SAME_EVERYWHERE: &str = "the image must be the same under every engine and builder";

/// The same line in the template, where it stands there as it is in the rendered text.
pub(super) fn place_in_template(template: &str, rendered: &str, excerpt: &mut Excerpt) {
    let same = |text: &str| text == excerpt.text;
    let before = rendered.lines().take(excerpt.line - 1).filter(|text| same(text)).count();
    if let Some(index) = template.lines().enumerate().filter(|(_, text)| same(text)).nth(before).map(|(index, _)| index)
    {
        excerpt.file = TEMPLATE_FILE.to_owned();
        excerpt.line = index + 1;
    }
}

/// Checks the text and gives it back with the project's files named where they are staged: below `context/`.
pub(super) fn check(text: &str) -> Result<(Instructions, String), TemplateError> {
    let parsed = parse_dockerfile::parse(text).map_err(|error| TemplateError::Parse { detail: error.to_string() })?;
    let mut found = Instructions::default();
    let refuse = Refuse { text };
    let mut offsets = Vec::new();
    for (index, instruction) in parsed.instructions.iter().enumerate() {
        match instruction {
            Instruction::From(from) if index == 0 && from.image.value == "scratch" && from.as_.is_none() => {
                refuse.flags("FROM", &from.options, &[])?;
            }
            Instruction::From(from) => {
                return Err(refuse.at(
                    &from.from.span,
                    "FROM",
                    "one image is built in one stage, on the base of oclock.toml",
                    "write `FROM {{ base }}` once",
                ));
            }
            Instruction::Copy(copy) => {
                refuse.flags("COPY", &copy.options, &["chown"])?;
                let plan = refuse.copy("COPY", &copy.copy.span, &copy.src, &copy.dest.value)?;
                offsets.extend(project_sources(text, &copy.src));
                found.copies.extend(Some(plan).filter(|plan| !plan.sources.iter().all(|source| is_own(source))));
            }
            Instruction::Add(add) => {
                refuse.flags("ADD", &add.options, &["chown"])?;
                let copy = refuse.copy("ADD", &add.add.span, &add.src, &add.dest.value)?;
                if !copy.sources.iter().all(|source| is_own(source)) {
                    return Err(refuse.at(
                        &add.add.span,
                        "ADD",
                        "it unpacks archives and fetches addresses by rules that differ",
                        "use `COPY`",
                    ));
                }
            }
            Instruction::Run(run) => {
                refuse.flags("RUN", &run.options, &[])?;
                if let Some(document) = run.here_docs.first() {
                    return Err(refuse.at(
                        &document.span,
                        "<<",
                        SAME_EVERYWHERE,
                        "put the script into context/ and COPY it",
                    ));
                }
            }
            Instruction::Env(env) => found.variables.extend(variable_names(&env.arguments.value)),
            Instruction::Shell(shell) => refuse.foreign_shell(&shell.shell.span)?,
            Instruction::Arg(arg) => {
                return Err(refuse.at(
                    &arg.arg.span,
                    "ARG",
                    "flags may not change what is built",
                    "use ENV or a value of the template",
                ));
            }
            Instruction::Onbuild(it) => {
                return Err(refuse.at(
                    &it.onbuild.span,
                    "ONBUILD",
                    "it acts on other builds",
                    "write the instruction there",
                ));
            }
            Instruction::Maintainer(it) => {
                return Err(refuse.at(&it.maintainer.span, "MAINTAINER", "it is deprecated", "use LABEL"));
            }
            Instruction::Healthcheck(_) | Instruction::Cmd(_) | Instruction::Entrypoint(_) | Instruction::Expose(_) => {
            }
            Instruction::Label(_)
            | Instruction::Stopsignal(_)
            | Instruction::User(_)
            | Instruction::Volume(_)
            | Instruction::Workdir(_) => {}
            _ => return Err(TemplateError::Parse { detail: "an instruction that is not known".to_owned() }),
        }
    }
    found.variables.dedup();
    Ok((found, insert(text, &offsets)))
}

fn is_own(source: &str) -> bool {
    source.strip_prefix(RESERVED).is_some_and(|rest| rest.starts_with('/'))
}

/// Where the paths of the project's own files start.
fn project_sources(text: &str, sources: &[Source<'_>]) -> Vec<usize> {
    let start = |source: &Source<'_>| match source {
        Source::Path(path) if !is_own(&path.value) => {
            Some(path.span.start + usize::from(text[path.span.start..].starts_with('"')))
        }
        _ => None,
    };
    sources.iter().filter_map(start).collect()
}

fn insert(text: &str, offsets: &[usize]) -> String {
    let mut whole = String::with_capacity(text.len() + offsets.len() * STAGED.len());
    let mut from = 0;
    for &offset in offsets {
        whole.push_str(&text[from..offset]);
        whole.push_str(STAGED);
        from = offset;
    }
    whole + &text[from..]
}

struct Refuse<'a> {
    text: &'a str,
}

impl Refuse<'_> {
    fn at(&self, span: &Span, what: &str, note: &'static str, hint: &'static str) -> TemplateError {
        TemplateError::Refused { what: what.to_owned(), excerpt: Box::new(self.excerpt(span)), note, hint }
    }

    fn flags(&self, instruction: &str, flags: &[Flag<'_>], allowed: &[&str]) -> Result<(), TemplateError> {
        match flags.iter().find(|flag| !allowed.contains(&flag.name.value.as_ref())) {
            None => Ok(()),
            Some(flag) => {
                let what = format!("{instruction} --{}", flag.name.value);
                Err(self.at(
                    &flag.flag_span(),
                    &what,
                    SAME_EVERYWHERE,
                    "leave the flag out; files of context/ keep their executable bit",
                ))
            }
        }
    }

    fn excerpt(&self, span: &Span) -> Excerpt {
        Excerpt::at(&format!("{TEMPLATE_FILE} (rendered)"), self.text, span.start, "")
    }

    fn copy(
        &self,
        instruction: &str,
        span: &Span,
        sources: &[Source<'_>],
        destination: &str,
    ) -> Result<Copy, TemplateError> {
        let mut paths = Vec::new();
        for source in sources {
            match source {
                Source::Path(path) if path.value.contains("://") || path.value.starts_with("git@") => {
                    return Err(self.at(
                        &path.span,
                        &format!("{instruction} {}", path.value),
                        "a build has no network",
                        "put the file into context/",
                    ));
                }
                Source::Path(path) if path.value.contains(['*', '?', '[', '$']) => {
                    return Err(self.at(
                        &path.span,
                        &format!("{instruction} {}", path.value),
                        SAME_EVERYWHERE,
                        "name files and directories plainly",
                    ));
                }
                Source::Path(path) if path.value.split('/').any(|part| part == "..") => {
                    let what = format!("{instruction} {}", path.value);
                    return Err(self.at(
                        &path.span,
                        &what,
                        "it leads out of the context",
                        "copy the file into context/",
                    ));
                }
                Source::Path(path) => paths.push(path.value.trim_start_matches("./").trim_matches('/').to_owned()),
                Source::HereDoc(document) => {
                    return Err(self.at(&document.span, "<<", SAME_EVERYWHERE, "put the file into context/"));
                }
                _ => return Err(TemplateError::Parse { detail: "a source that is not known".to_owned() }),
            }
        }
        Ok(Copy { sources: paths, destination: destination.to_owned(), excerpt: self.excerpt(span) })
    }

    fn foreign_shell(&self, span: &Span) -> Result<(), TemplateError> {
        if self.text[..span.start].trim_end().ends_with(SHELL_MARK) {
            return Ok(());
        }
        Err(self.at(
            span,
            "SHELL",
            "oclock's own shell closes the environment of every RUN",
            "call the other shell in the RUN: `RUN bash -c '…'`",
        ))
    }
}

/// The names in `A=1 B="x y"` or the old form `A 1`.
fn variable_names(arguments: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut word, mut quote, mut escaped) = (String::new(), None, false);
    for character in arguments.chars().chain([' ']) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' | '\'' if quote == Some(character) => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(character),
            c if c.is_whitespace() && quote.is_none() => {
                let name = word.split('=').next().unwrap_or_default();
                if !name.is_empty() && (word.contains('=') || names.is_empty()) {
                    names.push(name.to_owned());
                }
                word.clear();
                continue;
            }
            _ => {}
        }
        word.push(character);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_variables_are_read_past_quotes() {
        assert_eq!(variable_names(r#"A=1 B="x C=2" D='y' E=a\ b"#), ["A", "B", "D", "E"]);
        let (found, _) = check("FROM scratch\nENV A=1 \\\n  B=2\n").unwrap();
        assert_eq!(found.variables, ["A", "B"]);
        assert_eq!(variable_names("OLD form of it"), ["OLD"]);
    }

    #[test]
    fn what_engines_do_differently_is_refused() {
        for text in [
            "FROM scratch\nFROM scratch\n",
            "FROM debian\n",
            "FROM scratch\nRUN --mount=type=cache,target=/x true\n",
            "FROM scratch\nRUN --network=host true\n",
            "FROM scratch\nADD https://host.invalid/x /x\n",
            "FROM scratch\nADD x.tar /\n",
            "FROM scratch\nCOPY --from=other /a /b\n",
            "FROM scratch\nCOPY --chmod=755 a /b\n",
            "FROM scratch\nCOPY a* /b\n",
            "FROM scratch\nCOPY ../a /b\n",
            "FROM scratch\nARG X\n",
            "FROM scratch\nSHELL [\"bash\", \"-c\"]\n",
            "FROM scratch\nONBUILD RUN true\n",
            "FROM scratch\nRUN <<EOF\ntrue\nEOF\n",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn copies_and_variables_are_read() {
        let text = "FROM scratch\nENV A=1 B=2\nCOPY --chown=1:1 ./plugin/ x /root/\nCOPY .oclock/s/ /\nCOPY [\"a b\", \"/c\"]\n";
        let (found, staged) = check(text).unwrap();
        assert_eq!(found.variables, ["A", "B"]);
        assert_eq!(found.copies.len(), 2);
        assert_eq!(
            (found.copies[0].sources.join(" "), found.copies[0].destination.as_str()),
            ("plugin x".into(), "/root/")
        );
        assert_eq!(found.copies[0].excerpt.line, 3);
        assert!(
            staged.contains("COPY --chown=1:1 context/./plugin/ context/x /root/\nCOPY .oclock/s/ /\n"),
            "{staged}"
        );
        assert!(staged.contains("COPY [\"context/a b\", \"/c\"]"), "{staged}");
    }
}
