//! The command line: Menshen's own commands, and Nginx's spellings of them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use config::{Environment, Loaded, Problem};
use serde_json::json;

use crate::signals::Wish;
use crate::{audit, demo, explain, process, snapshot};

/// Where the policy is when nothing is said.
const DEFAULT_POLICY: &str = "/etc/menshen/menshen.yaml";

/// Wrong usage.
const USAGE: u8 = 2;

#[derive(Parser)]
#[command(
    name = "menshen",
    version,
    disable_version_flag = true,
    about = "An edge security gateway: ends TLS, routes to the apps behind it, and turns away what must not reach them.",
    after_help = "Examples:\n  menshen demo                         try it: a gateway, a small app behind it, lines to paste\n  \
        menshen check menshen.yaml           every problem of a policy, with line and column\n  \
        menshen run -c menshen.yaml          serve\n  \
        menshen explain -c menshen.yaml GET http://localhost/api/cards\n  \
        menshen -t -c menshen.yaml           as Nginx's habits have it; -s reload, -s quit, -s stop, -v likewise",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    nginx: Nginx,
}

#[derive(Args)]
struct Nginx {
    /// The policy: a file, or a folder of *.yaml files
    #[arg(short = 'c', value_name = "FILE", default_value = DEFAULT_POLICY)]
    policy: PathBuf,
    /// Test the policy and exit
    #[arg(short = 't')]
    test: bool,
    /// Send a signal to the running gateway
    #[arg(short = 's', value_name = "SIGNAL", conflicts_with = "test")]
    signal: Option<SignalName>,
    /// Print the version and exit
    #[arg(short = 'v', short_alias = 'V', long = "version")]
    version: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum SignalName {
    Reload,
    Quit,
    Stop,
    Reopen,
}

#[derive(Args)]
struct Policy {
    /// The policy: a file, or a folder of *.yaml files
    #[arg(short = 'c', long = "config", value_name = "FILE_OR_DIR", default_value = DEFAULT_POLICY)]
    policy: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a policy in the foreground
    ///
    /// Signals: TERM and INT end at once, QUIT ends gracefully, HUP loads the policy again, USR1 reopens the logs.
    Run(Policy),
    /// Load policies as `run` would and bind nothing
    ///
    /// Prints `FILE: ok (N sites, N routes, N upstreams)` and exits with 0, or every problem, one a line, as
    /// `FILE:LINE:COL: key.path: what is wrong; what to write instead`, and exits with 1. Warnings go to standard error
    /// and do not fail the check.
    Check {
        /// Files, or folders of *.yaml files
        #[arg(required = true, value_name = "FILE_OR_DIR")]
        policies: Vec<PathBuf>,
        /// How problems are printed
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Say what a request would meet, without sending it
    #[command(after_help = explain::EXAMPLES)]
    Explain {
        #[command(flatten)]
        policy: Policy,
        /// GET, POST, …
        method: String,
        /// http://host/path?query, as a client would ask for it
        url: String,
        /// A header line; may be given several times
        #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
        headers: Vec<String>,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the policy language, for editors
    Schema,
    /// Start a gateway with a small app behind it, and print lines to paste
    Demo,
    /// Have the running gateway load its policy again
    Reload(Policy),
    /// Have the running gateway end when its requests have ended
    Quit(Policy),
    /// Have the running gateway end at once
    Stop(Policy),
    /// Have the running gateway open its log files again
    Reopen(Policy),
    /// Look after the audit trail
    #[command(subcommand)]
    Audit(AuditCommand),
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Find a changed, removed or reordered line
    Verify {
        /// The trail
        file: PathBuf,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line a problem
    Text,
    /// One JSON object
    Json,
}

/// Does what the command line says. Exit codes: 0 fine, 1 the policy or the request is wrong, 2 wrong usage.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Run(Policy { policy })) => process::run(vec![policy]),
        Some(Command::Check { policies, format }) => check(&policies, format),
        Some(Command::Explain { policy, method, url, headers, json }) => {
            explain::run(&explain::Options { paths: vec![policy.policy], method, url, headers, json })
        }
        Some(Command::Schema) => {
            print(&format!("{:#}\n", config::schema()));
            ExitCode::SUCCESS
        }
        Some(Command::Demo) => demo::run(),
        Some(Command::Reload(Policy { policy })) => tell(Wish::Reload, &policy),
        Some(Command::Quit(Policy { policy })) => tell(Wish::Quit, &policy),
        Some(Command::Stop(Policy { policy })) => tell(Wish::Stop, &policy),
        Some(Command::Reopen(Policy { policy })) => tell(Wish::Reopen, &policy),
        Some(Command::Audit(AuditCommand::Verify { file })) => verify(&file),
        None => as_nginx(cli.nginx),
    }
}

fn as_nginx(nginx: Nginx) -> ExitCode {
    if nginx.version {
        print(&format!("menshen version: menshen/{}\n", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    if nginx.test {
        return check(std::slice::from_ref(&nginx.policy), Format::Text);
    }
    match nginx.signal {
        Some(SignalName::Reload) => tell(Wish::Reload, &nginx.policy),
        Some(SignalName::Quit) => tell(Wish::Quit, &nginx.policy),
        Some(SignalName::Stop) => tell(Wish::Stop, &nginx.policy),
        Some(SignalName::Reopen) => tell(Wish::Reopen, &nginx.policy),
        None if std::env::args_os().len() == 1 && !Path::new(DEFAULT_POLICY).exists() => {
            complain(&Cli::command().render_help().to_string());
            ExitCode::from(USAGE)
        }
        None => process::run(vec![nginx.policy]),
    }
}

/// Each argument is a policy of its own.
fn check(policies: &[PathBuf], format: Format) -> ExitCode {
    let mut sound = true;
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let mut checked = Vec::new();
    for policy in policies {
        match loaded(policy) {
            Ok(loaded) => {
                let config = &loaded.config;
                let routes: usize = config.sites.iter().map(|site| site.routes.len()).sum();
                let counts = (config.sites.len(), routes, config.upstreams.len());
                checked.push((policy, counts));
                warnings.extend(loaded.warnings.iter().cloned());
                warnings.extend(snapshot::certificate_warnings(&loaded));
                if format == Format::Text {
                    let (sites, routes, upstreams) = counts;
                    let file = policy.display();
                    print(&format!("{file}: ok ({sites} sites, {routes} routes, {upstreams} upstreams)\n"));
                }
            }
            Err(found) => {
                sound = false;
                if format == Format::Text {
                    found.iter().for_each(|problem| print(&format!("{problem}\n")));
                }
                problems.extend(found);
            }
        }
    }
    match format {
        Format::Text => warnings.iter().for_each(|warning| complain(&format!("warning: {warning}\n"))),
        Format::Json => {
            let list = |all: &[Problem]| all.iter().map(Problem::to_json).collect::<Vec<_>>();
            let files = checked.iter().map(|(file, (sites, routes, upstreams))| {
                json!({ "file": file, "sites": sites, "routes": routes, "upstreams": upstreams })
            });
            let all = json!({
                "ok": sound,
                "policies": files.collect::<Vec<_>>(),
                "problems": list(&problems),
                "warnings": list(&warnings),
            });
            print(&format!("{all:#}\n"));
        }
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Loads and builds as `run` would.
fn loaded(policy: &Path) -> Result<Loaded, Vec<Problem>> {
    let loaded = config::load(&[policy.to_owned()], &Environment::process())?;
    snapshot::check(&loaded)?;
    Ok(loaded)
}

/// Tells the gateway that runs this policy, by its `server.pid_file`.
fn tell(wish: Wish, policy: &Path) -> ExitCode {
    let loaded = match config::load(&[policy.to_owned()], &Environment::process()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            problems.iter().for_each(|problem| complain(&format!("{problem}\n")));
            return ExitCode::FAILURE;
        }
    };
    let Some(pid_file) = &loaded.config.server.pid_file else {
        complain(&format!("menshen: {} has no server.pid_file: nobody can be told\n", policy.display()));
        return ExitCode::FAILURE;
    };
    match wish.send(pid_file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            complain(&format!("menshen: {problem}\n"));
            ExitCode::FAILURE
        }
    }
}

fn verify(file: &Path) -> ExitCode {
    let verified = std::fs::File::open(file).and_then(|file| audit::verify(std::io::BufReader::new(file)));
    match verified {
        Ok(Ok(lines)) => {
            print(&format!("{}: whole ({lines} lines)\n", file.display()));
            ExitCode::SUCCESS
        }
        Ok(Err(broken)) => {
            print(&format!("{}: {broken}\n", file.display()));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format!("menshen: {}: {error}\n", file.display()));
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output what was asked for. A closed pipe is no error of ours.
pub fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Writes a diagnostic to standard error.
pub fn complain(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
