//! What can be wrong with a template.

use crate::base::explain::{Excerpt, Explain, Kind};

/// Why a template was refused.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// An unknown name or wrong syntax.
    #[error("could not render `Containerfile.in`: {detail}")]
    Render {
        /// What the template engine says.
        detail: String,
        /// Where.
        excerpt: Box<Excerpt>,
        /// The nearest known name.
        nearest: Option<String>,
    },
    /// Packages are locked, but the template has no place for them.
    #[error("`Containerfile.in` never installs the {ecosystem} packages that are locked")]
    Unused {
        /// `apt`, `npm` or `pip`.
        ecosystem: &'static str,
    },
    /// The base image says something that no instruction can hold.
    #[error("the base image's {what} `{}` cannot be kept", crate::base::text::sanitize(value))]
    Inherited {
        /// `USER` or `WORKDIR`.
        what: &'static str,
        /// What it says.
        value: String,
    },
    /// The rendered text is no Containerfile.
    #[error("the rendered Containerfile cannot be parsed: {detail}")]
    Parse {
        /// What the parser says.
        detail: String,
    },
    /// An instruction that would not give the same image everywhere.
    #[error("`{what}` is not allowed in `Containerfile.in`")]
    Refused {
        /// The instruction or flag.
        what: String,
        /// Where in the rendered text.
        excerpt: Box<Excerpt>,
        /// Why.
        note: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
}

impl Explain for TemplateError {
    fn kind(&self) -> Kind {
        match self {
            Self::Inherited { .. } => Kind::Unable,
            _ => Kind::Asked,
        }
    }

    fn excerpt(&self) -> Option<Excerpt> {
        match self {
            Self::Render { excerpt, .. } | Self::Refused { excerpt, .. } => Some(excerpt.as_ref().clone()),
            _ => None,
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::Refused { note, .. } => vec![(*note).to_owned()],
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Render { nearest: Some(nearest), .. } => vec![format!("did you mean `{nearest}`?")],
            Self::Render { .. } | Self::Inherited { .. } => Vec::new(),
            Self::Unused { ecosystem } => vec![format!("put `{{{{ {ecosystem}.install }}}}` on a line of its own")],
            Self::Parse { .. } => vec!["`oclock render` prints the text".to_owned()],
            Self::Refused { hint, .. } => vec![(*hint).to_owned()],
        }
    }
}
