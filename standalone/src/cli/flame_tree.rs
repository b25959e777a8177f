//! A flame graph as a text tree: one line a function, the widest first.

use std::fmt::Write;

use super::graph::Graph;
use crate::term;

/// Columns of the bar.
const BAR_COLUMNS: usize = 10;

/// What to show.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) unit: &'a str,
    pub(super) columns: usize,
    pub(super) colours: bool,
    pub(super) min_percent: f64,
    pub(super) max_depth: usize,
}

/// Renders the tree.
pub(super) fn render(graph: &Graph, look: Look<'_>) -> String {
    let mut out = String::new();
    let mut lines = Lines { graph, look, out: &mut out };
    lines.node(0, "", "", 0);
    out
}

struct Lines<'a> {
    graph: &'a Graph,
    look: Look<'a>,
    out: &'a mut String,
}

impl Lines<'_> {
    fn node(&mut self, index: usize, branch: &str, indent: &str, depth: usize) {
        let node = &self.graph.nodes[index];
        self.line(node.total, self.graph.percent(node), branch, &node.name);
        if depth >= self.look.max_depth {
            return;
        }
        let mut children = node.children.clone();
        children.sort_by_key(|child| std::cmp::Reverse(self.graph.nodes[*child].total));
        let shown = children
            .iter()
            .take_while(|c| self.graph.percent(&self.graph.nodes[**c]) >= self.look.min_percent)
            .count();
        let hidden: i64 = children[shown..].iter().map(|child| self.graph.nodes[*child].total).sum();
        // A chain of single calls stays in its column: only forks move to the right.
        let fork = shown + usize::from(hidden > 0) > 1;
        for (at, child) in children[..shown].iter().enumerate() {
            let last = at + 1 == shown && hidden == 0;
            let (branch, below) = match (fork, last) {
                (false, _) => ("", ""),
                (true, true) => ("└ ", "  "),
                (true, false) => ("├ ", "│ "),
            };
            self.node(*child, &format!("{indent}{branch}"), &format!("{indent}{below}"), depth + 1);
        }
        if hidden > 0 && shown > 0 {
            let percent = hidden as f64 * 100.0 / self.graph.total().max(1) as f64;
            let rest = children.len() - shown;
            self.line(hidden, percent, &format!("{indent}└ "), &format!("… {rest} more"));
        }
    }

    fn line(&mut self, total: i64, percent: f64, branch: &str, name: &str) {
        let value = term::humanise(total, self.look.unit);
        let bar = bar(percent);
        let room = self.look.columns.saturating_sub(7 + BAR_COLUMNS + 2 + 11 + 1 + branch.chars().count());
        let name = shorten(name, room.max(16));
        let (on, off) = if self.look.colours { (colour(percent), "\x1b[0m") } else { ("", "") };
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "{percent:5.1}% {on}{bar}{off} {value:>10}  {branch}{on}{name}{off}");
    }
}

/// `████▌     `: eighths of a column.
fn bar(percent: f64) -> String {
    let eighths = (percent * BAR_COLUMNS as f64 * 8.0 / 100.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(['▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8 - 1]);
    }
    let width = bar.chars().count();
    bar.push_str(&" ".repeat(BAR_COLUMNS.saturating_sub(width)));
    bar
}

fn colour(percent: f64) -> &'static str {
    match percent {
        50.0.. => "\x1b[91m",
        20.0.. => "\x1b[33m",
        5.0.. => "\x1b[93m",
        _ => "\x1b[2m",
    }
}

/// Keeps the end of a name, which says more than its package.
pub(super) fn shorten(name: &str, columns: usize) -> String {
    let count = name.chars().count();
    if count <= columns {
        return name.to_owned();
    }
    let tail: String = name.chars().skip(count + 1 - columns).collect();
    format!("…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::graph::sample;

    #[test]
    fn the_tree_shows_shares_and_says_what_it_hides() {
        let look = Look { unit: "count", columns: 80, colours: false, min_percent: 15.0, max_depth: 10 };
        let want = "\
100.0% ██████████        100  total
 90.0% █████████          90  ├ main
 60.0% ██████             60  │ ├ work
 40.0% ████               40  │ │ inner
 20.0% ██                 20  │ └ idle
 10.0% █                  10  └ … 1 more
";
        assert_eq!(render(&sample(), look), want);
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(shorten("github.com/a/b.Func", 7), "…b.Func");
        assert_eq!(shorten("größe", 5), "größe");
    }
}
