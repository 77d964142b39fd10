//! The editors of ecosystem files: one value is changed, and every other byte kept.

use proptest::prelude::*;

use super::*;

fn variable(format: Format) -> Variable {
    let (app, key) = ("api".to_owned(), "JWT_SECRET".to_owned());
    Variable { app, environment: Some("production".to_owned()), key, format, quotes: Quotes::Always }
}

fn read(text: &str, format: Format) -> Result<String, String> {
    match value_of(text.as_bytes(), &variable(format)) {
        Ok(Some(value)) => Ok(String::from_utf8_lossy(value.reveal()).into_owned()),
        Ok(None) => Ok("(none)".to_owned()),
        Err(refusal) => Err(refusal.to_string()),
    }
}

const MODULE: &str = r#"#!/usr/bin/env node
// The apps. "Not a text, and not a brace: {
const path = require('path'); /* nor { this */
const slashes = /[/"]{2}/.test(`a ${ '}' + `b` } "`) ? 1 / 2 : { x: 3 };
module.exports = {
  apps: [
    { name: 'other', script: 'x.js', env_production: { JWT_SECRET: process.env.X } },
    {
      name: "api",
      ...require('./common'),
      script: path.join(__dirname, 'server.js'),
      env: { JWT_SECRET: "development", NODE_ENV: `dev` },
      "env_production": {
        NODE_ENV: 'production', // JWT_SECRET: "no"
        JWT_SECRET: 'VALUE', ready() { return { JWT_SECRET: 1 } },
      },
    },
  ],
  deploy: {},
};
"#;

const JSON: &str = r#"{
  "apps": [{
    "name": "api", // PM2 allows comments
    "script": "server.js", "args": ["{", "\"JWT_SECRET\": \"no\""],
    "env_production": { "A": 1, "JWT_SECRET" : "VALUE" }
  }]
}"#;

const YAML: &str = "# The apps\r\napps:\n  # first\n- name: other\n  env_production:\n    JWT_SECRET: of the other\n\
  - script: ./server.js\n  name:   'api'   # ours\n  args: >\n    JWT_SECRET: no\n     more\n  list:\n  - a: b\n  - [c,\n     d]\n\
  \x20 env:\n    JWT_SECRET: development\n  env_production:   # with a comment\n\n    A: \"1\"\n    JWT_SECRET: VALUE # yes\n    B: {c: d}\n\
  deploy:\n  production: x\n";

#[test]
fn a_value_that_is_written_out_is_found_in_each_format() {
    for (text, format) in [(MODULE, Format::Module), (JSON, Format::Json), (YAML, Format::Yaml)] {
        assert_eq!(read(&text.replace("VALUE", "a-b"), format).unwrap(), "a-b", "{text}");
        let without = text.replace("JWT_SECRET: VALUE", "C: VALUE").replace("JWT_SECRET: 'VALUE'", "C: 'VALUE'");
        let wanted = if format == Format::Json { "VALUE" } else { "development" };
        assert_eq!(read(&without, format).unwrap(), wanted, "where `env_production` has none, `env` counts");
    }
    assert_eq!(read("[{name:'api',env_production:{'JWT_SECRET':\"a\\x41\\n\"}}]", Format::Json).unwrap(), "aA\n");
    assert_eq!(read("name: api\nenv_production:\n  \"JWT_SECRET\": \"a\\\"\\\\\"\n", Format::Yaml).unwrap(), "a\"\\");
    assert_eq!(
        read("export default { name: 'api', env_production: { JWT_SECRET: 'x' } }", Format::Module).unwrap(),
        "x"
    );
}

#[test]
fn a_value_that_had_no_quotes_in_yaml_comes_back_without_them() {
    let always = variable(Format::Yaml);
    let if_needed = Variable { quotes: Quotes::IfNeeded, ..variable(Format::Yaml) };
    let value = |text: &str| SecretValue::new(text.as_bytes().to_vec());
    for old in ["VALUE", "a'b\"c\\d", "a b#c", "a:b", "VALUE-"] {
        let text = YAML.replace("VALUE", old);
        // A number, a word with a meaning, and what goes on as a comment.
        for new in ["0123456789abcdef", "1234", "true", "a #b"] {
            assert!(is_plain(text.as_bytes(), &always).unwrap(), "{old}");
            let forth = replace(text.as_bytes(), &always, &value(new)).unwrap();
            assert!(!is_plain(&forth, &always).unwrap(), "{new}");
            let back = replace(&forth, &if_needed, &value(old)).unwrap();
            assert_eq!(String::from_utf8_lossy(&back), text);
        }
    }
    for (odd, written) in [("1234", "'1234'"), ("a: b", "'a: b'"), ("a #b", "'a #b'"), ("'a", "'''a'"), ("", "''")] {
        let text = YAML.replace("VALUE", "'VALUE'");
        let back = replace(text.as_bytes(), &if_needed, &value(odd)).unwrap();
        assert_eq!(String::from_utf8_lossy(&back), YAML.replace("VALUE", written), "it would be read as another");
    }
    let json = Variable { quotes: Quotes::IfNeeded, ..variable(Format::Json) };
    let back = replace(JSON.as_bytes(), &json, &value("other")).unwrap();
    assert_eq!(String::from_utf8_lossy(&back), JSON.replace("VALUE", "other"));
}

#[test]
fn code_is_refused_with_its_place() {
    for (value, place) in [
        ("process.env.JWT_SECRET", "line 15, column 21"),
        ("`VALUE`", "line 15, column 21"),
        ("'a' + 'b'", "line 15, column 21"),
        ("read('VALUE')", "line 15, column 21"),
        ("() => 'VALUE'", "line 15, column 21"),
        ("1234", "line 15, column 21"),
        ("'VALUE', ...secrets", "line 15, column 30"),
        ("'VALUE', [name]: 'x'", "line 15, column 30"),
        ("'VALUE', 'JWT_SECRET': 'x'", "line 15, column 30"),
    ] {
        let said = read(&MODULE.replace("'VALUE'", value), Format::Module).unwrap_err();
        assert!(said.starts_with(place), "{value}: {said}");
        assert!(!said.contains("VALUE"), "{said}");
    }
    for (from, to, words) in [
        ("};\n", "};\nmodule.exports.apps[1].env.JWT_SECRET = 'x';\n", "something follows"),
        ("module.exports = {", "const config = {", "nothing is exported"),
        ("module.exports = {", "module.exports = make({", "comes from code"),
        ("name: \"api\"", "name: API", "no app of the name api"),
        ("\"env_production\": {", "env_production: true ? x : {", "JWT_SECRET comes from code"),
        ("\"env_production\"", "\"env_staging\"", "env_production comes from code"),
        ("'other'", "'api'", "the app api is there twice"),
        ("'server.js')", "'server.js'", "bracket"),
        ("'VALUE'", "'VALUE", "does not end"),
    ] {
        assert!(MODULE.contains(from), "{from}");
        let said = read(&MODULE.replace(from, to), Format::Module).unwrap_err();
        assert!(said.contains(words) && said.starts_with("line "), "{to}: {said}");
    }
}

#[test]
fn what_is_no_plain_text_in_yaml_is_refused_with_its_place() {
    for (value, words) in [
        ("1234", "something else than a text"),
        ("12e45", "something else than a text"),
        ("2026-01-01", "something else than a text"),
        ("true", "something else than a text"),
        ("&x VALUE", "not a plain text"),
        ("|\n      VALUE", "several lines"),
        ("VALUE\n      more", "several lines"),
        ("'VALUE' more", "not a plain text"),
        ("'VALUE", "not a plain text"),
        ("a: b", "not a plain text"),
    ] {
        let said = read(&YAML.replace("VALUE", value), Format::Yaml).unwrap_err();
        assert!(said.starts_with("line 2") && said.contains(words), "{value}: {said}");
        assert!(!said.contains("VALUE"), "{said}");
    }
    for text in [
        "apps: [{name: api}]\n",
        "apps:\n\t- name: api\n",
        "a: 1\n---\napps:\n- name: api\n",
        "apps:\n- name: api\n  env_production:\n    <<: *x\n    JWT_SECRET: a\n",
        "apps:\n- name: api\n env_production:\n",
        "just a text\n",
    ] {
        assert!(read(text, Format::Yaml).unwrap_err().starts_with("line "), "{text}");
    }
}

#[test]
fn a_variable_that_is_not_there_is_not_added() {
    for (text, format) in [(MODULE, Format::Module), (JSON, Format::Json), (YAML, Format::Yaml)] {
        let other = Variable { key: "OTHER".to_owned(), ..variable(format) };
        assert!(value_of(text.as_bytes(), &other).unwrap().is_none());
        let refusal = replace(text.as_bytes(), &other, &SecretValue::new(b"x".to_vec())).unwrap_err();
        assert!(refusal.to_string().contains("add it there, empty"), "{refusal}");
    }
}

#[test]
fn pm2_goes_by_parts_of_the_path() {
    let of = |path: &str| Format::of(Path::new(path));
    assert_eq!(of("/srv/ecosystem.config.cjs"), Some(Format::Module));
    assert_eq!(of("/srv/ecosystem.json"), Some(Format::Json));
    assert_eq!(of("/srv/pm2.yaml"), Some(Format::Yaml));
    assert_eq!(of("/srv/ecosystem.cjs"), None);
}

proptest! {
    #[test]
    fn every_other_byte_is_kept(old in "v[A-Za-z0-9._-]{8,40}", new in "[ -~]{0,60}|[a-zž€😀]{1,9}", yaml in 0usize..3) {
        let quotes = ["", "'", "\""][yaml];
        let yaml = YAML.replace("VALUE", &format!("{quotes}VALUE{quotes}"));
        for (text, format) in [(MODULE, Format::Module), (JSON, Format::Json), (&yaml, Format::Yaml)] {
            let text = text.replace("VALUE", &old);
            let value = SecretValue::new(new.clone().into_bytes());
            let edited = replace(text.as_bytes(), &variable(format), &value).unwrap();
            prop_assert!(value_of(&edited, &variable(format)).unwrap().unwrap().is_same(&value));
            // Back again, it is the same but for the quotes that YAML may have got.
            let back = replace(&edited, &variable(format), &SecretValue::new(old.clone().into_bytes())).unwrap();
            let bare = |text: &[u8]| String::from_utf8_lossy(text).replace(&format!("'{old}'"), &old);
            prop_assert_eq!(bare(&back), bare(text.as_bytes()));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(text in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..700) {
        for (whole, format) in [(MODULE, Format::Module), (JSON, Format::Json), (YAML, Format::Yaml)] {
            let mut mixed = whole.as_bytes()[..cut.min(whole.len())].to_vec();
            let _ = value_of(&mixed, &variable(format));
            mixed.extend_from_slice(&text);
            let _ = value_of(&mixed, &variable(format));
            let _ = value_of(&text, &variable(format));
        }
    }

    #[test]
    fn any_marks_are_read_without_a_panic(text in "[{}\\[\\](),:;'\"`$\\\\/.*\\n a-c=-]{0,120}") {
        for format in [Format::Module, Format::Json, Format::Yaml] {
            let _ = value_of(text.as_bytes(), &variable(format));
            let _ = value_of(format!("module.exports = {text}").as_bytes(), &variable(format));
        }
    }
}
