//! The stand-ins as a program, for machines that tests boot: `platforms 9001 VALUE` listens on four ports from there on, in
//! the order Vercel, Netlify, Render, Railway, whose variables have that value at first.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;

#[path = "mod.rs"]
mod platforms;

use platforms::{Fake, Kind};

fn main() {
    let first: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("a port");
    let value = std::env::args().nth(2).expect("a value");
    for (port, kind) in (first..).zip(Kind::ALL) {
        Fake::listen(kind, TcpListener::bind(("127.0.0.1", port)).expect("a free port")).begin_with(&value);
    }
    loop {
        std::thread::park();
    }
}
