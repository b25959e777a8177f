//! The `hearth-compactor` binary.

use std::process::ExitCode;

use hearth_node::{About, Role};

hearth_node::allocator!();

const ABOUT: About = About {
    role: Role::Compactor,
    program: "hearth-compactor",
    about: "Looks after published data: merges blocks, removes what is too old, collects what nothing names any more.",
    long_about: "Looks after the published data of a Hearth cluster: merges the small blocks of a day into fewer and larger \
                 ones, removes blocks that are older than a tenant keeps them, and deletes objects that nothing names any \
                 more. It works on the object store alone and keeps nothing itself; several divide the work.",
    example: "hearth-compactor --object-store s3://profiles/hearth --listen 0.0.0.0:4040 \\\n    --gossip.seeds hearth-gossip:7946",
};

fn main() -> ExitCode {
    hearth_node::main(&ABOUT, async |node| hearth_compactor::process::start(node))
}
