//! The `hearth-ingester` binary.

use std::process::ExitCode;

use hearth_node::{About, Role};

hearth_node::allocator!();

const ABOUT: About = About {
    role: Role::Ingester,
    program: "hearth-ingester",
    about: "Makes profiles durable and queryable at once, and publishes them to the object store.",
    long_about: "Makes profiles durable for a Hearth cluster: each one is in the write-ahead logs of several ingesters, in \
                 distinct zones if there are enough, before its push is answered, and queries see it from then on. Every \
                 few minutes what came in is published to the object store as blocks. It needs a disk that survives \
                 restarts, a name that stays, and its zone. SIGTERM publishes everything and hands over; its disk must be \
                 kept all the same.",
    example: "hearth-ingester --data-dir /data --instance-id ingester-0 --zone eu-1a --replication-factor 3 \\\n    --object-store s3://profiles/hearth --listen 0.0.0.0:4040 --gossip.seeds hearth-gossip:7946",
};

fn main() -> ExitCode {
    hearth_node::main(&ABOUT, async |node| hearth_ingester::process::start(node))
}
