//! Profiles like those of the benchmark, read from pprof files: services, pods, rounds, and values that vary.
#![allow(dead_code, unreachable_pub, reason = "shared by several examples, each of which uses a part")]

use std::collections::BTreeMap;
use std::ops::Range;

use hearth_formats::gunzip::{Inflater, is_gzip};
use hearth_formats::pprof::Pprof;
use hearth_model::Labels;

use crate::support::{DAY_START_NS, Head, Location, Random};

pub const SERVICES: u64 = 50;
pub const PODS: u64 = 4;

/// A group of samples with equal labels: the labels, stacks, and values by type.
struct Group {
    labels: Vec<(String, String)>,
    stacks: Vec<Vec<Location>>,
    values: Vec<Vec<i64>>,
}

pub struct File {
    name: &'static str,
    types: Vec<[String; 4]>,
    groups: Vec<Group>,
}

pub fn load(folder: &str) -> Vec<File> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let mut bytes = std::fs::read(path).expect("a file");
            if is_gzip(&bytes) {
                let mut raw = Vec::new();
                Inflater::default().inflate(&bytes, 1 << 30, &mut raw).expect("gzip");
                bytes = raw;
            }
            let heap = path.to_string_lossy().contains("heap");
            read(&bytes, if heap { "memory" } else { "process_cpu" })
        })
        .collect()
}

fn read(bytes: &[u8], name: &'static str) -> File {
    let mut pprof = Pprof::default();
    pprof.parse(bytes).expect("a pprof");
    let text = |at: i64| {
        String::from_utf8_lossy(pprof.strings.get(at as usize).copied().unwrap_or_default()).into_owned()
    };
    let period = pprof.period_type.map_or_else(Default::default, |p| [text(p.ty), text(p.unit)]);
    let types =
        pprof.sample_types.iter().map(|t| [text(t.ty), text(t.unit), period[0].clone(), period[1].clone()]);
    let functions: BTreeMap<u64, usize> =
        pprof.functions.iter().enumerate().map(|(at, f)| (f.id, at)).collect();
    let mappings: BTreeMap<u64, usize> =
        pprof.mappings.iter().enumerate().map(|(at, m)| (m.id, at)).collect();
    let mut locations = BTreeMap::new();
    for location in &pprof.locations {
        let lines = &pprof.lines[location.first_line as usize..][..location.line_count as usize];
        let line = |line: &hearth_formats::pprof::Line| {
            let f = &pprof.functions[functions[&line.function_id]];
            (text(f.name), text(f.system_name), text(f.filename), f.start_line, line.line)
        };
        let lines: Vec<_> = lines.iter().map(line).collect();
        let mapping = mappings.get(&location.mapping_id).map(|at| &pprof.mappings[*at]);
        let mapping = mapping
            .map(|m| (text(m.filename), text(m.build_id), if lines.is_empty() { m.memory_start } else { 0 }));
        let address = if lines.is_empty() { location.address } else { 0 };
        locations.insert(location.id, Location { mapping, address, lines });
    }
    type Stacks = BTreeMap<Vec<Location>, Vec<i64>>;
    let mut groups: BTreeMap<Vec<(String, String)>, Stacks> = BTreeMap::new();
    for sample in &pprof.samples {
        let labels = &pprof.labels[sample.first_label as usize..][..sample.label_count as usize];
        let labels = labels.iter().filter(|l| l.str != 0).map(|l| (text(l.key), text(l.str)));
        let mut labels: Vec<_> =
            labels.filter(|(key, _)| key != "span_id" && key != "profile_id" && key != "trace_id").collect();
        labels.sort();
        let ids = &pprof.location_ids[sample.first_location as usize..][..sample.location_count as usize];
        let stack: Vec<Location> = ids.iter().rev().filter_map(|id| locations.get(id).cloned()).collect();
        let values = &pprof.values[sample.first_value as usize..][..sample.value_count as usize];
        if values.iter().any(|v| *v < 0) || values.iter().all(|v| *v == 0) {
            continue;
        }
        let sums = groups.entry(labels).or_default().entry(stack).or_insert_with(|| vec![0; values.len()]);
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
    let group = |(labels, stacks): (Vec<(String, String)>, Stacks)| {
        let (stacks, values) = stacks.into_iter().unzip();
        Group { labels, stacks, values }
    };
    File { name, types: types.collect(), groups: groups.into_iter().map(group).collect() }
}

pub fn build(files: &[File], rounds: Range<u64>, jitter: bool) -> Head {
    let mut head = Head::default();
    for service in 0..SERVICES {
        for pod in 0..PODS {
            let file = &files[((service * 7 + pod) as usize) % files.len()];
            let name = format!("svc-{service:03}");
            let unit = head.unit(file.name, &name);
            for (group_at, group) in file.groups.iter().enumerate() {
                let stacks: Vec<u32> = group.stacks.iter().map(|stack| unit.stack(stack)).collect();
                let mut labels = group.labels.clone();
                labels.extend([
                    ("__name__".to_owned(), file.name.to_owned()),
                    ("service_name".to_owned(), name.clone()),
                    ("pod".to_owned(), format!("{name}-{pod}")),
                    ("namespace".to_owned(), format!("ns-{}", service % 7)),
                ]);
                let labels = Labels::from_pairs(labels);
                for round in rounds.clone() {
                    let mut random = Random(service << 40 | pod << 32 | round << 8 | group_at as u64);
                    let values = vary(group, jitter, &mut random);
                    let rid = u128::from(random.next()) << 64 | u128::from(random.next());
                    let time_ns = DAY_START_NS + (round * 15_000 + pod) as i64 * 1_000_000;
                    for (ty_at, ty) in file.types.iter().enumerate() {
                        let rows = stacks
                            .iter()
                            .zip(&values)
                            .map(|(s, v)| (*s, v.get(ty_at).copied().unwrap_or_default()));
                        let mut rows: Vec<(u32, i64)> = rows.filter(|(_, value)| *value > 0).collect();
                        rows.sort_unstable();
                        unit.push_row(
                            &labels,
                            (
                                ty.clone(),
                                time_ns,
                                rid,
                                10_000_000_000,
                                10_000_000,
                                rows,
                                Vec::new(),
                                Vec::new(),
                            ),
                        );
                    }
                }
            }
        }
    }
    head
}

/// As the benchmark's jitter: 15 % of the samples missing, values within 20 %.
fn vary(group: &Group, jitter: bool, random: &mut Random) -> Vec<Vec<i64>> {
    if !jitter {
        return group.values.clone();
    }
    let mut one = |values: &Vec<i64>| {
        let keep = random.below(100) >= 15;
        let factor = 0.8 + 0.4 * random.below(1 << 30) as f64 / (1u64 << 30) as f64;
        let change = |v: &i64| {
            if !keep {
                0
            } else if *v <= 1 {
                *v
            } else {
                (*v as f64 * factor) as i64 + 1
            }
        };
        values.iter().map(change).collect()
    };
    group.values.iter().map(&mut one).collect()
}
