//! What a base image says of the environment of steps, as instructions: engines start from an empty root, where nothing of
//! it holds by itself.

use std::fmt::Write as _;

use super::TemplateError;

/// What the steps of a build on a base image find as the base left it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    /// ENV, in its order.
    pub environment: Vec<(String, String)>,
    /// USER; empty for root.
    pub user: String,
    /// WORKDIR; empty for `/`.
    pub directory: String,
}

impl Inherited {
    /// Refuses a user or directory that would not be read as it is meant.
    pub(super) fn check(&self) -> Result<(), TemplateError> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
        let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
        if !self.user.chars().all(is_name) {
            return Err(TemplateError::Inherited { what: "USER", value: self.user.clone() });
        }
        if !self.directory.chars().all(is_path) || !(self.directory.is_empty() || self.directory.starts_with('/')) {
            return Err(TemplateError::Inherited { what: "WORKDIR", value: self.directory.clone() });
        }
        Ok(())
    }

    /// ENV instructions behind FROM. A variable that none can hold (a name that is none in a shell, a value with a
    /// backslash or a line break) is the image's all the same, but no step's.
    pub(super) fn variables(&self) -> String {
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let is_value = |value: &str| !value.contains(|c: char| c.is_control() || c == '\\');
        let written = self.environment.iter().filter(|(name, value)| is_name(name) && is_value(value));
        let mut text = String::new();
        for (name, value) in written {
            let value = value.replace('"', "\\\"").replace('$', "\\$");
            let _ = write!(text, "\nENV {name}=\"{value}\"");
        }
        text
    }

    /// Where the packages are in place: WORKDIR and USER for all that follows.
    pub(super) fn place(&self) -> String {
        let mut text = String::new();
        if !matches!(self.directory.as_str(), "" | "/") {
            let _ = write!(text, "\nWORKDIR {}", self.directory);
        }
        if !self.is_root() {
            let _ = write!(text, "\nUSER {}", self.user);
        }
        text
    }

    /// A step of oclock's own, which root takes whoever the base's user is.
    pub(super) fn as_root(&self, step: &str) -> String {
        if self.is_root() { step.to_owned() } else { format!("USER root\n{step}\nUSER {}", self.user) }
    }

    fn is_root(&self) -> bool {
        matches!(self.user.split(':').next(), None | Some("" | "root" | "0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(user: &str, environment: &[(&str, &str)]) -> Inherited {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Inherited {
            environment: environment.iter().map(pair).collect(),
            user: user.to_owned(),
            directory: "/srv/app".to_owned(),
        }
    }

    #[test]
    fn a_variable_can_not_become_an_instruction() {
        let base = inherited("", &[("A", "one \"two\" $HOME"), ("B", "x\nRUN evil"), ("C-D", "x"), ("E", "a\\")]);
        assert_eq!(base.variables(), "\nENV A=\"one \\\"two\\\" \\$HOME\"");
        assert_eq!(base.place(), "\nWORKDIR /srv/app");
    }

    #[test]
    fn own_steps_are_roots() {
        let base = inherited("node", &[]);
        assert_eq!(base.place(), "\nWORKDIR /srv/app\nUSER node");
        assert_eq!(base.as_root("RUN x"), "USER root\nRUN x\nUSER node");
        assert_eq!(inherited("0:0", &[]).as_root("RUN x"), "RUN x");
    }

    #[test]
    fn what_would_be_read_otherwise_is_refused() {
        assert!(inherited("a b", &[]).check().is_err());
        assert!(inherited("$USER", &[]).check().is_err());
        assert!(Inherited { directory: "a".into(), ..Inherited::default() }.check().is_err());
        assert!(inherited("1000:1000", &[]).check().is_ok());
    }
}
