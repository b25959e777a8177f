//! `cargo xtask codegen [--check]`: wire types from `proto/`, written to `common/proto/src/gen` and committed, so that a
//! build needs no protobuf compiler.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use prost::Message;

const OUT: &str = "common/proto/src/gen";
/// Folder of the packages that roles speak among themselves: they get tonic's clients and servers, and no JSON.
const INTERNAL: &str = "hearth";

/// Generates; with `check` only compares with what is committed.
pub(crate) fn run(root: &Path, check: bool) -> Result<()> {
    let fresh = generate(&root.join("proto"))?;
    let out = root.join(OUT);
    if check {
        let mut stale: Vec<String> = leftovers(&out, &fresh)?;
        stale.extend(
            fresh
                .iter()
                .filter(|(name, text)| fs::read_to_string(out.join(name)).ok().as_ref() != Some(text))
                .map(|(name, _)| name.clone()),
        );
        if !stale.is_empty() {
            bail!("{OUT} does not fit proto/ in {stale:?}: run `cargo xtask codegen`");
        }
        return Ok(());
    }
    fs::create_dir_all(&out)?;
    for name in leftovers(&out, &fresh)? {
        fs::remove_file(out.join(&name)).with_context(|| name.clone())?;
    }
    for (name, text) in fresh {
        fs::write(out.join(&name), text).with_context(|| name.clone())?;
    }
    Ok(())
}

/// Files of packages that are gone.
fn leftovers(out: &Path, fresh: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(out)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !fresh.contains_key(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn generate(protos: &Path) -> Result<BTreeMap<String, String>> {
    let (mut public, mut internal) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(protos)? {
        let path = entry?.path();
        let files = if path.ends_with(INTERNAL) { &mut internal } else { &mut public };
        proto_files(&path, files)?;
    }
    let dir = std::env::temp_dir().join(format!("hearth-codegen-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    generate_public(protos, &public, &dir)?;
    generate_internal(protos, &internal, &dir)?;
    let mut fresh = BTreeMap::new();
    for entry in fs::read_dir(&dir)? {
        let path = entry?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        fresh.insert(name, fs::read_to_string(&path)?);
    }
    fs::remove_dir_all(&dir)?;
    Ok(fresh)
}

fn generate_public(protos: &Path, files: &[PathBuf], dir: &Path) -> Result<()> {
    let descriptors = protox::compile(files, [protos]).context("proto/ does not compile")?;
    let mut config = prost_build::Config::new();
    config.out_dir(dir).bytes([".push.v1.RawSample.raw_profile"]);
    // Google's own messages have a special JSON; they come from a library.
    config.compile_well_known_types().extern_path(".google.protobuf", "::pbjson_types");
    config.compile_fds(descriptors.clone())?;
    let mut builder = pbjson_build::Builder::new();
    builder.register_descriptors(&descriptors.encode_to_vec())?;
    builder.extern_path(".google.protobuf", "::pbjson_types").exclude([".google.protobuf"]);
    builder.ignore_unknown_fields().ignore_unknown_enum_variants().out_dir(dir).build(&["."])?;
    Ok(())
}

fn generate_internal(protos: &Path, files: &[PathBuf], dir: &Path) -> Result<()> {
    let descriptors = protox::compile(files, [protos]).context("proto/hearth does not compile")?;
    let mut config = prost_build::Config::new();
    // All bytes are slices of the message that they came in.
    config.out_dir(dir).bytes(["."]);
    config.service_generator(tonic_prost_build::configure().build_transport(false).service_generator());
    config.compile_fds(descriptors)?;
    Ok(())
}

fn proto_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            proto_files(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}
