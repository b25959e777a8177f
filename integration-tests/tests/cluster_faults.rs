//! A cluster of real processes on bad disks, bad networks and among strangers: no acknowledged profile is lost or counted
//! twice, and who cannot work says so.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr, reason = "a test")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hearth_integration_tests::cluster::{Plan, Role};
use hearth_integration_tests::faults::{self, FailingCalls, SmallDisk};
use hearth_integration_tests::load::{Sending, fault_time, go_on, settle, turn, under_load, until};
use hearth_integration_tests::process::OPEN_LIMITS;
use hearth_integration_tests::zones::{self, Zones};
use hearth_integration_tests::{Cluster, profile};

fn ready(cluster: &Cluster, name: &str) -> String {
    cluster.api(name, "").get("/ready").map_or_else(|error| error.to_string(), |answer| answer.text())
}

fn now_ns() -> i64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_1970.unwrap().as_nanos() as i64
}

/// No process has panicked.
fn no_panics(cluster: &Cluster) {
    for role in [Role::Distributor, Role::Ingester, Role::Querier, Role::Compactor] {
        for name in cluster.names(role) {
            let log = cluster.log(&name);
            let panicked = log.lines().find(|line| line.to_lowercase().contains("panic"));
            assert_eq!(panicked, None, "{name}");
        }
    }
}

/// Bytes of all files of a folder.
fn folder_bytes(folder: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

/// Waits until each cell has three members that have all of its log.
fn whole(cluster: &Cluster) {
    cluster.wait_ring("every member has everything", |ring| {
        ring["cells"].as_array().unwrap().iter().all(|cell| {
            let members = cell["members"].as_array().unwrap();
            let up_to_date = |member: &&serde_json::Value| {
                let end = &cell["committed"];
                let counts = member["standing"] == "voter" && member["damaged"] == false;
                member["wanted"] == true && counts && member["durable"] == *end && member["committed"] == *end
            };
            !cell["leader"].is_null() && members.len() == 3 && members.iter().filter(up_to_date).count() == 3
        })
    });
}

/// Pushes profiles of some hundred KB each, of a tenant that nobody asks for, until a condition holds.
fn fill(cluster: &Cluster, full: impl Fn() -> bool) {
    let distributors = cluster.apis(Role::Distributor, "filler");
    let started = Instant::now();
    for n in 0_usize.. {
        if full() {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "it is not full after {n} profiles: {}",
            cluster.api("ingester-1", "").get("/metrics").unwrap().text()
        );
        let names: Vec<String> = (0..2000).map(|at| format!("function_{at}_of_profile_{n}")).collect();
        let frames: Vec<[&str; 2]> = names.iter().map(|name| ["main", name.as_str()]).collect();
        let stacks: Vec<(&[&str], i64)> = frames.iter().map(|frames| (&frames[..], 1)).collect();
        let body = profile::gzip(&profile::cpu(now_ns() + n as i64, &stacks));
        let service = format!("filler-{}", n % 20);
        let labels = [("__name__", "process_cpu"), ("service_name", service.as_str())];
        let answer = distributors[n % distributors.len()].push(&labels, &body).unwrap();
        // Refused when the disk of a leader is full.
        assert!(answer.status == 200 || answer.status >= 429, "{} {}", answer.status, answer.text());
    }
}

#[test]
fn a_full_disk_of_one_ingester_stops_nobody() {
    let _turn = turn();
    let mut cluster = Cluster::prepare(Plan::default());
    let Some(disk) = SmallDisk::mount(&cluster.data_dir("ingester-1"), 6) else { return };
    cluster.set_args("ingester-1", &["--set", "wal.reserve_bytes=2MiB", "--set", "wal.segment_bytes=1MiB"]);
    cluster.launch_all();
    let checker = under_load(&mut cluster, "disk full", Sending::Retrying, |cluster, checker| {
        let refused = || {
            cluster.metric("ingester-1", "hearth_cell_appends_without_room_total")
                + cluster.metric("ingester-1", "hearth_ingester_wal_refused_total")
        };
        fill(cluster, || refused() > 0.0);
        let seen = checker.pushed();
        go_on(checker, 50);
        std::thread::sleep(fault_time());
        eprintln!("disk full: {} pushed while it was, {} refusals", checker.pushed() - seen, refused());
        disk.enlarge(200);
    });
    whole(&cluster);
    // It has everything again: without another one, a quorum needs it.
    cluster.kill("ingester-0");
    settle(&cluster, "disk enlarged, another ingester gone", &checker);
    no_panics(&cluster);
    drop(cluster);
}

#[test]
fn an_ingester_whose_fsync_fails_stops_writing_and_says_so() {
    if !faults::can("strace") {
        return;
    }
    let _turn = turn();
    let mut cluster = Cluster::start(Plan::default());
    let checker = under_load(&mut cluster, "fsync fails", Sending::Retrying, |cluster, checker| {
        let pid = cluster.pid("ingester-1").unwrap();
        let failing = FailingCalls::inject(pid, "fsync,fdatasync", "error=EIO");
        let failed = || ready(cluster, "ingester-1").contains("the write-ahead log has failed");
        until("it says that its log has failed", failed, || ready(cluster, "ingester-1"));
        // The disk is well again: what has failed once is not believed any more.
        drop(failing);
        // On the disk: the metric is up to a second old.
        let written = || folder_bytes(&cluster.data_dir("ingester-1").join("ingester/wal"));
        let before = written();
        go_on(checker, 50);
        std::thread::sleep(fault_time());
        assert!(failed() && written() == before, "{}", ready(cluster, "ingester-1"));
        eprintln!("fsync fails: {}", ready(cluster, "ingester-1").trim());
        cluster.kill("ingester-1");
        cluster.restart("ingester-1");
    });
    whole(&cluster);
    cluster.kill("ingester-2");
    settle(&cluster, "fsync works again, another ingester gone", &checker);
    no_panics(&cluster);
}

#[test]
fn a_damaged_log_is_repaired_by_the_other_members() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan::default());
    let checker = under_load(&mut cluster, "a flipped bit", Sending::Retrying, |cluster, checker| {
        go_on(checker, 200);
        cluster.kill("ingester-1");
        let place = faults::flip_a_bit(&cluster.data_dir("ingester-1"));
        go_on(checker, 50);
        cluster.restart("ingester-1");
        let found = cluster.log("ingester-1");
        let found = found.lines().filter(|line| line.contains("damage")).collect::<Vec<_>>();
        eprintln!("a flipped bit at {place}: {found:#?}");
    });
    for name in ["ingester-0", "ingester-2"] {
        whole(&cluster);
        cluster.kill(name);
        settle(&cluster, &format!("repaired, without {name}"), &checker);
        let marks = checker.marks(&cluster.api("querier-0", "t"));
        assert_eq!(marks, Vec::<String>::new(), "nothing is missing");
        cluster.restart(name);
    }
    no_panics(&cluster);
}

#[test]
fn damage_that_nobody_can_repair_is_named_by_answers() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan { factor: 1, ..Plan::default() });
    let push = |cluster: &Cluster, n: i64| {
        let service = format!("service-{}", n % 7);
        let labels = [("__name__", "process_cpu"), ("service_name", service.as_str())];
        let body = profile::cpu(now_ns() - 1_000_000_000 + n, &[(&["main"], 1000 + n)]);
        let answer = cluster.api("distributor-0", "t").push(&labels, &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        1000 + n
    };
    let sent: i64 = (0..300).map(|n| push(&cluster, n)).sum();
    let ask = |cluster: &Cluster| {
        let (now_ms, querier) = (now_ns() / 1_000_000, cluster.api("querier-0", "t"));
        let selector = "{service_name=~\"service-.*\"}";
        querier.series_total_marked(selector, now_ms - 300_000, now_ms + 60_000)
    };
    assert_eq!(ask(&cluster).unwrap(), (sent, None));
    for name in cluster.names(Role::Ingester) {
        cluster.kill(&name);
        let place = faults::flip_a_bit(&cluster.data_dir(&name));
        eprintln!("{name}: a flipped bit at {place}");
        cluster.restart(&name);
    }
    let answer = || ask(&cluster).is_ok();
    until("answers come", answer, || format!("{:?}", ask(&cluster)));
    let (got, mark) = ask(&cluster).unwrap();
    eprintln!("damage with one copy: {got} of {sent}, {mark:?}");
    assert!(got < sent && got > sent * 9 / 10, "{got} of {sent}: {mark:?}");
    let mark = mark.unwrap();
    assert!(mark.contains("damage") && mark.contains("segment"), "{mark}");
    // What was lost is known, and new profiles are taken.
    let more = push(&cluster, 300);
    let (now, mark) = ask(&cluster).unwrap();
    assert_eq!(now, got + more);
    assert!(mark.is_some());
    no_panics(&cluster);
}

#[test]
fn an_ingester_may_come_back_with_an_empty_disk() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan::default());
    let disk = |cluster: &Cluster| {
        std::fs::read_to_string(cluster.data_dir("ingester-1").join("ingester/disk-id")).unwrap()
    };
    let before = disk(&cluster);
    let checker = under_load(&mut cluster, "empty disk", Sending::Retrying, |cluster, checker| {
        cluster.kill("ingester-1");
        go_on(checker, 50);
        let dir = cluster.data_dir("ingester-1");
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::create_dir_all(&dir).unwrap();
        cluster.restart("ingester-1");
        go_on(checker, 50);
        let now = disk(cluster);
        assert_ne!(now, before);
        cluster.wait_ring("the new disk is a member", |ring| {
            let mut members = ring["members"].as_array().unwrap().iter();
            members.any(|member| member["disk"] == *now.trim() && member["roster_state"] == "active")
        });
    });
    // Each cell lets the old disk go once the new one has everything.
    let logs = || cluster.names(Role::Ingester).iter().map(|name| cluster.log(name)).collect::<String>();
    let removed = || logs().matches("ingester-1 is removed").count();
    until("the old disk is no member of any cell", || removed() >= 3, || removed().to_string());
    whole(&cluster);
    // Without another one, a quorum needs what the new member has.
    cluster.kill("ingester-0");
    settle(&cluster, "empty disk filled, another ingester gone", &checker);
    no_panics(&cluster);
}

/// Three zones with a network between them that can be cut; in zone `n` the processes whose number is `n`.
fn cluster_in_zones(zones: &Zones) -> Cluster {
    let mut cluster = Cluster::prepare(Plan::default());
    for role in [Role::Ingester, Role::Distributor, Role::Querier, Role::Compactor] {
        for (zone, name) in cluster.names(role).iter().enumerate() {
            cluster.place(name, &Zones::ip(zone), &zones.prefix(zone));
        }
    }
    cluster.launch_all();
    cluster
}

/// Cuts a zone off in each of the ways given, one after the other.
fn cut_off(test: &str, ways: &[&str]) {
    if !zones::inside(test) {
        return;
    }
    let zones = Zones::make(3);
    let mut cluster = cluster_in_zones(&zones);
    let checker = under_load(&mut cluster, test, Sending::Retrying, |_, checker| {
        for way in ways {
            if *way != "nothing comes in" {
                Zones::cut_from(1);
            }
            if *way != "nothing comes out" {
                Zones::cut_to(1);
            }
            let seen = checker.pushed();
            std::thread::sleep(fault_time());
            go_on(checker, 10);
            eprintln!("zone cut off, {way}: {} pushed meanwhile", checker.pushed() - seen);
            assert!(Zones::mend() > 0);
            go_on(checker, 50);
        }
    });
    whole(&cluster);
    cluster.kill("ingester-0");
    settle(&cluster, "zone is back, another one's ingester gone", &checker);
    no_panics(&cluster);
}

#[test]
fn a_zone_may_be_cut_off() {
    cut_off("a_zone_may_be_cut_off", &["both ways"]);
}

#[test]
fn a_zone_may_be_cut_off_in_one_direction() {
    cut_off("a_zone_may_be_cut_off_in_one_direction", &["nothing comes out", "nothing comes in"]);
}

#[test]
fn gossip_may_lose_datagrams() {
    if !zones::inside("gossip_may_lose_datagrams") {
        return;
    }
    let zones = Zones::make(3);
    let mut cluster = cluster_in_zones(&zones);
    let checker = under_load(&mut cluster, "a tenth of gossip lost", Sending::Retrying, |_, checker| {
        Zones::lose_udp(0.1);
        std::thread::sleep(fault_time() * 3);
        go_on(checker, 50);
        let lost = Zones::mend();
        eprintln!("a tenth of gossip lost: {lost} datagrams");
        assert!(lost > 0);
    });
    assert_eq!(checker.tries_max(), 1, "{}", checker.report());
    no_panics(&cluster);
}

/// Of a process, what it has refused so far.
fn refused(cluster: &Cluster, name: &str) -> f64 {
    let strangers = |reason: &str| {
        cluster.metric(name, &format!("hearth_internode_strangers_total{{reason=\"{reason}\"}}"))
    };
    ["garbage", "silent", "cluster", "protocol", "member", "malformed"]
        .iter()
        .map(|reason| strangers(reason))
        .sum()
}

#[test]
fn garbage_on_every_port_is_refused_and_counted() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan::default());
    let checker = under_load(&mut cluster, "garbage", Sending::Retrying, |cluster, _| {
        for role in [Role::Ingester, Role::Distributor, Role::Querier, Role::Compactor] {
            for name in cluster.names(role) {
                let (ip, [listen, internal, gossip]) = cluster.ports(&name);
                faults::garble_tcp(&ip, listen);
                if role == Role::Ingester {
                    let before = refused(cluster, &name);
                    faults::garble_tcp(&ip, internal);
                    let counted = || refused(cluster, &name) >= before + 3.0;
                    until("garbage is counted", counted, || refused(cluster, &name).to_string());
                }
                let undecodable = || cluster.metric(&name, "hearth_gossip_datagrams_undecodable_total");
                let before = undecodable();
                let sent = faults::garble_udp(&ip, gossip) as f64;
                let counted = || undecodable() >= before + sent;
                until("datagrams are counted", counted, || {
                    format!("{sent} sent, {}", undecodable() - before)
                });
                // An ingester that begins to lead just then replays its log first.
                until("still ready", || ready(cluster, &name) == "ready", || ready(cluster, &name));
            }
        }
    });
    assert_eq!(checker.tries_max(), 1, "{}", checker.report());
    no_panics(&cluster);
}

#[test]
fn a_member_of_another_cluster_is_refused() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan::default());
    let strays =
        [cluster.add(Role::Ingester, 3), cluster.add(Role::Querier, 3), cluster.add(Role::Distributor, 3)];
    under_load(&mut cluster, "another cluster's members", Sending::Retrying, |cluster, checker| {
        for stray in &strays {
            cluster.set_args(stray, &["--cluster.id", "another"]);
            cluster.launch(stray);
        }
        std::thread::sleep(fault_time());
        go_on(checker, 50);
        for stray in &strays {
            let why = ready(cluster, stray);
            eprintln!("another cluster's member {stray}: {}", why.trim());
            assert!(why.starts_with("not ready"), "{why}");
        }
        let counted = || cluster.metric(&strays[0], "hearth_gossip_datagrams_other_cluster_total");
        until("another cluster's gossip is counted", || counted() > 0.0, || counted().to_string());
        let ring = cluster.ring("distributor-0");
        let members = ring["members"].as_array().unwrap();
        assert!(
            !members.iter().any(|member| strays.iter().any(|stray| member["instance"] == **stray)),
            "{ring:#}"
        );
        strays.iter().for_each(|stray| cluster.kill(stray));
    });
    no_panics(&cluster);
}

#[test]
fn a_storm_of_retries_counts_once() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan::default());
    let checker = under_load(&mut cluster, "hedged", Sending::Hedged, |cluster, checker| {
        for name in ["ingester-0", "distributor-1", "ingester-2"] {
            go_on(checker, 20);
            cluster.kill(name);
            std::thread::sleep(fault_time() / 2);
            cluster.restart(name);
        }
    });
    whole(&cluster);
    cluster.kill("ingester-1");
    checker.push_again(&cluster.apis(Role::Distributor, "t"));
    settle(&cluster, "pushed again after a leader died", &checker);
    cluster.restart("ingester-1");
    cluster.flush();
    checker.push_again(&cluster.apis(Role::Distributor, "t"));
    settle(&cluster, "pushed again after a flush", &checker);
    let duplicates = cluster.names(Role::Ingester);
    let duplicates = duplicates.iter().map(|name| cluster.metric(name, "hearth_ingester_duplicates_total"));
    assert!(duplicates.sum::<f64>() >= checker.pushed() as f64);
    no_panics(&cluster);
}

/// Says at its end, also of a failure, that something is over.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn ingesters_may_die_while_they_publish() {
    let _turn = turn();
    let config = format!("{OPEN_LIMITS}compactor:\n  interval: 1s\n");
    let mut cluster = Cluster::start(Plan { config, ..Plan::default() });
    let checker = under_load(&mut cluster, "flushes and kills", Sending::Retrying, |cluster, _| {
        let clients = cluster.names(Role::Ingester).into_iter().map(|name| cluster.api(&name, ""));
        let clients: Vec<_> = clients.collect();
        let done = AtomicBool::new(false);
        let done_now = || done.load(Ordering::SeqCst);
        std::thread::scope(|scope| {
            for client in &clients {
                scope.spawn(|| {
                    while !done_now() {
                        // One that is being killed does not answer, and one that was just started has nothing yet.
                        let _ = client.post("/flush", "application/json", b"");
                        std::thread::sleep(Duration::from_secs(1) / 4);
                    }
                });
            }
            let _end = End(&done);
            for name in ["ingester-0", "ingester-1", "ingester-2", "ingester-0", "ingester-1"] {
                std::thread::sleep(fault_time() / 2);
                cluster.kill(name);
                std::thread::sleep(fault_time() / 4);
                cluster.restart(name);
            }
        });
    });
    let names = cluster.names(Role::Ingester);
    let cuts: f64 = names.iter().map(|name| cluster.metric(name, "hearth_ingester_cuts_total")).sum();
    assert!(cuts > 5.0, "{cuts} cuts since the last kills");
    cluster.flush();
    settle(&cluster, "flushed", &checker);
    no_panics(&cluster);
}
