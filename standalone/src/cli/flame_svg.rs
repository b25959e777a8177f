//! A flame graph as one SVG file: tooltips by the browser, zoom by a click; needs nothing beside it.

use std::fmt::Write;

use super::flame_tree::shorten;
use super::graph::Graph;
use crate::term;

const WIDTH: f64 = 1200.0;
const ROW: f64 = 18.0;
const HEAD: f64 = 46.0;
/// Boxes narrower than this many pixels are left out.
const MIN_PIXELS: f64 = 0.3;
/// Columns of text in a pixel of the font.
const PIXELS_A_LETTER: f64 = 6.6;

const STYLE: &str = "text{font:11px monospace;pointer-events:none}rect{stroke:#fff;stroke-width:.5;rx:2;cursor:pointer}\
rect:hover{stroke:#000;stroke-width:1}.t{font:bold 14px sans-serif}.s{font:12px sans-serif;fill:#555}";

/// Zooms to the box that is clicked: every box has its place in `data-x` and `data-w`, as shares of the whole.
const SCRIPT: &str = "document.querySelectorAll('g.b').forEach(function(g){g.addEventListener('click',function(){\
var x=+g.dataset.x,w=+g.dataset.w,l=+g.dataset.l;document.querySelectorAll('g.b').forEach(function(o){\
var ox=+o.dataset.x,ow=+o.dataset.w,out=ox>=x+w-1e-12||ox+ow<=x+1e-12;o.style.display=out?'none':'';if(out)return;\
var a=Math.max(0,(ox-x)/w),b=Math.min(1,(ox+ow-x)/w),r=o.querySelector('rect'),t=o.querySelector('text');\
r.setAttribute('x',a*1200);r.setAttribute('width',(b-a)*1200);r.style.opacity=+o.dataset.l<l?.5:1;\
var n=o.dataset.n,k=Math.floor((b-a)*1200/6.6)-1;t.setAttribute('x',a*1200+4);\
t.textContent=k<3?'':n.length<=k?n:'…'+n.slice(n.length-k+1)})})});";

/// Renders the file.
pub(super) fn render(graph: &Graph, title: &str, subtitle: &str, unit: &str) -> String {
    let height = HEAD + graph.levels.len() as f64 * ROW + 8.0;
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"100%\"><style>{STYLE}</style>\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\" style=\"cursor:default\"/>\
         <text class=\"t\" x=\"8\" y=\"20\">{}</text><text class=\"s\" x=\"8\" y=\"38\">{}</text>",
        escape(title),
        escape(subtitle)
    );
    let whole = graph.total().max(1) as f64;
    for (depth, level) in graph.levels.iter().enumerate() {
        for node in level.iter().map(|index| &graph.nodes[*index]) {
            let (x, width) = (node.start as f64 / whole, node.total as f64 / whole);
            if width * WIDTH < MIN_PIXELS {
                continue;
            }
            let letters = (width * WIDTH / PIXELS_A_LETTER) as usize;
            let label = if letters < 4 { String::new() } else { shorten(&node.name, letters - 1) };
            let (left, pixels) = (x * WIDTH, width * WIDTH);
            let top = HEAD + depth as f64 * ROW;
            let name = escape(&node.name);
            let _ = writeln!(
                svg,
                "<g class=\"b\" data-x=\"{x}\" data-w=\"{width}\" data-l=\"{depth}\" data-n=\"{name}\">\
                 <title>{name}\n{} ({:.2} %), self {}</title>\
                 <rect x=\"{left:.2}\" y=\"{top}\" width=\"{pixels:.2}\" height=\"{ROW}\" fill=\"{}\"/>\
                 <text x=\"{:.2}\" y=\"{}\">{}</text></g>",
                term::humanise(node.total, unit),
                graph.percent(node),
                term::humanise(node.self_value, unit),
                colour(&node.name),
                left + 4.0,
                top + 13.0,
                escape(&label)
            );
        }
    }
    let _ = writeln!(svg, "<script><![CDATA[{SCRIPT}]]></script></svg>");
    svg
}

/// A warm colour that a function keeps.
fn colour(name: &str) -> String {
    let hash = name.bytes().fold(5381u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte));
    format!("hsl({},{}%,{}%)", hash % 55, 70 + hash / 55 % 25, 58 + hash / 1375 % 14)
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no control characters, not even escaped.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::graph::sample;

    #[test]
    fn the_picture_has_every_box_and_escapes_names() {
        let mut graph = sample();
        graph.nodes[1].name = "a<b>::f\"\u{1}".to_owned();
        let svg = render(&graph, "CPU & more", "last hour", "count");
        assert_eq!(svg.matches("<g class=\"b\"").count(), 6);
        assert!(svg.contains("a&lt;b&gt;::f&quot; ") && svg.contains("CPU &amp; more"), "{svg}");
        assert!(svg.contains("<title>inner\n40 (40.00 %), self 40</title>"), "{svg}");
    }
}
