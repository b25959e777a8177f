//! What machines get: the Debian package with its units, and the recipe of the container images.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr, reason = "a test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hearth_integration_tests::Api;
use hearth_integration_tests::cluster::binaries;
use hearth_integration_tests::load::until;
use hearth_integration_tests::metrics::{files, read, root};
use hearth_integration_tests::process::{binary, free_port};
use hearth_integration_tests::shared::skipped;

const PROGRAMS: [&str; 5] =
    ["hearth", "hearth-compactor", "hearth-distributor", "hearth-ingester", "hearth-querier"];
const RECIPE: &str = "deploy/docker/Dockerfile";

/// All programs in one folder.
fn programs(dir: &Path) -> PathBuf {
    let folder = dir.join("programs");
    std::fs::create_dir(&folder).unwrap();
    for name in PROGRAMS {
        let program = if name == "hearth" { binary() } else { binaries().join(name) };
        std::os::unix::fs::symlink(program, folder.join(name)).unwrap();
    }
    folder
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn units_are_understood_and_strict() {
    let units = files("deploy/systemd", ".service");
    assert_eq!(units.len(), PROGRAMS.len());
    for unit in &units {
        let (name, text) =
            (unit.file_stem().unwrap().to_string_lossy(), std::fs::read_to_string(unit).unwrap());
        for line in [
            format!("StateDirectory={name}"),
            "ProtectSystem=strict".to_owned(),
            "KillSignal=SIGTERM".to_owned(),
        ] {
            assert!(text.lines().any(|one| one == line), "{name} lacks {line}");
        }
        assert!(
            text.contains(&format!("/etc/default/{name}")) && text.contains(&format!("/var/lib/{name}")),
            "{name}"
        );
    }
    if !there("systemd-analyze") {
        return skipped("systemd-analyze is not there: units were not read by systemd");
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = programs(dir.path());
    for unit in &units {
        let text = std::fs::read_to_string(unit).unwrap();
        let copy = dir.path().join(unit.file_name().unwrap());
        std::fs::write(&copy, text.replace("/usr/bin/", &format!("{}/", folder.display()))).unwrap();
        let verified = Command::new("systemd-analyze").arg("verify").arg(&copy).output().unwrap();
        assert!(verified.status.success() && said(&verified).is_empty(), "{}", said(&verified));
        // 2.0 of 10: what is left is that it speaks with the network.
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=true", "--threshold=20"]).arg(unit);
        let security = security.output().unwrap();
        assert!(security.status.success(), "{}", said(&security));
    }
}

/// A process that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_debian_package_holds_a_hearth_that_starts() {
    if !there("dpkg-deb") {
        return skipped("dpkg-deb is not there: the package was not built");
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = programs(dir.path());
    let mut build = Command::new(root().join("deploy/debian/build"));
    build.arg(&folder).arg(dir.path().join("out")).env("DEB_COMPRESSION", "none");
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", said(&built));
    let package = String::from_utf8(built.stdout).unwrap().trim().to_owned();

    let tree = dir.path().join("tree");
    for (option, to) in [("--extract", tree.clone()), ("--control", tree.join("DEBIAN"))] {
        let done = Command::new("dpkg-deb").arg(option).arg(&package).arg(to).output().unwrap();
        assert!(done.status.success(), "{}", said(&done));
    }
    for name in PROGRAMS {
        assert!(tree.join("usr/bin").join(name).is_file(), "{name}");
        assert!(tree.join(format!("usr/lib/systemd/system/{name}.service")).is_file(), "{name}");
    }
    for script in ["postinst", "prerm", "postrm"] {
        let path = tree.join("DEBIAN").join(script);
        let checked = Command::new("sh").arg("-n").arg(&path).output().unwrap();
        assert!(checked.status.success(), "{}", said(&checked));
        let text = std::fs::read_to_string(&path).unwrap();
        let named: Vec<&str> =
            PROGRAMS.into_iter().filter(|name| text.contains(&format!("{name}.service"))).collect();
        assert!(script == "postrm" || named == PROGRAMS, "{script} forgets a unit: {named:?}");
    }
    let settings = tree.join("etc/hearth/hearth.yaml");
    assert_eq!(std::fs::read_to_string(tree.join("DEBIAN/conffiles")).unwrap(), "/etc/hearth/hearth.yaml\n");

    let address = format!("127.0.0.1:{}", free_port());
    let mut hearth = Command::new(tree.join("usr/bin/hearth"));
    hearth.args(["serve", "--listen", &address, "--config"]).arg(&settings);
    hearth.arg("--data-dir").arg(dir.path().join("data")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut hearth = Running(hearth.spawn().unwrap());
    let api = Api::new(&format!("http://{address}"), "");
    let ready = || api.get("/ready").is_ok_and(|answer| answer.status == 200);
    until("the program of the package is ready", ready, String::new);
    assert!(Command::new("kill").args(["-TERM", &hearth.0.id().to_string()]).status().unwrap().success());
    let since = Instant::now();
    let status = loop {
        if let Some(status) = hearth.0.try_wait().unwrap() {
            break status;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "it does not stop");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
}

/// The instructions of the recipe, each on one line.
fn instructions() -> Vec<(String, String)> {
    let text = read(RECIPE);
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let parted =
        joined.lines().map(|line| line.split_once(' ').expect("an instruction and what it is about"));
    parted
        .map(|(word, rest)| (word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

#[test]
fn the_recipe_makes_an_image_of_each_program() {
    let instructions = instructions();
    let all = |word: &'static str| {
        instructions.iter().filter(move |(one, _)| one == word).map(|(_, rest)| rest.as_str())
    };
    let known = [
        "ARG",
        "FROM",
        "ENV",
        "WORKDIR",
        "RUN",
        "COPY",
        "LABEL",
        "USER",
        "EXPOSE",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    ];
    for (word, rest) in &instructions {
        assert!(
            known.contains(&word.as_str()),
            "{word} {rest}: HEALTHCHECK, ADD and the like do not belong here"
        );
    }
    // Nobody is root in the end, and nothing is started by a shell that is not there.
    let base =
        instructions.iter().position(|(word, rest)| word == "FROM" && rest.ends_with(" AS base")).unwrap();
    assert_eq!(all("USER").collect::<Vec<_>>(), ["10001:10001"]);
    assert!(!instructions[base..].iter().any(|(word, _)| word == "RUN"), "the small base has no shell");
    for start in all("ENTRYPOINT").chain(all("CMD")) {
        assert!(start.starts_with("[\""), "{start}: as a list");
    }
    let built = all("RUN").find(|run| run.contains("cargo build")).unwrap();
    assert!(built.contains("--locked") && built.contains("--release"), "{built}");
    let named: BTreeSet<&str> =
        built.split("--bin ").skip(1).filter_map(|rest| rest.split(' ').next()).collect();
    assert_eq!(named, BTreeSet::from(PROGRAMS));
    let started: BTreeSet<String> =
        all("ENTRYPOINT").map(|start| start.trim_matches(['[', ']', '"']).to_owned()).collect();
    assert_eq!(started, PROGRAMS.iter().map(|name| format!("/usr/bin/{name}")).collect());
    // Every member of the workspace reaches the builder, and so does what is copied by name.
    let ignored = read(&format!("{RECIPE}.dockerignore"));
    let let_in: BTreeSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let members = read("Cargo.toml");
    let members = members.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        assert!(
            let_in.contains(member.split('/').next().unwrap()),
            "{member} is not let in by {RECIPE}.dockerignore"
        );
    }
    for path in &let_in {
        assert!(root().join(path).exists(), "{path} is not there");
    }
    let toolchain = read("rust-toolchain.toml");
    let version = all("ARG").find_map(|arg| arg.strip_prefix("RUST_VERSION=")).unwrap();
    assert!(
        toolchain.contains(&format!("channel = \"{version}\"")),
        "{RECIPE} builds with another Rust than {toolchain}"
    );
    let labels: Vec<&str> = all("LABEL").collect();
    assert_eq!(
        labels.iter().filter(|label| label.contains("image.title=\"hearth")).count(),
        PROGRAMS.len() + 1,
        "one for each program, and one for all: {labels:?}"
    );
}
