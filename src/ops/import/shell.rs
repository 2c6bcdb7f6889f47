//! A RUN's text taken apart, as far as that is safe: commands that stand one after the other, each with its words.
//!
//! No shell: what it does not know for certain it calls intricate, and such a text stays whole.

use std::ops::Range;

/// One command between `&&` and `;`, a pipeline among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Where it stands in the text.
    pub range: Range<usize>,
    /// What ended it: `&&`, `;`, or nothing at the end.
    pub end: &'static str,
    /// The words of each command of the pipeline, without quotes; what is expanded keeps its `$`.
    pub commands: Vec<Vec<String>>,
    /// Whether it is one command of plain words.
    pub is_plain: bool,
}

/// Words that begin what spans several commands.
const KEYWORDS: &[&str] =
    &["if", "for", "while", "until", "case", "select", "function", "{", "then", "do", "else", "elif", "fi", "done"];

/// Takes a text apart. None where its commands do not simply stand one after the other.
pub(super) fn take_apart(text: &str) -> Option<Vec<Unit>> {
    let mut reader = Reader { text, at: 0, units: Vec::new(), open: Open::default() };
    while reader.at < text.len() {
        reader.step()?;
    }
    reader.finish("");
    let is_construct = |unit: &Unit| {
        unit.commands.iter().any(|words| words.first().is_some_and(|word| KEYWORDS.contains(&word.as_str())))
    };
    (!reader.units.iter().any(is_construct)).then_some(reader.units)
}

/// The words of a text, wherever they stand in it: for texts that cannot be taken apart.
pub(super) fn bare_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).filter(|word| !word.is_empty())
}

/// The command under way.
#[derive(Default)]
struct Open {
    start: Option<usize>,
    end: usize,
    word: Option<String>,
    words: Vec<String>,
    commands: Vec<Vec<String>>,
    is_intricate: bool,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    units: Vec<Unit>,
    open: Open,
}

impl Reader<'_> {
    /// Reads one character, or one thing that begins with it.
    fn step(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let first = rest.chars().next()?;
        match first {
            '\\' if rest[1..].trim_start_matches([' ', '\t', '\r']).starts_with('\n') => self.continue_line(),
            '\\' => {
                let escaped = rest[1..].chars().next()?;
                self.take(escaped, 1 + escaped.len_utf8());
            }
            '\'' => {
                let length = rest[1..].find('\'')?;
                self.take_quoted(&rest[1..=length].replace('$', "\u{0}"), length + 2);
            }
            '"' => self.double_quoted()?,
            '`' => return None,
            '$' if rest.starts_with("$(") => {
                let length = nested(rest)?;
                self.open.is_intricate = true;
                self.take_quoted(&rest[..length], length);
            }
            '&' if rest.starts_with("&&") => self.separate("&&", 2),
            '&' if self.text[..self.at].ends_with('>') => self.take('&', 1),
            '&' | '(' | ')' => return None,
            '|' if rest.starts_with("||") => return None,
            '|' => {
                self.close_command();
                self.open.is_intricate = true;
                self.at += 1;
            }
            ';' if rest.starts_with(";;") => return None,
            ';' => self.separate(";", 1),
            '\n' => self.separate(";", 1),
            '<' => {
                self.open.is_intricate = true;
                self.take('<', 1);
            }
            c if c.is_whitespace() => {
                self.close_word();
                self.at += c.len_utf8();
            }
            c => self.take(c, c.len_utf8()),
        }
        Some(())
    }

    /// Skips the end of a line that goes on, and the comment lines after it.
    fn continue_line(&mut self) {
        self.close_word();
        let newline = self.text[self.at..].find('\n').unwrap_or(0);
        self.at += newline + 1;
        while let Some(line) = self.text[self.at..].split_inclusive('\n').next() {
            let bare = line.trim();
            if !(bare.is_empty() && line.ends_with('\n') || bare.starts_with('#')) {
                break;
            }
            self.at += line.len();
        }
    }

    fn double_quoted(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let mut word = String::new();
        let mut characters = rest.char_indices().skip(1);
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => {
                    self.take_quoted(&word, index + 1);
                    return Some(());
                }
                '`' => return None,
                '\\' => {
                    let (_, escaped) = characters.next()?;
                    word.extend(Some(escaped).filter(|c| *c != '\n'));
                }
                c => word.push(c),
            }
        }
        None
    }

    fn take(&mut self, character: char, length: usize) {
        self.take_quoted(character.encode_utf8(&mut [0; 4]), length);
    }

    fn take_quoted(&mut self, text: &str, length: usize) {
        self.open.start.get_or_insert(self.at);
        self.open.word.get_or_insert_default().push_str(text);
        self.at += length;
        self.open.end = self.at;
    }

    fn close_word(&mut self) {
        self.open.words.extend(self.open.word.take());
    }

    fn close_command(&mut self) {
        self.close_word();
        let words = std::mem::take(&mut self.open.words);
        self.open.commands.push(words);
    }

    fn separate(&mut self, end: &'static str, length: usize) {
        self.finish(end);
        self.at += length;
    }

    fn finish(&mut self, end: &'static str) {
        self.close_command();
        let open = std::mem::take(&mut self.open);
        if let Some(start) = open.start {
            let is_plain = !open.is_intricate && open.commands.len() == 1;
            self.units.push(Unit { range: start..open.end, end, commands: open.commands, is_plain });
        }
    }
}

/// The length of a `$( … )` at the start of a text.
fn nested(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth == 1 => return Some(index + 1),
            ')' => depth -= 1,
            '\'' | '`' => return None,
            _ => {}
        }
    }
    None
}

/// The words of a plain command without what stands before it: `sudo`, `env`, assignments; and without redirections of its output.
pub(super) fn essential_words(words: &[String]) -> Vec<&str> {
    let is_assignment = |word: &&str| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
    };
    let words =
        words.iter().map(String::as_str).skip_while(|word| is_assignment(word) || ["sudo", "env"].contains(word));
    let mut kept = Vec::new();
    let mut skip_next = false;
    for word in words {
        let redirects = word.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('>');
        if !redirects && !std::mem::take(&mut skip_next) {
            kept.push(word);
        }
        skip_next = redirects && word.ends_with('>');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(String, String)> {
        let units = take_apart(text).unwrap();
        units.iter().map(|unit| (text[unit.range.clone()].to_owned(), unit.end.to_owned())).collect()
    }

    #[test]
    fn commands_one_after_the_other_are_taken_apart() {
        let text = "set -eux; \\\n  apt-get update \\\n  # a comment\n  && apt-get install -y \\\n    git 'a b' \"c;d\" ;\\\n true";
        let units: Vec<String> = shown(text).into_iter().map(|(_, end)| end).collect();
        assert_eq!(units, [";", "&&", ";", ""]);
        let install = &take_apart(text).unwrap()[2];
        assert_eq!(install.commands, [["apt-get", "install", "-y", "git", "a b", "c;d"]]);
        assert!(install.is_plain);
        assert_eq!(shown("a&&b ; c"), [("a", "&&"), ("b", ";"), ("c", "")].map(|(a, b)| (a.into(), b.into())));
    }

    #[test]
    fn what_is_no_plain_command_is_told() {
        for (text, plain) in
            [("curl x | sh", false), ("a $(b c)", false), ("a < b", false), ("a > /dev/null 2>&1", true)]
        {
            assert_eq!(take_apart(text).unwrap()[0].is_plain, plain, "{text}");
        }
        for text in ["if a; then b; fi", "a || b", "(a; b)", "a & b", "for i in 1; do a; done", "a `b`", "a 'b"] {
            assert_eq!(take_apart(text), None, "{text}");
        }
    }

    #[test]
    fn words_before_and_redirections_after_are_left_out() {
        let unit = &take_apart("DEBIAN_FRONTEND=x sudo apt-get install a=1 > /dev/null 2>&1").unwrap()[0];
        assert_eq!(essential_words(&unit.commands[0]), ["apt-get", "install", "a=1"]);
    }
}
