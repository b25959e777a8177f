//! Tables of programs that the compilers of this machine make; a compiler that is missing is skipped, and said so.
#![allow(clippy::print_stderr, reason = "says what is skipped")]

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use hearth_symbols::{BuildLimits, Frame, LineTable, build, build_id_of};

const C: &str = r"
static inline __attribute__((always_inline)) int innermost(int n) {
  volatile int sum = n;
  for (int i = 0; i < n; i++) sum += i * n;
  return sum;
}
static inline __attribute__((always_inline)) int middle(int n) { return innermost(n) + 1; }
__attribute__((noinline)) int outer(int n) {
  return middle(n) * 2;
}
int main(int argc, char **argv) { (void)argv; return outer(argc) & 1; }
";

const CPP: &str = r"
#include <vector>
namespace shop {
template <typename T> struct Cart {
  std::vector<T> items;
  __attribute__((noinline)) int total(int more) { int sum = more; for (T item : items) sum += item; return sum; }
};
}
int main(int argc, char **) { shop::Cart<int> cart; cart.items.push_back(argc); return cart.total(argc) & 1; }
";

const RUST: &str = r"
#[inline(always)] fn innermost(n: u64) -> u64 { std::hint::black_box(n).wrapping_mul(3) }
#[inline(never)] fn outer(n: u64) -> u64 { innermost(n) ^ n }
fn main() { std::process::exit((outer(std::env::args().count() as u64) & 1) as i32) }
";

const GO: &str = r#"
package main

import "os"

//go:noinline
func outer(n int) int {
	sum := 0
	for i := 0; i < n; i++ {
		sum += i * n
	}
	return sum
}

func main() { os.Exit(outer(len(os.Args)) & 1) }
"#;

/// Compiles; `None` when the compiler is missing.
fn compile(folder: &Path, source: (&str, &str), command: &[&str]) -> Option<Vec<u8>> {
    std::fs::write(folder.join(source.0), source.1).expect("written");
    let output =
        Command::new(command[0]).args(&command[1..]).current_dir(folder).env("GO111MODULE", "off").output();
    let Ok(output) = output else {
        eprintln!("skipped: {} is missing", command[0]);
        return None;
    };
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(std::fs::read(folder.join("program")).expect("compiled"))
}

fn table(elf: &[u8]) -> LineTable {
    LineTable::open(Bytes::from(build(elf, &BuildLimits::default()).expect("has symbols"))).expect("valid")
}

/// What binutils say of addresses: for each the frames, innermost first, as function and line.
fn addr2line(program: &Path, addresses: &[u64]) -> Option<Vec<Vec<(String, u32)>>> {
    let hex: Vec<String> = addresses.iter().map(|address| format!("{address:#x}")).collect();
    let output = Command::new("addr2line").args(["-a", "-f", "-i", "-e"]).arg(program).args(&hex).output();
    let Ok(output) = output else {
        eprintln!("skipped: addr2line is missing");
        return None;
    };
    let text = String::from_utf8(output.stdout).expect("text");
    let mut out: Vec<Vec<(String, u32)>> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            out.push(Vec::new());
            continue;
        }
        let place = lines.next().expect("a place for each function");
        let number = place.rsplit(':').next().expect("a part").split(' ').next().expect("a part");
        out.last_mut().expect("an address first").push((line.to_owned(), number.parse().unwrap_or(0)));
    }
    Some(out)
}

/// All addresses of the code of a function, by the symbol table.
fn addresses_of(program: &Path, name: &str) -> Vec<u64> {
    let output = Command::new("nm").arg("-S").arg(program).output().expect("binutils");
    let text = String::from_utf8(output.stdout).expect("text");
    let line = text.lines().find(|line| line.split(' ').nth(3).is_some_and(|found| found.contains(name)));
    let mut numbers = line.expect("the symbol").split(' ').map(|hex| u64::from_str_radix(hex, 16));
    let mut number = || numbers.next().expect("a field").expect("hex");
    let (start, size) = (number(), number());
    (start..start + size).collect()
}

/// Every address of a function must have the frames that binutils find.
fn agrees(folder: &Path, elf: &[u8], function: &str) -> Vec<String> {
    let program = folder.join("program");
    let table = table(elf);
    assert!(table.sources().dwarf);
    let addresses = addresses_of(&program, function);
    let Some(known) = addr2line(&program, &addresses) else { return Vec::new() };
    let mut deepest = Vec::new();
    for (address, known) in addresses.iter().zip(known) {
        let found: Vec<(String, u32)> =
            table.find(*address).map(|frame| (frame.system_name.to_owned(), frame.line)).collect();
        assert_eq!(found, known, "{address:#x}");
        let names: Vec<String> = table.find(*address).map(|frame| frame.function.to_owned()).collect();
        if names.len() > deepest.len() {
            deepest = names;
        }
    }
    deepest
}

#[test]
fn c_with_inlined_calls() {
    let folder = tempfile::tempdir().expect("a folder");
    for more in ["-gdwarf-4", "-gdwarf-5", "-gz=zlib"] {
        let command = ["cc", "-g", more, "-O2", "-Wl,--build-id", "-o", "program", "a.c"];
        let Some(elf) = compile(folder.path(), ("a.c", C), &command) else { return };
        let deepest = agrees(folder.path(), &elf, "outer");
        assert!(deepest.is_empty() || deepest == ["innermost", "middle", "outer"], "{more}: {deepest:?}");
        let id = build_id_of(&elf).expect("ELF").expect("has one");
        assert_eq!(id.as_str().len(), 40);
    }
}

#[test]
fn cpp_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let command = ["c++", "-g", "-O2", "-o", "program", "a.cc"];
    let Some(elf) = compile(folder.path(), ("a.cc", CPP), &command) else { return };
    let deepest = agrees(folder.path(), &elf, "total");
    assert!(deepest.is_empty() || deepest.last().expect("one") == "shop::Cart<int>::total", "{deepest:?}");
}

#[test]
fn rust_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let command = ["rustc", "-g", "-O", "-o", "program", "a.rs"];
    let Some(elf) = compile(folder.path(), ("a.rs", RUST), &command) else { return };
    let deepest = agrees(folder.path(), &elf, "outer");
    assert!(deepest.is_empty() || deepest.last().expect("one") == "a::outer", "{deepest:?}");
}

#[test]
fn stripped_programs_have_names_where_symbols_are_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let command = ["cc", "-O2", "-rdynamic", "-o", "program", "a.c"];
    let Some(elf) = compile(folder.path(), ("a.c", C), &command) else { return };
    let address = addresses_of(&folder.path().join("program"), "outer")[2];
    let strip = |file: &str| {
        let status = Command::new("strip").arg(file).arg("program").current_dir(folder.path()).status();
        assert!(status.expect("binutils").success());
        std::fs::read(folder.path().join("program")).expect("there")
    };
    for bytes in [elf, strip("--strip-all")] {
        let table = table(&bytes);
        assert!(!table.sources().dwarf && table.sources().symbols);
        let want = Frame { function: "outer", system_name: "outer", file: "", line: 0, start_line: 0 };
        assert_eq!(table.find(address).collect::<Vec<_>>(), [want]);
    }
}

#[test]
fn files_of_debug_information_alone_answer_as_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let command = ["cc", "-g", "-O2", "-o", "program", "a.c"];
    let Some(elf) = compile(folder.path(), ("a.c", C), &command) else { return };
    let addresses = addresses_of(&folder.path().join("program"), "outer");
    let status = Command::new("objcopy")
        .args(["--only-keep-debug", "program", "program.debug"])
        .current_dir(folder.path())
        .status();
    assert!(status.expect("binutils").success());
    let debug = std::fs::read(folder.path().join("program.debug")).expect("there");
    assert_eq!(build_id_of(&debug).expect("ELF"), build_id_of(&elf).expect("ELF"));
    let tables = [table(&elf), table(&debug)];
    // Code of a program that is linked as here begins at its first page but one, in the file and in memory.
    let (page, start) = (0x1000, 0x7f12_3456_7000);
    for address in addresses {
        let [program, debug] = tables.each_ref().map(|table| {
            let found = table.virtual_address(start + (address - page), start, start + page, page);
            assert_eq!(found, address);
            table.find(found).map(|frame| (frame.function.to_owned(), frame.line)).collect::<Vec<_>>()
        });
        assert!(!program.is_empty());
        assert_eq!(program, debug, "{address:#x}");
    }
}

#[test]
fn go_without_debug_information() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = ["go", "build", "-o", "program", "a.go"];
    let Some(elf) = compile(folder.path(), ("a.go", GO), &whole) else { return };
    let dwarf = table(&elf);
    let addresses = addresses_of(&folder.path().join("program"), "main.outer");
    let stripped = ["go", "build", "-ldflags=-s -w", "-o", "program", "a.go"];
    let elf = compile(folder.path(), ("a.go", GO), &stripped).expect("as before");
    let table = table(&elf);
    assert!(dwarf.sources().dwarf && !table.sources().dwarf && table.sources().pclntab);
    // The same code in both: nothing of it is inlined.
    for address in addresses {
        let frames = |table: &LineTable| {
            table.find(address).map(|frame| (frame.function.to_owned(), frame.line)).collect::<Vec<_>>()
        };
        assert_eq!(frames(&table), frames(&dwarf), "{address:#x}");
        let frame = table.find(address).next().expect("known");
        assert_eq!((frame.function, frame.start_line), ("main.outer", 7));
        assert!(frame.file.ends_with("a.go"), "{frame:?}");
    }
}

#[test]
fn damaged_programs_give_an_error_or_a_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let command = ["cc", "-g", "-O2", "-o", "program", "a.c"];
    let Some(elf) = compile(folder.path(), ("a.c", C), &command) else { return };
    let limits = BuildLimits { max_inflated_bytes: 1 << 24, ..BuildLimits::default() };
    let mut state = 7u64;
    for round in 0..400 {
        let mut bytes = elf.clone();
        for _ in 0..1 + round % 8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] ^= 1 << ((state >> 20) & 7);
        }
        if round % 5 == 0 {
            bytes.truncate((state >> 33) as usize % bytes.len());
        }
        if let Ok(table) = build(&bytes, &limits) {
            let table = LineTable::open(Bytes::from(table)).expect("what was built is valid");
            let (first, last) = table.addresses();
            (first..last.min(first + 5000)).for_each(|address| _ = table.find(address).count());
        }
    }
}

#[test]
fn limits_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let command = ["cc", "-g", "-O2", "-gz=zlib", "-o", "program", "a.c"];
    let Some(elf) = compile(folder.path(), ("a.c", C), &command) else { return };
    let refused = |change: fn(&mut BuildLimits)| {
        let mut limits = BuildLimits::default();
        change(&mut limits);
        build(&elf, &limits).expect_err("over a limit").to_string()
    };
    assert!(refused(|limits| limits.max_file_bytes = 100).contains("the limit is 100"));
    assert!(refused(|limits| limits.max_inflated_bytes = 50).contains("inflated sections"));
    assert!(refused(|limits| limits.max_ranges = 10).contains("limit of 10"));
    assert!(refused(|limits| limits.max_table_bytes = 100).contains("limit of 100"));
    assert!(
        build(b"no program", &BuildLimits::default()).expect_err("no ELF").to_string().contains("no ELF")
    );
}
