//! A real S3 server for tests: moto, in a process of its own on a loopback port, where Python has it.
//!
//! Moto looks whether an object exists and writes it in two steps. So it is given one request at a time: races between our
//! requests are real, races inside of the server are not there.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hearth_common::{Clock, SystemClock};

/// The bucket that the server begins with.
pub const BUCKET: &str = "profiles";
/// How long the server may take to start.
const START_MAX: Duration = Duration::from_secs(60);

/// Ends with its standard input, so that nothing is left when a test is killed.
const SCRIPT: &str = r#"
import os, sys, threading
from werkzeug.serving import run_simple
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app

app = DomainDispatcherApplication(create_backend_app)
lock = threading.Lock()

def one_at_a_time(environ, start_response):
    with lock:
        return [b"".join(app(environ, start_response))]

threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
run_simple("127.0.0.1", int(sys.argv[1]), one_at_a_time, threaded=True, request_handler=MotoRequestHandler)
"#;

/// The server; killed when dropped.
#[derive(Debug)]
pub struct S3Server {
    child: Child,
    port: u16,
}

impl S3Server {
    /// Starts it; an error says why there is none.
    pub fn start() -> Result<Self, String> {
        let found = Command::new("python3").args(["-c", "import moto.server"]).output();
        if !found.is_ok_and(|found| found.status.success()) {
            return Err(
                "python3 has no moto (pip install 'moto[server]'): no S3 server to test with".to_owned()
            );
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.map_err(|error| error.to_string())?.port();
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT, &port.to_string()]).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| error.to_string())?;
        let server = Self { child, port };
        let clock = SystemClock::default();
        loop {
            match server.ask("PUT", &format!("/{BUCKET}")) {
                Ok(answer) if answer.contains(" 200 ") => return Ok(server),
                _ if clock.monotonic() > START_MAX => {
                    return Err(format!("moto does not answer within {START_MAX:?}"));
                }
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a client needs in its environment to use a server, or a proxy before it, at a port.
    pub fn environment(port: u16) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{port}")),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// Sends a request without a body; the whole answer as text.
    pub fn ask(&self, method: &str, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        // Moto tells services apart by what a signature names.
        let authorization = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: {authorization}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            self.port
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
