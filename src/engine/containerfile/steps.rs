//! The RUN steps of a Containerfile, for finding out which of them makes something.

use parse_dockerfile::Instruction as Parsed;

use super::ContainerfileError;
use super::read::syntax_error;

/// The RUN instructions as they are written, each on one line.
///
/// # Errors
/// When the text is no Containerfile.
pub fn run_steps(text: &str) -> Result<Vec<String>, ContainerfileError> {
    let line = |span: std::ops::Range<usize>| text[span].split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(spans(text)?.into_iter().map(line).collect())
}

/// The text without all RUN instructions behind the first `number`.
///
/// # Errors
/// When the text is no Containerfile.
pub fn with_run_steps(text: &str, number: usize) -> Result<String, ContainerfileError> {
    let mut shorter = text.to_owned();
    for span in spans(text)?.into_iter().skip(number).rev() {
        shorter.replace_range(span, "");
    }
    Ok(shorter)
}

fn spans(text: &str) -> Result<Vec<std::ops::Range<usize>>, ContainerfileError> {
    let parsed = parse_dockerfile::parse(text).map_err(|error| syntax_error(text, &error))?;
    let runs = parsed.instructions.iter().filter_map(|instruction| match instruction {
        Parsed::Run(run) => Some(run.run.span.start..end_of(&run.arguments)?),
        _ => None,
    });
    Ok(runs.collect())
}

/// Where a command ends; a form that is not known here cannot be left out.
fn end_of(command: &parse_dockerfile::Command<'_>) -> Option<usize> {
    match command {
        parse_dockerfile::Command::Exec(words) => Some(words.span.end),
        parse_dockerfile::Command::Shell(line) => Some(line.span.end),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "FROM scratch\nRUN [\"/bin/a\"]\nCOPY x /x\nRUN b \\\n  && c\nENV A=1\nRUN d\n";

    #[test]
    fn steps_behind_a_number_are_left_out() {
        assert_eq!(run_steps(TEXT).unwrap(), ["RUN [\"/bin/a\"]", "RUN b \\ && c", "RUN d"]);
        assert_eq!(with_run_steps(TEXT, 3).unwrap(), TEXT);
        let shorter = with_run_steps(TEXT, 1).unwrap();
        assert_eq!(run_steps(&shorter).unwrap(), ["RUN [\"/bin/a\"]"]);
        assert!(shorter.contains("COPY x /x\n") && shorter.contains("ENV A=1\n"));
    }
}
