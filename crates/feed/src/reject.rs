//! Why something was refused, in the words of both ends.
//!
//! Validation's [`Fault`] speaks of objects; the feed refuses more than objects: a delta that does not fit what is in
//! force, a snapshot with a part missing, a change that would remove most of the routers. A `Reject` is either.

use std::fmt;

use rules::{Fault, ObjectRef};

pub use crate::wire::Code;

/// One reason for which an object or a whole message was refused. What was in force before still is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub code: Code,
    /// What was refused; `None` where it was the whole message, or the whole file.
    pub object: Option<ObjectRef>,
    /// The revision that was offered; 0 where there was none.
    pub offered_revision: u64,
    /// The revision that stays in force; 0 where the object is not in force at all.
    pub kept_revision: u64,
    /// The field's path inside the object; empty where all of it is meant.
    pub field: String,
    /// What is wrong, and what would be right, for a person.
    pub message: String,
    /// The other object, where two do not go together.
    pub conflicts_with: Option<ObjectRef>,
}

impl Reject {
    /// A reason to refuse all of a message.
    pub fn all(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            object: None,
            offered_revision: 0,
            kept_revision: 0,
            field: String::new(),
            message: message.into(),
            conflicts_with: None,
        }
    }

    /// A reason to refuse one object.
    pub fn object(
        object: ObjectRef,
        code: Code,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { object: Some(object), field: field.into(), ..Self::all(code, message) }
    }
}

impl From<Fault> for Reject {
    fn from(fault: Fault) -> Self {
        // A test holds that the feed has every code that validation has.
        let code = Code::try_from(fault.code.number()).unwrap_or(Code::Unspecified);
        let conflicts_with = fault.conflicts_with;
        Self { conflicts_with, ..Self::object(fault.object, code, fault.field, fault.message) }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        // A text that could not be read has no code: there is no object yet that a code could speak of.
        if self.code != Code::Unspecified {
            write!(f, "{}: ", self.code.as_str_name())?;
        }
        f.write_str(&self.message)?;
        match &self.conflicts_with {
            Some(other) if self.object.as_ref() != Some(other) => write!(f, " ({other})"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_validation_is_one_of_the_feed() {
        for code in rules::Code::ALL {
            let feed = Code::try_from(code.number()).unwrap_or_else(|_| panic!("no {code}"));
            assert_eq!(feed.as_str_name(), code.as_str());
        }
    }
    #[test]
    fn every_code_has_its_line_in_the_page() {
        let page = include_str!("../../../docs/feed.md");
        // Numbers have gaps, kept for codes of features to come.
        let codes: Vec<Code> = (1..100).filter_map(|number| Code::try_from(number).ok()).collect();
        assert!(codes.len() > 30);
        for code in codes {
            let row = format!("| {} | `{}` |", code as i32, code.as_str_name());
            assert!(page.contains(&row), "docs/feed.md has no row `{row}`");
        }
    }
}
