//! `cargo xtask fuzz`: a fuzz target for as long as wanted, with the project's own compiler.
//!
//! libFuzzer needs no more than the coverage that LLVM's pass adds, which every compiler has; `fuzz/README.md` says the rest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

pub(crate) const USAGE: &str = "fuzz [TARGET [--seconds N] [--input FILE]]";

/// What cargo-fuzz asks of a compiler, without what only a nightly has.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];
/// An input that takes longer has found something.
const SECONDS_MAX: u32 = 5;
const MEMORY_MB_MAX: u32 = 1024;
/// Inputs grow up to this.
const INPUT_BYTES_MAX: u32 = 64 << 10;

/// Without a target: names them. `--seconds N` ends after so many (60), `--input FILE` tries one input.
pub(crate) fn run(root: &Path, options: &[&str]) -> Result<()> {
    let fuzz = root.join("fuzz");
    let targets = targets(&fuzz)?;
    let [target, options @ ..] = options else {
        #[allow(clippy::print_stdout, reason = "this is what the command is for")]
        for target in targets {
            println!("{target}");
        }
        return Ok(());
    };
    if !targets.iter().any(|known| known == target) {
        bail!("'{target}' is no target, these are: {}", targets.join(", "));
    }
    let (mut seconds, mut input) = (60u64, None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let value = options.next().with_context(|| format!("{option} needs a value"))?;
        match *option {
            "--seconds" => {
                seconds = value.parse().with_context(|| format!("'{value}' of {option} is no number"))?;
            }
            "--input" => input = Some(PathBuf::from(value)),
            other => bail!("'{other}' is no option; usage: cargo xtask {USAGE}"),
        }
    }
    let program = build(&fuzz, target)?;
    let mut command = Command::new(program);
    command.current_dir(&fuzz);
    let artifacts = fuzz.join("artifacts").join(target);
    fs::create_dir_all(&artifacts)?;
    command
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-timeout={SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MB_MAX}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"));
    if let Some(input) = input {
        command.arg(input.canonicalize().with_context(|| format!("no input {}", input.display()))?);
    } else {
        let corpus = fuzz.join("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1");
        command.arg(corpus).arg(fuzz.join("seeds").join(target));
    }
    let status = command.status().context("the target does not start")?;
    if !status.success() {
        bail!("{target} has found something: see {}", artifacts.display());
    }
    Ok(())
}

/// The names of the files in `fuzz/targets`.
fn targets(fuzz: &Path) -> Result<Vec<String>> {
    let files = fs::read_dir(fuzz.join("targets")).context("fuzz/targets cannot be read")?;
    let mut names = Vec::new();
    for file in files {
        let path = file?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Builds a target; returns its program.
fn build(fuzz: &Path, target: &str) -> Result<PathBuf> {
    let rustc =
        Command::new("rustc").args(["--print", "host-tuple"]).output().context("rustc does not run")?;
    let host = String::from_utf8(rustc.stdout)?.trim().to_owned();
    let folder = fuzz.join("target");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With a target named, the flags are not those of build scripts.
    cargo
        .current_dir(fuzz)
        .args(["build", "--release", "--bin", target, "--target", &host, "--target-dir"])
        .arg(&folder)
        .env("RUSTFLAGS", FLAGS.join(" "))
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    if target == "form" {
        cargo.args(["--features", "form"]);
    }
    let status = cargo.status().context("cargo does not start")?;
    if !status.success() {
        bail!("{target} does not build");
    }
    Ok(folder.join(host).join("release").join(target))
}
