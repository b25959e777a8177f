//! The `hearth-querier` binary.

use std::process::ExitCode;

use hearth_node::{About, Role};

hearth_node::allocator!();

const ABOUT: About = About {
    role: Role::Querier,
    program: "hearth-querier",
    about: "Answers questions: flame graphs, series, labels, pprof.",
    long_about: "Answers all questions to a Hearth cluster: Grafana's Pyroscope data source is pointed at it. It reads \
                 published blocks from the object store, asks ingesters for exactly what is not published yet, and merges \
                 both; an answer is exact or says that it is not. It keeps nothing but caches: run as many as the load \
                 needs, behind any load balancer.",
    example: "hearth-querier --object-store s3://profiles/hearth --listen 0.0.0.0:4040 --zone eu-1a \\\n    --gossip.seeds hearth-gossip:7946 --multitenancy",
};

fn main() -> ExitCode {
    hearth_node::main(&ABOUT, async |node| hearth_querier::process::start(node))
}
