//! Call graphs as Graphviz text, as `pprof -dot` writes them (api-semantics §2.16): clients take its lines apart by nodes
//! `N1`, `N2` … and by the order of attributes.
//!
//! Functions are told apart by name only. All values are those of the whole tree; what is left out, and how much, stands in
//! the legend. Dates, files and build ids do not.

mod calls;
mod scale;

use crate::name_tree::NameTree;
use crate::profile_type::ProfileType;
use crate::question::AnswerError;
use calls::{CallGraph, Edge, Stacks};
use scale::{Scale, percentage, share_of};

/// Functions that are drawn if nobody says how many.
pub const NODES_DEFAULT: i64 = 100;
/// Most functions that are drawn: more make a text that nothing can draw.
pub const NODES_MAX: usize = 5_000;
/// Most calls that are drawn.
const CALLS_MAX: usize = 20_000;
/// Calls of less than this part of all are not drawn: one in so many.
const CALLS_PARTS: i64 = 1_000;
/// Longer names are cut: each stands in many lines.
const NAME_CHARS_MAX: usize = 512;
/// Longer units are cut.
const UNIT_CHARS_MAX: usize = 32;
/// Size of the letters of a function in which nothing was sampled, and by how much the one with the most exceeds it.
const FONT_SIZES: (i64, f64) = (8, 16.0);
/// Saturation and value of lines, and of the boxes behind letters.
const LINES: (f64, f64) = (1.0, 0.7);
const BOXES: (f64, f64) = (0.1, 0.93);

/// What a graph shows.
#[derive(Debug, Clone, Copy)]
pub struct DotOptions<'a> {
    /// Of the values.
    pub profile_type: &'a ProfileType,
    /// Length of the range in milliseconds; 0: it is not said.
    pub duration_ms: i64,
    /// At most so many functions; ≤ 0: all. Never more than [`NODES_MAX`].
    pub max_nodes: i64,
}

/// Draws a tree; the empty text if there is nothing in it.
pub fn render(tree: &NameTree, options: DotOptions<'_>) -> Result<String, AnswerError> {
    let total = tree.checked_total()?;
    if total <= 0 {
        return Ok(String::new());
    }
    let stacks = Stacks::new(tree);
    let whole = CallGraph::sum(&stacks, None);
    let mut functions = whole.ranked(tree);
    let all = functions.len();
    let max_nodes = usize::try_from(options.max_nodes).ok().filter(|max| *max > 0).unwrap_or(NODES_MAX);
    functions.truncate(max_nodes.min(NODES_MAX));
    let graph = match functions.len() < all {
        true => {
            let graph = CallGraph::sum(&stacks, Some(functions.as_slice()));
            functions = graph.ranked(tree);
            graph
        }
        false => whole,
    };
    let unit: String = options.profile_type.sample_unit.chars().take(UNIT_CHARS_MAX).collect();
    let scale = graph.scale(&escaped(&unit), &functions, total);
    let edges = graph.edges(tree);
    let fits = |edge: &&Edge| edge.weight >= total / CALLS_PARTS;
    let drawn = edges.iter().take(CALLS_MAX).take_while(fits).count();
    let drawing = Drawing { tree, graph, functions, all, total, scale };
    Ok(drawing.text(&edges[..drawn], &edges[drawn..], options))
}

struct Drawing<'t> {
    tree: &'t NameTree,
    graph: CallGraph,
    /// Names of what is drawn, in this order.
    functions: Vec<u32>,
    /// How many there are.
    all: usize,
    total: i64,
    scale: Scale,
}

impl Drawing<'_> {
    fn text(&self, drawn: &[Edge], dropped: &[Edge], options: DotOptions<'_>) -> String {
        let mut text = "digraph \"unnamed\" {\nnode [style=filled fillcolor=\"#f8f8f8\"]\n".to_owned();
        let legend = self.legend(dropped, options);
        let title = legend.first().map(String::as_str).unwrap_or_default();
        let lines: String = legend.iter().map(|line| format!("{line}\\l")).collect();
        text.push_str(&format!(
            "subgraph cluster_L {{ \"{title}\" [shape=box fontsize=16 label=\"{lines}\"] }}\n"
        ));
        let mut numbers = vec![0; self.tree.name_count()];
        let flat_max = self.functions.iter().map(|name| self.graph.flat(*name)).max().unwrap_or_default();
        for (number, name) in (1usize..).zip(&self.functions) {
            numbers[*name as usize] = number;
            text.push_str(&self.node(number, *name, flat_max));
        }
        for edge in drawn {
            text.push_str(&self.edge(edge, &numbers));
        }
        text.push_str("}\n");
        text
    }

    fn legend(&self, dropped: &[Edge], options: DotOptions<'_>) -> Vec<String> {
        let DotOptions { profile_type, duration_ms, .. } = options;
        let total = self.scale.write(self.total);
        let mut legend = vec![format!("Type: {}", escaped(&profile_type.sample_type))];
        if duration_ms > 0 {
            let duration_ns = duration_ms.saturating_mul(1_000_000);
            let duration = Scale::of("nanoseconds", duration_ns, duration_ns).write(duration_ns);
            let of_time = scale::nanoseconds(self.total, &profile_type.sample_unit)
                .map(|sampled_ns| format!("({:>6})", percentage(sampled_ns, duration_ns as f64)))
                .unwrap_or_default();
            legend.push(format!("Duration: {duration}, Total samples = {total} {of_time}"));
        }
        let shown: i64 = self.functions.iter().map(|name| self.graph.flat(*name)).sum();
        let (shown, percent) = (self.scale.write(shown), self.percent(shown));
        legend.push(format!("Showing nodes accounting for {shown}, {percent} of {total} total"));
        if let Some(heaviest) = dropped.first() {
            let (count, weight) = (dropped.len(), self.scale.write(heaviest.weight));
            let edges = if count == 1 { "edge" } else { "edges" };
            legend.push(format!("Dropped {count} {edges} (freq <= {weight})"));
        }
        if self.functions.len() < self.all {
            legend.push(format!("Showing top {} nodes out of {}", self.functions.len(), self.all));
        }
        legend
    }

    fn node(&self, number: usize, name: u32, flat_max: i64) -> String {
        let (flat, cum) = (self.graph.flat(name), self.graph.cum(name));
        let mut label = multiline(self.tree.name_text(name));
        match flat {
            0 => label.push('0'),
            _ => label.push_str(&format!("{} ({})", self.scale.write(flat), self.percent(flat))),
        }
        if cum != flat {
            let separator = if flat == 0 { " " } else { "\\n" };
            label.push_str(&format!("{separator}of {} ({})", self.scale.write(cum), self.percent(cum)));
        }
        let (smallest, growth) = FONT_SIZES;
        let part = if flat_max > 0 { flat as f64 / flat_max as f64 } else { 0.0 };
        let font_size = smallest + (growth * part.sqrt()).ceil() as i64;
        let share = cum as f64 / self.total as f64;
        format!(
            "N{number} [label=\"{label}\" id=\"node{number}\" fontsize={font_size} shape=box tooltip=\"{} ({})\" \
             color=\"{}\" fillcolor=\"{}\"]\n",
            one_line(self.tree.name_text(name)),
            self.scale.write(cum),
            color(share, LINES),
            color(share, BOXES),
        )
    }

    fn edge(&self, edge: &Edge, numbers: &[usize]) -> String {
        let Edge { caller, callee, weight, skips } = *edge;
        let value = self.scale.write(weight);
        let mut attributes = format!("label=\" {value}\"");
        for (attribute, parts) in [("weight", 100), ("penwidth", 5)] {
            let size = 1 + share_of(weight, self.total, parts);
            if size > 1 {
                attributes.push_str(&format!(" {attribute}={size}"));
            }
        }
        let (arrow, style) = if skips { ("...", " style=\"dotted\"") } else { ("->", "") };
        let (from, to) = (one_line(self.tree.name_text(caller)), one_line(self.tree.name_text(callee)));
        let tooltip = format!("\"{from} {arrow} {to} ({value})\"");
        let color = color(weight as f64 / self.total as f64, LINES);
        let (from, to) = (numbers[caller as usize], numbers[callee as usize]);
        format!(
            "N{from} -> N{to} [{attributes} color=\"{color}\" tooltip={tooltip} labeltooltip={tooltip}{style}]\n"
        )
    }

    fn percent(&self, value: i64) -> String {
        percentage(value as f64, self.total as f64)
    }
}

/// From grey for nothing to red for all, most of the way among small shares.
fn color(share: f64, (saturation, value): (f64, f64)) -> String {
    let share = share.clamp(0.0, 1.0);
    let saturation = saturation * (share / 0.2).min(1.0);
    let [red, green, blue] = [1.0, 1.0 - saturation * share.powf(0.3), 1.0 - saturation]
        .map(|part: f64| (part * value * 255.0).clamp(0.0, 255.0) as u8);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// A name in a tooltip.
fn one_line(name: &str) -> String {
    let mut shown: String = name.chars().take(NAME_CHARS_MAX).collect();
    match shown.len() {
        0 => shown.push_str("<unknown>"),
        length if length < name.len() => shown.push('…'),
        _ => {}
    }
    escaped(&shown)
}

/// A name in a box: one line for each of its parts, the path of its package left out.
fn multiline(name: &str) -> String {
    let mut label = one_line(without_path(name)).replace("::", "\\n").replace('.', "\\n");
    label.push_str("\\n");
    label
}

/// The name of a function of Go without the directories of its package: `b.Run` of `example.org/a/b.Run`.
fn without_path(name: &str) -> &str {
    let is_directory = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    let mut rest = name;
    while let Some((part, behind)) = rest.split_once('/')
        && is_directory(part)
    {
        rest = behind;
    }
    let is_qualified =
        rest.split_once('.').is_some_and(|(package, name)| !package.is_empty() && !name.is_empty());
    if is_qualified { rest } else { name }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\l")
}

#[cfg(test)]
mod tests;
