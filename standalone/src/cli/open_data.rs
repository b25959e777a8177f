//! `hearth admin bucket open`: what another program needs to read a tenant's blocks with SQL. Writes names of stacks, and a
//! script that says which objects are the tenant's.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use hearth_catalog::{BlockEntry, Catalog};
use hearth_common::{TenantId, TimestampNs};

use super::admin_args::OpenArgs;
use super::bucket::{bytes, newest, open_block, open_settings, tenants};
use super::time::instant_ms;
use crate::term::{self, print};

/// The script, in the folder that the user names.
const SCRIPT: &str = "open.sql";
/// The folder of the tables beside it.
const STACKS: &str = "stacks";

/// The views, over lists of files.
const VIEWS: &str = "
-- One row for each profile and sample type: type, service, time, total, labels …
CREATE OR REPLACE VIEW profiles AS
SELECT split_part(filename, '/', -2) AS block, file_row_number AS profile_row, split_part(type, ':', 1) AS name,
       * EXCLUDE (filename, file_row_number)
FROM read_parquet(getvariable('hearth_profiles'), filename = true, file_row_number = true);

-- One row for each profile, sample type and stack.
CREATE OR REPLACE VIEW samples AS
SELECT split_part(filename, '/', -2) AS block, * EXCLUDE (filename)
FROM read_parquet(getvariable('hearth_samples'), filename = true);

-- One row for each stack: its frames from the root to the leaf, and function, file and line of the leaf.
CREATE OR REPLACE VIEW stacks AS
SELECT * FROM read_parquet(getvariable('hearth_stacks'));

-- Samples with everything that is known of them.
CREATE OR REPLACE VIEW flat AS
SELECT p.service, p.type, p.time, p.labels, k.function, k.file, k.line, k.frames, s.value
FROM samples AS s
JOIN profiles AS p ON p.block = s.block AND p.profile_row = s.profile_row
JOIN stacks AS k ON k.block = s.block AND k.name = p.name AND k.service = p.service AND k.stack = s.stack;
";

pub(super) async fn open(args: &OpenArgs) -> Result<()> {
    let (catalog, settings) = open_settings(&args.store)?;
    let named = args.store.tenant.as_deref().context("name a tenant with --tenant")?;
    let tenant = tenants(&catalog, Some(named)).await?.remove(0);
    let view = newest(&catalog, &tenant).await?;
    let blocks: Vec<Arc<BlockEntry>> = chosen(&view.blocks, args)?;
    if blocks.is_empty() {
        bail!("tenant {tenant} has no published profiles in that time");
    }
    let folder = args.to.join(STACKS);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let bar = term::bar(blocks.len() as u64, "blocks");
    let (mut stacks, mut size) = (0, 0);
    let mut tables = Vec::new();
    for block in &blocks {
        let (table, count) = write_table(&catalog, &tenant, block, &folder).await?;
        (stacks, size) = (stacks + count, size + fs::metadata(&table)?.len());
        tables.push(table);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let script = script(&base(&settings.object_store_url()), &tenant, view.version(), &blocks, &tables)?;
    let path = args.to.join(SCRIPT);
    fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    print(&format!(
        "{} blocks of tenant {tenant}, {stacks} new stacks, tables of {}\nduckdb -init {}\n",
        blocks.len(),
        bytes(size),
        path.display()
    ))
}

/// The blocks with profiles in the time that is asked for.
fn chosen(blocks: &[Arc<BlockEntry>], args: &OpenArgs) -> Result<Vec<Arc<BlockEntry>>> {
    let now_ms = hearth_common::Clock::now(&hearth_common::SystemClock::default()).as_ms();
    let time = |text: &Option<String>| text.as_deref().map(|text| instant_ms(text, now_ms)).transpose();
    let from = time(&args.from)?.map_or(TimestampNs(i64::MIN), TimestampNs::from_ms);
    let until = time(&args.until)?.map_or(TimestampNs(i64::MAX), TimestampNs::from_ms);
    let overlaps = |block: &&Arc<BlockEntry>| block.max_time >= from && block.min_time <= until;
    Ok(blocks.iter().filter(overlaps).cloned().collect())
}

/// The table of a block, unless it was written before: blocks never change.
async fn write_table(
    catalog: &Catalog,
    tenant: &TenantId,
    block: &Arc<BlockEntry>,
    folder: &Path,
) -> Result<(PathBuf, u64)> {
    let key = block.folder(tenant);
    let name = key.rsplit('/').next().unwrap_or_default();
    let path = folder.join(format!("{name}.parquet"));
    if path.is_file() {
        return Ok((path, 0));
    }
    let failed = || format!("block {key} cannot be read");
    let reader = open_block(catalog, tenant, block).await.with_context(failed)?;
    // Under its name only when it is whole.
    let unfinished = tempfile::NamedTempFile::new_in(folder)?;
    let mut out = BufWriter::new(unfinished);
    let stacks = reader.write_stacks(name, &mut out).await.with_context(failed)?;
    out.flush()?;
    out.into_inner()?.persist(&path)?;
    Ok((path, stacks))
}

/// What other programs call the place that keys are below.
fn base(url: &str) -> String {
    url.strip_prefix("file://").unwrap_or(url).trim_end_matches('/').to_owned()
}

fn script(
    base: &str,
    tenant: &TenantId,
    version: u64,
    blocks: &[Arc<BlockEntry>],
    tables: &[PathBuf],
) -> Result<String> {
    let mut text = format!(
        "-- Tenant {tenant} as its root version {version} says, written by `hearth admin bucket open`. Run that again to see what\n\
         -- was published or merged since: blocks that were merged are deleted some hours later.\n"
    );
    if base.starts_with("s3://") {
        text += "INSTALL httpfs;\nLOAD httpfs;\nCREATE OR REPLACE SECRET hearth (TYPE s3, PROVIDER credential_chain);\n";
    }
    let object = |name: &str| {
        let files = blocks.iter().map(|block| format!("{base}/{}/{name}", block.folder(tenant)));
        files.collect::<Vec<_>>()
    };
    let tables = tables.iter().map(|table| table.display().to_string()).collect();
    let lists = [
        ("profiles", object(hearth_block::PROFILES)),
        ("samples", object(hearth_block::SAMPLES)),
        ("stacks", tables),
    ];
    for (name, files) in lists {
        let files: Vec<String> =
            files.iter().map(|file| format!("  '{}'", file.replace('\'', "''"))).collect();
        writeln!(text, "SET VARIABLE hearth_{name} = [\n{}\n];", files.join(",\n"))?;
    }
    Ok(text + VIEWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_are_quoted() {
        let tenant = TenantId::parse("o'neil").expect("a tenant");
        let text = script("/a/store", &tenant, 3, &[], &[PathBuf::from("/b/o'x.parquet")]).expect("written");
        assert!(text.contains("'/b/o''x.parquet'") && !text.contains("httpfs"), "{text}");
        assert!(script("s3://b/p", &tenant, 3, &[], &[]).expect("written").contains("LOAD httpfs"));
        assert_eq!(base("file:///a/b/"), "/a/b");
    }
}
