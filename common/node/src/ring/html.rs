//! The page for people: plain tables, nothing from elsewhere.

use std::fmt::Write;

use super::view::{CellView, Member, Ring};

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Hearth cluster</title><style>\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem}\
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}th,td{text-align:left;padding:.3rem .8rem .3rem 0;\
border-bottom:1px solid #8884;vertical-align:top}th{font-weight:600}.note{background:#f5a62322;padding:.5rem .8rem;\
margin:.3rem 0;border-left:3px solid #f5a623}.bad{color:#c0392b}.dim{opacity:.65}code{font-size:.9em}</style></head><body>";

/// The whole page.
pub(super) fn page(ring: &Ring) -> String {
    let mut out = String::from(HEAD);
    let factor =
        ring.replication_factor.map_or_else(String::new, |factor| format!(", replication factor {factor}"));
    let roster = match ring.roster_version {
        0 => "no roster is known yet".to_owned(),
        version => format!("roster version {version}{factor}"),
    };
    put(
        &mut out,
        format_args!(
            "<h1>Cluster {}</h1><p>As seen by {} {}; {roster}. With <code>Accept: application/json</code> this is JSON.</p>",
            text(&ring.cluster),
            ring.role,
            text(&ring.instance)
        ),
    );
    for note in ring.notes.iter().chain(&ring.losses) {
        put(&mut out, format_args!("<p class=\"note\">{}</p>", text(note)));
    }
    members(&mut out, &ring.members);
    cells(&mut out, &ring.cells);
    out.push_str("</body></html>\n");
    out
}

fn members(out: &mut String, members: &[Member]) {
    out.push_str(
        "<h2>Members</h2><table><tr><th>Instance<th>Role<th>Zone<th>State<th>In the roster<th>Address<th>Internal \
         port<th>Roster<th>Last seen<th>Says</tr>",
    );
    for member in members {
        let class = if matches!(member.state, "gone" | "unseen") { " class=\"bad\"" } else { "" };
        let last_seen = match member.last_seen_ms {
            None => "never".to_owned(),
            Some(0) => "now".to_owned(),
            Some(ms) => format!("{} s ago", ms / 1000),
        };
        put(
            out,
            format_args!(
                "<tr><td>{}<td>{}<td>{}<td{class}>{}<td>{}<td>{}<td>{}<td>{}<td>{last_seen}<td>{}</tr>",
                text(&member.instance),
                member.role,
                text(&member.zone),
                member.state,
                member.roster_state.unwrap_or("–"),
                text(member.address.as_deref().unwrap_or("–")),
                text(member.cluster_address.as_deref().unwrap_or("–")),
                member.roster_version,
                text(member.says.as_deref().unwrap_or("")),
            ),
        );
    }
    out.push_str("</table>");
}

fn cells(out: &mut String, cells: &[CellView]) {
    if cells.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Cells</h2><table><tr><th>Cell<th>State<th>Leader<th>Term<th>Durable<th>Committed<th>Published<th>Released\
         <th>Members<th>Waits for</tr>",
    );
    let number = |number: Option<u64>| number.map_or_else(|| "–".to_owned(), |number| number.to_string());
    for cell in cells {
        let leader = match &cell.leader {
            Some(leader) => text(leader),
            None => "<span class=\"bad\">none</span>".to_owned(),
        };
        put(
            out,
            format_args!(
                "<tr><td>{}<td>{}<td>{leader}<td>{}<td>{}<td>{}<td>{}<td>{}<td>",
                text(&cell.cell),
                cell.state,
                number(cell.term),
                number(cell.durable),
                number(cell.committed),
                number(cell.covered),
                number(cell.released)
            ),
        );
        for member in &cell.members {
            let (instance, zone, role) = (text(&member.instance), text(&member.zone), text(&member.role));
            let unwanted = if member.wanted { "" } else { ", no longer wanted" };
            let learner = if member.standing.as_deref() == Some("learner") { ", learner" } else { "" };
            let damaged =
                if member.damaged { " <span class=\"bad\">damaged, being repaired</span>" } else { "" };
            let durable = number(member.durable);
            put(
                out,
                format_args!(
                    "{instance} <span class=\"dim\">{zone} {role}{learner}{unwanted}, to {durable}</span>{damaged}<br>"
                ),
            );
        }
        put(out, format_args!("<td>{}</tr>", text(&cell.waits_for)));
    }
    out.push_str("</table>");
}

fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("a string takes all text");
}

/// Text of others, made harmless.
pub(crate) fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
