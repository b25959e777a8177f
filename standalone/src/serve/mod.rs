//! `hearth serve`: all roles in the frame that every process has.

mod roles;

use anyhow::Result;
use hearth_node::{CommonArgs, Node, Role};
use hearth_settings::{Loaded, Settings};

/// Settings from all layers.
pub(crate) fn load_settings(args: &CommonArgs) -> Result<Loaded> {
    Ok(args.load()?)
}

/// Runs the server until it is told to stop.
pub(crate) fn run(args: &CommonArgs) -> Result<()> {
    hearth_node::run(Role::Standalone, load_settings(args)?, serve)
}

async fn serve(settings: Settings) -> Result<()> {
    let mut node = Node::start(Role::Standalone, settings).await?;
    let running = roles::start(&mut node)?;
    Ok(node.run(running).await?)
}
