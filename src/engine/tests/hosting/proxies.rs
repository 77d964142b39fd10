//! Platforms behind a proxy that the daemon's environment names. Each case is a process of its own, as the environment is.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use super::*;

/// Names the URL that a process of its own is to ask.
const ASKS: &str = "REKEYD_TEST_ASKS";
const ELSEWHERE: &str = "https://api.platform.test/v1";
const PASSWORD: &str = "swordfish";

/// What a proxy was asked, and what it was then given to hand on.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A proxy that answers each CONNECT with this line. It leads nowhere.
fn proxy(answer: &'static str) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://proxy-user:{PASSWORD}@{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let came = tunnel(stream, answer).unwrap_or_default();
            noted.lock().unwrap().push(came);
        }
    });
    (url, seen)
}

fn tunnel(mut stream: TcpStream, answer: &str) -> std::io::Result<(String, Vec<u8>)> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    write!(stream, "HTTP/1.1 {answer}\r\n\r\n")?;
    let mut handed = vec![0; 4096];
    let length = reader.read(&mut handed).unwrap_or(0);
    handed.truncate(length);
    Ok((head, handed))
}

/// What the process of its own says, asking `url` with this environment.
fn said(url: &str, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    let name = concat!(module_path!(), "::asks_in_a_process_of_its_own");
    let name = name.split_once("::").unwrap().1;
    let output = command
        .args([name, "--exact", "--nocapture"])
        .env(ASKS, url)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("it said"), "{text}");
    assert!(!text.contains(TOKEN) && !text.contains(PASSWORD), "{text}");
    text
}

/// Asks Render for the value, where another test has it done.
#[test]
fn asks_in_a_process_of_its_own() {
    let Ok(url) = std::env::var(ASKS) else { return };
    let lab = Lab::new(&[At::Render], |hosting| hosting.api = Some(url.clone()));
    let value = lab.run(lab.targets()[0].value_in_force());
    let is_it = value.map(|value| value.is_same(&SecretValue::new(OLD.as_bytes().to_vec())));
    writeln!(std::io::stdout(), "it said {is_it:?}").unwrap();
}

#[test]
fn a_platform_is_reached_through_the_proxy_which_sees_nothing_but_its_name() {
    let (url, seen) = proxy("200 Connection established");
    said(ELSEWHERE, &[("HTTPS_PROXY", &url)]);
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty());
    for (head, handed) in seen.iter() {
        assert!(head.starts_with("CONNECT api.platform.test:443 HTTP/1.1\r\n"), "{head}");
        assert!(!head.contains(TOKEN));
        // What it is given to hand on is TLS from its first byte.
        assert!(handed.first().is_none_or(|byte| *byte == 0x16), "{handed:?}");
    }
}

#[test]
fn a_proxy_that_refuses_is_told_of_without_its_password() {
    let (url, seen) = proxy("407 Proxy Authentication Required");
    let text = said(ELSEWHERE, &[("HTTPS_PROXY", &url)]);
    assert!(text.contains("did not get through the proxy 127.0.0.1:"), "{text}");
    assert!(text.contains("it does not make the connection"), "{text}");
    assert!(seen.lock().unwrap().iter().all(|(head, _)| head.to_lowercase().contains("proxy-authorization: basic")));
}

#[test]
fn a_proxy_that_is_not_there_is_not_taken_for_the_platform() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = said(ELSEWHERE, &[("HTTPS_PROXY", &format!("http://proxy-user:{PASSWORD}@{port}"))]);
    assert!(text.contains(&format!("did not get through the proxy {port}: it refuses connections")), "{text}");
}

#[test]
fn a_proxy_that_cannot_be_used_is_not_gone_past() {
    let fake = Fake::start(At::Render);
    let elsewhere = ELSEWHERE.replace("https", "http");
    for name in ["ALL_PROXY", "https_proxy"] {
        for proxy in ["socks5://127.0.0.1:1080", "ftp://proxy.test:21"] {
            let text = said(&elsewhere, &[(name, proxy)]);
            assert!(text.contains("names a proxy that cannot be used"), "{text}");
            let text = said(&elsewhere, &[(name, proxy), ("NO_PROXY", "other.test,.platform.test")]);
            assert!(!text.contains("names a proxy"), "{text}");
            assert!(said(&fake.url, &[(name, proxy)]).contains("it said Ok(true)"), "this host itself needs none");
        }
    }
}

#[test]
fn hosts_that_need_no_proxy_are_not_reached_through_one() {
    let (url, seen) = proxy("200 Connection established");
    for hosts in ["api.platform.test", ".platform.test", "*"] {
        said(ELSEWHERE, &[("HTTPS_PROXY", &url), ("NO_PROXY", hosts)]);
    }
    // Nor is this host itself, whatever the environment says.
    let fake = Fake::start(At::Render);
    let text = said(&fake.url, &[("HTTP_PROXY", &url), ("HTTPS_PROXY", &url), ("ALL_PROXY", &url)]);
    assert!(text.contains("it said Ok(true)"), "{text}");
    assert!(seen.lock().unwrap().is_empty(), "{:?}", seen.lock().unwrap());
}
