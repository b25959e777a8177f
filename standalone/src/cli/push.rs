//! `hearth push`: files to a server, pprof by the push RPC and text by `/ingest`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use hearth_common::{Clock, SystemClock};
use hearth_formats::gunzip::{Inflater, is_gzip};

use super::args::PushArgs;
use crate::client::Client;
use crate::{pprof_wire, term};

/// Most bytes of one file, after decompression.
const PROFILE_BYTES_MAX: usize = 1 << 30;

pub(super) fn run(args: &PushArgs) -> Result<()> {
    let client = args.server.client()?;
    let labels = args.label.iter().map(|text| label(text)).collect::<Result<Vec<_>>>()?;
    let progress = term::bar(args.files.len() as u64, "pushing");
    let mut failed = 0;
    for file in &args.files {
        let done = push_file(&client, args, &labels, file);
        progress.inc(1);
        if let Err(error) = done {
            failed += 1;
            progress.suspend(|| say(&format!("{}: {error:#}", file.display())));
        }
    }
    progress.finish_and_clear();
    if failed > 0 {
        bail!("{failed} of {} files were not pushed", args.files.len());
    }
    say(&format!("pushed {} {}", args.files.len(), if args.files.len() == 1 { "file" } else { "files" }));
    Ok(())
}

#[allow(clippy::print_stderr, reason = "the command line speaks to a person")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn label(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').with_context(|| format!("--label {text}: write KEY=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn push_file(client: &Client, args: &PushArgs, labels: &[(String, String)], file: &Path) -> Result<()> {
    let bytes = std::fs::read(file).context("cannot be read")?;
    let raw = plain(bytes)?;
    let stem = file.file_name().and_then(|name| name.to_str()).unwrap_or("profile");
    let service = args.service.as_deref().unwrap_or_else(|| stem.split('.').next().unwrap_or(stem));
    if is_folded(&raw) {
        return push_folded(client, args, labels, service, &raw);
    }
    let guessed =
        pprof_wire::guess_name(&raw).context("is neither pprof nor lines such as `main;work 42`")?;
    let name = args.name.as_deref().unwrap_or(guessed);
    let mut all = vec![("__name__", name), ("service_name", service)];
    all.extend(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let profile = if args.now { pprof_wire::retime(&raw, now_ns()).context("is no pprof")? } else { raw };
    let body = pprof_wire::push_request(&all, &profile, "");
    client.post("/push.v1.PusherService/Push", "application/proto", &body)?.ok()?;
    Ok(())
}

fn push_folded(
    client: &Client,
    args: &PushArgs,
    labels: &[(String, String)],
    service: &str,
    text: &[u8],
) -> Result<()> {
    let mut name = service.to_owned();
    if let Some(kind) = args.name.as_deref().filter(|kind| *kind != "process_cpu") {
        name = format!("{name}.{kind}");
    }
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let name = escape(&format!("{name}{{{}}}", labels.join(",")));
    let until_s = now_ns() / 1_000_000_000;
    let path = format!("/ingest?name={name}&format=folded&from={}&until={until_s}", until_s - 10);
    client.post(&path, "text/plain", text)?.ok()?;
    Ok(())
}

fn now_ns() -> i64 {
    SystemClock::default().now().0
}

/// Inflates what is gzipped.
pub(crate) fn plain(bytes: Vec<u8>) -> Result<Vec<u8>> {
    if !is_gzip(&bytes) {
        return Ok(bytes);
    }
    let mut raw = Vec::new();
    Inflater::default().inflate(&bytes, PROFILE_BYTES_MAX, &mut raw).context("does not inflate")?;
    Ok(raw)
}

/// Whether bytes are lines that end in a number.
fn is_folded(raw: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(raw) else { return false };
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).take(10).peekable();
    lines.peek().is_some()
        && lines
            .all(|line| line.rsplit_once(' ').is_some_and(|(_, count)| count.trim().parse::<f64>().is_ok()))
}

/// Percent-encodes a query value.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_pprof_are_told_apart() {
        assert!(is_folded(b"main;work 3\nmain;idle 4\n"));
        assert!(!is_folded(b"\n") && !is_folded(b"hello\n") && !is_folded(&[0x0a, 0xff]));
        assert_eq!(escape("a{b=c d}"), "a%7Bb%3Dc%20d%7D");
        assert!(label("a").is_err());
    }
}
