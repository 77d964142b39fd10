//! For `tests/env-files/record`: what we make of env files, or what dotenvy reads; their paths on standard input.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::io::BufRead as _;
use std::path::Path;

use rekeyd::secret::SecretValue;
use rekeyd::text::env_file::{self, Dialect};

#[path = "new.rs"]
mod new;

fn main() {
    let dotenvy = std::env::args().nth(1).is_some_and(|which| which == "dotenvy");
    for line in std::io::stdin().lock().lines() {
        let path = line.unwrap();
        let name = Path::new(&path).file_name().unwrap().to_str().unwrap();
        let made = if dotenvy { read(&path) } else { edited(&std::fs::read(&path).unwrap()) };
        println!("{name}\t{made}");
    }
}

/// Each dialect that edits the file, with its new text in hexadecimal digits.
fn edited(text: &[u8]) -> String {
    let value = SecretValue::new(new::VALUE.as_bytes().to_vec());
    let edit = |dialect: &Dialect| {
        let found = env_file::find(text, new::KEY, *dialect).ok()?;
        let edit = if found.is_some() { env_file::replace } else { env_file::append };
        let edited = edit(text, new::KEY, &value, *dialect, None).ok()?;
        Some(format!("{dialect}={}", hex::encode(&*edited.text)))
    };
    Dialect::ALL.iter().filter_map(edit).collect::<Vec<_>>().join(" ")
}

fn read(path: &str) -> String {
    let hex = |(key, value): (String, String)| hex::encode(format!("{key}={value}"));
    let read = dotenvy::from_path_iter(path).and_then(|all| all.map(|one| one.map(hex)).collect::<Result<Vec<_>, _>>());
    read.map_or_else(|_| "!".to_owned(), |all| all.join(" "))
}
