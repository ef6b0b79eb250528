//! The command line: one binary, one subcommand per thing an operator does.
//!
//! Words only. What they do is in the modules they name; what they end with is [`control::Exit`] (a wrong command line
//! is clap's, which ends with the same 2).

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where the daemon listens unless told otherwise.
const ADMIN_DEFAULT: &str = "/run/natgate/admin.sock";
/// The variable that tells otherwise.
const ADMIN_VARIABLE: &str = "NATGATE_ADMIN";

/// A NAT gateway for clouds: many routers with overlapping networks, SNAT, floating IPs.
#[derive(Debug, Parser)]
#[command(name = "natgate", version)]
pub(crate) struct Cli {
    /// The admin socket of the daemon to ask [env: NATGATE_ADMIN] [default: /run/natgate/admin.sock]
    #[arg(long, global = true, value_name = "SOCKET")]
    admin: Option<PathBuf>,
    /// How answers look
    #[arg(short, long, global = true, value_name = "FORM", value_enum, default_value_t)]
    pub(crate) output: Output,
    /// How log lines look; NATGATE_LOG says how many there are
    #[arg(long, global = true, value_name = "FORM", value_enum, default_value_t)]
    pub(crate) log: Log,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How answers look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    // Tables for people.
    #[default]
    Table,
    // One document: an object, or an array with a row on each line.
    Json,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Log {
    // For people.
    #[default]
    Text,
    // One object a line, for collectors.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway
    Run(Run),
    /// Serve the rules in a file to gateways, and follow the file
    Feed(Feed),
    /// Check rules, a node's configuration, or both together; change nothing
    Validate(Validate),
    #[command(flatten)]
    Ask(Query),
}

/// `natgate run`. Without `--rules` and `--feed` it runs the last good rules of its state directory.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// This node's configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Follow the rules in this file
    #[arg(long, value_name = "FILE", conflicts_with = "feed")]
    pub(crate) rules: Option<PathBuf>,
    /// Follow the feed server at HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) feed: Option<String>,
}

/// `natgate feed`.
#[derive(Debug, Args)]
pub(crate) struct Feed {
    /// The rules to serve
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: PathBuf,
    /// Where to serve them: HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: String,
    /// Allow gateways to remove most of their routers when the file says so
    #[arg(long)]
    pub(crate) confirm_mass_delete: bool,
}

/// `natgate validate`.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Validate {
    /// The rules
    #[arg(value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// The node's configuration; the rules must name its ports
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What a running daemon can be asked.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Query {
    /// Show the node: rules, workers, ports, books, warnings
    Status {
        /// The workers alone, and what the stages of their loop cost
        #[arg(long)]
        workers: bool,
    },
    /// Show all routers, or one in full
    Routers {
        /// The router's id
        id: Option<String>,
    },
    /// Show the addresses that are translated to, and how many of their ports are used
    Pools,
    /// Look at sessions
    #[command(subcommand)]
    Sessions(SessionsQuery),
    /// Show why frames were dropped
    Drops {
        /// Reasons that never struck as well
        #[arg(long)]
        all: bool,
    },
}

/// `natgate sessions`.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum SessionsQuery {
    /// List sessions
    List {
        /// Which; all must hold:
        ///   router=ID
        ///   src= dst= ext=            an address or a prefix: internal, remote, external
        ///   sport= dport= extport=    a port: internal, remote, external
        ///   proto=                    tcp, udp or icmp
        ///   state=                    half_open, established or closing
        ///   'idle>SECONDS'            in quotes, for the shell
        #[arg(value_name = "FILTER", verbatim_doc_comment)]
        filter: Vec<String>,
        /// No more rows than these [default: 1000 in a table, all in JSON]
        #[arg(long, value_name = "ROWS")]
        limit: Option<u64>,
    },
}

impl Cli {
    /// The admin socket: the option, else the environment, else the default.
    pub(crate) fn admin(&self) -> PathBuf {
        admin(self.admin.clone(), std::env::var_os(ADMIN_VARIABLE))
    }
}

impl From<Log> for control::LogFormat {
    fn from(log: Log) -> Self {
        match log {
            Log::Text => control::LogFormat::Text,
            Log::Json => control::LogFormat::Json,
        }
    }
}

fn admin(option: Option<PathBuf>, variable: Option<OsString>) -> PathBuf {
    let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
    option.or(variable).unwrap_or_else(|| PathBuf::from(ADMIN_DEFAULT))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::{CommandFactory, Parser};

    use super::{Cli, Command, Output, Query, SessionsQuery, admin};

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn questions_are_read_with_options_before_and_after() {
        let cli = parse("natgate -o json sessions list router=r1 idle>60 --limit 5 --admin /tmp/a").unwrap();
        assert_eq!((cli.output, cli.admin()), (Output::Json, PathBuf::from("/tmp/a")));
        let Command::Ask(Query::Sessions(SessionsQuery::List { filter, limit })) = cli.command else {
            panic!("another command");
        };
        assert_eq!((filter, limit), (vec!["router=r1".into(), "idle>60".into()], Some(5)));
        assert!(matches!(
            parse("natgate status --workers").unwrap().command,
            Command::Ask(Query::Status { workers: true })
        ));
        assert!(matches!(parse("natgate pools").unwrap().command, Command::Ask(Query::Pools)));
        assert!(matches!(
            parse("natgate routers r1").unwrap().command,
            Command::Ask(Query::Routers { id: Some(id) }) if id == "r1"
        ));
        assert!(matches!(
            parse("natgate drops --all").unwrap().command,
            Command::Ask(Query::Drops { all: true })
        ));
    }

    #[test]
    fn run_follows_a_file_or_a_feed_or_neither_but_not_both() {
        for line in ["--rules r.yaml", "--feed 127.0.0.1:7600", "--feed unix:/run/feed.sock"] {
            assert!(parse(&format!("natgate run --config n.yaml {line}")).is_ok(), "{line}");
        }
        assert!(parse("natgate run --config n.yaml").is_ok());
        assert!(parse("natgate run --config n.yaml --rules r.yaml --feed 127.0.0.1:7600").is_err());
        assert!(parse("natgate run --rules r.yaml").is_err());
    }

    #[test]
    fn validate_takes_rules_or_a_configuration_or_both() {
        for line in ["r.yaml", "--config n.yaml", "r.yaml --config n.yaml"] {
            assert!(parse(&format!("natgate validate {line}")).is_ok(), "{line}");
        }
        assert!(parse("natgate validate").is_err());
    }

    #[test]
    fn a_wrong_command_line_ends_with_the_documented_code() {
        for line in ["natgate", "natgate reboot", "natgate status --colour", "natgate -o xml status"] {
            assert_eq!(
                parse(line).unwrap_err().exit_code(),
                i32::from(control::Exit::Usage.code()),
                "{line}"
            );
        }
        assert_eq!(parse("natgate --help").unwrap_err().exit_code(), i32::from(control::Exit::Done.code()));
    }

    #[test]
    fn the_socket_is_the_options_then_the_environments_then_the_default() {
        let path = |text: &str| PathBuf::from(text);
        assert_eq!(admin(Some(path("/a")), Some("/b".into())), path("/a"));
        assert_eq!(admin(None, Some("/b".into())), path("/b"));
        assert_eq!(admin(None, Some("".into())), path("/run/natgate/admin.sock"));
        assert_eq!(admin(None, None), path("/run/natgate/admin.sock"));
    }
}
