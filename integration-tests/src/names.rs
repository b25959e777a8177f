//! A DNS server of a few names, for programs that ask one again while they run.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// Names and their addresses. Answers as long as the test program lives.
#[derive(Debug, Clone)]
pub struct Names {
    /// Where it listens.
    pub address: SocketAddr,
    known: Arc<Mutex<BTreeMap<String, Vec<Ipv4Addr>>>>,
}

impl Names {
    /// Starts it on a free port of an address.
    pub fn start(ip: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).expect("a free port");
        let names = Self { address: socket.local_addr().expect("bound"), known: Arc::default() };
        let known = Arc::clone(&names.known);
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut question) {
                let known = known.lock().expect("not poisoned");
                if let Some(answer) = answer(&question[..length], &known) {
                    drop(socket.send_to(&answer, client));
                }
            }
        });
        names
    }

    /// Sets the addresses of a name.
    pub fn set(&self, name: &str, addresses: Vec<Ipv4Addr>) {
        self.known.lock().expect("not poisoned").insert(name.to_owned(), addresses);
    }
}

/// The answer to a question about one name; none to what is no such question.
fn answer(question: &[u8], known: &BTreeMap<String, Vec<Ipv4Addr>>) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).into_owned());
        at += length;
    }
    let asks_for_v4 = question.get(at..at + 2)? == [0, 1];
    let addresses = known.get(&labels.join(".")).filter(|_| asks_for_v4);
    let count = addresses.map_or(0, Vec::len) as u16;
    let status = if known.contains_key(&labels.join(".")) { 0x80 } else { 0x83 };
    let mut out = question.get(..2)?.to_vec();
    out.extend([0x81, status, 0, 1]);
    out.extend(count.to_be_bytes());
    out.extend([0; 4]);
    out.extend(question.get(12..at + 4)?);
    for address in addresses.into_iter().flatten() {
        // The name of the question, A, IN, one second.
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}
