//! Flags: those that every binary has, those of processes of a cluster, and from flags to settings.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser};
use hearth_cluster::gossip::Role;
use hearth_settings::{Layers, Loaded};

use crate::error::NodeError;

/// A flag's name for errors, the key that it sets, and its text.
pub(crate) type Assignment = (String, String, String);

/// Settings come from defaults, then the file, then variables `HEARTH_…`, then these flags.
#[derive(Debug, Clone, Default, Args)]
pub struct CommonArgs {
    /// Address and port to listen on [default: 127.0.0.1:4040]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Folder for everything that must survive a restart [default: hearth-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Tell tenants apart by the header X-Scope-OrgID
    #[arg(long)]
    pub multitenancy: bool,
    /// YAML file with settings; `hearth config --defaults` prints one with all keys
    #[arg(long, value_name = "FILE", env = "HEARTH_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where published blocks live: file:///path, s3://bucket/prefix, gs://…, az://… [default: DIR/store]
    #[arg(long, value_name = "URL")]
    pub object_store: Option<String>,
    /// error, warn, info, debug, trace, or module=level pairs [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// text, json or logfmt [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Memory that a merge of blocks takes at most, by estimate (compactors) [default: 512MiB]
    #[arg(long = "compactor.memory-budget", value_name = "SIZE")]
    pub compactor_memory_budget: Option<String>,
    /// Any setting by its key, such as limits.ingestion_rate_mb=100; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl CommonArgs {
    /// Settings from all layers: file, environment, flags.
    pub fn load(&self) -> Result<Loaded, NodeError> {
        self.load_with(Vec::new())
    }

    /// With further flags; `--set` wins over all of them.
    pub(crate) fn load_with(&self, further: Vec<Assignment>) -> Result<Loaded, NodeError> {
        let path = |path: &PathBuf| Path::to_string_lossy(path).into_owned();
        let mut flags = assignments([
            ("--listen", "listen", self.listen.clone()),
            ("--data-dir", "data_dir", self.data_dir.as_ref().map(path)),
            ("--multitenancy", "multitenancy", self.multitenancy.then(|| "true".to_owned())),
            ("--object-store", "object_store", self.object_store.clone()),
            ("--log-level", "log.level", self.log_level.clone()),
            ("--log-format", "log.format", self.log_format.clone()),
            ("--compactor.memory-budget", "compactor.memory_budget", self.compactor_memory_budget.clone()),
        ]);
        flags.extend(further);
        for pair in &self.set {
            let (key, value) = pair.split_once('=').ok_or_else(|| NodeError::Set(pair.clone()))?;
            flags.push(("--set".to_owned(), key.to_owned(), value.to_owned()));
        }
        // What is no text is never a setting that works, and may belong to others.
        let text = |os: OsString| os.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        let layers = Layers { file: self.config.clone(), environment, flags };
        Ok(layers.load()?)
    }
}

/// Flags of a process that is one of a cluster.
#[derive(Debug, Clone, Default, Parser)]
#[command(version)]
pub struct RoleArgs {
    /// What every process has.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Name of this process, unique in the cluster and stable over restarts [default: the host's name]
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub instance_id: Option<String>,
    /// Where it runs: machines of one zone may fail together, so copies go to distinct zones
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub zone: Option<String>,
    /// On how many disks each profile is kept, 1 to 3; decided when the cluster begins [default: 3]
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    pub replication_factor: Option<String>,
    /// Address and UDP port of gossip, by which processes find each other [default: 0.0.0.0:7946]
    #[arg(long = "gossip.listen", value_name = "ADDRESS:PORT", help_heading = "Cluster")]
    pub gossip_listen: Option<String>,
    /// Some processes of the cluster; several with commas, or the flag several times. A name stands for all its addresses
    #[arg(long = "gossip.seeds", value_name = "HOST:PORT", help_heading = "Cluster")]
    pub gossip_seeds: Vec<String>,
    /// Name of the cluster: processes with another one are refused [default: hearth]
    #[arg(long = "cluster.id", value_name = "NAME", help_heading = "Cluster")]
    pub cluster_id: Option<String>,
    /// Address and port for calls between roles [default: the address of --listen, any free port]
    #[arg(long = "cluster.listen", value_name = "ADDRESS:PORT", help_heading = "Cluster")]
    pub cluster_listen: Option<String>,
    /// IP address that others reach this process under [default: the one of --listen, or of the route to the seeds]
    #[arg(long = "cluster.advertise", value_name = "IP", help_heading = "Cluster")]
    pub cluster_advertise: Option<String>,
    /// Queries leave out what no ingester answers for, and say so, in place of failing (queriers)
    #[arg(long = "querier.allow-partial", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Cluster")]
    pub querier_allow_partial: Option<String>,
    /// Folder on a local disk for parts of blocks that were read before (queriers) [default: none]
    #[arg(long = "querier.disk-cache", value_name = "FOLDER", help_heading = "Cluster")]
    pub querier_disk_cache: Option<String>,
    /// Queriers read blocks of large queries for each other (queriers) [default: true]
    #[arg(long = "querier.share-blocks", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Cluster")]
    pub querier_share_blocks: Option<String>,
    /// Queries of fewer blocks are not shared (queriers) [default: 16]
    #[arg(long = "querier.share-blocks-min", value_name = "N", help_heading = "Cluster")]
    pub querier_share_blocks_min: Option<String>,
    /// Queries that are expected to read less of blocks are not shared (queriers) [default: 16MiB]
    #[arg(long = "querier.share-bytes-min", value_name = "SIZE", help_heading = "Cluster")]
    pub querier_share_bytes_min: Option<String>,
    /// Certificates on all calls between roles, both ways; the same in all processes
    #[arg(long = "cluster.tls.enabled", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Cluster")]
    pub cluster_tls_enabled: Option<String>,
    /// Certificate of this process, PEM, for server and client
    #[arg(long = "cluster.tls.cert-file", value_name = "FILE", help_heading = "Cluster")]
    pub cluster_tls_cert_file: Option<String>,
    /// Its private key, PEM
    #[arg(long = "cluster.tls.key-file", value_name = "FILE", help_heading = "Cluster")]
    pub cluster_tls_key_file: Option<String>,
    /// The authorities that sign certificates of the cluster, PEM
    #[arg(long = "cluster.tls.ca-file", value_name = "FILE", help_heading = "Cluster")]
    pub cluster_tls_ca_file: Option<String>,
    /// DNS name that every certificate of the cluster carries [default: hearth-cluster]
    #[arg(long = "cluster.tls.server-name", value_name = "NAME", help_heading = "Cluster")]
    pub cluster_tls_server_name: Option<String>,
}

/// What `--help` says about a program.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// The role that it has.
    pub role: Role,
    /// What it is called.
    pub program: &'static str,
    /// In one line.
    pub about: &'static str,
    /// In one paragraph.
    pub long_about: &'static str,
    /// How it is started.
    pub example: &'static str,
}

impl RoleArgs {
    /// Reads the command line of a program; ends the process with a message if it is wrong, or asks for help.
    pub fn parse_for(about: &About) -> Self {
        let matches = Self::command_for(about).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    fn command_for(about: &About) -> clap::Command {
        let store = "Where published blocks live, the same for all processes of the cluster: file:///path, \
                     s3://bucket/prefix, gs://…, az://…";
        let data = if about.role == Role::Ingester {
            "Folder of the write-ahead log; it must survive restarts [default: hearth-data]"
        } else {
            "Accepted by every role; this one keeps nothing in it"
        };
        Self::command()
            .name(about.program)
            .about(about.about)
            .long_about(about.long_about)
            .after_help(format!("Example:\n  {}", about.example))
            .mut_arg("object_store", |arg| arg.help(store))
            .mut_arg("data_dir", |arg| arg.help(data))
    }

    /// Settings from all layers: file, environment, flags.
    pub fn load(&self) -> Result<Loaded, NodeError> {
        let seeds = (!self.gossip_seeds.is_empty()).then(|| self.gossip_seeds.join(","));
        self.common.load_with(assignments([
            ("--instance-id", "instance_id", self.instance_id.clone()),
            ("--zone", "zone", self.zone.clone()),
            ("--replication-factor", "replication_factor", self.replication_factor.clone()),
            ("--gossip.listen", "gossip.listen", self.gossip_listen.clone()),
            ("--gossip.seeds", "gossip.seeds", seeds),
            ("--cluster.id", "cluster.id", self.cluster_id.clone()),
            ("--cluster.listen", "cluster.listen", self.cluster_listen.clone()),
            ("--cluster.advertise", "cluster.advertise", self.cluster_advertise.clone()),
            ("--querier.allow-partial", "querier.allow_partial", self.querier_allow_partial.clone()),
            ("--querier.disk-cache", "querier.disk_cache", self.querier_disk_cache.clone()),
            ("--querier.share-blocks", "querier.share_blocks", self.querier_share_blocks.clone()),
            ("--querier.share-blocks-min", "querier.share_blocks_min", self.querier_share_blocks_min.clone()),
            ("--querier.share-bytes-min", "querier.share_bytes_min", self.querier_share_bytes_min.clone()),
            ("--cluster.tls.enabled", "cluster.tls.enabled", self.cluster_tls_enabled.clone()),
            ("--cluster.tls.cert-file", "cluster.tls.cert_file", self.cluster_tls_cert_file.clone()),
            ("--cluster.tls.key-file", "cluster.tls.key_file", self.cluster_tls_key_file.clone()),
            ("--cluster.tls.ca-file", "cluster.tls.ca_file", self.cluster_tls_ca_file.clone()),
            ("--cluster.tls.server-name", "cluster.tls.server_name", self.cluster_tls_server_name.clone()),
        ]))
    }
}

/// The flags that were given.
pub(crate) fn assignments<const N: usize>(named: [(&str, &str, Option<String>); N]) -> Vec<Assignment> {
    let given =
        named.into_iter().filter_map(|(flag, key, value)| Some((flag.to_owned(), key.to_owned(), value?)));
    given.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About = About {
        role: Role::Ingester,
        program: "hearth-ingester",
        about: "Keeps profiles.",
        long_about: "Keeps profiles for long.",
        example: "hearth-ingester --zone a",
    };

    fn parse(line: &str) -> Result<hearth_settings::Settings, String> {
        let words = std::iter::once("hearth-ingester").chain(line.split_whitespace());
        let matches = RoleArgs::command_for(&ABOUT).try_get_matches_from(words).map_err(|e| e.to_string())?;
        let args = RoleArgs::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        args.load().map(|loaded| loaded.settings).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_of_a_cluster_set_their_keys() {
        let settings = parse(
            "--listen 10.0.0.1:4040 --data-dir /d --object-store s3://b/p --multitenancy --zone z --instance-id i \
             --replication-factor 2 --gossip.listen 10.0.0.1:7 --gossip.seeds a:1,b:2 --gossip.seeds c:3 \
             --cluster.id x --cluster.listen 10.0.0.1:0 --cluster.advertise 10.0.0.9 --set cluster.replace_after=5m",
        )
        .expect("valid");
        assert_eq!(settings.listen, "10.0.0.1:4040");
        assert_eq!((settings.data_dir.to_str(), settings.object_store.as_str()), (Some("/d"), "s3://b/p"));
        assert!(settings.multitenancy);
        assert_eq!((settings.zone.as_str(), settings.instance_id.as_str()), ("z", "i"));
        assert_eq!(settings.replication_factor, 2);
        assert_eq!((settings.gossip.listen.as_str(), settings.gossip.seeds.len()), ("10.0.0.1:7", 3));
        assert_eq!(settings.gossip.seeds, ["a:1", "b:2", "c:3"]);
        assert_eq!((settings.cluster.id.as_str(), settings.cluster.listen.as_str()), ("x", "10.0.0.1:0"));
        assert_eq!(
            (settings.cluster.advertise.as_str(), settings.cluster.replace_after.0.as_secs()),
            ("10.0.0.9", 300)
        );
    }

    #[test]
    fn mistakes_name_the_flag() {
        let error = parse("--replication-factor many").expect_err("no number");
        assert!(error.starts_with("--replication-factor: 'many' does not fit"), "{error}");
        let error = parse("--gossip.seeds nowhere").expect_err("no port");
        assert!(error.contains("gossip.seeds"), "{error}");
        assert!(parse("--gossip.seed a:1").expect_err("unknown").contains("--gossip.seeds"));
        assert_eq!(parse("--set zone").expect_err("no value"), "--set zone: write KEY=VALUE");
    }

    #[test]
    fn help_says_what_the_role_does() {
        let help = RoleArgs::command_for(&ABOUT).render_long_help().to_string();
        for part in [
            "Keeps profiles for long.",
            "--gossip.seeds",
            "--data-dir",
            "write-ahead log",
            "hearth-ingester --zone a",
        ] {
            assert!(help.contains(part), "{part}:\n{help}");
        }
        RoleArgs::command_for(&ABOUT).debug_assert();
    }
}
