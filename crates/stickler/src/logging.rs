//! Where a process' log goes: to standard error, as text or as JSON.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::failure::Failure;

/// The variable that says what is logged.
const VARIABLE: &str = "STICKLER_LOG";

/// What is logged without the variable. openraft and sled tell much that only their authors need.
const DEFAULT: &str = "info,openraft=error,sled=warn";

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object for each line
    Json,
}

/// Starts logging for the whole process.
///
/// # Errors
/// When the variable holds no filter.
pub fn start(format: LogFormat) -> Result<(), Failure> {
    let wanted = match std::env::var(VARIABLE) {
        Ok(written) if !written.is_empty() => written,
        Ok(_) | Err(std::env::VarError::NotPresent) => DEFAULT.to_owned(),
        Err(error) => return Err(Failure::Usage(format!("{VARIABLE}: {error}"))),
    };
    // Who changed what is noted at any level, unless `audit` is named.
    let filter = EnvFilter::try_new(format!("audit=info,{wanted}")).map_err(|error| {
        Failure::Usage(format!(
            "{VARIABLE}={wanted}: {error}; write a level such as \"debug\", or {DEFAULT:?}"
        ))
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| Failure::Refused(error.to_string()))
}
