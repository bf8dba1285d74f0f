//! `stickler dev` as a person uses it: started, tried out, interrupted.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A running `stickler dev`. When the test fails it is told to end what it has started.
struct Dev {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Dev {
    /// Starts it with its temporary directory below `directory`.
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_stickler"))
            .arg("dev")
            .args(arguments)
            .env("TMPDIR", directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    /// What is printed up to the first line with `wanted` in it.
    fn read_until(&mut self, wanted: &str) -> String {
        let mut text = String::new();
        while !text.lines().next_back().is_some_and(|line| line.contains(wanted)) {
            let read = self.output.read_line(&mut text).unwrap();
            assert!(read > 0, "it ended without {wanted:?}: {text}");
        }
        text
    }

    /// The processes that it has started, with their command lines.
    fn children(&self) -> BTreeMap<u32, String> {
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            (parent_of(id)? == self.process.id()).then_some(id)
        });
        processes.filter_map(|id| Some((id, command_line(id)?))).collect()
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            self.send(Signal::TERM);
            let _ = self.process.wait();
        }
    }
}

fn parent_of(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // the name of the program comes before, and may hold anything
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn command_line(id: u32) -> Option<String> {
    let arguments = fs::read(format!("/proc/{id}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&arguments).replace('\0', " "))
}

/// Adds an item to the cart of the session "me", or just looks at it; the answer's body.
fn cart(node: &str, item: Option<&str>) -> serde_json::Value {
    let (method, body) = match item {
        Some(item) => ("POST", format!("item={item}")),
        None => ("GET", String::new()),
    };
    let length = body.len();
    let request = format!(
        "{method} /api/cart HTTP/1.1\r\nHost: {node}\r\nX-Session: me\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(node).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn a_cluster_to_try_out_serves_and_ctrl_c_ends_all_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(directory.path(), &[]);
    let introduction = dev.read_until("Ctrl-C ends all of it");
    let nodes: Vec<&str> = introduction
        .lines()
        .filter_map(|line| line.trim().strip_prefix("node-")?.split("http://").nth(1))
        .map(|address| address.trim_end_matches('/'))
        .collect();
    assert_eq!(nodes.len(), 3, "{introduction}");
    assert!(introduction.contains(directory.path().to_str().unwrap()), "{introduction}");

    let children = dev.children();
    let of_kind = |kind: &str| children.values().filter(|line| line.contains(kind)).count();
    assert_eq!((of_kind(" run "), of_kind(" demo-shop ")), (3, 3), "{children:?}");

    let filled = cart(nodes[0], Some("tea"));
    for node in &nodes {
        let shown = cart(node, None);
        assert_eq!((&shown["backend"], &shown["items"]), (&filled["backend"], &filled["items"]));
    }

    dev.send(Signal::INT);
    assert!(dev.process.wait().unwrap().success());
    let mut rest = String::new();
    dev.output.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("had to be killed"), "{rest}");
    for (id, line) in children {
        assert_ne!(command_line(id), Some(line), "process {id} is left");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "files are left");
}

#[test]
fn a_process_that_is_killed_by_hand_is_named_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let named = directory.path().join("named");
    let arguments = ["--nodes", "1", "--backends", "2", "--directory", named.to_str().unwrap()];
    let mut dev = Dev::start(directory.path(), &arguments);
    dev.read_until("Ctrl-C ends all of it");
    let shop = dev.children().into_iter().find(|(_, line)| line.contains("shop-1")).unwrap().0;
    kill_process(Pid::from_raw(shop.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    let told = dev.read_until("demo-shop");
    assert!(told.contains("shop-1 ended (signal: 9"), "{told}");
    assert_eq!(dev.children().len(), 2);

    dev.send(Signal::TERM);
    assert!(dev.process.wait().unwrap().success());
    for file in ["cluster.toml", "node-1/node.toml", "node-1/data", "logs/node-1.log", "logs/shop-2.log"] {
        assert!(named.join(file).exists(), "{file}");
    }
}

#[test]
fn an_interrupt_before_the_cluster_is_up_leaves_nothing_either() {
    let directory = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(directory.path(), &[]);
    dev.read_until("Starting");
    let is_started = |line: &&String| line.contains(" run ") || line.contains(" demo-shop ");
    let children = loop {
        let children = dev.children();
        if children.values().filter(is_started).count() == 6 {
            break children;
        }
        std::thread::yield_now();
    };
    dev.send(Signal::INT);
    assert!(dev.process.wait().unwrap().success());
    for (id, line) in children {
        assert_ne!(command_line(id), Some(line), "process {id} is left");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "files are left");
}

#[test]
fn arguments_that_make_no_sense_are_a_usage_error_and_nothing_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let full = directory.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "x").unwrap();
    for arguments in [
        &["--check", "--nodes", "2"][..],
        &["--check", "--backends", "1"],
        &["--nodes", "0"],
        &["--directory", full.to_str().unwrap()],
    ] {
        let mut dev = Dev::start(directory.path(), arguments);
        assert_eq!(dev.process.wait().unwrap().code(), Some(2), "{arguments:?}");
    }
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
}
