//! `rekeyctl leaks`: where the values of a secret lie besides where they belong.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use serde_json::Value;
use support::backend::FIRST_VALUE;
use support::rotation::{NAME, UNIT, adopted, assert_says, rotate_ok, value};
use support::{Backend, Machine, poll, seconds};

/// The document, and the status that rekeyctl ended with.
fn leaks(machine: &Machine, values: &[&str]) -> (Value, i32) {
    let said = machine.exec(&["rekeyctl", "leaks", "--json", NAME]);
    for value in values {
        assert!(!said.stdout.contains(value) && !said.stderr.contains(value), "a value is told:\n{said}");
    }
    (serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said}")), said.status)
}

/// The places that are expected, or not, each with its generation, form, place, lines and readers.
fn places(document: &Value, expected: bool) -> Vec<String> {
    let all = document["leaks"].as_array().unwrap().iter().filter(|leak| leak["expected"] == expected);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let one = |leak: &Value| {
        let spot = &leak["spot"];
        let of = ["path", "comm", "unit"].iter().map(|key| &spot[key]).find(|value| !value.is_null()).unwrap();
        let lines = if spot["lines"].is_null() { String::new() } else { format!(":{}", spot["lines"]) };
        let (number, form, readers) = (&leak["generation"], text(&leak["form"]), text(&leak["readers"]));
        format!("{number} {form} {} {}{lines} {readers}", text(&spot["kind"]), text(of))
    };
    let mut places: Vec<String> = all.map(one).collect();
    places.sort();
    places
}

support::on_both_debians! {
    fn former_values_are_found_wherever_they_lie_and_those_in_force_where_they_belong(debian) {
        let machine = adopted(debian, &Backend::good());
        rotate_ok(&machine);
        let new = value(&machine);
        let values = [FIRST_VALUE, new.as_str()];

        // The unit that had the value in its file is what everybody forgets.
        let (found, status) = leaks(&machine, &values);
        assert_eq!(status, 1, "{found:#}");
        let unit = format!("/etc/systemd/system/{UNIT}");
        let line = machine.sh(&format!("grep -n JWT_SECRET= {unit} | cut -d: -f1"));
        assert_eq!(places(&found, false), [format!("1 plain file {unit}:[{}] everyone", line.trim())]);
        machine.sh(&format!("sed -i /JWT_SECRET=/d {unit}; systemctl daemon-reload"));
        let (found, status) = leaks(&machine, &values);
        assert_eq!((status, places(&found, false)), (0, Vec::new()), "{found:#}");
        let delivered = format!("/var/lib/rekeyd/delivered/{NAME}/");
        let expected = places(&found, true);
        assert!(expected.iter().any(|place| place.starts_with(&format!("2 plain file {delivered}"))), "{expected:#?}");
        assert!(expected.iter().any(|place| place.starts_with("2 plain environment toy-backend")), "{expected:#?}");

        machine.put("/root/.bash_history", 0o600, format!("ls\nexport JWT_SECRET={FIRST_VALUE}\n"));
        machine.put("/etc/other.env", 0o644, format!("A=1\nB={new}\n\nB={new}\n"));
        machine.put("/srv/app/.env~", 0o644, format!("KEY={FIRST_VALUE}"));
        machine.sh("chmod 700 /srv/app");
        machine.sh(&format!("printf %s 'user:{FIRST_VALUE}' | base64 -w0 >/opt/basic; printf %s {new} | od -An -vtx1 | tr -d ' \\n' >/opt/hex"));
        machine.sh(&format!("mkdir -p /opt/x-{new}; printf '\\0%s' {new} >/opt/x-{new}/{new}; ln -s /etc/other.env /opt/link"));
        machine.sh(&format!("mkdir -p /opt/g/.git/objects; echo {new} >/opt/g/.git/objects/x; echo {new} | gzip >/opt/z.gz; chmod 600 /opt/basic /opt/hex"));
        machine.sh(&format!("systemd-run -q --unit=other --setenv=X={FIRST_VALUE} /bin/sleep 1000; systemd-run -q --unit=another -- /bin/sh -c 'sleep 1000; :' {new}"));
        machine.sh(&format!("systemctl stop another; printf '%01000d %s\\n' 0 {FIRST_VALUE} | systemd-cat -t leaky; journalctl --sync"));
        let (found, status) = leaks(&machine, &values);
        assert_eq!(status, 1, "{found:#}");
        let journal = "root and the groups adm and systemd-journal";
        let unexpected = places(&found, false);
        for wanted in [
            "1 plain file /root/.bash_history:[2] root".to_owned(),
            "2 plain file /etc/other.env:[2,4] everyone".to_owned(),
            "1 plain file /srv/app/.env~:[1] root".to_owned(),
            "1 base64 file /opt/basic:[1] root".to_owned(),
            "2 hex file /opt/hex:[1] root".to_owned(),
            "2 plain file /opt/(a name that has the value in it)/(a name that has the value in it) everyone".to_owned(),
            "1 plain environment sleep root".to_owned(),
            format!("1 plain journal leaky {journal}"),
        ] {
            assert!(unexpected.contains(&wanted), "{wanted} is not in {unexpected:#?}");
        }
        // Links are not followed, and what git and gzip have compressed is not seen.
        for not in ["/opt/link", "/opt/g/", "/opt/z.gz"] {
            assert!(!unexpected.iter().any(|place| place.contains(not)), "{not}: {unexpected:#?}");
        }
        assert!(found["extent"]["compressed"].as_u64().unwrap() > 0, "{found:#}");
        let said = machine.exec(&["rekeyctl", "leaks", NAME]);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "✗ /root/.bash_history:2: generation 1 (fingerprint ");
        assert_says(&said, "where it does not belong");
        assert!(!said.stdout.contains(FIRST_VALUE) && !said.stdout.contains(&new), "{said}");

        // In arguments it is everybody's to read.
        machine.sh(&format!("systemd-run -q --unit=third -- /bin/sh -c 'sleep 1000; :' {new}"));
        poll(seconds(20), "the arguments are seen", || {
            let wanted = "2 plain arguments sh everyone".to_owned();
            places(&leaks(&machine, &values).0, false).contains(&wanted).then_some(())
        });
    }

    fn a_search_is_for_root_and_is_recorded(debian) {
        let machine = adopted(debian, &Backend::good());
        let said = machine.exec_as("nobody", &["rekeyctl", "leaks", NAME]);
        assert_eq!(said.status, 77, "{said}");
        assert_says(&said, "only root may do this");
        machine.exec(&["rekeyctl", "leaks", NAME]);
        let told = machine.journal(&["MESSAGE_ID=005e0a1e53dc420a880dd00703f45431"]);
        assert!(told.len() == 1 && told[0]["REKEYD_ACTOR"].as_str().unwrap().starts_with("uid 0"), "{told:#?}");
        assert!(machine.ok(&["rekeyctl", "history", NAME]).contains("searched for the values, asked for by uid 0"));
        machine.ok(&["rekeyctl", "audit", NAME]);
        let said = machine.exec(&["rekeyctl", "leaks", "none"]);
        assert_eq!(said.status, 64, "{said}");
        let journal = machine.sh("journalctl --sync; exec journalctl -q --no-pager -o export -u rekeyd -u 'rekeyd-search@*'");
        assert!(!journal.contains(FIRST_VALUE), "{journal}");
    }
}
