//! What is read and written, and what is refused.

use proptest::prelude::*;

use super::*;

const NEW: &str = "0123456789abcdef";

fn value(text: &str) -> SecretValue {
    SecretValue::new(text.as_bytes().to_vec())
}

fn file(environment: &str) -> String {
    format!(
        "# Ours.\nname: app\nx-log: &log\n  driver: local\nservices:\n  other: # not ours\n    image: \"o:1\"\n    \
         environment:\n      JWT_SECRET: other\n  web:\n    <<: *log\n    environment:\n{environment}    ports: [ \"80:80\" ]\n"
    )
}

fn read(environment: &str) -> Option<String> {
    let value = value_of(file(environment).as_bytes(), "web", "JWT_SECRET").unwrap();
    value.map(|value| String::from_utf8(value.reveal().to_vec()).unwrap())
}

fn replaced(environment: &str, new: &str) -> String {
    let edited = replace(file(environment).as_bytes(), "web", "JWT_SECRET", &value(new), Quotes::Always).unwrap();
    String::from_utf8(edited.to_vec()).unwrap()
}

#[test]
fn a_literal_is_replaced_in_quotes_and_all_else_kept() {
    for (before, has, after) in [
        ("      JWT_SECRET: abc # sessions\n", "abc", "      JWT_SECRET: \"0123456789abcdef\" # sessions\n"),
        ("      JWT_SECRET:   'a''b'   \n", "a'b", "      JWT_SECRET:   '0123456789abcdef'   \n"),
        ("      \"JWT_SECRET\": \"a\\\"$$b\"\r\n", "a\"$b", "      \"JWT_SECRET\": \"0123456789abcdef\"\r\n"),
        ("      A: ü\n      JWT_SECRET: 12345\n", "12345", "      A: ü\n      JWT_SECRET: \"0123456789abcdef\"\n"),
        (
            "      - A=1\n      - JWT_SECRET=a b # x\n",
            "a b",
            "      - A=1\n      - \"JWT_SECRET=0123456789abcdef\" # x\n",
        ),
        ("    - 'JWT_SECRET=a=b'\n", "a=b", "    - 'JWT_SECRET=0123456789abcdef'\n"),
        ("      <<: *log\n      JWT_SECRET: abc\n", "abc", "      <<: *log\n      JWT_SECRET: \"0123456789abcdef\"\n"),
    ] {
        assert_eq!(read(before).as_deref(), Some(has), "{before}");
        assert_eq!(replaced(before, NEW), file(after), "{before}");
    }
}

#[test]
fn a_dollar_is_doubled_and_quotes_are_escaped() {
    assert_eq!(replaced("      JWT_SECRET: a\n", "a$b\"c\\d"), file("      JWT_SECRET: \"a$$b\\\"c\\\\d\"\n"));
    assert!(
        replace(file("      JWT_SECRET: a\n").as_bytes(), "web", "JWT_SECRET", &value("a\nb"), Quotes::Always).is_err()
    );
}

#[test]
fn a_value_that_comes_back_has_the_quotes_that_it_had() {
    for (before, value) in [
        ("      JWT_SECRET: 'a''b$$c\"d' # x\n", "a'b$c\"d"),
        ("      - 'JWT_SECRET=a b'\n", "a b"),
        ("      JWT_SECRET: \"a'b$$c\\\\\"\n", "a'b$c\\"),
    ] {
        let new = replaced(before, NEW);
        let back = replace(new.as_bytes(), "web", "JWT_SECRET", &self::value(value), Quotes::Always).unwrap();
        assert_eq!(String::from_utf8(back.to_vec()).unwrap(), file(before));
    }
}

#[test]
fn a_value_that_had_no_quotes_comes_back_without_them() {
    for (before, value) in [
        ("      JWT_SECRET:   abc # sessions\n", "abc"),
        ("      JWT_SECRET: a$$b'c\"d\\e\r\n", "a$b'c\"d\\e"),
        ("      JWT_SECRET: 12345\n", "12345"),
        ("      - A=1\n      -   JWT_SECRET=a b # x\n", "a b"),
    ] {
        assert!(is_plain(file(before).as_bytes(), "web", "JWT_SECRET").unwrap(), "{before}");
        let new = replaced(before, NEW);
        assert!(!is_plain(new.as_bytes(), "web", "JWT_SECRET").unwrap(), "{new}");
        let back = replace(new.as_bytes(), "web", "JWT_SECRET", &self::value(value), Quotes::IfNeeded).unwrap();
        assert_eq!(String::from_utf8(back.to_vec()).unwrap(), file(before));
    }
    for value in ["yes", "a: b", "a #b", "*a", "", " a", "0x1f"] {
        let back = replace(
            file("      JWT_SECRET: a\n").as_bytes(),
            "web",
            "JWT_SECRET",
            &self::value(value),
            Quotes::IfNeeded,
        );
        let quoted = format!("      JWT_SECRET: \"{value}\"\n");
        assert_eq!(String::from_utf8(back.unwrap().to_vec()).unwrap(), file(&quoted), "it would be read as another");
    }
}

#[test]
fn what_is_not_certain_is_refused_with_its_place() {
    for (environment, line, words) in [
        ("      JWT_SECRET: ${JWT_SECRET}\n", 13, "made of a variable"),
        ("      JWT_SECRET: a$b\n", 13, "made of a variable"),
        ("      JWT_SECRET:\n", 13, "takes it from its own environment"),
        ("      - JWT_SECRET\n", 13, "takes it from its own environment"),
        ("      JWT_SECRET: &a pa55\n", 13, "anchor"),
        ("      JWT_SECRET: !!str pa55\n", 13, "tag"),
        ("      JWT_SECRET: *log\n", 13, "written elsewhere"),
        ("      JWT_SECRET: |\n        pa55\n", 14, "block of lines"),
        ("      JWT_SECRET: pa55\n        word\n", 13, "next line"),
        ("      JWT_SECRET: \"pa55\n        word\"\n", 13, "next line"),
        ("      JWT_SECRET: 1e5\n", 13, "may be taken for a number"),
        ("      JWT_SECRET: 0123\n", 13, "may be taken for a number"),
        ("      JWT_SECRET: yes\n", 13, "may be taken for a number"),
        ("      JWT_SECRET: 2026-01-01\n", 13, "may be taken for a number"),
        ("      JWT_SECRET: pa55\n      JWT_SECRET: pa55\n", 14, "again"),
        ("      - JWT_SECRET=pa55\n      - JWT_SECRET=pa55\n", 14, "again"),
        ("      { JWT_SECRET: pa55 }\n", 13, "in braces"),
        ("      <<: *log\n", 13, "may come from what is merged"),
        ("      JWT_SECRET: \"pa55\n", 14, "not YAML"),
    ] {
        let refusal =
            value_of(file(environment).as_bytes(), "web", "JWT_SECRET").err().map(|refusal| refusal.to_string());
        let text = refusal.unwrap_or_default();
        assert!(text.contains(words) && !text.contains("pa55"), "{environment}: {text}");
        if words != "not YAML" {
            assert!(text.starts_with(&format!("line {line}, ")), "{environment}: {text}");
        }
    }
    for (text, words) in [
        ("services:\n  web:\n    environment: &e\n      JWT_SECRET: a\n", "others refer to"),
        ("services:\n  web: &web\n    environment:\n      JWT_SECRET: a\n", "others refer to"),
        ("services:\n  web:\n    image: a\n", "no `environment:` of its own"),
        ("services:\n  api:\n    image: a\n", "no service web"),
        ("web:\n  image: a\n", "no `services:`"),
        ("services:\n  web:\n    environment:\n      JWT_SECRET: a\n---\na: 1\n", "second document"),
        ("", "empty"),
        ("a\n", "no mapping"),
    ] {
        let refusal = value_of(text.as_bytes(), "web", "JWT_SECRET").err().map(|refusal| refusal.to_string());
        assert!(refusal.as_ref().is_some_and(|refusal| refusal.contains(words)), "{text}: {refusal:?}");
    }
}

#[test]
fn a_further_variable_is_added_after_the_last_one() {
    let add = |environment: &str| {
        let edited = append(file(environment).as_bytes(), "web", "OLD", &value("x")).unwrap();
        String::from_utf8(edited.to_vec()).unwrap()
    };
    assert_eq!(add("      A: 1 # one\n"), file("      A: 1 # one\n      OLD: \"x\"\n"));
    assert_eq!(add("      - A=1\n"), file("      - A=1\n      - \"OLD=x\"\n"));
    assert!(append(file("      A: |\n        one\n").as_bytes(), "web", "OLD", &value("x")).is_err());
    let end = "services:\n  web:\n    environment:\n      A: 1";
    let edited = append(end.as_bytes(), "web", "OLD", &value("x")).unwrap();
    assert_eq!(&**edited, format!("{end}\n      OLD: \"x\"").as_bytes());
}

proptest! {
    #[test]
    fn every_other_byte_is_kept(
        before in "(      [A-Z]{1,3}: [a-z\"'#$&*!|>{}:, -]{0,8}\n|      # [a-zü#:]{0,9}\n|\n|      - [A-Z]=[a-z:#]{0,4}\n){0,4}",
        old in "[a-z'\"#:$ ]{0,10}",
        comment in "( +#[ -~]{0,9})?",
        new in "[ -~]{1,40}",
    ) {
        let environment = format!("{before}      JWT_SECRET: {old}{comment}\n");
        let text = file(&environment);
        if let Ok(edited) = replace(text.as_bytes(), "web", "JWT_SECRET", &value(&new), Quotes::Always) {
            let read = value_of(&edited, "web", "JWT_SECRET").unwrap().unwrap();
            prop_assert_eq!(read.reveal(), new.as_bytes());
            let edited = String::from_utf8(edited.to_vec()).unwrap();
            let head = text.find("      JWT_SECRET: ").filter(|_| !before.contains("JWT")).unwrap();
            let same = text.rfind("    ports").map(|at| text.len() - at).unwrap();
            prop_assert_eq!(&edited[..head + 18], &text[..head + 18]);
            prop_assert_eq!(&edited[edited.len() - same..], &text[text.len() - same..]);
            if let Some(kept) = comment.strip_prefix(' ') {
                let is_comment = old.is_empty() || !kept.is_empty();
                prop_assert!(!is_comment || edited.contains(comment.trim_start()) || old.contains(['#', '\'', '"']));
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[ -~\n\r\tü]{0,200}", tail in "services:\n  web:\n    environment:\n(      [ -~]{0,30}\n){0,4}") {
        let text = format!("{text}\n{tail}");
        let _ = value_of(text.as_bytes(), "web", "JWT_SECRET");
        let _ = replace(text.as_bytes(), "web", "JWT_SECRET", &value(NEW), Quotes::IfNeeded);
    }
}
