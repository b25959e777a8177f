//! A network of zones: each has a namespace, an address and a cable of its own to the test, which forwards between them and
//! can cut, in one direction or both, and lose.
//!
//! The test itself runs in a namespace that only it has, so that nothing of this can be seen from outside, and nothing is
//! left when it ends.

use std::process::{Child, Command, Stdio};

use crate::faults::{can, run};
use crate::shared;

/// Set for the test program that runs inside.
const INSIDE: &str = "HEARTH_INSIDE_NAMESPACE";

/// Runs a test of this program in a network namespace of its own. True: this is inside, go on. False: it ran, or was
/// skipped; it must have succeeded.
pub fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        run(&["ip", "link", "set", "lo", "up"]);
        return true;
    }
    if !["unshare", "nsenter", "ip", "iptables"].into_iter().all(can) {
        return false;
    }
    if !Command::new("unshare").args(["--net", "true"]).status().is_ok_and(|status| status.success()) {
        shared::skipped("no network namespaces");
        return false;
    }
    let program = std::env::current_exe().expect("a test has a path");
    let mut again = Command::new("unshare");
    again.arg("--net").arg(program).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    assert!(again.status().expect("unshare runs").success(), "{test} failed inside its namespace");
    false
}

/// The zones; gone when dropped.
#[derive(Debug)]
pub struct Zones(Vec<Child>);

impl Zones {
    /// Makes them. Only [`inside`].
    pub fn make(count: usize) -> Self {
        let zones = (0..count).map(make).collect();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("root");
        Self(zones)
    }

    /// The address of a zone.
    pub fn ip(zone: usize) -> String {
        format!("10.77.{zone}.2")
    }

    /// What begins a command that runs in a zone.
    pub fn prefix(&self, zone: usize) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/proc/{}/ns/net", self.0[zone].id())]
    }

    /// Drops everything that a zone sends to other zones.
    pub fn cut_from(zone: usize) {
        run(&["iptables", "-A", "FORWARD", "-s", &Self::ip(zone), "-j", "DROP"]);
    }

    /// Drops everything that other zones send to a zone.
    pub fn cut_to(zone: usize) {
        run(&["iptables", "-A", "FORWARD", "-d", &Self::ip(zone), "-j", "DROP"]);
    }

    /// Loses a part of all datagrams between zones.
    pub fn lose_udp(part: f64) {
        let part = part.to_string();
        let lose = ["-m", "statistic", "--mode", "random", "--probability", &part, "-j", "DROP"];
        run(&[&["iptables", "-A", "FORWARD", "-p", "udp"], &lose[..]].concat());
    }

    /// Nothing is cut or lost any more. Says how many packets were.
    pub fn mend() -> u64 {
        let listed = Command::new("iptables").args(["-nvxL", "FORWARD"]).output().expect("it runs");
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let dropped = text.lines().filter(|line| line.contains("DROP"));
        let packets = dropped.filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok()).sum();
        run(&["iptables", "-F", "FORWARD"]);
        packets
    }
}

fn make(zone: usize) -> Child {
    // A namespace lives as long as a process in it; this one ends with the test, whose end of the pipe closes.
    let mut holder = Command::new("unshare");
    let ready = ["--net", "sh", "-c", "ip link set lo up && echo ready && cat"];
    let mut holder =
        holder.args(ready).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare runs");
    let mut line = [0; 6];
    std::io::Read::read_exact(holder.stdout.as_mut().expect("piped"), &mut line).expect("it is ready");
    let pid = holder.id().to_string();
    let (near, far) = (format!("near{zone}"), format!("far{zone}"));
    run(&["ip", "link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &pid]);
    run(&["ip", "addr", "add", &format!("10.77.{zone}.1/24"), "dev", &near]);
    run(&["ip", "link", "set", &near, "up"]);
    let there = format!("--net=/proc/{pid}/ns/net");
    let address = format!("{}/24", Zones::ip(zone));
    run(&["nsenter", &there, "ip", "addr", "add", &address, "dev", &far]);
    run(&["nsenter", &there, "ip", "link", "set", &far, "up"]);
    run(&["nsenter", &there, "ip", "route", "add", "default", "via", &format!("10.77.{zone}.1")]);
    holder
}

impl Drop for Zones {
    fn drop(&mut self) {
        for holder in &mut self.0 {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}
