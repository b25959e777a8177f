//! The store seen from outside: checks find damage, a lost root is made again, and another server serves the bucket alone.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use hearth_integration_tests::process::{Options, binary};
use hearth_integration_tests::{Api, Hearth, profile};

const SERVICES: i64 = 3;
const ROUNDS: i64 = 20;

/// Output of `hearth admin bucket …` on a store, and whether it succeeded.
fn bucket(store: &Path, args: &[&str]) -> (bool, String) {
    let url = format!("file://{}", store.display());
    let output = Command::new(binary())
        .args(["admin", "bucket"])
        .args(args)
        .args(["--object-store", &url])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

fn sound(store: &Path, args: &[&str]) -> String {
    let (success, text) = bucket(store, args);
    assert!(success, "{args:?}: {text}");
    text
}

fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
}

fn spoil(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Pushes a load that is flushed twice on the way; returns a range around it.
fn push(api: &Api) -> (i64, i64) {
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    for round in 0..ROUNDS {
        for service in 0..SERVICES {
            let stacks: &[(&[&str], i64)] = &[(&["main", "work"], 1000 + round), (&["main", "idle"], 7)];
            let body = profile::gzip(&profile::cpu(now_ns + round * 1_000_000, stacks));
            let service = format!("svc-{service}");
            let labels = [("__name__", "process_cpu"), ("service_name", service.as_str())];
            assert_eq!(api.push(&labels, &body).unwrap().status, 200);
        }
        if round % 10 == 9 {
            api.flush();
        }
    }
    (now_ns / 1_000_000 - 1000, now_ns / 1_000_000 + 60_000)
}

fn newest_root(store: &Path) -> PathBuf {
    let mut roots = Vec::new();
    files(&store.join("t/acme/root"), &mut roots);
    roots.into_iter().max().unwrap()
}

#[test]
fn damage_is_found_a_lost_root_is_made_again_and_the_bucket_alone_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(&dir.path().join("data"));
    let server = Hearth::start(&options);
    let api = server.api("acme");
    let (start, end) = push(&api);
    let total = SERVICES * (0..ROUNDS).map(|round| 1007 + round).sum::<i64>();
    assert_eq!(api.total("{}", start, end), Ok(total));
    let store = options.data_dir.join("store");

    // Beside a running server.
    let listed = sound(&store, &["ls"]);
    let profiles = (SERVICES * ROUNDS).to_string();
    assert!(listed.lines().any(|line| line.starts_with("acme") && line.contains(&profiles)), "{listed}");
    let verified = sound(&store, &["verify"]);
    assert!(verified.contains("2 blocks") && verified.contains("sound"), "{verified}");
    let inspected = sound(&store, &["inspect", "--tenant", "acme"]);
    assert!(inspected.contains("svc-0 … svc-2"), "{inspected}");
    let (success, text) = bucket(&store, &["rebuild-root", "--tenant", "acme", "--write"]);
    assert!(!success && text.contains("nothing to rebuild"), "{text}");
    let (success, text) = bucket(&store, &["ls", "--tenant", "nobody"]);
    assert!(!success && text.contains("no tenant 'nobody'"), "{text}");
    let (success, text) = bucket(&dir.path().join("typo"), &["ls"]);
    assert!(!success && text.contains("no folder") && !dir.path().join("typo").exists(), "{text}");
    server.stop();

    // Each object of each block, one after the other.
    let mut objects = Vec::new();
    files(&store.join("t/acme/blocks"), &mut objects);
    assert!(objects.len() >= 6, "{objects:?}");
    for object in &objects {
        spoil(object);
        let (success, text) = bucket(&store, &["verify", "--tenant", "acme"]);
        let folder = object.parent().unwrap().file_name().unwrap().to_str().unwrap();
        assert!(
            !success && text.matches("DAMAGED").count() == 1 && text.contains(folder),
            "{object:?}: {text}"
        );
        let (success, text) = bucket(&store, &["verify", "--block-memory", "1kB"]);
        assert!(!success && text.contains("does not have its checksum") && text.contains(folder), "{text}");
        assert!(sound(&store, &["verify", "--quick"]).contains("sound"), "a listing does not see it");
        spoil(object);
    }
    assert!(sound(&store, &["verify"]).contains("sound"));
    assert!(sound(&store, &["verify", "--block-memory", "1kB"]).contains("sound"), "read in parts");

    let root = newest_root(&store);
    spoil(&root);
    let (success, text) = bucket(&store, &["verify"]);
    assert!(!success && text.contains(root.file_name().unwrap().to_str().unwrap()), "{text}");
    let shown = sound(&store, &["rebuild-root", "--tenant", "acme"]);
    assert!(shown.contains("would write") && newest_root(&store) == root, "{shown}");
    let made = sound(&store, &["rebuild-root", "--tenant", "acme", "--write"]);
    assert!(made.contains(&format!("2 blocks with {profiles} profiles")), "{made}");
    assert_ne!(newest_root(&store), root);

    // Another server, which has nothing but the bucket.
    let config = format!("{}object_store: file://{}\n", options.config, store.display());
    let other = Options { config, ..Options::new(&dir.path().join("other")) };
    let server = Hearth::start(&other);
    let api = server.api("acme");
    assert_eq!(api.total("{}", start, end), Ok(total));
    assert_eq!(api.total("{service_name=\"svc-1\"}", start, end), Ok(total / SERVICES));
    let (start_again, end_again) = push(&api);
    assert_eq!(api.total("{}", start.min(start_again), end.max(end_again)), Ok(2 * total));
    server.stop();
    // The damaged version is found until it is collected, unless it is further back.
    assert!(sound(&store, &["verify"]).contains("sound"));
}
