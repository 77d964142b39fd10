//! `load PORTS RATE STOP`: a steady load on the toy backend, RATE requests a second or as many as the machine has time for,
//! until the file STOP is there and one second's requests are sent: logins, tokens that were just given, on other
//! connections, and tokens from before, kept in use. Where an instance does not take a connection, the next one of PORTS is
//! asked, as a balancer does. Prints what came of it.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const THREADS: u32 = 16;
const TIMEOUT: Duration = Duration::from_secs(5);
const LOGIN: &str = r#"{"user":"smoke","password":"let-me-in"}"#;

#[derive(Default)]
struct Shared {
    /// Tokens from before the load.
    old: Vec<String>,
    /// The last ones that were given.
    fresh: Vec<String>,
    sent: u64,
    failures: Vec<String>,
    slowest: Duration,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ports: Vec<u16> = arguments[0].split(',').map(|port| port.parse().unwrap()).collect();
    let rate: u32 = arguments[1].parse().unwrap();
    let stop = arguments[2].clone();
    let old = (0..8).map(|number| login(&ports, number).unwrap()).collect::<Vec<_>>();
    let shared = Arc::new(Mutex::new(Shared { fresh: old.clone(), old, ..Shared::default() }));
    let every = Duration::from_secs(1) * THREADS / rate;
    let began = Instant::now();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (ports, stop, shared) = (ports.clone(), stop.clone(), Arc::clone(&shared));
            thread::spawn(move || {
                let mut due = began + every * thread / THREADS;
                let mut number = thread as usize;
                while !Path::new(&stop).exists() || shared.lock().unwrap().sent < u64::from(rate) {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    due += every;
                    number += THREADS as usize + 1;
                    request(&ports, number, &shared);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let shared = shared.lock().unwrap();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{{\"sent\": {}, \"failed\": {}, \"per_second\": {:.0}, \"slowest_ms\": {}, \"failures\": {:?}}}",
        shared.sent,
        shared.failures.len(),
        shared.sent as f64 / seconds,
        shared.slowest.as_millis(),
        shared.failures.iter().take(10).collect::<Vec<_>>()
    );
}

fn request(ports: &[u16], number: usize, shared: &Mutex<Shared>) {
    let began = Instant::now();
    let came = match number % 3 {
        0 => login(ports, number).map(Some),
        kind => {
            let token = {
                let shared = shared.lock().unwrap();
                let tokens = if kind == 1 { &shared.fresh } else { &shared.old };
                tokens[number % tokens.len()].clone()
            };
            ask(ports, number, &format!("GET /api/me HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n")).map(|_| None)
        }
    };
    let mut shared = shared.lock().unwrap();
    shared.sent += 1;
    shared.slowest = shared.slowest.max(began.elapsed());
    match came {
        Ok(Some(token)) => {
            shared.fresh.push(token);
            if shared.fresh.len() > 50 {
                shared.fresh.remove(0);
            }
        }
        Ok(None) => {}
        Err(error) => {
            let what = ["login", "fresh token", "old token"][number % 3];
            shared.failures.push(format!("{what}: {error}"));
        }
    }
}

fn login(ports: &[u16], number: usize) -> io::Result<String> {
    let length = LOGIN.len();
    let answer =
        ask(ports, number, &format!("POST /api/auth/login HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{LOGIN}"))?;
    let token = answer.split('"').nth(3).ok_or_else(|| io::Error::other(answer.clone()))?;
    Ok(token.to_owned())
}

/// The body of an answer 200.
fn ask(ports: &[u16], number: usize, request: &str) -> io::Result<String> {
    let mut last = io::Error::other("no port");
    for turn in 0..ports.len() {
        match ask_one(ports[(number + turn) % ports.len()], request) {
            // What was never answered at all may be asked of another one.
            Err(error) if ports.len() > 1 => last = error,
            came => return came.and_then(|answer| body(&answer)),
        }
    }
    Err(last)
}

fn ask_one(port: u16, request: &str) -> io::Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() { Err(io::Error::other("no answer")) } else { Ok(answer) }
}

fn body(answer: &str) -> io::Result<String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.contains(" 200 ") { Ok(body.to_owned()) } else { Err(io::Error::other(status.to_owned())) }
}
