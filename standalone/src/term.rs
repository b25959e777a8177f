//! What a terminal can do: its width, colours, and progress on long work.

use std::io::{IsTerminal, Write};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const COLUMNS_DEFAULT: usize = 100;

/// Columns of the terminal on standard output; 100 when it is none.
pub(crate) fn columns() -> usize {
    let from_env = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let from_tty =
        || rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col));
    from_env.or_else(from_tty).filter(|columns| *columns >= 20).unwrap_or(COLUMNS_DEFAULT)
}

/// Whether standard output shows colours.
pub(crate) fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Prints to standard output at once.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Asks a person, who has to type yes; an error when there is none.
pub(crate) fn confirmed(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nothing was done: say --yes to do it without a question, or --dry-run to look only");
    }
    print(&format!("\n{question} Type yes: "))?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim() == "yes")
}

/// A bar on standard error for `count` steps of `what`; nothing when standard error is no terminal.
pub(crate) fn bar(count: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(count), target());
    let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {per_sec} {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_message(what)
}

/// A bar on standard error for bytes of a file.
pub(crate) fn bytes_bar(bytes: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), target());
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_message(what)
}

/// A sign of life on standard error while one long step runs.
pub(crate) fn spinner(what: &'static str) -> ProgressBar {
    let spinner = ProgressBar::with_draw_target(None, target()).with_message(what);
    spinner.enable_steady_tick(std::time::Duration::from_millis(120));
    spinner
}

fn target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

/// A value in its unit as people read it: `1.2 s`, `34 MiB`, `1.2 k`.
pub(crate) fn humanise(value: i64, unit: &str) -> String {
    match unit {
        "nanoseconds" => duration(value as f64),
        "microseconds" => duration(value as f64 * 1e3),
        "milliseconds" => duration(value as f64 * 1e6),
        "bytes" => scaled(value as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"]),
        _ => scaled(value as f64, 1000.0, &["", "k", "M", "G", "T"]),
    }
}

fn duration(ns: f64) -> String {
    match ns.abs() {
        0.0..1e3 => format!("{ns:.0} ns"),
        1e3..1e6 => format!("{:.2} µs", ns / 1e3),
        1e6..1e9 => format!("{:.2} ms", ns / 1e6),
        1e9..120e9 => format!("{:.2} s", ns / 1e9),
        120e9..3600e9 => format!("{:.1} min", ns / 60e9),
        _ => format!("{:.1} h", ns / 3600e9),
    }
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut unit = 0;
    while value.abs() >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let decimals = if unit == 0 { 0 } else { 2 };
    format!("{value:.decimals$} {}", units[unit]).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_in_their_unit() {
        assert_eq!(humanise(1_230_000_000, "nanoseconds"), "1.23 s");
        assert_eq!(humanise(512, "bytes"), "512 B");
        assert_eq!(humanise(3 << 20, "bytes"), "3.00 MiB");
        assert_eq!(humanise(1_500, "count"), "1.50 k");
        assert_eq!(humanise(-7, "count"), "-7");
    }
}
