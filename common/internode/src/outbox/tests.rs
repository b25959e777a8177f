use std::time::Duration;

use bytes::Bytes;
use hearth_cell::{AppendHead, Body, Entry, Life, Message, Probe, Term};
use hearth_common::{InstanceId, LogId, Position, Rid};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// An append of that cell: with one entry of so many bytes, or with none. `number` tells it from others.
fn append(cell: &str, number: u64, entry_bytes: Option<usize>) -> Frame {
    let head = AppendHead {
        term: Term(1),
        prev: Position(number),
        prev_term: Term(1),
        commit: Position(0),
        released: Position(0),
        probe: Probe(0),
        life: Life(0),
    };
    let entry = |size| Entry {
        term: Term(1),
        body: Body::Record { rid: Rid(number.into()), bytes: Bytes::from(vec![0; size]) },
    };
    let entries = entry_bytes.map(entry).into_iter().collect();
    let cell = CellId(InstanceId(Arc::from(cell)));
    Frame { cell, log: LogId(1), roster_version: 1, message: Message::Append { head, entries } }
}

fn seen(frame: &Frame) -> (String, u64) {
    let Message::Append { head, .. } = &frame.message else { panic!("only appends are sent") };
    (frame.cell.0.to_string(), head.prev.0)
}

/// All that is queued, without waiting for more.
async fn drain(outbox: Outbox, mut feed: Feed) -> Vec<(String, u64)> {
    drop(outbox);
    let mut all = Vec::new();
    while let Some(frame) = feed.recv().await {
        all.push(seen(&frame));
    }
    all
}

#[tokio::test]
async fn a_sign_of_life_overtakes_entries_of_other_cells_and_none_of_its_own() {
    let (outbox, feed) = Outbox::new(1 << 20);
    for number in 0..3 {
        outbox.try_send(append("loud", number, Some(1000))).expect("there is room");
    }
    outbox.try_send(append("loud", 3, None)).expect("there is room");
    outbox.try_send(append("quiet", 0, None)).expect("there is room");
    let expected = [("quiet", 0), ("loud", 0), ("loud", 1), ("loud", 2), ("loud", 3)];
    assert_eq!(drain(outbox, feed).await, expected.map(|(cell, number)| (cell.to_owned(), number)));
}

#[tokio::test]
async fn a_sign_of_life_has_room_when_entries_have_none_and_is_bounded_itself() {
    let (outbox, feed) = Outbox::new(4096);
    outbox.try_send(append("loud", 0, Some(1 << 20))).expect("one may be larger");
    assert_eq!(outbox.try_send(append("other", 0, Some(1))), Err(SendError::Full));
    assert_eq!(outbox.try_send(append("loud", 1, None)), Err(SendError::Full));
    for number in 0..SHORT_FRAMES_MAX as u64 {
        outbox.try_send(append("quiet", number, None)).expect("there is room");
    }
    assert_eq!(outbox.try_send(append("quiet", 0, None)), Err(SendError::Full));
    assert_eq!(drain(outbox, feed).await.len(), SHORT_FRAMES_MAX + 1);
}

#[tokio::test]
async fn who_gives_up_waiting_for_room_holds_no_place() {
    let (outbox, mut feed) = Outbox::new(4096);
    outbox.try_send(append("loud", 0, Some(1 << 20))).expect("one may be larger");
    let waits = outbox.send(append("quiet", 0, Some(1)));
    tokio::time::timeout(Duration::from_millis(20), waits).await.expect_err("there is no room");
    outbox.try_send(append("quiet", 1, None)).expect("it does not wait behind what was given up");
    assert_eq!(feed.recv().await.map(|frame| seen(&frame)), Some(("quiet".to_owned(), 1)));
    assert_eq!(feed.recv().await.map(|frame| seen(&frame)), Some(("loud".to_owned(), 0)));
    assert!(outbox.waiting.lock().is_empty());
    assert_eq!(outbox.queued_bytes(), 0);
    drop(feed);
    assert_eq!(outbox.try_send(append("quiet", 2, None)), Err(SendError::Closed));
    assert_eq!(outbox.send(append("quiet", 2, None)).await, Err(SendError::Closed));
}

#[tokio::test]
async fn short_frames_do_not_hold_up_entries_for_ever() {
    let (outbox, mut feed) = Outbox::new(4096);
    outbox.try_send(append("quiet", 0, None)).expect("there is room");
    outbox.try_send(append("loud", 0, Some(9))).expect("there is room");
    for number in 1..10 {
        outbox.try_send(append("quiet", number, None)).expect("there is room");
        if seen(&feed.recv().await.expect("open")).0 == "loud" {
            return;
        }
    }
    panic!("the entries did not come");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_keeps_its_order_while_the_other_side_reads() {
    const FRAMES: u64 = 20_000;
    let (outbox, mut feed) = Outbox::new(8192);
    let send = tokio::spawn(async move {
        for number in 0..FRAMES {
            let cell = ["a", "b", "c"][(number % 3) as usize];
            let entry_bytes = (number % 7 < 3).then_some(500);
            outbox.send(append(cell, number, entry_bytes)).await.expect("open");
        }
    });
    let mut newest = BTreeMap::new();
    let mut count = 0;
    while let Some(frame) = feed.recv().await {
        let (cell, number) = seen(&frame);
        assert!(newest.insert(cell, number).is_none_or(|before| before < number), "{number}");
        count += 1;
    }
    send.await.expect("sends");
    assert_eq!(count, FRAMES);
}

proptest! {
    #[test]
    fn each_cell_keeps_its_order_and_nothing_is_lost(
        steps in vec((0..3usize, prop::option::of(0..300usize), any::<bool>()), 0..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (outbox, mut feed) = Outbox::new(4096);
        let (mut taken, mut came) = (BTreeMap::<_, Vec<u64>>::new(), BTreeMap::<_, Vec<u64>>::new());
        let mut open = 0;
        for (number, (cell, entry_bytes, read)) in (0..).zip(steps) {
            let cell = ["a", "b", "c"][cell];
            if outbox.try_send(append(cell, number, entry_bytes)).is_ok() {
                taken.entry(cell.to_owned()).or_default().push(number);
                open += 1;
            }
            if read && open > 0 {
                let (cell, number) = seen(&runtime.block_on(feed.recv()).expect("open"));
                came.entry(cell).or_default().push(number);
                open -= 1;
            }
        }
        for (cell, number) in runtime.block_on(drain(outbox, feed)) {
            came.entry(cell).or_default().push(number);
        }
        prop_assert_eq!(came, taken);
    }
}
