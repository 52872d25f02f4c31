//! Why a template gives no text.

use std::fmt;

/// Why a template cannot be read or expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// The text is not a template; as Go says it (`template: NAME:LINE: …`).
    Parse(String),
    /// [`TemplateError::Parse`] while expanding the template of this name.
    Parsing {
        /// The template's name.
        name: String,
        /// What Go says.
        message: String,
    },
    /// [`TemplateError::Parse`] of a library that the template of this name may use.
    ParsingLibraries {
        /// The template's name.
        name: String,
        /// What Go says.
        message: String,
    },
    /// Expanding it failed (`template: NAME:LINE:COLUMN: executing …`).
    Executing {
        /// The template's name.
        name: String,
        /// What Go says, or which limit was reached.
        message: String,
    },
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(message) => f.write_str(message),
            Self::Parsing { name, message } => {
                write!(f, "error parsing template {name}: {message}")
            }
            Self::ParsingLibraries { name, message } => {
                write!(f, "error parsing template files for {name}: {message}")
            }
            Self::Executing { name, message } => {
                write!(f, "error executing template {name}: {message}")
            }
        }
    }
}

impl std::error::Error for TemplateError {}
