//! `hearth query`: questions to a server, answers for a terminal or a file.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use hearth_common::{Clock, SystemClock};
use serde_json::{Value, json};

use super::args::{
    FlamegraphArgs, LabelsArgs, QueryArgs, QueryCommand, RangeArgs, SelectArgs, SeriesArgs, View,
};
use super::flame_tree::Look;
use super::graph::Graph;
use super::time::Range;
use super::{flame_bars, flame_svg, flame_tree};
use crate::client::Client;
use crate::term::{self, print};

/// Points of a line over time.
const SPARKS: i64 = 40;

pub(super) fn run(args: &QueryArgs) -> Result<()> {
    let client = args.server.client()?;
    match &args.command {
        QueryCommand::Flamegraph(args) => flamegraph(&client, args),
        QueryCommand::Series(args) if args.by.is_empty() => series(&client, args),
        QueryCommand::Series(args) => series_by(&client, args),
        QueryCommand::Labels(args) => labels(&client, args),
        QueryCommand::Types(range) => types(&client, range),
        QueryCommand::Pprof(args) => pprof(&client, &args.select, &args.output),
    }
}

fn range(args: &RangeArgs) -> Result<Range> {
    Range::parse(&args.from, &args.to, SystemClock::default().now().as_ms())
}

/// A bare word is a service name.
fn selector(text: &str) -> String {
    if text.is_empty() || text.contains(['{', '=']) {
        return text.to_owned();
    }
    format!("{{service_name={}}}", json!(text))
}

fn list(json: &Value, key: &str) -> Vec<Value> {
    json[key].as_array().cloned().unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}

fn type_ids(client: &Client, range: Range) -> Result<Vec<String>> {
    let answer = client.ask("ProfileTypes", &json!({"start": range.start_ms, "end": range.end_ms}))?;
    Ok(list(&answer, "profileTypes").iter().filter_map(|t| t["ID"].as_str().map(str::to_owned)).collect())
}

/// A whole profile type from a part of it.
fn whole_type(client: &Client, part: &str, range: Range) -> Result<String> {
    if part.matches(':').count() == 4 {
        return Ok(part.to_owned());
    }
    let all = type_ids(client, range)?;
    let fits = |id: &&String| {
        let id = id.as_str();
        id.starts_with(&format!("{part}:"))
            || id.split(':').any(|word| word == part)
            || id.contains(&format!(":{part}:"))
    };
    let matching: Vec<&String> = all.iter().filter(fits).collect();
    match matching.as_slice() {
        [only] => Ok((*only).clone()),
        [] if all.is_empty() => bail!("there are no profiles in this range: try a longer one with --from"),
        [] => bail!("no profile type fits --type {part}; there are:\n  {}", all.join("\n  ")),
        several => {
            let names: Vec<&str> = several.iter().map(|id| id.as_str()).collect();
            bail!("--type {part} fits several profile types, name one of:\n  {}", names.join("\n  "))
        }
    }
}

fn unit(profile_type: &str) -> &str {
    profile_type.split(':').nth(2).unwrap_or_default()
}

fn flamegraph(client: &Client, args: &FlamegraphArgs) -> Result<()> {
    let select = &args.select;
    let ending = args.output.as_deref().map(|path| path.to_string_lossy().to_ascii_lowercase());
    if let (Some(path), Some(ending)) = (&args.output, &ending)
        && [".pprof", ".pb.gz", ".pb"].iter().any(|known| ending.ends_with(known))
    {
        return pprof(client, select, path);
    }
    let range = range(&select.range)?;
    let waiting = term::spinner("asking");
    let profile_type = whole_type(client, &select.profile_type, range)?;
    let selector = selector(&select.selector);
    let question = json!({"profile_typeID": profile_type, "label_selector": selector, "start": range.start_ms,
        "end": range.end_ms, "max_nodes": args.max_nodes});
    let answer = client.ask("SelectMergeStacktraces", &question)?;
    waiting.finish_and_clear();
    let graph = Graph::read(&answer["flamegraph"])?;
    let unit = unit(&profile_type);
    let title = format!("{profile_type} {selector}");
    let span = term::humanise((range.end_ms - range.start_ms).saturating_mul(1_000_000), "nanoseconds");
    let subtitle = format!("{} in {span}", term::humanise(graph.total(), unit));
    let Some((path, ending)) = args.output.as_ref().zip(ending) else {
        let min_percent = args.min_percent.clamp(0.0, 100.0);
        let max_depth = args.max_depth.min(1000);
        let look = Look { unit, columns: term::columns(), colours: term::colours(), min_percent, max_depth };
        let drawn = match args.view {
            View::Tree => flame_tree::render(&graph, look),
            View::Bars => flame_bars::render(&graph, look),
        };
        return print(&format!("{title}: {subtitle}\n{drawn}"));
    };
    let text = match () {
        () if ending.ends_with(".svg") => flame_svg::render(&graph, &title, &subtitle, unit),
        () if ending.ends_with(".json") => answer["flamegraph"].to_string(),
        () => bail!("--output {}: end it with .svg, .json or .pprof", path.display()),
    };
    write(path, text.as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    print(&format!("wrote {}\n", path.display()))
}

fn pprof(client: &Client, select: &SelectArgs, output: &Path) -> Result<()> {
    let range = range(&select.range)?;
    let waiting = term::spinner("asking");
    let profile_type = whole_type(client, &select.profile_type, range)?;
    let mut body = Vec::new();
    crate::pprof_wire::put_bytes(&mut body, 1, profile_type.as_bytes());
    crate::pprof_wire::put_bytes(&mut body, 2, selector(&select.selector).as_bytes());
    for (field, value) in [(3, range.start_ms), (4, range.end_ms)] {
        crate::pprof_wire::put_varint(&mut body, field << 3);
        crate::pprof_wire::put_varint(&mut body, value as u64);
    }
    let answer =
        client.post("/querier.v1.QuerierService/SelectMergeProfile", "application/proto", &body)?.ok()?;
    waiting.finish_and_clear();
    if answer.body.is_empty() {
        bail!("no profiles of this type are selected in this range");
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&answer.body)?;
    write(output, &gzip.finish()?)
}

fn series(client: &Client, args: &SeriesArgs) -> Result<()> {
    let range = range(&args.select.range)?;
    let question = json!({"matchers": [selector(&args.select.selector)], "label_names": args.label,
        "start": range.start_ms, "end": range.end_ms});
    let answer = client.ask("Series", &question)?;
    let mut lines: Vec<String> = list(&answer, "labelsSet").iter().map(label_set).collect();
    lines.sort();
    lines.iter().try_for_each(|line| print(&format!("{line}\n")))
}

fn label_set(set: &Value) -> String {
    let pairs: Vec<String> = list(set, "labels")
        .iter()
        .map(|label| format!("{}={}", label["name"].as_str().unwrap_or_default(), label["value"]))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

fn series_by(client: &Client, args: &SeriesArgs) -> Result<()> {
    let range = range(&args.select.range)?;
    let profile_type = whole_type(client, &args.select.profile_type, range)?;
    let step_ms = ((range.end_ms - range.start_ms) / SPARKS).max(1000);
    let question = json!({"profile_typeID": profile_type, "label_selector": selector(&args.select.selector),
        "start": range.start_ms, "end": range.end_ms, "step": step_ms as f64 / 1000.0, "group_by": args.by});
    let answer = client.ask("SelectSeries", &question)?;
    let rows: Vec<(String, i64, String)> = list(&answer, "series")
        .iter()
        .map(|series| {
            let mut steps = vec![0.0f64; (SPARKS + 1) as usize];
            for point in list(series, "points") {
                let at = usize::try_from((number(&point["timestamp"]) - range.start_ms) / step_ms)
                    .unwrap_or_default();
                if let Some(step) = steps.get_mut(at) {
                    *step += point["value"].as_f64().unwrap_or_default();
                }
            }
            (label_set(series), steps.iter().sum::<f64>() as i64, sparks(&steps))
        })
        .collect();
    if rows.is_empty() {
        bail!("no profiles of this type are selected in this range");
    }
    rows.iter().try_for_each(|(labels, total, sparks)| {
        let total = term::humanise(*total, unit(&profile_type));
        print(&format!("{sparks} {total:>10}  {labels}\n"))
    })
}

/// `▁▂▇█`: one character a step.
fn sparks(steps: &[f64]) -> String {
    let most = steps.iter().copied().fold(0.0, f64::max);
    let spark = |value: &f64| match value {
        value if *value <= 0.0 || most <= 0.0 => ' ',
        value => ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][((value / most * 8.0) as usize).min(7)],
    };
    steps.iter().map(spark).collect()
}

fn labels(client: &Client, args: &LabelsArgs) -> Result<()> {
    let range = range(&args.range)?;
    let matchers = [selector(&args.selector)];
    let answer = match &args.name {
        None => client.ask(
            "LabelNames",
            &json!({"matchers": matchers, "start": range.start_ms, "end": range.end_ms}),
        )?,
        Some(name) => {
            let question =
                json!({"name": name, "matchers": matchers, "start": range.start_ms, "end": range.end_ms});
            client.ask("LabelValues", &question)?
        }
    };
    list(&answer, "names").iter().filter_map(Value::as_str).try_for_each(|name| print(&format!("{name}\n")))
}

fn types(client: &Client, args: &RangeArgs) -> Result<()> {
    type_ids(client, range(args)?)?.iter().try_for_each(|id| print(&format!("{id}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_selectors_and_steps_become_sparks() {
        assert_eq!(selector("shop"), "{service_name=\"shop\"}");
        assert_eq!(selector("{a=\"b\"}"), "{a=\"b\"}");
        assert_eq!(sparks(&[0.0, 1.0, 4.0, 8.0]), " ▂▅█");
        assert_eq!(unit("process_cpu:cpu:nanoseconds:cpu:nanoseconds"), "nanoseconds");
        let set = json!({"labels": [{"name": "a", "value": "b\"c"}]});
        assert_eq!(label_set(&set), "{a=\"b\\\"c\"}");
    }
}
