//! `hearth admin delete`, `deletions`, `undelete`: over HTTP, or on the object store alone.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hearth_common::{BlockId, Clock, SystemClock, TenantId, TimeRange, TimestampNs};
use hearth_querier::deletions::{DeletionAsk, Report, last_of_ms};
use hearth_querier::{LocalHeads, Querier, QuerierDeps, QuerierOptions, SymbolOptions};
use serde::Deserialize;
use serde_json::json;

use super::admin_args::{DeleteArgs, DeletionsArgs, UndeleteArgs, WhereArgs};
use super::time::{instant_ms, moment};
use crate::client::Client;
use crate::term::{self, print};

/// Services and types that are shown one by one.
const ROWS_SHOWN: usize = 40;
/// Time for counting and deleting on a store.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Where deletions are made.
enum Place {
    /// At a server.
    Server(Box<Client>),
    /// In the store, by a querier of this process that knows no ingesters.
    Store {
        querier: Querier,
        tenant: TenantId,
        runtime: tokio::runtime::Runtime,
        _lock: Option<hearth_node::FolderLock>,
    },
}

#[derive(Deserialize)]
struct Listed {
    deletions: Vec<Report>,
}

pub(super) fn delete(args: &DeleteArgs) -> Result<()> {
    let now_ms = SystemClock::default().now().as_ms();
    let instant = |text: &Option<String>, flag: &str| -> Result<Option<i64>> {
        let Some(text) = text else { return Ok(None) };
        Ok(Some(instant_ms(text, now_ms).with_context(|| format!("{flag} {text}"))?))
    };
    let (from_ms, until_ms) = (instant(&args.from, "--from")?, instant(&args.until, "--until")?);
    let place = Place::of(&args.place)?;
    let shown = place.ask(args, (from_ms, until_ms), true)?;
    print(&about(&shown, place.is_store())?)?;
    if args.dry_run {
        return Ok(());
    }
    if shown.profiles == 0 {
        return print("nothing to delete\n");
    }
    if !args.yes && !confirmed(&shown)? {
        bail!("nothing was deleted");
    }
    let made = place.ask(args, (from_ms, until_ms), false)?;
    print(&format!(
        "deleted {} profiles as {}: no query answers them any more.\n\
         The compactor writes the blocks that hold them anew; `hearth admin deletions` shows how far it is.\n",
        made.profiles,
        made.id.as_deref().unwrap_or_default()
    ))
}

pub(super) fn list(args: &DeletionsArgs) -> Result<()> {
    let all = Place::of(&args.place)?.list()?;
    if args.json {
        return print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
    }
    if all.is_empty() {
        return print("no deletions\n");
    }
    all.iter().try_for_each(|report| print(&one(report)))
}

pub(super) fn undelete(args: &UndeleteArgs) -> Result<()> {
    Place::of(&args.place)?.cancel(&args.id, args.force)?;
    print(&format!("deletion {} is taken back: what was not carried out is answered again\n", args.id))
}

impl Place {
    fn of(args: &WhereArgs) -> Result<Self> {
        let store = &args.store;
        let on_store = store.object_store.is_some()
            || store.data_dir.is_some()
            || store.config.is_some()
            || !store.set.is_empty();
        if !on_store {
            let client = Client::login(&args.url, store.tenant.as_deref(), &args.login)?;
            return Ok(Self::Server(Box::new(client)));
        }
        let named = store.tenant.as_deref().context("name a tenant with --tenant")?;
        let tenant = TenantId::parse(named).with_context(|| format!("--tenant {named}"))?;
        // A server remembers the root of its own folder, and would not see the deletion.
        let lock = match &store.data_dir {
            Some(folder) if folder.is_dir() => {
                Some(hearth_node::FolderLock::take(folder).with_context(|| {
                    format!("a server that runs on {} deletes itself: name it with --url", folder.display())
                })?)
            }
            _ => None,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (catalog, limits) = super::bucket::open_with_limits(store)?;
        let querier = Querier::new(QuerierDeps {
            store: catalog.store().clone(),
            catalog,
            heads: Arc::new(LocalHeads::new(Vec::new())),
            limits: Arc::new(limits),
            clock: Arc::new(SystemClock::default()),
            workers: hearth_node::workers(),
            turns: hearth_common::Turns::new(hearth_node::cores()),
            disk_cache: None,
            symbols: SymbolOptions::default(),
            options: QuerierOptions { timeout: TIMEOUT, ..QuerierOptions::default() },
        });
        Ok(Self::Store { querier, tenant, runtime, _lock: lock })
    }

    fn is_store(&self) -> bool {
        matches!(self, Self::Store { .. })
    }

    fn ask(
        &self,
        args: &DeleteArgs,
        (from_ms, until_ms): (Option<i64>, Option<i64>),
        dry_run: bool,
    ) -> Result<Report> {
        match self {
            Self::Server(client) => {
                let body = json!({"selector": args.selector, "from_ms": from_ms, "until_ms": until_ms,
                    "dry_run": dry_run, "everything": args.everything});
                let answer =
                    client.post("/api/v1/deletions", "application/json", body.to_string().as_bytes())?;
                serde_json::from_slice(&answer.ok()?.body).context("the answer is not that of a Hearth")
            }
            Self::Store { querier, tenant, runtime, .. } => runtime.block_on(async {
                let range = TimeRange {
                    start: from_ms.map_or(TimeRange::ALL.start, TimestampNs::from_ms),
                    end: until_ms.map_or(TimeRange::ALL.end, last_of_ms),
                };
                let ask = DeletionAsk { selector: args.selector.clone(), range, everything: args.everything };
                if dry_run {
                    let takes = querier.preview_deletion(tenant, &ask, TIMEOUT).await?;
                    return Ok(Report::of_preview(ask, &takes));
                }
                Ok(querier.delete(tenant, &ask, TIMEOUT).await?.0.into())
            }),
        }
    }

    fn list(&self) -> Result<Vec<Report>> {
        match self {
            Self::Server(client) => {
                let answer = client.get("/api/v1/deletions")?.ok()?;
                let listed: Listed =
                    serde_json::from_slice(&answer.body).context("the answer is not that of a Hearth")?;
                Ok(listed.deletions)
            }
            Self::Store { querier, tenant, runtime, .. } => {
                let all = runtime.block_on(querier.deletions(tenant))?;
                Ok(all.into_iter().map(Report::from).collect())
            }
        }
    }

    fn cancel(&self, id: &str, force: bool) -> Result<()> {
        match self {
            Self::Server(client) => {
                client.delete(&format!("/api/v1/deletions/{id}?force={force}"))?.ok()?;
                Ok(())
            }
            Self::Store { querier, tenant, runtime, .. } => {
                let number = BlockId::from_hex(id).context("an id has 32 hex digits")?.0;
                Ok(runtime.block_on(querier.cancel_deletion(tenant, number, force))?)
            }
        }
    }
}

/// What would go, as a table.
fn about(report: &Report, store_only: bool) -> Result<String> {
    let mut text = format!("{}\n\n", what(report));
    let mut takes = report.takes.clone();
    takes.sort_by_key(|taken| std::cmp::Reverse(taken.profiles));
    let line = |text: &mut String, service: &str, ty: &str, [profiles, samples, bytes]: [String; 3]| {
        writeln!(text, "{service:<28} {ty:<50} {profiles:>12} {samples:>14} {bytes:>10}")
    };
    let size = |bytes: u64| term::humanise(i64::try_from(bytes).unwrap_or(i64::MAX), "bytes");
    let heads = ["profiles", "samples", "about"].map(str::to_owned);
    line(&mut text, "service", "profile type", heads)?;
    for taken in takes.iter().take(ROWS_SHOWN) {
        let figures = [taken.profiles.to_string(), taken.samples.to_string(), size(taken.bytes)];
        line(&mut text, &taken.service, &taken.profile_type, figures)?;
    }
    if let more @ 1.. = takes.len().saturating_sub(ROWS_SHOWN) {
        let rest = &takes[ROWS_SHOWN..];
        let (profiles, samples): (u64, u64) =
            rest.iter().fold((0, 0), |sum, taken| (sum.0 + taken.profiles, sum.1 + taken.samples));
        let bytes = size(rest.iter().map(|taken| taken.bytes).sum());
        line(&mut text, &format!("({more} more)"), "", [profiles.to_string(), samples.to_string(), bytes])?;
    }
    let figures = [report.profiles.to_string(), report.samples.to_string(), size(report.bytes)];
    line(&mut text, "all", "", figures)?;
    let unpublished = report.profiles_unpublished.unwrap_or_default();
    writeln!(
        text,
        "\nin {} blocks{}. A profile counts once for each of its types.",
        report.blocks,
        match (store_only, unpublished) {
            (true, _) =>
                "; profiles that ingesters have not published yet are not seen here and stay".to_owned(),
            (_, 0) => String::new(),
            (_, count) => format!(", and {count} profiles that are not published yet"),
        }
    )?;
    Ok(text)
}

fn what(report: &Report) -> String {
    let (from, until) = (report.from_ms.map(moment), report.until_ms.map(moment));
    let times = match (from, until) {
        (None, None) => "of all times".to_owned(),
        (Some(from), None) => format!("from {from} on"),
        (None, Some(until)) => format!("until {until}"),
        (Some(from), Some(until)) => format!("from {from} until {until}"),
    };
    format!("profiles of {} {times}", report.selector)
}

fn one(report: &Report) -> String {
    let state = match report.state.as_str() {
        "pending" => format!(
            "pending: {} of {} blocks and {} logs left",
            report.blocks_left, report.blocks, report.journals_left
        ),
        other => other.to_owned(),
    };
    let made = report.created_ms.map_or_else(|| "-".to_owned(), moment);
    let id = report.id.as_deref().unwrap_or("-");
    format!(
        "{id}  {made}  {state}\n  {}: {} profiles, {} samples\n",
        what(report),
        report.profiles,
        report.samples
    )
}

/// Asks the person; an error when there is none.
fn confirmed(report: &Report) -> Result<bool> {
    let question = format!("Delete these {} profiles? They do not come back.", report.profiles);
    term::confirmed(&question)
}
