//! Questions to a running daemon, and how its answers look.
//!
//! Each kind of row has a file that turns rows into text and does nothing else. JSON is not made here: the rows are
//! passed on as they came over the socket.

mod drops;
mod grid;
mod pools;
mod routers;
mod sessions;
mod status;

use std::io::{self, Write};
use std::path::Path;

use control::{Client, ClientError, Exit, FilterError, Request, SessionFilter};

use crate::cli::{Output, Query, SessionsQuery};

/// Sessions in a table where no limit is given: more is not read by a person.
const SESSIONS_SHOWN: u64 = 1000;

/// Why a question was not answered.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// A filter is not one.
    Filter(FilterError),
    /// The daemon did not answer, or said no.
    Client(ClientError),
}

impl Unanswered {
    /// What the process ends with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Unanswered::Filter(_) => Exit::Usage,
            Unanswered::Client(error) => error.exit(),
        }
    }
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unanswered::Filter(error) => error.fmt(f),
            Unanswered::Client(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Unanswered {}

impl From<FilterError> for Unanswered {
    fn from(error: FilterError) -> Self {
        Unanswered::Filter(error)
    }
}

impl From<ClientError> for Unanswered {
    fn from(error: ClientError) -> Self {
        Unanswered::Client(error)
    }
}

/// Asks the daemon at `admin` and writes its answer to `out`. A reader that has seen enough (`| head`) is no failure.
///
/// # Errors
/// [`Unanswered`]; what is written by then is not whole.
pub(crate) fn answer(
    query: &Query,
    admin: &Path,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Unanswered> {
    let answered = match output {
        Output::Table => table(query, admin, out),
        Output::Json => json(query, admin, out),
    };
    match answered {
        Err(Unanswered::Client(ClientError::Output(error))) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(())
        }
        answered => answered,
    }
}

fn table(query: &Query, admin: &Path, out: &mut impl Write) -> Result<(), Unanswered> {
    let text = match query {
        Query::Status { workers: false } => status::show(&Client::connect(admin)?.status()?),
        Query::Status { workers: true } => status::show_workers(&Client::connect(admin)?.status()?),
        Query::Routers { id: None } => routers::show_all(&Client::connect(admin)?.routers()?),
        Query::Routers { id: Some(id) } => routers::show_one(&Client::connect(admin)?.router(id)?),
        Query::Pools => pools::show(&Client::connect(admin)?.pools()?),
        Query::Sessions(SessionsQuery::List { filter, limit }) => {
            let filter = SessionFilter::parse(filter)?;
            let limit = limit.unwrap_or(SESSIONS_SHOWN);
            sessions::show(&Client::connect(admin)?.sessions(&filter, Some(limit))?)
        }
        Query::Drops { all } => drops::show(&Client::connect(admin)?.drops()?, *all),
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(ClientError::Output)?;
    Ok(())
}

/// One document: the row itself where there is one by nature, else an array with a row on each line.
fn json(query: &Query, admin: &Path, out: &mut impl Write) -> Result<(), Unanswered> {
    let (request, one) = match query {
        Query::Status { .. } => (Request::Status {}, true),
        Query::Routers { id: Some(id) } => (Request::Router { id: id.clone() }, true),
        Query::Routers { id: None } => (Request::Routers {}, false),
        Query::Pools => (Request::Pools {}, false),
        Query::Sessions(SessionsQuery::List { filter, limit }) => {
            let filter = SessionFilter::parse(filter)?.words();
            (Request::Sessions { filter, limit: *limit }, false)
        }
        Query::Drops { .. } => (Request::Drops {}, false),
    };
    let mut client = Client::connect(admin)?;
    let mut rows = 0_u64;
    client.lines(&request, |row| {
        let before = match (one, rows) {
            (true, _) => "",
            (false, 0) => "[\n",
            (false, _) => ",\n",
        };
        rows += 1;
        out.write_all(before.as_bytes())?;
        out.write_all(row.as_bytes())
    })?;
    let end = match (one, rows) {
        (true, _) => "\n",
        (false, 0) => "[]\n",
        (false, _) => "\n]\n",
    };
    out.write_all(end.as_bytes()).and_then(|()| out.flush()).map_err(ClientError::Output)?;
    Ok(())
}

#[cfg(test)]
mod tests;
