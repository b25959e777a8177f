//! A second opinion: the JDK records a small program, and its own `jfr` tool says what the recording holds.

use std::path::Path;
use std::process::Command;

use hearth_formats::jfr::{EventKind, Recording};
use hearth_testkit::report::skipped;

const PROGRAM: &str = "
public class Work {
    static double sink;
    static byte[] kept;
    static synchronized void work() {
        for (long end = System.nanoTime() + 20_000_000; System.nanoTime() < end; ) sink += Math.sqrt(sink + 1);
        for (int i = 0; i < 50; i++) kept = new byte[100_000];
    }
    public static void main(String[] args) throws Exception {
        Runnable loop = () -> { for (int i = 0; i < 30; i++) work(); };
        Thread other = new Thread(loop);
        other.start();
        loop.run();
        other.join();
    }
}";

/// What a tool says; `None` when it is not there.
fn say(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}

/// Events that have a stack, and the sum of one field over them, from the tool's JSON.
fn counted(file: &Path, event: &str, field: Option<&str>) -> (i64, i64) {
    let mut command = Command::new("jfr");
    command.args(["print", "--json", "--stack-depth", "1", "--events", event]).arg(file);
    let text = say(&mut command).expect("the tool was there before");
    let mut sums = (0, 0);
    for one in text.split(&format!("\"type\": \"{event}\"")).skip(1) {
        if one.contains("\"stackTrace\": null") {
            continue;
        }
        sums.0 += 1;
        let value = field.and_then(|field| one.split(&format!("\"{field}\": ")).nth(1));
        let digits = value.map(|value| value.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
        sums.1 += digits.map_or(0, |digits| digits.parse::<i64>().expect("a number"));
    }
    sums
}

#[test]
fn the_jdk_counts_the_same() {
    if Command::new("jfr").arg("version").output().is_err()
        || Command::new("java").arg("-version").output().is_err()
    {
        return skipped("there are no java and jfr of a JDK");
    }
    let folder = std::env::temp_dir().join(format!("hearth-jdk-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("writable");
    let (source, file) = (folder.join("Work.java"), folder.join("work.jfr"));
    std::fs::write(&source, PROGRAM).expect("writable");
    let record = format!("-XX:StartFlightRecording=filename={},settings=profile", file.display());
    say(Command::new("java").arg(record).arg(&source)).expect("java was there before");
    let recording =
        Recording::parse(&std::fs::read(&file).expect("recorded")).expect("a recording of the JDK");
    let of = |kind: EventKind| {
        let rows = recording.rows.iter().filter(|row| row.kind == kind);
        rows.fold((0, 0), |sums, row| (sums.0 + row.count, sums.1 + row.value))
    };
    let samples = of(EventKind::ExecutionSample);
    assert!(samples.0 > 0, "the program ran for more than a second");
    assert_eq!(samples, counted(&file, "jdk.ExecutionSample", None));
    assert_eq!(of(EventKind::AllocationSample), counted(&file, "jdk.ObjectAllocationSample", Some("weight")));
    assert_eq!(of(EventKind::MonitorEnter).0, counted(&file, "jdk.JavaMonitorEnter", None).0);
    assert_eq!(of(EventKind::ThreadPark).0, counted(&file, "jdk.ThreadPark", None).0);
    let names: Vec<String> = recording
        .functions
        .iter()
        .map(|function| format!("{}.{}", recording.text(function.class), recording.text(function.method)))
        .collect();
    assert!(names.iter().any(|name| name.ends_with("Work.work")), "{names:?}");
    std::fs::remove_dir_all(&folder).expect("there");
}
