//! The `hearth-distributor` binary.

use std::process::ExitCode;

use hearth_node::{About, Role};

hearth_node::allocator!();

const ABOUT: About = About {
    role: Role::Distributor,
    program: "hearth-distributor",
    about: "Takes pushed profiles, checks them, and sends them to ingesters.",
    long_about: "Takes pushed profiles for a Hearth cluster: SDKs and Grafana Alloy push at it. It checks each profile \
                 against the limits of its tenant, normalises it, and sends it to the ingesters that keep it; a push is \
                 answered once the profile is on as many disks as the cluster promises. It keeps nothing itself: run as \
                 many as the load needs, behind any load balancer.",
    example: "hearth-distributor --object-store s3://profiles/hearth --listen 0.0.0.0:4040 --zone eu-1a \\\n    --gossip.seeds hearth-gossip:7946 --multitenancy",
};

fn main() -> ExitCode {
    hearth_node::main(&ABOUT, async |node| hearth_distributor::process::start(node))
}
