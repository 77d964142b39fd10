//! Requests to small servers on the loopback interface.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use super::*;

const LONG: Duration = Duration::from_secs(10);

/// Answers each connection with these bytes; hands on what was asked, and the connection, which stays open.
fn serve(answer: &'static [u8]) -> (String, Receiver<(String, TcpStream)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let _ = stream.write_all(answer);
            if sender.send((head.join("\n"), stream)).is_err() {
                break;
            }
        }
    });
    (address, receiver)
}

async fn get(url: String, limit: Duration) -> Result<Reply, HttpError> {
    send(Call::new("GET", &url), limit).await
}

/// Whether the other side hangs up soon.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(LONG)).unwrap();
    !stream.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn an_answer_has_its_status_headers_and_body_whatever_the_status() {
    let (address, _asked) = serve(b"HTTP/1.1 404 No\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nhi");
    let reply = get(format!("http://{address}/"), LONG).await.unwrap();
    assert_eq!(
        (reply.status, &reply.headers["set-cookie"], reply.body.as_slice()),
        (404, &HeaderValue::from_static("a=b"), &b"hi"[..])
    );
    assert_eq!(format!("{reply:?}"), "Reply { status: 404, .. }");
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let (address, _asked) = serve(b"HTTP/1.1 302 Go\r\nLocation: /else\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(get(format!("http://{address}/"), LONG).await.unwrap().status, 302);
}

#[tokio::test]
async fn a_body_is_read_up_to_64_kib() {
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{}", "x".repeat(100_000));
    let (address, _asked) = serve(long.leak().as_bytes());
    let reply = get(format!("http://{address}/"), LONG).await.unwrap();
    assert_eq!((reply.body.len(), reply.body.capacity()), (BODY, BODY));
    let mut call = Call::new("GET", &format!("http://{address}/"));
    call.most = 90_000;
    let reply = send(call, LONG).await.unwrap();
    assert_eq!((reply.body.len(), reply.body.capacity()), (90_000, 90_000));
}

#[tokio::test]
async fn a_body_has_its_length_and_a_request_without_one_says_so_where_one_is_expected() {
    let (address, asked) = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let length = async |method: &str, body: Option<&[u8]>| {
        let mut call = Call::new(method, &format!("http://{address}/"));
        call.body = body.map(|body| Zeroizing::new(body.to_vec()));
        send(call, LONG).await.unwrap();
        let head = asked.recv_timeout(LONG).unwrap().0.to_ascii_lowercase();
        head.lines().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned))
    };
    assert_eq!(length("POST", Some(b"abc")).await.as_deref(), Some("3"));
    assert_eq!(length("POST", None).await.as_deref(), Some("0"));
    assert_eq!(length("GET", None).await, None);
    assert_eq!(length("GET", Some(b"ab")).await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_server_that_hangs_or_drips_ends_at_the_limit() {
    let slow: [&[u8]; 3] = [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"];
    for answer in slow {
        let (address, asked) = serve(answer);
        let began = Instant::now();
        let error = get(format!("http://{address}/"), Duration::from_millis(200)).await.unwrap_err();
        assert_eq!(error.why, NoAnswer::TimedOut);
        assert!(began.elapsed() < LONG);
        assert!(is_closed(&mut asked.recv_timeout(LONG).unwrap().1));
    }
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_is_hung_up_at_once() {
    let (address, asked) = serve(b"");
    let began = Instant::now();
    let request = tokio::spawn(get(format!("http://{address}/"), Duration::from_secs(60)));
    let (_, mut stream) = tokio::task::spawn_blocking(move || asked.recv_timeout(LONG).unwrap()).await.unwrap();
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    assert!(is_closed(&mut stream) && began.elapsed() < LONG);
}

#[tokio::test]
async fn each_way_to_have_no_answer_is_told_apart_with_method_and_url_alone() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (garbage, _one) = serve(b"SSH-2.0-OpenSSH_9.2\r\n\r\n");
    let (plain, _two) = serve(b"HTTP/1.1 400 Bad\r\n\r\n");
    let hidden = "u:swordfish@";
    let of = async |scheme: &str, host: &str| {
        let mut call = Call::new("POST", &format!("{scheme}://{hidden}{host}/a?key=swordfish"));
        call.headers.push(("X".to_owned(), Zeroizing::new("swordfish".to_owned())));
        call.body = Some(Zeroizing::new(b"swordfish".to_vec()));
        let error = send(call, Duration::from_secs(3)).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.starts_with(&format!("POST {scheme}://{host}/a?… ")), "{text}");
        assert!(!text.contains("swordfish"), "{text}");
        error.why
    };
    assert_eq!(of("http", &nobody).await, NoAnswer::Refused);
    assert_eq!(of("http", &garbage).await, NoAnswer::NotHttp);
    assert!(matches!(of("http", "no-such-host.invalid").await, NoAnswer::Unresolved | NoAnswer::TimedOut));
    let tls = of("https", &plain).await;
    assert!(matches!(tls, NoAnswer::Tls(_)), "{tls:?}");
}

#[tokio::test]
async fn what_cannot_be_sent_is_not_and_is_not_told() {
    let mut call = Call::new("GET", "http://127.0.0.1:1/");
    call.headers.push(("X".to_owned(), Zeroizing::new("sword\nfish".to_owned())));
    let error = send(call, LONG).await.unwrap_err();
    assert!(matches!(error.why, NoAnswer::Unsendable(_)) && !error.to_string().contains("sword"));
    assert!(matches!(get("http://a b/".to_owned(), LONG).await.unwrap_err().why, NoAnswer::Unsendable(_)));
    assert!(matches!(get("nonsense".to_owned(), LONG).await.unwrap_err().why, NoAnswer::Unsendable(_)));
}

#[test]
fn a_url_is_shown_without_what_may_be_secret() {
    for (url, expected) in [
        ("http://127.0.0.1:3000/a/b", "http://127.0.0.1:3000/a/b"),
        ("https://u:p@h:1/a?k=v#f", "https://h:1/a?…"),
        ("https://u:p@h", "https://h"),
        ("http://h/a@b#frag", "http://h/a@b"),
        ("http://h?x=/y@z", "http://h?…"),
        ("nonsense?x", "nonsense?…"),
    ] {
        assert_eq!(shown(url), expected);
    }
}

#[test]
fn the_proxy_of_the_environment_is_for_other_hosts() {
    let of = is_loopback;
    for url in
        ["http://127.0.0.1:1/", "http://127.8.8.8/", "http://[::1]:1/", "http://LocalHost/", "http://a.localhost/"]
    {
        assert!(of(url), "{url}");
    }
    assert!(of("http://[::ffff:127.0.0.1]/"));
    for url in ["http://10.0.0.1/", "http://localhost.example.com/", "http://127.0.0.1.example.com/"] {
        assert!(!of(url), "{url}");
    }
}
