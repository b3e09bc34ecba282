//! Logs instead of messages: lines with a time, a level and fields, as text or as JSON, on standard error.

use crate::arguments::Global;
use service::logging::TARGET;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Begins to log, if that is wanted; says whether it is. Only what this program says is logged, not what the
/// libraries below it say about themselves.
pub(crate) fn begin(global: &Global) -> bool {
    let Some(format) = global.log_format else { return false };
    let level = match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::WARN,
        (_, 0) => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let registry = tracing_subscriber::registry().with(Targets::new().with_target(TARGET, level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let begun = match format {
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    begun.is_ok()
}
