//! Tests of lanes.

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpListener;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::ThreadId;
use std::time::Instant;

use super::*;

/// A connection that tells its thread, and lasts until it hears of its end.
fn told(
    threads: &SyncSender<ThreadId>,
    end: Receiver<()>,
) -> impl Future<Output = ()> + Send + use<> {
    let threads = threads.clone();
    async move {
        threads.send(std::thread::current().id()).unwrap();
        let _ = end.recv();
    }
}

#[test]
fn each_connection_has_a_thread_to_itself_and_threads_are_used_again() {
    let lanes = Arc::new(Lanes::default());
    let (sender, threads) = sync_channel(LANES_MAX);
    let mut ends = Vec::new();
    for _ in 0..LANES_MAX {
        let (end, ended) = channel();
        lanes.free().unwrap().serve(told(&sender, ended));
        ends.push(end);
    }
    let seen: HashSet<ThreadId> = threads.iter().take(LANES_MAX).collect();
    assert_eq!(seen.len(), LANES_MAX);
    assert!(lanes.free().is_none(), "all are taken");
    ends.pop();
    let lane = loop {
        match lanes.free() {
            Some(lane) => break lane,
            None => std::thread::yield_now(),
        }
    };
    let (end, ended) = channel();
    lane.serve(told(&sender, ended));
    assert!(seen.contains(&threads.recv().unwrap()));
    drop((end, ends));
}

#[test]
fn a_lane_that_is_taken_and_not_used_ends() {
    let lanes = Arc::new(Lanes::default());
    drop(lanes.free().unwrap());
    while lanes.lock().count > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn work_hears_that_its_client_is_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    let own_thread = OwnThread::of(&server).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let work = own_thread.watched(Cancellation::new());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(30) {
        assert!(work.check().is_ok(), "it is there");
    }
    // What was sent is read first, as a server does.
    assert!(std::io::Read::read(&mut &server, &mut [0; 64]).unwrap() > 0);
    drop(client);
    while work.check().is_ok() {}
}
