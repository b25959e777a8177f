//! Deletions in roots: what one names, what a commit must leave out, how many there may be, and how one goes.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::{Bed, block, journal, range, tenant, upload};
use hearth_catalog::{BlockRef, Burial, Catalog, CatalogError, Edit, Publication, RootView};
use hearth_common::{Position, TimeRange};

fn burial(id: u128, rows_end: &[(u64, u64)]) -> Burial {
    Burial {
        id,
        selector: r#"{service_name="s"}"#.to_owned(),
        range: TimeRange::ALL,
        rows_end: rows_end.iter().map(|(number, at)| (journal(*number, 1), Position(*at))).collect(),
    }
}

async fn bury(catalog: &Catalog, burial: &Burial) -> Arc<RootView> {
    catalog.bury(&tenant(), burial, 64, |_| true).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_deletion_reaches_to_the_last_row_and_over_what_was_published_meanwhile() {
    let bed = Bed::new();
    let catalog = bed.catalog();
    catalog.publish(&tenant(), &bed.commit(1, 0, 10).await).await.unwrap();
    catalog.publish(&tenant(), &bed.commit(2, 0, 7).await).await.unwrap();
    // Heads said 8 and 12: of journal 1 more is published since.
    let view = bury(&catalog, &burial(5, &[(1, 8), (2, 12), (3, 0)])).await;
    let tombstone = &view.root.tombstones[0];
    let upto: Vec<u64> = tombstone.upto.values().map(|at| at.0).collect();
    assert_eq!(upto, [10, 12], "nothing of journal 3");
    assert_eq!(tombstone.blocks, view.blocks.iter().map(|block| block.id).collect::<BTreeSet<_>>());
    let progress = view.progress(tombstone);
    assert_eq!((progress.blocks_left, progress.journals_left), (2, 1));
    let deletions = view.deletions(&tenant()).unwrap();
    assert!(view.blocks.iter().all(|block| deletions[0].hides_in(block)));
    let none = catalog.bury(&tenant(), &burial(6, &[]), 64, |_| false).await.unwrap();
    assert!(none.root.tombstones[1].blocks.is_empty(), "no block may hold such rows");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_without_a_root_gets_one() {
    let bed = Bed::new();
    let catalog = bed.catalog();
    let view = bury(&catalog, &burial(5, &[(1, 3)])).await;
    assert_eq!((view.version(), view.root.tombstones.len()), (1, 1));
    let cold = bed.catalog().newest(&tenant(), Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(cold.root, view.root);
    // Again, after the answer was lost: once.
    assert_eq!(bury(&catalog, &burial(5, &[(1, 3)])).await.version(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cut_that_left_out_other_rows_than_the_root_says_is_refused() {
    let bed = Bed::new();
    let (publisher, deleter) = (bed.catalog(), bed.catalog());
    publisher.publish(&tenant(), &bed.commit(1, 0, 10).await).await.unwrap();
    // The publisher's root is from before.
    bury(&deleter, &burial(5, &[(1, 12)])).await;
    let mut commit = bed.commit(1, 10, 14).await;
    let refused = publisher.publish(&tenant(), &commit).await.unwrap();
    let Publication::CoverageAhead(view) = refused else { panic!("{refused:?}") };
    commit.deletions = view.deletions_beyond(&commit.ranges);
    assert_eq!(commit.deletions, [5].into());
    // Taken back meanwhile: the cut lacks rows that are to be answered.
    deleter.exhume(&tenant(), 5, |_, _| true).await.unwrap();
    let refused = publisher.publish(&tenant(), &commit).await.unwrap();
    assert!(matches!(refused, Publication::CoverageAhead(_)), "{refused:?}");
    bury(&deleter, &burial(6, &[(1, 12)])).await;
    commit.deletions = [6].into();
    let done = publisher.publish(&tenant(), &commit).await.unwrap();
    let Publication::Published(view) = done else { panic!("{done:?}") };
    // It ends before what comes now.
    assert!(view.deletions_beyond(&[range(&journal(1, 1), 14, 20)]).is_empty());
    let next = bed.commit(1, 14, 15).await;
    assert!(matches!(publisher.publish(&tenant(), &next).await.unwrap(), Publication::Published(_)));
}

#[tokio::test(start_paused = true)]
async fn what_is_carried_out_makes_room_and_cannot_be_taken_back() {
    let bed = Bed::new();
    let catalog = bed.catalog();
    catalog.publish(&tenant(), &bed.commit(1, 0, 10).await).await.unwrap();
    let view = bury(&catalog, &burial(1, &[(1, 10)])).await;
    let full = catalog.bury(&tenant(), &burial(2, &[]), 1, |_| true).await.unwrap_err();
    assert!(matches!(full, CatalogError::TooManyDeletions { pending: 1, limit: 1 }), "{full}");
    let part = catalog.exhume(&tenant(), 1, |_, _| false).await.unwrap_err();
    assert!(matches!(part, CatalogError::CarriedOutInPart { id: 1 }), "{part}");
    // The block is written anew without its rows.
    let old = &view.blocks[0];
    let new = block(1, old.day, old.sources.clone(), 77);
    upload(&bed.store, &new).await;
    let (remove, applied) = (vec![BlockRef::of(old)], [1].into());
    let edit = Edit { remove, add: vec![new], applied, ..Edit::default() };
    let view = catalog.edit(&tenant(), |_| Ok(edit.clone())).await.unwrap().unwrap();
    assert_eq!(view.spent_deletions(), [1]);
    assert!(view.deletions(&tenant()).unwrap().iter().all(|deletion| !deletion.hides_in(&view.blocks[0])));
    let gone = catalog.exhume(&tenant(), 1, |_, _| true).await.unwrap_err();
    assert!(matches!(gone, CatalogError::NotPending { id: 1 }), "{gone}");
    let view = catalog.bury(&tenant(), &burial(2, &[]), 1, |_| true).await.unwrap();
    assert_eq!(view.root.tombstones.iter().map(|t| t.id).collect::<Vec<_>>(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_selector_that_does_not_parse_is_damage_and_no_answer() {
    let bed = Bed::new();
    let catalog = bed.catalog();
    let bad = Burial { selector: "{".to_owned(), ..burial(3, &[(1, 1)]) };
    let view = bury(&catalog, &bad).await;
    let error = view.deletions(&tenant()).unwrap_err();
    assert!(matches!(&error, CatalogError::Damaged { why, .. } if why.contains("selector '{'")), "{error}");
}
