//! The sandbox process of a pod: holds its namespaces, reaps orphans when it is process 1 of a shared process namespace,
//! and ends at SIGTERM or SIGINT. Built statically, it is the whole pause image.

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
};

fn main() {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals.thread_block().expect("signals of the own thread can be blocked");
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => reap(),
            Ok(_) => return,
            Err(Errno::EINTR) => {}
            Err(error) => panic!("sigwait: {error}"),
        }
    }
}

fn reap() {
    while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
}
