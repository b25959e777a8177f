//! A flame graph as boxes in the terminal: each level a line, each box as wide as its share.

use super::flame_tree::Look;
use super::graph::Graph;

/// Renders the boxes, root first.
pub(super) fn render(graph: &Graph, look: Look<'_>) -> String {
    let scale = look.columns as f64 / graph.total().max(1) as f64;
    let mut out = String::new();
    for level in graph.levels.iter().take(look.max_depth + 1) {
        let mut line = String::new();
        let mut at = 0;
        for node in level.iter().map(|index| &graph.nodes[*index]) {
            let start = (node.start as f64 * scale).round() as usize;
            let end = ((node.start + node.total) as f64 * scale).round() as usize;
            if end <= start.max(at) || graph.percent(node) < look.min_percent {
                continue;
            }
            line.push_str(&" ".repeat(start.saturating_sub(at)));
            line.push_str(&cell(&node.name, end - start.max(at), look.colours));
            at = end;
        }
        if line.is_empty() {
            break;
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// One box of a width: its name on a coloured ground, or between bars.
fn cell(name: &str, columns: usize, colours: bool) -> String {
    let room = columns.saturating_sub(1);
    let mut text: String = short_name(name).chars().take(room).collect();
    let width = text.chars().count();
    text.push_str(&if colours { " " } else { "─" }.repeat(room - width.min(room)));
    if !colours {
        return format!("▏{text}").chars().take(columns).collect();
    }
    // Warm colours of the 256, chosen by the name, so that a function keeps its colour.
    const WARM: [u8; 8] = [202, 208, 214, 220, 178, 172, 166, 209];
    let hash = name.bytes().fold(5381u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte));
    let ground = WARM[hash as usize % WARM.len()];
    let text: String = format!(" {text}").chars().take(columns).collect();
    format!("\x1b[48;5;{ground}m\x1b[30m{text}\x1b[0m")
}

/// The part after the last `/`: boxes are narrow.
fn short_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::graph::sample;

    #[test]
    fn boxes_are_as_wide_as_their_share() {
        let look = Look { unit: "count", columns: 40, colours: false, min_percent: 1.0, max_depth: 10 };
        let want = "\
▏total──────────────────────────────────
▏main───────────────────────────────▏idl
▏work───────────────────▏idle───
        ▏inner──────────
";
        assert_eq!(render(&sample(), look), want);
    }
}
