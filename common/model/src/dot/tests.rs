use super::*;

const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

fn draw(stacks: &[(&str, i64)], max_nodes: i64) -> String {
    let mut tree = NameTree::new();
    for (stack, value) in stacks {
        tree.add_stack(&stack.split(';').collect::<Vec<_>>(), *value);
    }
    let profile_type = ProfileType::parse(CPU).expect("valid");
    let options = DotOptions { profile_type: &profile_type, duration_ms: 60_000, max_nodes };
    render(&tree, options).expect("small")
}

/// Each line up to its colours, and what stands behind them.
fn without_colors(text: &str) -> Vec<String> {
    let cut = |line: &str| match line.split_once(" color=") {
        Some((before, behind)) => {
            let behind = behind.split_once(" tooltip=").map_or("", |(_, tooltip)| tooltip);
            format!("{before} {behind}").trim_end().to_owned()
        }
        None => line.to_owned(),
    };
    text.lines().map(cut).collect()
}

#[test]
fn the_worked_example() {
    let text = draw(&[("main;a", 3), ("main;b;c", 5), ("main;b", 1), ("zeta", 1)], 100);
    let want = [
        "digraph \"unnamed\" {",
        "node [style=filled fillcolor=\"#f8f8f8\"]",
        "subgraph cluster_L { \"Type: cpu\" [shape=box fontsize=16 label=\"Type: cpu\\lDuration: 60s, Total samples = \
         10ns (1.7e-08%)\\lShowing nodes accounting for 10ns, 100% of 10ns total\\l\"] }",
        r#"N1 [label="main\n0 of 9ns (90.00%)" id="node1" fontsize=8 shape=box tooltip="main (9ns)""#,
        r#"N2 [label="c\n5ns (50.00%)" id="node2" fontsize=24 shape=box tooltip="c (5ns)""#,
        r#"N3 [label="a\n3ns (30.00%)" id="node3" fontsize=21 shape=box tooltip="a (3ns)""#,
        r#"N4 [label="b\n1ns (10.00%)\nof 6ns (60.00%)" id="node4" fontsize=16 shape=box tooltip="b (6ns)""#,
        r#"N5 [label="zeta\n1ns (10.00%)" id="node5" fontsize=16 shape=box tooltip="zeta (1ns)""#,
        r#"N1 -> N4 [label=" 6ns" weight=61 penwidth=4 "main -> b (6ns)" labeltooltip="main -> b (6ns)"]"#,
        r#"N4 -> N2 [label=" 5ns" weight=51 penwidth=3 "b -> c (5ns)" labeltooltip="b -> c (5ns)"]"#,
        r#"N1 -> N3 [label=" 3ns" weight=31 penwidth=2 "main -> a (3ns)" labeltooltip="main -> a (3ns)"]"#,
        "}",
    ];
    assert_eq!(without_colors(&text), want);
    assert!(text.contains(" color=\"#b2") && text.contains(" fillcolor=\"#ed"), "{text}");
    assert_eq!(draw(&[], 100), "");
}

#[test]
fn what_is_left_out_is_said() {
    let text = draw(&[("main;a", 3), ("main;b;c", 5), ("main;b", 1), ("zeta", 1)], 2);
    let lines = without_colors(&text);
    assert!(lines[2].contains("Showing nodes accounting for 5ns, 50.00% of 10ns total\\l"), "{text}");
    assert!(lines[2].contains("\\lShowing top 2 nodes out of 5\\l"), "{text}");
    assert_eq!(
        lines[3..],
        [
            r#"N1 [label="c\n5ns (50.00%)" id="node1" fontsize=24 shape=box tooltip="c (5ns)""#,
            r#"N2 [label="main\n0 of 9ns (90.00%)" id="node2" fontsize=8 shape=box tooltip="main (9ns)""#,
            concat!(
                r#"N2 -> N1 [label=" 5ns" weight=51 penwidth=3 "main ... c (5ns)" "#,
                r#"labeltooltip="main ... c (5ns)" style="dotted"]"#
            ),
            "}",
        ]
    );
    // A call of less than a thousandth.
    let text = draw(&[("a", 10_000), ("a;b", 9)], 100);
    assert!(text.contains("\\lDropped 1 edge (freq <= 9ns)\\l") && !text.contains(" -> N"), "{text}");
}

#[test]
fn a_function_counts_once_in_a_stack() {
    let text = draw(&[("a;b;a;b", 4), ("c;c;c", 2), ("a;c", 1)], 0);
    for line in [
        r#"label="a\n0 of 5ns (71.43%)""#,
        r#"label="b\n4ns (57.14%)""#,
        r#"label="c\n3ns (42.86%)""#,
        r#""a -> b (4ns)""#,
        r#""b -> a (4ns)""#,
        r#""a -> c (1ns)""#,
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert_eq!(text.lines().filter(|line| line.contains(" -> N")).count(), 3, "{text}");
}

#[test]
fn names_in_boxes_and_in_lines() {
    for (name, label, tooltip) in [
        ("example.org/a-b/c.(*T).Run", r"c\n(*T)\nRun\n", "example.org/a-b/c.(*T).Run"),
        ("a::B<\"x\">::c", r#"a\nB<\"x\">\nc\n"#, r#"a::B<\"x\">::c"#),
        ("/bin/x!0x1f", r"/bin/x!0x1f\n", "/bin/x!0x1f"),
        ("libc.so.6!0x1", r"libc\nso\n6!0x1\n", "libc.so.6!0x1"),
        ("C:\\x\ny", r"C:\\x\ly\n", r"C:\\x\ly"),
        ("", r"<unknown>\n", "<unknown>"),
    ] {
        assert_eq!((multiline(name).as_str(), one_line(name).as_str()), (label, tooltip), "{name}");
    }
    let long = one_line(&"ü".repeat(1000));
    assert_eq!(long.chars().count(), NAME_CHARS_MAX + 1);
}

#[test]
fn the_text_has_a_bound_and_units_cannot_break_it() {
    let stacks: Vec<String> = (0..NODES_MAX + 10).map(|at| format!("main;f{at}")).collect();
    let mut tree = NameTree::new();
    for stack in &stacks {
        tree.add_stack(&stack.split(';').collect::<Vec<_>>(), 1);
    }
    let profile_type = ProfileType::parse("a:b\"c:d\"]:e:f").expect("valid");
    let options = DotOptions { profile_type: &profile_type, duration_ms: 0, max_nodes: -1 };
    let text = render(&tree, options).expect("small");
    assert_eq!(text.lines().filter(|line| line.contains(" id=\"node")).count(), NODES_MAX);
    assert!(text.contains("Type: b\\\"c\\l") && text.contains("\\n1d\\\"] (0.02%)"), "{}", &text[..1000]);
    let spread = ["a;b", "c", "d"].map(|stack| (stack, i64::MAX / 3));
    assert!(draw(&spread, 100).contains("100% of 2562047.79hrs total"));
}
