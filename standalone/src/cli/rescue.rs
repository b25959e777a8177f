//! `hearth admin take-over` and `accept-losses`: what only a person can decide after disks are lost.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use hearth_common::MemberId;
use hearth_ingester::{CellOnDisk, DiskLook, Verdict, take_over};
use hearth_node::{CommonArgs, OpenLoss};

use super::admin_args::{AcceptLossesArgs, TakeOverArgs};
use super::time::moment;
use crate::serve;
use crate::term::{self, confirmed, print};

pub(super) fn takes_over(args: &TakeOverArgs) -> Result<()> {
    let folder = args.data_dir.join("ingester");
    if !folder.is_dir() {
        bail!("there is no folder {}: name the data folder of an ingester with --data-dir", folder.display());
    }
    let _lock = hearth_node::FolderLock::take(&args.data_dir).context("stop the ingester first")?;
    let gone = |member: &MemberId| {
        args.gone.iter().any(|name| *name == *member.instance.0 || *name == named(member))
    };
    let look = take_over(&folder, gone, false)?;
    print(&about(&look, &args.gone)?)?;
    let takes = |cell: &&CellOnDisk| matches!(cell.verdict, Verdict::TakeOver(_));
    let count = look.cells.iter().filter(takes).count();
    if count == 0 || args.dry_run {
        return print(if count == 0 { "nothing to take over\n" } else { "" });
    }
    let question = format!(
        "If {} ever comes back with its disk while this one runs, the cluster has two logs of each of these cells,\n\
         and profiles are lost. Make this disk their only member?",
        args.gone.join(" or ")
    );
    if !args.yes && !confirmed(&question)? {
        bail!("nothing was taken over");
    }
    take_over(&folder, gone, true)?;
    print(&format!(
        "{count} cells taken over. Start the ingester: it leads them alone, publishes what they hold, and other members join\n\
         them as the cluster has some.\n"
    ))
}

/// As the roster writes it.
fn named(member: &MemberId) -> String {
    format!("{}/{}", member.instance, member.disk)
}

fn about(look: &DiskLook, gone: &[String]) -> Result<String> {
    let mut text = format!("disk {}\n", look.disk);
    for line in &look.damage {
        writeln!(text, "  DAMAGED {line}")?;
    }
    for cell in &look.cells {
        let voters: Vec<String> = cell.voters.iter().map(named).collect();
        writeln!(text, "\ncell {}", cell.cell.0)?;
        writeln!(text, "  voters      {}", voters.join(", "))?;
        writeln!(
            text,
            "  published   up to {}; behind that {} records, {}, up to {}",
            cell.released.0,
            cell.records,
            term::humanise(i64::try_from(cell.bytes).unwrap_or(i64::MAX), "bytes"),
            cell.end.0
        )?;
        writeln!(text, "  {}", verdict(cell, gone))?;
    }
    Ok(text)
}

fn verdict(cell: &CellOnDisk, gone: &[String]) -> String {
    match &cell.verdict {
        Verdict::Alone => "stays: this disk is its only voter".to_owned(),
        Verdict::HasQuorum if gone.is_empty() => "stays: no member of it was named with --gone".to_owned(),
        Verdict::HasQuorum => "stays: a majority of its voters is not gone".to_owned(),
        Verdict::OthersRemain(there) => {
            let names: Vec<String> = there.iter().map(named).collect();
            format!(
                "REFUSED: {} remain; one of them may take it over, name the others as gone",
                names.join(", ")
            )
        }
        Verdict::NoMember => "stays: this disk does not belong to it".to_owned(),
        Verdict::TakeOver(lacks) if lacks.is_empty() => {
            "TAKEN OVER: everything that was acknowledged is on this disk".to_owned()
        }
        Verdict::TakeOver(lacks) => {
            format!("TAKEN OVER with losses, and answers are marked: {}", lacks.join("; "))
        }
    }
}

pub(super) fn accepts(args: &AcceptLossesArgs) -> Result<()> {
    let common = CommonArgs {
        config: args.config.clone(),
        object_store: args.object_store.clone(),
        set: args.set.clone(),
        ..CommonArgs::default()
    };
    let settings = serve::load_settings(&common)?.settings;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let chosen =
        |loss: &OpenLoss| args.cells.is_empty() || args.cells.iter().any(|name| *name == *loss.cell.0.0);
    let open = runtime.block_on(hearth_node::losses(&settings, None))?;
    let open: Vec<OpenLoss> = open.into_iter().filter(chosen).collect();
    if open.is_empty() {
        return print("no losses that are not accepted\n");
    }
    let mut text = String::new();
    for loss in &open {
        writeln!(text, "{}  cell {}: {}", moment(loss.since.as_ms()), loss.cell.0, loss.text)?;
    }
    print(&text)?;
    if args.dry_run {
        return Ok(());
    }
    let question = "Take answers as exact although these records are gone?";
    if !args.yes && !confirmed(question)? {
        bail!("nothing was accepted");
    }
    // Only what was shown: another one may have come meanwhile.
    runtime.block_on(hearth_node::losses(&settings, Some(&|loss| open.contains(loss))))?;
    print("accepted: queriers mark their answers no more\n")
}
