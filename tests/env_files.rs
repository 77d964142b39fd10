//! The corpus of env files against the readers that every Debian has: systemd's units, pam_env, dash and bash.

#![allow(clippy::unwrap_used)]

use crate::support;

use std::collections::BTreeMap;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::{Debian, Machine};

#[path = "env-files/corpus.rs"]
mod corpus;
use corpus::{Case, KEY, VALUE};

/// Every so many cases of the corpus are read again.
const SAMPLE: usize = 31;
const UNIT: &str = "[Service]\nType=oneshot\nEnvironmentFile=/cases/%i\nExecStart=/usr/bin/cat /proc/self/environ\nStandardOutput=truncate:/read/%i.unit\n";
const READ: &str = r#"cd /cases
systemctl start $(ls | sed 's/.*/read@&.service/') 2>/dev/null || true
for file in *; do
    echo "/cases/$file" | read-libraries pam | cut -f2 >"/read/$file.pam"
    for shell in dash bash; do
        env -i TLAB=TV "$shell" -c 'set -a; PATH=/nowhere; . "$1"; exec /usr/bin/env -0' sh "/cases/$file" >"/read/$file.$shell" 2>/dev/null || true
    done
done
cd /read && for file in *; do echo "$file $(base64 -w0 <"$file")"; done"#;

/// What a reader has for each name.
type Read = BTreeMap<Vec<u8>, Vec<u8>>;

support::on_both_debians! {
    fn the_readers_of_this_debian_read_what_the_corpus_says_before_and_after_our_edit(debian) {
        let all = corpus::cases();
        let sample: Vec<&Case> = all.iter().filter(|case| !case.edits.is_empty()).step_by(SAMPLE).collect();
        let helper = libraries();
        let mut builder = Machine::on(debian).bare().file("/usr/local/bin/read-libraries", 0o755, helper)
            .file("/etc/systemd/system/read@.service", 0o644, UNIT).file("/read/none", 0o644, "");
        for (number, case) in sample.iter().enumerate() {
            builder = builder.file(&format!("/cases/{number}"), 0o644, &case.text);
            for (edit, text) in case.edits.iter().filter_map(|edit| Some((edit, case.edited(edit)?))) {
                builder = builder.file(&format!("/cases/{number}-{}", edit.dialects), 0o644, text);
            }
        }
        let read = everything(&builder.boot().sh(READ));
        let mut compared = 0;
        for (number, case) in sample.iter().enumerate() {
            for (how, dialect, letter) in readers(debian) {
                let before = read.get(&format!("{number}.{how}")).cloned().unwrap_or_default();
                if let Some(wanted) = case.read_by(letter) {
                    assert_eq!(before.get(KEY.as_bytes()).map(Vec::as_slice), wanted, "{how}: {}", case.shown());
                }
                for edit in case.edits.iter().filter(|edit| edit.dialects.contains(dialect) && case.edited(edit).is_some()) {
                    let mut after = read[&format!("{number}-{}.{how}", edit.dialects)].clone();
                    assert_eq!(after.insert(KEY.into(), Vec::new()).as_deref(), Some(VALUE.as_bytes()), "{how}: {}", case.shown());
                    let mut others = before.clone();
                    others.insert(KEY.into(), Vec::new());
                    assert_eq!(after, others, "{how}: {}", case.shown());
                    compared += 1;
                }
            }
        }
        assert!(compared > 100, "{compared}");
    }
}

/// By name of the output, the dialect's initial, and the reader's letter in the corpus.
fn readers(debian: Debian) -> [(&'static str, char, char); 4] {
    let (unit, pam) = if debian == Debian::Twelve { ('s', 'p') } else { ('S', 'P') };
    [("unit", 's', unit), ("pam", 'p', pam), ("dash", 'h', 'a'), ("bash", 'h', 'b')]
}

/// Reads env files by PAM itself, as `tests/env-files/record` has it.
fn libraries() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (source, made) = (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/env-files/libraries.c"), dir.path().join("read"));
    let built = Command::new("cc").args(["-O1", "-o"]).arg(&made).args([source, "-ldl"]).status();
    assert!(built.unwrap().success(), "cc and libc6-dev are needed: tests/setup installs them");
    std::fs::read(made).unwrap()
}

fn everything(output: &str) -> BTreeMap<String, Read> {
    let outputs = output.lines().filter_map(|line| line.split_once(' '));
    outputs
        .map(|(name, text)| {
            let text = STANDARD.decode(text).unwrap();
            let entries = if name.ends_with(".pam") {
                let words = std::str::from_utf8(&text).unwrap().split_whitespace();
                words.filter(|word| *word != "!").map(|word| hex::decode(word).unwrap()).collect()
            } else {
                text.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect::<Vec<_>>()
            };
            (name.to_owned(), entries.iter().filter_map(|entry| assignment(entry)).collect())
        })
        .collect()
}

/// Of systemd's own variables and a shell's there are others each time.
fn assignment(entry: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let equals = entry.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (entry[..equals].to_vec(), entry[equals + 1..].to_vec());
    let own: [&[u8]; 8] =
        [b"INVOCATION_ID", b"SYSTEMD_EXEC_PID", b"JOURNAL_STREAM", b"PATH", b"PWD", b"_", b"SHLVL", b"OLDPWD"];
    (!own.contains(&name.as_slice()) && !name.starts_with(b"MEMORY_PRESSURE")).then_some((name, value))
}
