//! The rules of env files, each held against what real parsers read.

use proptest::prelude::*;

use super::*;

mod corpus;

const NEW: &str = "f00df00df00df00df00df00df00df00d";

fn value(text: &str) -> SecretValue {
    SecretValue::new(text.as_bytes().to_vec())
}

fn read(text: &str, dialect: Dialect) -> Result<Option<String>, Refusal> {
    let found = value_of(text.as_bytes(), "K", dialect)?;
    Ok(found.map(|value| String::from_utf8(value.reveal().to_vec()).unwrap()))
}

fn replaced(text: &str, dialect: Dialect) -> Result<String, Refusal> {
    let edited = replace(text.as_bytes(), "K", &value(NEW), dialect)?;
    Ok(String::from_utf8(edited.text.to_vec()).unwrap())
}

#[test]
fn what_people_have_is_understood() {
    let plain = "# The backend.\n\nPORT=3000\nDATABASE_URL=postgres://u:p@db:5432/app?sslmode=disable\nK=abc\n# end";
    for dialect in Dialect::ALL {
        assert_eq!(read(plain, dialect).unwrap().as_deref(), Some("abc"), "{dialect}");
        let wanted = plain.replace("K=abc", &format!("K={NEW}"));
        assert_eq!(replaced(plain, dialect).unwrap(), wanted, "{dialect}");
    }
    let node =
        "APP_NAME=My App # shown\nNOTE=\"a 'quoted' #1\"\nPEM=\"-----BEGIN\nMIIE\n-----END\"\nexport K='abc' # old\n";
    assert_eq!(replaced(node, Dialect::Dotenv).unwrap(), node.replace("abc", NEW));
    let crlf = "A=1\r\nK=\"abc\"\r\nB=2\r\n";
    assert_eq!(replaced(crlf, Dialect::Dotenv).unwrap(), crlf.replace("abc", NEW));
    let script = "#!/bin/sh\nset -a\nA=\"$HOME/x\":${B:-y}/z\nC=$(hostname); export C\nK='abc'; export K\n";
    assert_eq!(replaced(script, Dialect::Shell).unwrap(), script.replace("abc", NEW));
    let unit = "; old\nnonsense\nA=\"x \\\"y\\\"\"\nOPTIONS=--one \\\n  --two='\n'\nK=\"abc\"\n";
    assert_eq!(replaced(unit, Dialect::Systemd).unwrap(), unit.replace("abc", NEW));
}

#[test]
fn what_is_not_certain_is_refused_with_its_place() {
    let refused = |text: &str, dialect: Dialect, at: (usize, usize), words: &str| {
        let refusal = replaced(text, dialect).map(|text| panic!("{dialect}: {text:?}")).unwrap_err();
        assert_eq!(refusal.at(), Some(at), "{dialect} {text:?}: {refusal}");
        assert!(refusal.to_string().contains(words), "{refusal}");
        assert!(!refusal.to_string().contains("pa55"), "it cites the file: {refusal}");
    };
    refused("K=pa55\nA=1\nK=pa55\n", Dialect::Dotenv, (3, 1), "assigned again, after line 1");
    refused("export K=pa55\n", Dialect::Systemd, (1, 1), "remove the word");
    refused("export K=pa55\n", Dialect::Docker, (1, 1), "remove the word");
    refused("K=pa55 # note\n", Dialect::Docker, (1, 7), "line of its own");
    refused("K=pa55\r\n", Dialect::Pam, (1, 7), "dos2unix");
    refused("A=\"pa55\nB=1\nK=pa55\n", Dialect::Systemd, (1, 3), "not closed");
    refused("A=\"pa55\nK=pa55\n\"\n", Dialect::Dotenv, (2, 1), "inside of another value");
    refused("A=1\n  \n# pa55\nK=pa55\n", Dialect::Dotenv, (2, 1), "node takes this line for a part of the next key");
    refused(" # A='pa55\nK=pa55\n", Dialect::Dotenv, (1, 1), "takes this comment for an assignment");
    refused("A=1\n\tK=pa55\n", Dialect::Dotenv, (2, 1), "node takes this tab");
    refused("# pa55 \\\nK=pa55\n", Dialect::Systemd, (1, 8), "some versions of systemd join");
    refused("A=pa55\nB=\0\nK=pa55\n", Dialect::Systemd, (2, 3), "reads no further");
    refused("A=1\nK\n", Dialect::Docker, (2, 2), "without a value");
    refused("K =pa55\n", Dialect::Pam, (1, 2), "remove the blank");
    refused("K=pa55 -x\n", Dialect::Shell, (1, 7), "runs a command");
    refused("K=pa55$x\n", Dialect::Dotenv, (1, 7), "something else");
    let missing = replaced("A=1\n", Dialect::Dotenv).unwrap_err();
    assert_eq!(missing.to_string(), "K is not in the file: have it appended");
}

#[test]
fn what_stands_in_another_value_is_not_ours() {
    let pem = "A=\"x\nK=no\ny\"\nMY_K=no\nK_OLD=no\n# K=no\nB=K=no\nK=abc\n";
    for dialect in [Dialect::Dotenv, Dialect::Systemd, Dialect::Compose, Dialect::Shell] {
        assert_eq!(replaced(pem, dialect).unwrap(), pem.replace("abc", NEW), "{dialect}");
    }
}

#[test]
fn a_line_that_is_too_long_for_the_reader_is_refused() {
    for (dialect, length) in [(Dialect::Pam, 1100), (Dialect::Docker, 66_000)] {
        let text = format!("A={}\nK=abc\n", "x".repeat(length));
        assert!(replaced(&text, dialect).unwrap_err().to_string().contains("too long"), "{dialect}");
        assert!(replaced(&text, Dialect::Dotenv).is_ok());
    }
}

#[test]
fn a_key_is_added_in_a_line_of_its_own() {
    let added = |text: &str| {
        let edited = append(text.as_bytes(), "K", &value(NEW), Dialect::Dotenv).unwrap();
        (String::from_utf8(edited.text.to_vec()).unwrap(), edited.line)
    };
    assert_eq!(added(""), (format!("K={NEW}\n"), 1));
    assert_eq!(added("A=1"), (format!("A=1\nK={NEW}\n"), 2));
    assert_eq!(added("A=1\r\n"), (format!("A=1\r\nK={NEW}\r\n"), 2));
    assert!(append(b"K=1\n", "K", &value(NEW), Dialect::Dotenv).is_err());
    let hidden = append(b"A=1\n \n", "K", &value(NEW), Dialect::Dotenv).err().unwrap();
    assert!(hidden.to_string().starts_with("line 2, column 1: node takes this line"), "{hidden}");
}

#[test]
fn a_value_that_the_dialect_cannot_write_is_refused() {
    for (dialect, new) in
        [(Dialect::Dotenv, "a#b"), (Dialect::Pam, "a\\"), (Dialect::Shell, "a b"), (Dialect::Compose, "a$b")]
    {
        assert!(replace(b"K=old\n", "K", &value(new), dialect).is_err(), "{dialect} {new}");
    }
    assert!(replace(b"K=old\n", "K", &value("two\nlines"), Dialect::Systemd).is_err());
}

proptest! {
    /// Whatever is in the file: where it is edited at all, only the value's bytes are other ones, and it is read back.
    #[test]
    fn every_other_byte_is_kept(before in "[ -~\t\n]{0,60}", after in "[ -~\t\n]{0,60}", quote in "[\"']?") {
        let text = format!("{before}\nK={quote}old{quote}\n{after}");
        for dialect in Dialect::ALL {
            if let Ok(edited) = replaced(&text, dialect) {
                prop_assert_eq!(&edited, &text.replacen(&format!("\nK={quote}old"), &format!("\nK={quote}{NEW}"), 1));
                prop_assert_eq!(read(&edited, dialect).unwrap().unwrap(), NEW);
            }
        }
    }

    #[test]
    fn no_file_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..80)) {
        for dialect in Dialect::ALL {
            let _ = find(&text, "K", dialect);
        }
    }
}
