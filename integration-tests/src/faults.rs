//! What disks and strangers do to a process: a small file system, failing fsyncs, a flipped bit, garbage on ports.
//!
//! Needs root and a tool each; who uses one asks first whether it can be had.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::shared;

/// Whether this is root and a program is there; else a note says that the test is skipped.
pub fn can(program: &str) -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    if id.stdout.trim_ascii() != b"0" {
        shared::skipped(&format!("{program} needs root"));
        return false;
    }
    let mut look = Command::new("sh");
    look.args(["-c", "command -v \"$0\"", program]).stdout(Stdio::null()).stderr(Stdio::null());
    let there = look.status().expect("sh runs").success();
    if !there {
        shared::skipped(&format!("{program} is not installed"));
    }
    there
}

/// Runs a command that must succeed.
pub fn run(command: &[&str]) {
    let output = Command::new(command[0]).args(&command[1..]).output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A file system of a few MiB in memory; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it; `None`, with a note, where that is not allowed.
    pub fn mount(at: &Path, mib: u32) -> Option<Self> {
        if !can("mount") {
            return None;
        }
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        let mounted = mounted.expect("mount runs");
        if !mounted.status.success() {
            shared::skipped(&format!("no tmpfs: {}", String::from_utf8_lossy(&mounted.stderr)));
            return None;
        }
        Some(Self(at.to_owned()))
    }

    /// Makes it larger.
    pub fn enlarge(&self, mib: u32) {
        run(&["mount", "-o", &format!("remount,size={mib}m"), &self.0.to_string_lossy()]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is not gone yet may still hold files.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// System calls of a process fail until this is dropped.
#[derive(Debug)]
pub struct FailingCalls(Child);

impl FailingCalls {
    /// Attaches to a process. `calls`: names with commas; `how`: as strace's `inject` says, such as `error=EIO`.
    pub fn inject(pid: u32, calls: &str, how: &str) -> Self {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-p", &pid.to_string()]);
        strace.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{how}")]);
        let child = strace.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("strace runs");
        Self(child)
    }
}

impl Drop for FailingCalls {
    fn drop(&mut self) {
        // Not SIGKILL: it has to let go of the process.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Flips a bit in the middle of the largest segment of an ingester's log; says where.
pub fn flip_a_bit(data_dir: &Path) -> String {
    let segments = std::fs::read_dir(data_dir.join("ingester/wal")).expect("a log");
    let paths = segments.map(|entry| entry.expect("readable").path());
    let segment = paths.max_by_key(|path| path.metadata().expect("readable").len()).expect("a segment");
    let mut bytes = std::fs::read(&segment).expect("readable");
    let at = bytes.len() / 2;
    bytes[at] ^= 0x10;
    std::fs::write(&segment, bytes).expect("written");
    format!("byte {at} of {}", segment.display())
}

/// What is no request of anybody: noise, a request that never ends, another protocol, a frame that promises too much.
pub fn garbage() -> Vec<Vec<u8>> {
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |len: usize| -> Vec<u8> {
        let mut next = || {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise as u8
        };
        (0..len).map(|_| next()).collect()
    };
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    vec![
        random(1),
        random(64),
        random(60_000),
        vec![0; 4096],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"POST /push.v1.PusherService/Push HTTP/1.1\r\ncontent-length: 18446744073709551615\r\n\r\n".to_vec(),
        [b"GET /".to_vec(), vec![b'a'; 50_000]].concat(),
        [preface.clone(), random(500)].concat(),
        // A frame of 16 MiB, then nothing of it.
        [preface.clone(), vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat(),
        // Settings, then headers whose block is garbage.
        [preface, vec![0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 64, 1, 4, 0, 0, 0, 1], random(64)].concat(),
    ]
}

/// Sends garbage to a TCP port, a connection each; whatever is answered.
pub fn garble_tcp(ip: &str, port: u16) {
    for bytes in garbage() {
        let Ok(mut stream) = TcpStream::connect((ip, port)) else { panic!("{ip}:{port} does not listen") };
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("settable");
        // It may be cut off on the way.
        let _ = stream.write_all(&bytes);
        let _ = stream.read(&mut [0; 1024]);
    }
}

/// Sends garbage to a UDP port; says how many datagrams.
pub fn garble_udp(ip: &str, port: u16) -> u64 {
    let socket = UdpSocket::bind((ip, 0)).expect("a free port");
    let datagrams = garbage();
    for bytes in &datagrams {
        socket.send_to(bytes, (ip, port)).expect("sent");
    }
    datagrams.len() as u64
}
