//! Exit codes: the one place that gives them a number. `docs/operations.md` has the same table; a test compares them.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// It failed; the sentence on standard error says why.
    Failed = 1,
    /// The command line or a filter is wrong.
    Usage = 2,
    /// Rules or configuration were rejected.
    Rejected = 3,
    /// No daemon answers on the admin socket.
    Unreachable = 4,
    /// The named object is not there.
    NotFound = 5,
}

impl Exit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Exit; 6] =
        [Exit::Done, Exit::Failed, Exit::Usage, Exit::Rejected, Exit::Unreachable, Exit::NotFound];

    /// The number the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What it means, as the documentation says it.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Failed => "failed; standard error says why",
            Exit::Usage => "wrong command line or filter",
            Exit::Rejected => "rules or configuration rejected",
            Exit::Unreachable => "no daemon answers on the admin socket",
            Exit::NotFound => "the named object is not there",
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit.code())
    }
}
