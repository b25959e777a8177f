//! What a person does when disks are gone for good and no majority is left: the cluster goes on, and says what it lost.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr, reason = "a test")]

use std::process::Command;

use hearth_integration_tests::cluster::{Plan, Role};
use hearth_integration_tests::load::{Sending, go_on, settle, turn, under_load, until};
use hearth_integration_tests::process::binary;
use hearth_integration_tests::{Cluster, profile};

/// The output of `hearth admin …`, which must succeed.
fn admin(args: &[&str]) -> String {
    let output = Command::new(binary()).arg("admin").args(args).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {out}{err}");
    out.into_owned()
}

fn lose_disk(cluster: &mut Cluster, name: &str) {
    cluster.kill(name);
    let dir = cluster.data_dir(name);
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::create_dir_all(&dir).unwrap();
}

fn led(cluster: &Cluster) -> usize {
    let ring = cluster.ring("distributor-0");
    ring["cells"].as_array().unwrap().iter().filter(|cell| !cell["leader"].is_null()).count()
}

#[test]
fn one_disk_of_two_is_enough() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan { factor: 2, ..Plan::default() });
    let checker = under_load(&mut cluster, "one disk of two", Sending::Retrying, |cluster, checker| {
        go_on(checker, 100);
        lose_disk(cluster, "ingester-1");
        // Where the other copies are is for the planner: of each cell that ingester-1 kept on one of the two that are left.
        let mut taken = 0;
        for name in ["ingester-0", "ingester-2"] {
            // What is only in the log must come back from there.
            cluster.kill(name);
            let dir = cluster.data_dir(name);
            let take = ["take-over", "--data-dir", dir.to_str().unwrap(), "--gone", "ingester-1"];
            let ask = |how: &str| admin(&[&take[..], &[how]].concat());
            let look = ask("--dry-run");
            let whole = look.matches("TAKEN OVER: everything that was acknowledged").count();
            let left = look.matches("stays: a majority of its voters is not gone").count();
            assert_eq!(whole + left, look.matches("\ncell ").count(), "{look}");
            let done = ask("--yes");
            assert!(whole == 0 || done.contains(&format!("{whole} cells taken over")), "{done}");
            assert!(ask("--yes").contains("nothing to take over"));
            taken += whole;
        }
        assert!(taken > 0);
        for name in ["ingester-0", "ingester-2"] {
            cluster.launch(name);
        }
        until("all cells have leaders", || led(cluster) == 3, || cluster.ring("distributor-0").to_string());
        go_on(checker, 50);
        cluster.restart("ingester-1");
        cluster.wait_ring("each cell has two voters again", |ring| {
            let voters = |cell: &serde_json::Value| {
                let members = cell["members"].as_array().unwrap().iter();
                members.filter(|member| member["wanted"] == true && member["standing"] == "voter").count()
            };
            ring["cells"].as_array().unwrap().iter().all(|cell| voters(cell) == 2)
        });
    });
    let marks = checker.marks(&cluster.api("querier-0", "t"));
    assert_eq!(marks, Vec::<String>::new(), "nothing is missing");
    // Of each cell the new disk has everything.
    for name in ["ingester-0", "ingester-2"] {
        cluster.stop(name);
        cluster.restart(name);
    }
    settle(&cluster, "one disk of two, restarted", &checker);
}

#[test]
fn a_loss_marks_answers_until_it_is_accepted() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan { factor: 1, ..Plan::default() });
    let now_ms =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let push = |cluster: &Cluster, service: &str| {
        let labels = [("__name__", "process_cpu"), ("service_name", service)];
        let body = profile::cpu(now_ms() * 1_000_000, &[(&["main"], 5)]);
        cluster.api("distributor-0", "t").push(&labels, &body).unwrap().status
    };
    for service in 0..20 {
        assert_eq!(push(&cluster, &format!("service-{service}")), 200);
    }
    let ask = |cluster: &Cluster| {
        let querier = cluster.api("querier-0", "t");
        querier.series_total_marked("{service_name=~\"service-.*\"}", now_ms() - 300_000, now_ms() + 60_000)
    };
    assert_eq!(ask(&cluster).unwrap(), (100, None));
    lose_disk(&mut cluster, "ingester-1");
    cluster.restart("ingester-1");
    let marked = std::cell::RefCell::new(ask(&cluster));
    let answers = || {
        *marked.borrow_mut() = ask(&cluster);
        marked.borrow().as_ref().is_ok_and(|(_, mark)| mark.is_some())
    };
    until("answers are marked", answers, || format!("{:?}", marked.borrow()));
    let (left, mark) = marked.into_inner().unwrap();
    assert!(left > 0 && left < 100, "{left}");
    assert!(mark.as_ref().unwrap().contains("ingester-1"), "{mark:?}");
    let store = format!("file://{}", cluster.store().display());
    let shown = admin(&["accept-losses", "--object-store", &store, "--dry-run"]);
    assert!(shown.contains("cell ingester-1"), "{shown}");
    let other = admin(&["accept-losses", "--object-store", &store, "--cell", "ingester-0", "--yes"]);
    assert!(other.contains("no losses"), "{other}");
    assert!(ask(&cluster).unwrap().1.is_some());
    let done = admin(&["accept-losses", "--object-store", &store, "--yes"]);
    assert!(done.contains("accepted"), "{done}");
    until("answers have no mark", || ask(&cluster) == Ok((left, None)), || format!("{:?}", ask(&cluster)));
    // Each process hears of a newer roster in its own time.
    cluster.wait_ring("no losses", |ring| ring["losses"].as_array().is_some_and(Vec::is_empty));
    for name in cluster.names(Role::Ingester) {
        assert!(!cluster.log(&name).to_lowercase().contains("panic"), "{name}");
    }
}
