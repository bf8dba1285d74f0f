//! The one binary: a node, a cluster to try out, and the commands of operators.

mod admin_client;
mod check;
mod command_line;
mod demo_shop;
mod dev;
mod document_file;
mod failure;
mod logging;
mod operate;
mod printer;
mod run;

use std::process::ExitCode;

use clap::Parser;

use crate::command_line::{ClusterCommand, Command, CommandLine};
use crate::failure::Failure;

fn main() -> ExitCode {
    let CommandLine { log_format, command } = CommandLine::parse();
    let done = logging::start(log_format).and_then(|()| obey(command));
    done.unwrap_or_else(|failure| {
        if failure.is_worth_telling() {
            printer::note(&failure.to_string());
        }
        failure.exit_code()
    })
}

fn obey(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(options) => run::run(&options)?,
        Command::Dev(options) => return Ok(dev::run(options)),
        Command::DemoShop(options) => return Ok(demo_shop::run(options)),
        Command::Check(options) => check::run(&options)?,
        Command::Apply(options) => operate::run(operate::apply::run(&options))?,
        Command::Status(target) => operate::run(operate::status::run(&target))?,
        Command::Cluster { command: ClusterCommand::Members(target) } => {
            operate::run(operate::members::run(&target))?;
        }
        Command::Cluster { command: ClusterCommand::HandOver(options) } => {
            operate::run(operate::members::hand_over(&options))?;
        }
        Command::Backend { command } => operate::run(operate::backends::run(&command))?,
        Command::Job { command } => operate::run(operate::jobs::run(&command))?,
        Command::Pool { command } => operate::run(operate::pools::run(&command))?,
        Command::Explain(options) => operate::run(operate::explain::run(&options))?,
        Command::Affinity { command } => operate::run(operate::affinities::run(&command))?,
        Command::Session { command } => operate::run(operate::sessions::run(&command))?,
        Command::Key { command } => operate::run(operate::keys::run(&command))?,
    }
    Ok(ExitCode::SUCCESS)
}
