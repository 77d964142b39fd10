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
    let edited = replace(text.as_bytes(), "K", &value(NEW), dialect, None)?;
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
    refused("K=pa55 -x\n", Dialect::Shell, (1, 7), "for a command");
    refused("K=pa55$x\n", Dialect::Dotenv, (1, 7), "something else");
    refused("K=\"pa55\\\"w\"\n", Dialect::Systemd, (1, 8), "something else");
    refused("K=pa55\\w\n", Dialect::Systemd, (1, 7), "something else");
    refused("A=it's\nK=pa55\nB=it's\n", Dialect::Dotenv, (1, 5), "dotenvy takes this quote");
    refused("A=\"x\nK=no\ny\"\nK=pa55\n", Dialect::Dotenv, (2, 1), "inside of another value");
    refused("A=1 \\ \nK=pa55\n", Dialect::Pam, (1, 5), "joins this line");
    assert!(read("A=1\n\u{c}K=pa55\n", Dialect::Systemd).unwrap().is_none());
    assert!(read("A=1\nK\u{c}=pa55\n", Dialect::Systemd).unwrap().is_none());
    let missing = replaced("A=1\n", Dialect::Dotenv).unwrap_err();
    assert_eq!(missing.to_string(), "K is not in the file: have it appended");
}

#[test]
fn what_stands_in_another_value_is_not_ours() {
    let pem = "A=\"x\nno K=no\ny\"\nMY_K=no\nK_OLD=no\n# K=no\nB=K=no\nK=abc\n";
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
        let edited = append(text.as_bytes(), "K", &value(NEW), Dialect::Dotenv, None).unwrap();
        (String::from_utf8(edited.text.to_vec()).unwrap(), edited.line)
    };
    assert_eq!(added(""), (format!("K={NEW}\n"), 1));
    assert_eq!(added("A=1"), (format!("A=1\nK={NEW}\n"), 2));
    assert_eq!(added("A=1\r\n"), (format!("A=1\r\nK={NEW}\r\n"), 2));
    assert_eq!(added("A=1\r\nB=2"), (format!("A=1\r\nB=2\r\nK={NEW}\r\n"), 3));
    assert!(append(b"K=1\n", "K", &value(NEW), Dialect::Dotenv, None).is_err());
    let hidden = append(b"A=1\n \n", "K", &value(NEW), Dialect::Dotenv, None).err().unwrap();
    assert!(hidden.to_string().starts_with("line 2, column 1: node takes this line"), "{hidden}");
}

#[test]
fn a_value_that_the_dialect_cannot_write_is_refused() {
    for (dialect, new) in
        [(Dialect::Dotenv, "a#b"), (Dialect::Pam, "a\\"), (Dialect::Shell, "a b"), (Dialect::Compose, "a$b")]
    {
        assert!(replace(b"K=old\n", "K", &value(new), dialect, None).is_err(), "{dialect} {new}");
    }
    assert!(replace(b"K=old\n", "K", &value("two\nlines"), Dialect::Systemd, None).is_err());
}

#[test]
fn a_key_is_written_like_the_one_that_it_belongs_to() {
    let other = |text: &str, dialect: Dialect, new: &str| {
        let write = if find(text.as_bytes(), "K_OLD", dialect).unwrap().is_some() { replace } else { append };
        let edited = write(text.as_bytes(), "K_OLD", &value(new), dialect, Some("K"));
        edited.map(|edited| String::from_utf8(edited.text.to_vec()).unwrap()).map_err(|why| why.to_string())
    };
    let quoted = "A=1\nK=\"p w\"\n";
    assert_eq!(other(quoted, Dialect::Dotenv, "p w"), Ok(format!("{quoted}K_OLD=\"p w\"\n")));
    let has_empty = "K=\"p w\"\nK_OLD=\nB=2\n";
    assert_eq!(other(has_empty, Dialect::Dotenv, "p w").unwrap(), "K=\"p w\"\nK_OLD=\"p w\"\nB=2\n");
    assert_eq!(other(has_empty, Dialect::Dotenv, "").unwrap(), has_empty);
    assert_eq!(other("K='#p w '\n", Dialect::Systemd, "#p w ").unwrap(), "K='#p w '\nK_OLD='#p w '\n");
    let script = "A=1\nexport K='p w'\n";
    assert_eq!(other(script, Dialect::Shell, "p w").unwrap(), format!("{script}export K_OLD='p w'\n"));
    assert_eq!(other("K=p\n", Dialect::Shell, "q").unwrap(), "K=p\nK_OLD=q\n");
    for apart in ["K=p\nexport A K\n", "K=p; export K\n"] {
        assert_eq!(other(apart, Dialect::Shell, "q").unwrap(), format!("{apart}export K_OLD=q\n"));
    }
    assert_eq!(other("K=\"it's\"\nK_OLD=''\n", Dialect::Dotenv, "it's").unwrap(), "K=\"it's\"\nK_OLD=\"it's\"\n");
}

#[test]
fn a_new_key_of_a_script_is_exported_where_all_others_are() {
    let added = |text: &str| {
        let edited = append(text.as_bytes(), "K", &value(NEW), Dialect::Shell, None).unwrap();
        String::from_utf8(edited.text.to_vec()).unwrap()
    };
    assert_eq!(added("export A=1\nexport  B='2'\n"), format!("export A=1\nexport  B='2'\nexport K={NEW}\n"));
    assert_eq!(added("export A=1\nB=2\n"), format!("export A=1\nB=2\nK={NEW}\n"));
    assert_eq!(added("set -a\nA=1\n"), format!("set -a\nA=1\nK={NEW}\n"));
    assert_eq!(added(""), format!("K={NEW}\n"));
}

#[test]
fn what_a_value_was_need_not_be_known_to_be_written_over() {
    let over = |text: &str, dialect: Dialect| {
        let edited = overwrite(text.as_bytes(), "K", &value(NEW), dialect);
        edited.map(|edited| String::from_utf8(edited.unwrap().text.to_vec()).unwrap()).map_err(|why| why.to_string())
    };
    for (text, dialect) in
        [("K='pa$$w0rd'\n", Dialect::Dotenv), ("K=${OLD}\n", Dialect::Compose), ("K=\"$(make-one)\"\n", Dialect::Shell)]
    {
        assert!(replaced(text, dialect).is_err());
        let (before, _) = text.split_once(['p', '$']).unwrap();
        let closing = before.strip_prefix("K=").unwrap();
        assert_eq!(over(text, dialect).unwrap(), format!("{before}{NEW}{closing}\n"));
    }
    assert!(over("K=a'b\n", Dialect::Dotenv).is_err());
    assert!(overwrite(b"A=1\n", "K", &value(NEW), Dialect::Dotenv).unwrap().is_none());
}

#[test]
fn an_empty_value_may_have_a_comment() {
    for (text, wanted) in [("K=\"\" # fill me\n", "K=\"NEW\" # fill me\n"), ("K= # fill me\n", "K=NEW # fill me\n")] {
        for dialect in [Dialect::Dotenv, Dialect::Shell] {
            assert_eq!(replaced(text, dialect).unwrap(), wanted.replace("NEW", NEW), "{dialect}");
        }
    }
    assert!(replaced("K=\"\" # fill me\n", Dialect::Compose).is_ok());
    assert!(replaced("K= # fill me\n", Dialect::Compose).is_err());
    let pem = "A=\"x\ny\" # of old\nK=old\n";
    assert_eq!(replaced(pem, Dialect::Shell).unwrap(), pem.replace("=old", &format!("={NEW}")));
}

#[test]
fn a_quote_within_a_value_hides_from_dotenvy_what_follows_up_to_the_next_one() {
    assert!(replaced("A=it's\nK=old\nB=it's\n", Dialect::Dotenv).is_err());
    for text in ["K=old\nA=it's\nB=it's\n", "A=it's\n# don't\nK=old\n", "A=it's\nK=old\n", "A='it\"s'\nK=old\n# \"\n"] {
        assert_eq!(replaced(text, Dialect::Dotenv).unwrap(), text.replace("old", NEW));
    }
}

#[test]
fn blanks_of_other_alphabets_may_stand_within_quotes() {
    let text = "A=\"Hello\u{a0}World\"\nK=old\n";
    for dialect in [Dialect::Dotenv, Dialect::Compose, Dialect::Shell] {
        assert!(replaced(text, dialect).is_ok(), "{dialect}");
        assert!(replaced(&text.replace('"', ""), dialect).is_err(), "{dialect}");
        assert!(replaced(&text.replace('\u{a0}', "\u{2028}"), dialect).is_err(), "{dialect}");
    }
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
