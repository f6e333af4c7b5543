//! The command line: parses it, loads the configuration, calls the engine, prints results.
//!
//! Results go to stdout, logs and progress to stderr. Every failure is printed once, with its code, what it means
//! and what to do, and ends in one of the exit codes of [`Exit`].

mod check;
mod config;
mod dead_letters;
mod demo;
mod find;
mod init;
mod preview;
mod print;
mod read;
mod rewind;
mod run;
mod state;
mod status;
mod text;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::disposition::Exit;
use crate::observability::LogFormat;

/// Moves Apache Kafka topics into Delta Lake tables in exactly-once micro-batches.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How logs on stderr are written; the default suits stderr: text on a terminal, json otherwise.
    #[arg(long, global = true, value_enum)]
    log_format: Option<LogFormatArg>,
    /// The least level that is logged, or filters such as `info,sluice::sink=debug`; SLUICE_LOG goes before it.
    #[arg(long, global = true, default_value = "info")]
    log_level: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormatArg {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at a topic, or its schema registry, and write a configuration that reads it.
    Init(init::InitArgs),
    /// Run a connector until its trigger is done or SIGTERM comes.
    Run(run::RunArgs),
    /// Look before you leap: brokers, topics, schema, tables. Writes nothing.
    Check(check::CheckArgs),
    /// Read and decode a few records and print them; writes nothing, joins no group.
    Preview(preview::PreviewArgs),
    /// Show the configuration, or its schema.
    Config(config::ConfigArgs),
    /// Show what has been committed, and how far behind it is.
    Status(status::StatusArgs),
    /// Show what outputs with windows keep between commits.
    State(state::StateArgs),
    /// Prove from the tables' logs that every offset is accounted for once.
    Verify(verify::VerifyArgs),
    /// Set an output's progress back, or forward.
    Rewind(rewind::RewindArgs),
    /// Dead letters: what becomes of them afterwards.
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// See it work, without any service: a mock Kafka, a crash in mid-commit, a proof. Takes seconds.
    Demo(demo::DemoArgs),
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Args)]
struct ConfigSource {
    /// The configuration file; `-` is stdin.
    #[arg(value_name = "FILE", default_value = "connector.yaml")]
    file: PathBuf,
    /// Set one value over the file and the environment, as in `--set trigger.interval=1s`.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
}

/// Runs the command line; the process exits with what it returns.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = error.print();
            return exit.into();
        }
    };
    let format = match cli.log_format {
        Some(LogFormatArg::Text) => LogFormat::Text,
        Some(LogFormatArg::Json) => LogFormat::Json,
        None => LogFormat::suited_to_stderr(),
    };
    if let Err(error) = crate::observability::init_logging(format, &cli.log_level) {
        eprintln!("--log-level: {error}");
        return Exit::Usage.into();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the async runtime can't be started: {error}");
            return Exit::Bug.into();
        }
    };
    let exit = runtime.block_on(dispatch(cli.command));
    // Threads that still wait for Kafka or the store hold nothing that is worth waiting for.
    runtime.shutdown_background();
    exit.into()
}

async fn dispatch(command: Command) -> Exit {
    match command {
        Command::Init(args) => Box::pin(init::init(args)).await,
        Command::Run(args) => Box::pin(run::run(args)).await,
        Command::Check(args) => Box::pin(check::check(args)).await,
        Command::Preview(args) => Box::pin(preview::preview(args)).await,
        Command::Config(args) => config::config(args),
        Command::Status(args) => Box::pin(status::status(args)).await,
        Command::State(args) => Box::pin(state::state(args)).await,
        Command::Verify(args) => Box::pin(verify::verify(args)).await,
        Command::Rewind(args) => Box::pin(rewind::rewind(args)).await,
        Command::DeadLetters(command) => Box::pin(dead_letters::dead_letters(command)).await,
        Command::Demo(args) => Box::pin(demo::demo(args)).await,
    }
}
