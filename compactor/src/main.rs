//! The `hearth-compactor` binary.

use std::process::ExitCode;

use hearth_node::{About, Role};

hearth_node::allocator!();

const ABOUT: About = About {
    role: Role::Compactor,
    program: "hearth-compactor",
    about: "Looks after published data: retention, and collection of what nothing names any more.",
    long_about: "Looks after the published data of a Hearth cluster: removes blocks that are older than a tenant keeps \
                 them, and deletes objects that nothing names any more. It works on the object store alone and keeps \
                 nothing itself; one is enough, several do no harm.",
    example: "hearth-compactor --object-store s3://profiles/hearth --listen 0.0.0.0:4040 \\\n    --gossip.seeds hearth-gossip:7946",
};

fn main() -> ExitCode {
    hearth_node::main(&ABOUT, async |node| hearth_compactor::process::start(node))
}
