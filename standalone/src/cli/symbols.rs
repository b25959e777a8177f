//! `hearth symbols`: programs and debug files to a server, so that addresses in profiles get names.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use hearth_symbols::BuildId;
use serde_json::{Value, json};

use super::args::{SymbolsArgs, SymbolsCommand, SymbolsListArgs, SymbolsRemoveArgs, SymbolsUploadArgs};
use crate::client::Client;
use crate::term::{self, print};

const SERVICE: &str = "/debuginfo.v1alpha1.DebuginfoService";

pub(super) fn run(args: &SymbolsArgs) -> Result<()> {
    let client = args.server.client()?;
    match &args.command {
        SymbolsCommand::Upload(args) => upload(&client, args),
        SymbolsCommand::Ls(args) => list(&client, args),
        SymbolsCommand::Rm(args) => remove(&client, args),
    }
}

/// What became of a file.
enum Done {
    Uploaded {
        build_id: BuildId,
        bytes: u64,
    },
    /// The server does not want it, and why.
    Skipped {
        build_id: BuildId,
        reason: String,
    },
}

fn upload(client: &Client, args: &SymbolsUploadArgs) -> Result<()> {
    let mut failed = 0;
    for file in &args.files {
        let shown = file.display();
        match upload_file(client, file) {
            Ok(Done::Uploaded { build_id, bytes }) => {
                print(&format!("{shown}: uploaded as {build_id}, {}\n", size(bytes)))?;
            }
            Ok(Done::Skipped { build_id, reason }) => {
                print(&format!("{shown}: {build_id} is not sent: {reason}\n"))?;
            }
            Err(error) => {
                failed += 1;
                say(&format!("{shown}: {error:#}"));
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} files were not uploaded", args.files.len());
    }
    Ok(())
}

#[allow(clippy::print_stderr, reason = "the command line speaks to a person")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn upload_file(client: &Client, file: &Path) -> Result<Done> {
    let bytes = std::fs::read(file).context("cannot be read")?;
    let build_id = hearth_symbols::build_id_of(&bytes)
        .context("is no program that symbols can be read from")?
        .context("has no GNU build id: link it with -Wl,--build-id (Go: -ldflags=-B=gobuildid)")?;
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let kind = if name.ends_with(".debug") { "TYPE_EXECUTABLE_NO_TEXT" } else { "TYPE_EXECUTABLE_FULL" };
    let question = json!({"file": {"gnuBuildId": build_id.as_str(), "name": name, "type": kind}});
    let answer = client.call(&format!("{SERVICE}/ShouldInitiateUpload"), &question)?;
    if answer["shouldInitiateUpload"] != json!(true) {
        let reason = answer["reason"].as_str().unwrap_or("the server does not want it").to_owned();
        return Ok(Done::Skipped { build_id, reason });
    }
    let progress = term::bytes_bar(bytes.len() as u64, "uploading");
    let path = format!("{SERVICE}/Upload/{build_id}");
    let sent = client.post_watched(&path, "application/octet-stream", &bytes, &progress);
    progress.finish_and_clear();
    sent?.ok()?;
    client.call(&format!("{SERVICE}/UploadFinished"), &json!({"gnuBuildId": build_id.as_str()}))?;
    Ok(Done::Uploaded { build_id, bytes: bytes.len() as u64 })
}

fn list(client: &Client, args: &SymbolsListArgs) -> Result<()> {
    let answer = client.call(&format!("{SERVICE}/ListDebuginfo"), &json!({}))?;
    let empty = Vec::new();
    let all = answer["object"].as_array().unwrap_or(&empty);
    if args.json {
        return print(&format!("{}\n", serde_json::to_string_pretty(all)?));
    }
    if all.is_empty() {
        return print("no symbols were uploaded; `hearth symbols upload PROGRAM` uploads some\n");
    }
    let mut text = String::new();
    writeln!(text, "{:<40}  {:>10}  {:<30}  name", "build id", "size", "uploaded")?;
    for object in all {
        text += &line(object);
    }
    print(&text)
}

fn line(object: &Value) -> String {
    let of_file = |key: &str| object["file"][key].as_str().unwrap_or_default().to_owned();
    let bytes = object["sizeBytes"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
    let finished = object["finishedAt"].as_str().unwrap_or("(not finished)");
    let (build_id, name) = (of_file("gnuBuildId"), of_file("name"));
    format!("{build_id:<40}  {:>10}  {finished:<30}  {name}\n", size(bytes))
}

fn remove(client: &Client, args: &SymbolsRemoveArgs) -> Result<()> {
    for text in &args.build_ids {
        let build_id = BuildId::parse(text).with_context(|| format!("'{text}' is no build id"))?;
        let question = json!({"gnuBuildId": build_id.as_str()});
        client.call(&format!("{SERVICE}/DeleteDebuginfo"), &question)?;
        print(&format!("{build_id} is removed; queriers forget its names within a minute\n"))?;
    }
    Ok(())
}

fn size(bytes: u64) -> String {
    term::humanise(i64::try_from(bytes).unwrap_or(i64::MAX), "bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_are_shown_in_lines() {
        let object = json!({"file": {"gnuBuildId": "0badcafe", "name": "shop", "type": "TYPE_EXECUTABLE_FULL"},
            "state": "STATE_UPLOADED", "startedAt": "2026-01-31T12:00:00Z", "finishedAt": "2026-01-31T12:00:07Z",
            "sizeBytes": "2097152"});
        let shown = line(&object);
        let parts: Vec<&str> = shown.split_whitespace().collect();
        assert_eq!(parts, ["0badcafe", "2.00", "MiB", "2026-01-31T12:00:07Z", "shop"]);
        assert!(line(&json!({"file": {"gnuBuildId": "aa"}})).contains("(not finished)"));
    }
}
