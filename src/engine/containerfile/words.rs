//! Words of an instruction as docker's shell lexer reads them: quotes, escapes, `$X`, `${X}`, `${X:-d}`, `${X:+a}`.
//!
//! Source: the Dockerfile reference, "Environment replacement" and "ENV"; the order of rules is BuildKit's `shell.Lex`.

use std::iter::Peekable;
use std::str::Chars;

/// The variables a word may name, in the order in which they were set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(Vec<(String, String)>);

impl Variables {
    /// Sets a variable; one that is set already keeps its place.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Splits at blanks that are neither quoted nor escaped; quotes and escapes stay in the words.
pub fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                word.push('\\');
                word.extend(characters.next());
                continue;
            }
            _ => {}
        }
        word.push(character);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Takes quotes and escapes away and puts the variables' values in.
///
/// # Errors
/// When a quote or brace is not closed, or a form of replacement is not known: says what.
pub fn expand(word: &str, variables: &Variables) -> Result<String, String> {
    let mut lexer = Lexer { rest: word.chars().peekable(), variables };
    lexer.until(None)
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    variables: &'a Variables,
}

impl Lexer<'_> {
    /// Reads to the end, or to the closing brace of a replacement.
    fn until(&mut self, end: Option<char>) -> Result<String, String> {
        let mut text = String::new();
        while let Some(character) = self.rest.next() {
            match character {
                c if Some(c) == end => return Ok(text),
                '\'' => self.single_quoted(&mut text)?,
                '"' => self.double_quoted(&mut text)?,
                '$' => text.push_str(&self.replacement()?),
                '\\' => text.extend(self.rest.next()),
                c => text.push(c),
            }
        }
        match end {
            None => Ok(text),
            Some(_) => Err("a `${` has no `}`".into()),
        }
    }

    fn single_quoted(&mut self, text: &mut String) -> Result<(), String> {
        for character in self.rest.by_ref() {
            if character == '\'' {
                return Ok(());
            }
            text.push(character);
        }
        Err("a `'` is not closed".into())
    }

    fn double_quoted(&mut self, text: &mut String) -> Result<(), String> {
        while let Some(character) = self.rest.next() {
            match character {
                '"' => return Ok(()),
                '$' => text.push_str(&self.replacement()?),
                '\\' => match self.rest.next() {
                    Some(escaped @ ('"' | '$' | '\\')) => text.push(escaped),
                    Some(other) => text.extend(['\\', other]),
                    None => return Err("a `\"` is not closed".into()),
                },
                c => text.push(c),
            }
        }
        Err("a `\"` is not closed".into())
    }

    /// What stands after a `$`.
    fn replacement(&mut self) -> Result<String, String> {
        if self.rest.next_if_eq(&'{').is_some() {
            return self.braced();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".into());
        }
        Ok(self.variables.get(&name).unwrap_or_default().to_owned())
    }

    fn braced(&mut self) -> Result<String, String> {
        let name = self.name();
        if name.is_empty() {
            return Err("`${` needs the name of a variable".into());
        }
        let value = self.variables.get(&name).map(str::to_owned);
        match self.rest.next() {
            Some('}') => Ok(value.unwrap_or_default()),
            Some(':') => {
                let operator = self.rest.next();
                self.operator(&name, operator, value.filter(|value| !value.is_empty()))
            }
            operator => self.operator(&name, operator, value),
        }
    }

    fn operator(&mut self, name: &str, operator: Option<char>, value: Option<String>) -> Result<String, String> {
        match operator {
            Some('-') => self.until(Some('}')).map(|other| value.unwrap_or(other)),
            Some('+') => self.until(Some('}')).map(|other| value.map(|_| other).unwrap_or_default()),
            Some('?') => {
                let message = self.until(Some('}'))?;
                value.ok_or_else(|| format!("`{name}` is not set: {message}"))
            }
            _ => Err(format!("`${{{name}…}}` is a replacement that is not known; `:-`, `:+` and `:?` are")),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(character) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            if name.is_empty() && character.is_ascii_digit() {
                return character.to_string();
            }
            name.push(character);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let mut variables = Variables::default();
        variables.set("A", "one");
        variables.set("EMPTY", "");
        variables
    }

    #[test]
    fn words_are_expanded_as_docker_does() {
        for (word, expected) in [
            ("$A", "one"),
            ("${A}x", "onex"),
            ("$Ax", ""),
            ("x$", "x$"),
            ("\\$A", "$A"),
            ("'$A'", "$A"),
            ("\"$A b\"", "one b"),
            ("\"\\n\\\"\"", "\\n\""),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${NO-d$A}", "done"),
            ("${A:+a}", "a"),
            ("${EMPTY:+a}", ""),
            ("${EMPTY+a}", "a"),
            ("a\\ b", "a b"),
        ] {
            assert_eq!(expand(word, &variables()).as_deref(), Ok(expected), "{word}");
        }
        for bad in ["${A", "'a", "\"a", "${A%x}", "${}", "${NO:?gone}"] {
            assert!(expand(bad, &variables()).is_err(), "{bad}");
        }
    }

    #[test]
    fn words_end_at_blanks_outside_quotes() {
        assert_eq!(split_words("a=1  b=\"x y\" c='p q' d=e\\ f"), ["a=1", "b=\"x y\"", "c='p q'", "d=e\\ f"]);
    }
}
