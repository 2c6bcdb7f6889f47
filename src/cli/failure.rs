//! Draws an error: what could not be done, where, the evidence, the causes, notes and hints (style.md, "Errors").

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use crate::base::explain::Explain;
use crate::base::text::sanitize;

/// Whether escape sequences for colour may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Yes.
    On,
    /// No.
    Off,
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Cyan.on_default();
const HINT: Style = AnsiColor::Green.on_default();

/// The whole message, ending in a newline.
pub fn draw(error: &dyn Explain, colour: Colour) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{} {}", paint("error:", ERROR, colour), sanitize(&error.to_string()));
    if let Some(excerpt) = error.excerpt() {
        let _ = writeln!(text, "  --> {}:{}:{}", excerpt.file, excerpt.line, excerpt.column);
        let _ = writeln!(text, "   | {}     {}", sanitize(&excerpt.text), sanitize(&excerpt.label));
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    for line in error.evidence() {
        let _ = writeln!(text, "  {}", sanitize(&line));
    }
    let mut cause = error.source();
    let mut said = error.to_string();
    while let Some(error) = cause {
        let line = sanitize(&error.to_string());
        if !said.contains(&line) {
            let _ = writeln!(text, "{} {line}", paint("because:", NOTE, colour));
        }
        said = line;
        cause = error.source();
    }
    for note in error.notes() {
        let _ = writeln!(text, " {} {}", paint("note:", NOTE, colour), sanitize(&note));
    }
    for hint in error.hints().iter().take(2) {
        let _ = writeln!(text, " {} {}", paint("hint:", HINT, colour), sanitize(hint));
    }
    text
}

fn paint(word: &str, style: Style, colour: Colour) -> String {
    match colour {
        Colour::On => format!("{style}{word}{style:#}"),
        Colour::Off => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::explain::{Excerpt, Kind};

    #[derive(Debug, thiserror::Error)]
    #[error("`lockfile.toml` no longer answers `oclock.toml`")]
    struct Drifted;

    impl Explain for Drifted {
        fn kind(&self) -> Kind {
            Kind::No
        }
        fn excerpt(&self) -> Option<Excerpt> {
            Some(Excerpt::at("oclock.toml", "[npm]\nexpress = \"^5.1\"\n", 6, "the lockfile pins express 4.21.2"))
        }
        fn notes(&self) -> Vec<String> {
            vec!["checked offline\u{1b}[31m".into()]
        }
        fn hints(&self) -> Vec<String> {
            vec!["run `oclock update npm:express`".into()]
        }
    }

    #[test]
    fn a_message_reads_from_top_to_bottom() {
        let expected = "error: `lockfile.toml` no longer answers `oclock.toml`\n  --> oclock.toml:2:1\n   | express = \"^5.1\"     the lockfile pins express 4.21.2\n note: checked offline\u{fffd}[31m\n hint: run `oclock update npm:express`\n";
        assert_eq!(draw(&Drifted, Colour::Off), expected);
        assert!(draw(&Drifted, Colour::On).contains("\u{1b}["));
    }
}
